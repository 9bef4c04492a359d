//! PostgreSQL: the pool, queries with deadlines, and the schema's migrations.

mod connect_options;
mod errors;
mod held_connections;
pub mod jsonb;
mod lease;
pub mod migrator;
pub mod pool;
mod query;
mod stored_json;

pub use errors::DatabaseError;
pub(crate) use held_connections::HeldConnections;
pub(crate) use query::read_on;
pub use query::{read, write};
pub(crate) use stored_json::StoredJson;

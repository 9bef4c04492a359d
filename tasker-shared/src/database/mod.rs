//! PostgreSQL: the pool, queries with deadlines, and the schema's migrations.

mod connect_options;
mod errors;
pub mod jsonb;
pub mod migrator;
pub mod pool;
mod query;
mod stored_json;

pub use errors::DatabaseError;
pub use query::run_idempotent;
pub(crate) use stored_json::StoredJson;

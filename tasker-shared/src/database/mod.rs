//! PostgreSQL: the pool, queries with deadlines, and the schema's migrations.

mod connect_options;
mod errors;
mod expiry;
pub mod jsonb;
pub mod migrator;
pub mod pool;
mod query;
mod recovery;
mod share;
mod stored_json;

pub use errors::DatabaseError;
pub(crate) use expiry::expire_connections_now;
pub use expiry::expire_outdated;
pub use query::run_idempotent;
pub use recovery::check as check_primary;
pub(crate) use recovery::standby;
pub(crate) use share::PoolShare;
pub(crate) use stored_json::StoredJson;

//! PostgreSQL: the pool, queries with deadlines, and the schema's migrations.

mod addresses;
mod cause;
mod connect_options;
mod diagnosis;
mod errors;
mod expiry;
pub mod jsonb;
pub mod migrator;
pub mod pool;
mod pooler;
mod query;
mod recovery;
mod second;
mod sessions;
mod share;
mod stored_json;

pub(crate) use addresses::Host;
pub use cause::DatabaseCause;
pub use diagnosis::{LockWait, diagnose, is_exhausted, lock_waits, locked_recently};
pub use errors::{DatabaseError, is_refusal};
pub(crate) use expiry::expire_connections_now;
pub use expiry::note_failure;
pub use pooler::{begin, for_listener, listen};
pub(crate) use query::query_on;
pub use query::run_idempotent;
pub(crate) use recovery::standby;
pub use recovery::{check as check_primary, check_usable};
pub use second::{SECOND_ASKED_AFTER, first_good, run_anew, run_on};
pub use sessions::acquire;
pub(crate) use sessions::close_unneeded;
pub(crate) use share::PoolShare;
pub(crate) use stored_json::StoredJson;

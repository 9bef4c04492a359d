//! PostgreSQL: the pool and the schema's migrations.

pub mod migrator;
pub mod pool;

//! Tests that need services. A service that is missing fails them.

mod cache;
mod cache_faults;

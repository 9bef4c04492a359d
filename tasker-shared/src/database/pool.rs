//! The connection pool. (Stub.)

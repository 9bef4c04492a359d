//! Tests that need services.

//! Services that HTTP handlers call.

pub mod template_query;

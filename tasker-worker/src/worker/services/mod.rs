//! What HTTP handlers call.

pub mod template_query;

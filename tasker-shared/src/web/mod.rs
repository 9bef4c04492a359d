//! HTTP building blocks that both services use. (Stub.)

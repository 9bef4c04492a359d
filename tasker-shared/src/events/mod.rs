//! In-process news of what the registry did. (Stub.)

/// A bounded broadcast of registry events.
#[derive(Debug, Default)]
pub struct EventPublisher {}

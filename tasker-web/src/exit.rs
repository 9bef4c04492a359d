//! Exit codes of the services, after BSD's `sysexits.h`, so that a supervisor can decide to restart.

/// The service stopped after a signal, or the command succeeded.
pub const OK: u8 = 0;
/// The command line is wrong. A restart does not help.
pub const USAGE: u8 = 64;
/// PostgreSQL cannot be connected to or migrated. A restart may help.
pub const UNAVAILABLE: u8 = 69;
/// Internal error.
pub const INTERNAL: u8 = 70;
/// The operating system refused a request, for example because the address is in use.
pub const OS: u8 = 71;
/// The configuration is wrong, or a folder that it names is missing. A restart does not help.
pub const CONFIG: u8 = 78;
/// A second signal stopped the service before all requests were answered.
pub const INTERRUPTED: u8 = 130;

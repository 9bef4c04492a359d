//! Exit codes of the services, after BSD's `sysexits.h`, so that a supervisor can tell what to do.

/// The service did what it was asked to, or stopped as it was told to.
pub const OK: u8 = 0;
/// The command line is wrong; starting again will not help.
pub const USAGE: u8 = 64;
/// PostgreSQL cannot be connected to or migrated; starting again may help.
pub const UNAVAILABLE: u8 = 69;
/// The service made a mistake.
pub const INTERNAL: u8 = 70;
/// The operating system refused something, such as an address to listen at.
pub const OS: u8 = 71;
/// The configuration, or what it points to, is wrong; starting again will not help.
pub const CONFIG: u8 = 78;
/// A second signal ended the service before requests under way were done.
pub const INTERRUPTED: u8 = 130;

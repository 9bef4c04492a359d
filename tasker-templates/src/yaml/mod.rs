//! Reads YAML into JSON.
//!
//! YAML 1.2 with its core schema, and `<<` merges, which YAML 1.2 dropped and the field uses.
//! A value that JSON cannot hold is an error that names its line, never a guess. Reading is
//! iterative and within [`TemplateLimits`], so that the cost of a hostile document is bounded.
//!
//! Locations are not recorded while reading, because most documents have no problem. If there is
//! one, [`locations`] reads the text again.

mod budget;
mod frame;
mod loader;
mod locations;
mod scalar;
mod text;

pub(super) use loader::{Loaded, load, locations};
pub(super) use locations::Locations;
pub(super) use text::checked_text;

#[cfg(test)]
mod tests;

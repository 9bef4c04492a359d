//! Reads YAML into JSON.
//!
//! YAML 1.2 with its core schema, and `<<` merges, which YAML 1.2 dropped and the field uses.
//! A value that JSON cannot hold is an error that names its line, never a guess. Reading is
//! iterative and within [`TemplateLimits`], so that the cost of a hostile document is bounded.
//!
//! Lines are not recorded while reading, because most documents have no problem. If there is one,
//! [`line_numbers`] reads the text again.

mod budget;
mod frame;
mod lines;
mod loader;
mod scalar;
mod text;

pub(super) use lines::{LineNumbers, line_numbers};
pub(super) use loader::{Loaded, load};
pub(super) use text::checked_text;

#[cfg(test)]
mod tests;

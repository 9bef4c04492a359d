//! The lines and columns of paths in a document.

use std::collections::HashMap;

use crate::problem::Location;

/// Levels of a document whose locations are recorded. No check looks deeper, and recording all
/// levels of a hostile document would take much memory.
pub(super) const RECORDED_DEPTH: usize = 8;

/// The locations of a document's upper levels.
#[derive(Debug, Default)]
pub(in super::super) struct Locations(HashMap<String, Location>);

impl Locations {
    pub(super) fn record(&mut self, path: String, at: Location) {
        self.0.entry(path).or_insert(at);
    }

    /// Returns the location of `path`, or of the nearest mapping or list around it, so that a
    /// missing key has the location of its mapping.
    pub(in super::super) fn find(&self, path: &str) -> Option<Location> {
        let mut path = path;
        loop {
            if let Some(at) = self.0.get(path) {
                return Some(*at);
            }
            if path.is_empty() {
                return None;
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
    }
}

//! The lines of paths in a document.

use std::collections::HashMap;

use super::loader;
use crate::models::core::task_template::TemplateLimits;

/// Levels of a document whose lines are recorded. No check looks deeper, and recording all levels
/// of a hostile document would take much memory.
pub(super) const RECORDED_DEPTH: usize = 8;

/// The lines of a document's upper levels.
#[derive(Debug, Default)]
pub(in super::super) struct LineNumbers(HashMap<String, usize>);

impl LineNumbers {
    pub(super) fn record(&mut self, path: String, line: usize) {
        self.0.entry(path).or_insert(line);
    }

    /// The line of `path`, or of the nearest thing around it that has one: a missing key is
    /// missing where its mapping begins.
    pub(in super::super) fn line_of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            if path.is_empty() {
                return None;
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
    }
}

/// Reads `text` again for its lines. Its problems were reported before.
pub(in super::super) fn line_numbers(text: &str, limits: TemplateLimits) -> LineNumbers {
    loader::record_lines(text, limits)
}

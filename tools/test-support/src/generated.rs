//! Files that are generated from the code and committed.

use std::path::Path;

/// Asserts that `file` equals the generated text. Writes it first if `UPDATE_GENERATED=1` is set,
/// as `cargo xtask generate` does.
///
/// # Panics
/// If the file differs, or cannot be written.
pub fn assert_generated(file: &Path, generated: &str) {
    let shown = file.display();
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        std::fs::write(file, generated).unwrap_or_else(|error| panic!("{shown}: {error}"));
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == generated,
        "{shown} is out of date; renew it with `cargo xtask generate`"
    );
}

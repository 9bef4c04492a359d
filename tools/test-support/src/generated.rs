//! Files that are generated from the code and committed.

use std::path::Path;

/// Asserts that `file` is what the code says; writes it first when `UPDATE_GENERATED=1` is set, as
/// `cargo xtask generate` does.
///
/// # Panics
/// When the file differs, or cannot be written.
pub fn assert_generated(file: &Path, generated: &str) {
    let shown = file.display();
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        std::fs::write(file, generated).unwrap_or_else(|error| panic!("{shown}: {error}"));
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == generated,
        "{shown} is not what the code says; renew it with `cargo xtask generate`"
    );
}

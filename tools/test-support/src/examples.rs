//! Examples on pages, and the programs that they are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the first block of a language below a heading of a page.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn page_block<'a>(page: &'a str, heading: &str, language: &str) -> &'a str {
    let block = page
        .split_once(&format!("\n## {heading}\n"))
        .and_then(|(_, section)| section.split_once(&format!("\n```{language}\n")))
        .and_then(|(_, block)| block.split_once("```\n"));
    let Some((block, _)) = block else {
        panic!("no block of {language} below the heading {heading}");
    };
    block
}

/// Returns the program of an example, which cargo builds with the tests of its package.
///
/// # Panics
/// If it is missing and cannot be built.
#[must_use]
pub fn example_program(package: &str, name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test has a program");
    let target = own.parent().and_then(Path::parent);
    let program = target
        .expect("a test is in a target folder")
        .join("examples")
        .join(name);
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--package", package, "--example", name]);
        let is_built = build.status().is_ok_and(|status| status.success());
        assert!(is_built, "the example {name} of {package} cannot be built");
    }
    program
}

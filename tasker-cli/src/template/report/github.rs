//! Annotations of GitHub Actions.

use std::fmt::Write as _;

use super::{Report, Severity};

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        // GitHub compares the path with those of a pull request's files.
        let file = problem.file.strip_prefix("./").unwrap_or(&problem.file);
        let _ = write!(text, "::{severity} file={}", property(file));
        for (key, number) in [("line", problem.line), ("col", problem.column)] {
            if let Some(number) = number {
                let _ = write!(text, ",{key}={number}");
            }
        }
        let _ = writeln!(text, ",title={}::{}", problem.code, data(&problem.text()));
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::{data, property};

    #[test]
    fn characters_with_a_meaning_are_escaped() {
        assert_eq!(data("50 %\r\na: b, c"), "50 %25%0D%0Aa: b, c");
        assert_eq!(property("a:b,c%\r\n"), "a%3Ab%2Cc%25%0D%0A");
    }
}

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
        let _ = write!(text, "::{severity} file={}", property(&problem.file));
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
        assert_eq!(data("50 %\na: b, c"), "50 %25%0Aa: b, c");
        assert_eq!(property("a:b,c%"), "a%3Ab%2Cc%25");
    }
}

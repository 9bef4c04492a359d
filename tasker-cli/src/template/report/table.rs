//! A line for each problem, with file, line and column.

use std::fmt::Write as _;

use super::{Problem, Report, Severity};
use crate::output::count;
use crate::style::{Paint, Style};

/// Returns a line for each problem.
pub(super) fn lines(problems: &[Problem], style: Style) -> String {
    let mut text = String::new();
    for problem in problems {
        // A line break in the name would look like another problem.
        let mut place = problem.file.replace(char::is_control, " ");
        for number in [problem.line, problem.column].into_iter().flatten() {
            let _ = write!(place, ":{number}");
        }
        let severity = match problem.severity {
            Severity::Error => style.paint(Paint::Red, "error"),
            Severity::Warning => style.paint(Paint::Yellow, "warning"),
        };
        let code = style.paint(Paint::Dim, &format!("[{}]", problem.code));
        let place = style.paint(Paint::Bold, &place);
        let _ = writeln!(text, "{place}: {severity}: {} {code}", problem.text());
    }
    text
}

pub(super) fn render(report: &Report) -> String {
    let style = Style::of_stdout();
    let mut text = lines(&report.problems, style);
    let paint = if report.errors > 0 {
        Paint::Red
    } else if report.warnings > 0 {
        Paint::Yellow
    } else {
        Paint::Green
    };
    let summary = format!(
        "{}, {}, {}, {}",
        count(report.files, "file"),
        count(report.templates.len(), "good template"),
        count(report.errors, "error"),
        count(report.warnings, "warning"),
    );
    let _ = writeln!(text, "{}", style.paint(paint, &summary));
    text
}

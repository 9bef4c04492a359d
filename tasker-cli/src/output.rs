//! Printing of answers.

use std::borrow::Cow;
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::error::CliError;
use crate::style::{self, Paint, Style};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// The option that chooses the form of an answer.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) output: Format,
}

/// Prints a text for people.
pub(crate) fn text(text: &str) -> Result<(), CliError> {
    exactly(&harmless(text)).map(drop)
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let mut pretty = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::Output(io::Error::other(error)))?;
    pretty.push('\n');
    exactly(&pretty).map(drop)
}

/// Returns a value as JSON on one line.
pub(crate) fn line(value: &impl Serialize) -> Result<String, CliError> {
    let mut line =
        serde_json::to_string(value).map_err(|error| CliError::Output(io::Error::other(error)))?;
    line.push('\n');
    Ok(line)
}

/// Prints a text as it is. Returns false if nobody reads it any more.
pub(crate) fn exactly(text: &str) -> Result<bool, CliError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written_or_unread(written.and_then(|()| stdout.flush()))
}

/// Returns false for a closed pipe, as with `| head`. That is no failure, because the reader has what
/// it wanted, and no success either: the command's own exit code stands.
pub(crate) fn written_or_unread(written: io::Result<()>) -> Result<bool, CliError> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Output(error)),
    }
}

/// Replaces control characters but line breaks, tabs and our colours, because names and messages of
/// others could steer the terminal.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |char: char| char.is_control() && !matches!(char, '\n' | '\t');
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_harmful) {
        harmless.push_str(&rest[..at]);
        rest = &rest[at..];
        let kept = style::code_at_start(rest);
        harmless.push_str(kept.unwrap_or(" "));
        let skipped = kept.map_or_else(|| rest.chars().next().map_or(0, char::len_utf8), str::len);
        rest = &rest[skipped..];
    }
    harmless.push_str(rest);
    Cow::Owned(harmless)
}

/// One field of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(crate) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        // A line break would tear the row apart, and others may steer the terminal.
        let text: String = text.into();
        let text = text.replace(char::is_control, " ");
        Self { text, paint }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, Paint::Plain)
    }
}

/// Returns rows below a heading, with aligned columns.
pub(crate) fn table(style: Style, heading: &[&str], rows: &[Vec<Cell>]) -> String {
    let heading: Vec<Cell> = heading
        .iter()
        .map(|text| Cell::painted(*text, Paint::Bold))
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in std::iter::once(&heading).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.text.chars().count();
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            if column > 0 {
                text.push_str("  ");
            }
            text.push_str(&style.paint(cell.paint, &cell.text));
            if column + 1 < row.len() {
                let padding = widths[column] - cell.text.chars().count();
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

/// Returns a number with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn only_line_breaks_tabs_and_colours_pass() {
        assert_eq!(harmless("a\tb\n\x1b[31mc\x1b[0m"), "a\tb\n\x1b[31mc\x1b[0m");
        let steering = "\x1b[2J \x1b[8m \x1b[31 \x1b]0;x\x07 \u{9b}2J \r\x7f é";
        assert_eq!(harmless(steering), " [2J  [8m  [31  ]0;x   2J    é");
    }
}

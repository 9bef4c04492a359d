//! Colours, on terminals only.

use std::io::IsTerminal;

/// The colour or weight of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
}

/// Returns true if the terminal says that it knows neither colours nor movements of the cursor.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Paints texts, or leaves them as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    is_on: bool,
}

impl Style {
    /// Returns the style of standard output: colours if it is a terminal, unless `NO_COLOR` is set.
    pub(crate) fn of_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            is_on: std::io::stdout().is_terminal() && !is_dumb() && !is_unwanted,
        }
    }

    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Red => "31",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Blue => "34",
        };
        if self.is_on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Returns the code of a colour or weight that `text` begins with.
pub(crate) fn code_at_start(text: &str) -> Option<&str> {
    let parameter = text.strip_prefix("\x1b[")?.split_once('m')?.0;
    let is_known = matches!(parameter, "0" | "1" | "2" | "31" | "32" | "33" | "34");
    is_known.then(|| &text[.."\x1b[m".len() + parameter.len()])
}

//! `docs/operations.md` and the alerts name only metrics and log lines that exist.

use std::path::Path;

use super::{ALL, Kind, Metric};
use crate::tests::sources;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the metric of this name in the text format, where a histogram has three names.
fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| {
        let rest = name.strip_prefix(metric.name);
        match metric.kind {
            Kind::Histogram => matches!(rest, Some("_bucket" | "_sum" | "_count")),
            Kind::Counter | Kind::Gauge => rest == Some(""),
        }
    })
}

fn is_of_a_name(character: char) -> bool {
    character == '_' || character.is_ascii_alphanumeric()
}

#[test]
fn every_metric_and_label_that_is_documented_exists() {
    let mut names = 0;
    for file in ["docs/operations.md", "docs/prometheus-rules.yaml"] {
        let text = read(file);
        for (start, _) in text.match_indices("tasker_") {
            if text[..start].ends_with(is_of_a_name) {
                continue;
            }
            let rest = &text[start..];
            let (name, after) =
                rest.split_at(rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len()));
            let metric = find(name).unwrap_or_else(|| panic!("{file} names {name}"));
            names += 1;
            let labels = after
                .strip_prefix('{')
                .and_then(|labels| labels.split('}').next());
            // Codes in capital letters come from servers and are not listed in the help.
            let words = labels.unwrap_or_default().split(|c| !is_of_a_name(c));
            for word in words.filter(|word| word.contains(|c: char| c.is_lowercase())) {
                assert!(metric.help.contains(word), "{file}: {name} has no {word}");
            }
        }
    }
    assert!(names > 10, "only {names} were found");
}

#[test]
fn every_log_line_that_is_documented_is_written() {
    let sources: String = sources().into_iter().map(|(_, text)| text).collect();
    let text = read("docs/operations.md");
    // Labels of metrics are quoted too, and are within backquotes.
    let prose: String = text.split('`').step_by(2).collect();
    let lines: Vec<String> = prose
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert!(lines.len() > 10, "only {} were found", lines.len());
    for line in lines {
        assert!(
            sources.contains(&format!("{line}\"")),
            "nothing writes {line:?}"
        );
    }
}

/// Errors and warnings that the page does not quote.
const UNDOCUMENTED: [&str; 2] = [
    // The page describes it, and a quotation has no quotes within.
    "the cache is a node of a Redis Cluster, and only the keys of this node can be used: \
     set `mode = \"cluster\"` in [common.cache.redis]",
    // Warnings about a file, under a message for each kind.
    "{what}",
];

/// Returns the last text of the arguments of a macro, which begin `rest`: its message.
fn message(rest: &str) -> Option<String> {
    let mut last = None;
    let mut depth = 1;
    let mut characters = rest.chars().peekable();
    while depth > 0 {
        match characters.next()? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => {
                let mut text = String::new();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            '\n' => while characters.next_if(|c| c.is_whitespace()).is_some() {},
                            escaped => text.push(escaped),
                        },
                        other => text.push(other),
                    }
                }
                last = Some(text);
            }
            _ => {}
        }
    }
    last
}

#[test]
fn every_error_and_warning_that_is_written_is_documented() {
    let page = read("docs/operations.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut messages = 0;
    for (path, text) in sources() {
        let code = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
        for start in ["error", "warn"].map(|level| format!("tracing::{level}!(")) {
            for (at, _) in code.match_indices(&start) {
                let message = message(&code[at + start.len()..]).unwrap_or_default();
                messages += 1;
                assert!(
                    UNDOCUMENTED.contains(&&*message) || page.contains(&format!("\"{message}\"")),
                    "{}: docs/operations.md lacks {message:?}",
                    path.display()
                );
            }
        }
    }
    assert!(messages > 50, "only {messages} were found");
}

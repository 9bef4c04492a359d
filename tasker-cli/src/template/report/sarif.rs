//! SARIF 2.1.0.

use std::collections::BTreeSet;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Problem, Report, Severity};

/// All but the characters that a segment of a URI may have.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(super) fn document(report: &Report) -> Value {
    let codes: BTreeSet<&str> = report.problems.iter().map(|problem| problem.code).collect();
    let rules: Vec<Value> = codes.iter().map(|code| json!({"id": code})).collect();
    let results: Vec<Value> = report.problems.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "tasker",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
            // Columns count characters, not UTF-16 units.
            "columnKind": "unicodeCodePoints",
        }],
    })
}

fn result(problem: &Problem) -> Value {
    let level = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut place = json!({"artifactLocation": {"uri": uri(&problem.file)}});
    if let Some(line) = problem.line {
        place["region"] = json!({"startLine": line});
        if let Some(column) = problem.column {
            place["region"]["startColumn"] = json!(column);
        }
    }
    json!({
        "ruleId": problem.code,
        "level": level,
        "message": {"text": problem.text()},
        "locations": [{"physicalLocation": place}],
    })
}

/// Returns a path as a URI, relative if the path is.
fn uri(file: &str) -> String {
    if Path::new(file).is_absolute() {
        return url::Url::from_file_path(file).map_or_else(|()| file.to_owned(), String::from);
    }
    // Segment by segment, because joining with a base would drop `..`.
    let segments: Vec<String> = file
        .split('/')
        .filter(|segment| *segment != ".")
        .map(|segment| utf8_percent_encode(segment, RESERVED).to_string())
        .collect();
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("./a b/c.yaml"), "a%20b/c.yaml");
        assert_eq!(uri("../a/./50%?.yaml"), "../a/50%25%3F.yaml");
        assert_eq!(uri("c:d#é.yaml"), "c%3Ad%23%C3%A9.yaml");
        assert_eq!(uri("/a/c.yaml"), "file:///a/c.yaml");
    }
}

use serde_json::{Value, json};

use super::{checked_text, load, locations};
use crate::{Problem, ProblemKind, TemplateError, TemplateLimits};

fn read(text: &str) -> Result<Value, Vec<Problem>> {
    read_bytes(text.as_bytes())
}

fn read_bytes(bytes: &[u8]) -> Result<Value, Vec<Problem>> {
    let limits = TemplateLimits::default();
    checked_text(bytes, limits)
        .and_then(|text| load(&text, limits))
        .map(|loaded| loaded.value)
        .map_err(|error| match error {
            TemplateError::Unreadable { problems, .. } => problems,
            other => panic!("{other:?}"),
        })
}

/// The one problem of a text: its line, its path and what it is.
fn problem(text: &str) -> (Option<usize>, String, ProblemKind) {
    let mut problems = read(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let Problem {
        line, path, kind, ..
    } = problems.remove(0);
    (line, path, kind)
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = load(text, TemplateLimits::default()).unwrap();
    loaded.warnings.iter().map(Problem::to_string).collect()
}

#[test]
fn json_writes_one_character_as_two_escapes() {
    let text = r#"{"a": "\ud83d\ude80 \\ud83d\\ude80 \u00e9\uD834\uDD1E", "b": [1]}"#;
    assert_eq!(
        read(text).unwrap(),
        serde_json::from_str::<Value>(text).unwrap()
    );
    // YAML has no such escapes, nor has JSON one of the two.
    for text in [r#"a: "\ud83d\ude80""#, r#"{"a": "\ud83d"}"#] {
        read(text).unwrap_err();
    }
    let single = r"{a: '\ud83d\ude80'}";
    assert_eq!(read(single).unwrap(), json!({"a": r"\ud83d\ude80"}));
}

#[test]
fn what_authors_write_is_read() {
    let text = "\u{feff}# A comment with ümläuts.\n\
        ---\n\
        plain: text with:no space   # and a comment\n\
        quoted: \"1\"\n\
        single: 'it''s'\n\
        nothing:\n\
        tilde: ~\n\
        folded: >\n  one\n  two\n\n  three → four\n\
        literal: |-\n  a\n   b\n\
        flow: {a: [1, 2.5, true], \"b\":null, c: }\n\
        list:\n- 1\n-\n- - nested\n\
        version: 1.0.0\n\
        date: 2025-08-29\n\
        ...\n";
    assert_eq!(
        read(text).unwrap(),
        json!({
            "plain": "text with:no space",
            "quoted": "1",
            "single": "it's",
            "nothing": null,
            "tilde": null,
            "folded": "one two\nthree → four\n",
            "literal": "a\n b",
            "flow": {"a": [1, 2.5, true], "b": null, "c": null},
            "list": [1, null, ["nested"]],
            "version": "1.0.0",
            "date": "2025-08-29",
        })
    );
}

#[test]
fn other_line_ends_are_read_too() {
    assert_eq!(read("a: 1\r\nb: 2\r\n").unwrap(), json!({"a": 1, "b": 2}));
}

#[test]
fn tags_of_the_core_schema_are_obeyed() {
    let text = "a: !!str 1\nb: !!int \"2\"\nc: !!float 3\nd: !!null ''\ne: !!bool 'true'\n\
        f: ! 4\ng: !!map {}\nh: !!seq []\ni: !<tag:yaml.org,2002:str> 5\n";
    assert_eq!(
        read(text).unwrap(),
        json!({"a": "1", "b": 2, "c": 3.0, "d": null, "e": true, "f": "4", "g": {}, "h": [], "i": "5"})
    );
}

#[test]
fn other_tags_are_errors() {
    for text in [
        "a: !ruby/object:Gem x",
        "a: !!binary aGk=",
        "a: !thing [1]",
        "a: !!set {b}",
    ] {
        let (line, path, kind) = problem(text);
        assert_eq!((line, path.as_str()), (Some(1), "a"));
        assert!(matches!(kind, ProblemKind::UnknownTag { .. }), "{kind:?}");
    }
    let (.., kind) = problem("a: !!int x");
    assert!(matches!(kind, ProblemKind::TagMismatch { .. }));
}

#[test]
fn a_version_keeps_its_digits() {
    assert_eq!(read("version: 1.10").unwrap(), json!({"version": "1.10"}));
    assert_eq!(read("version: 2").unwrap(), json!({"version": "2"}));
    assert_eq!(
        warnings("a: 1\nversion: 1.0\n"),
        [
            "line 2, column 10: version: the version 1.0 is a number to YAML; it is kept as the text \"1.0\"; quote it"
        ]
    );
    // Only the template's own version is one.
    assert_eq!(
        read("version: '1'\na: {version: 1.10}\n").unwrap(),
        json!({"version": "1", "a": {"version": 1.1}})
    );
}

#[test]
fn keys_that_are_no_text_become_text() {
    let text = "1: a\ntrue: b\n~: c\n1.50: d\n";
    assert_eq!(
        read(text).unwrap(),
        json!({"1": "a", "true": "b", "~": "c", "1.50": "d"})
    );
    assert_eq!(warnings(text).len(), 4);
    assert!(warnings("'1': a").is_empty());
}

#[test]
fn a_key_given_twice_is_an_error_with_both_lines() {
    let (line, path, kind) = problem("a:\n  b: 1\n  c: 2\n  'b': 3\n");
    assert_eq!((line, path.as_str()), (Some(4), "a"));
    let expected = ProblemKind::DuplicateKey {
        key: String::from("b"),
        first_line: 2,
    };
    assert_eq!(kind, expected);
}

#[test]
fn all_problems_of_a_text_are_reported_in_the_order_of_lines() {
    let problems = read("z: .nan\na: 1\nb: [.inf, 99999999999999999999]\na: !x 2\nc: \"\\0\"\n");
    let places: Vec<_> = problems
        .unwrap_err()
        .into_iter()
        .map(|problem| (problem.line.unwrap(), problem.path))
        .collect();
    let expected = [
        (1, "z"),
        (3, "b[0]"),
        (3, "b[1]"),
        (4, "a"),
        (4, ""),
        (5, "c"),
    ];
    assert_eq!(places, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn merges_add_what_is_not_there() {
    let text = "base: &base {a: 1, b: {c: 2}}\nother: &other {b: 3, d: 4}\n\
        one:\n  <<: *base\n  a: 5\n\
        many:\n  x: 0\n  <<: [*other, *base]\n\
        inline:\n  <<: {y: 1}\n\
        quoted: {'<<': 1}\n";
    let value = read(text).unwrap();
    assert_eq!(value["one"], json!({"a": 5, "b": {"c": 2}}));
    assert_eq!(value["many"], json!({"x": 0, "a": 1, "b": 3, "d": 4}));
    assert_eq!(value["inline"], json!({"y": 1}));
    assert_eq!(value["quoted"], json!({"<<": 1}));
    assert!(matches!(
        problem("a:\n  <<: 1\n").2,
        ProblemKind::NotMergeable
    ));
    let twice = problem("a:\n  <<: {b: 1}\n  <<: {c: 1}\n");
    assert_eq!(twice.0, Some(3));
    assert!(matches!(
        twice.2,
        ProblemKind::DuplicateKey { first_line: 2, .. }
    ));
}

#[test]
fn aliases_stand_for_their_values() {
    let text = "a: &a [1, &b x]\nc: *a\n*b : *b\n&k key: 1\nsame: *k\n";
    assert_eq!(
        read(text).unwrap(),
        json!({"a": [1, "x"], "c": [1, "x"], "x": "x", "key": 1, "same": "key"})
    );
    assert!(matches!(
        problem("a: &a [*a]").2,
        ProblemKind::AliasOfItself
    ));
    assert!(matches!(problem("a: *b").2, ProblemKind::Syntax { .. }));
}

#[test]
fn keys_that_json_has_not_are_errors() {
    for text in ["[1]: a", "? {a: 1}\n: b", "a: &a [1]\n*a : 2"] {
        assert!(matches!(problem(text).2, ProblemKind::NotAKey), "{text}");
    }
}

#[test]
fn a_file_without_a_document_is_an_error() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "~", "\u{feff}"] {
        assert!(matches!(problem(text).2, ProblemKind::Empty), "{text:?}");
    }
}

#[test]
fn a_second_document_is_an_error_where_it_begins() {
    let (line, _, kind) = problem("a: 1\n---\nb: 2\n");
    assert_eq!((line, kind), (Some(2), ProblemKind::SeveralDocuments));
}

#[test]
fn syntax_errors_name_their_line() {
    let (line, _, kind) = problem("a: 1\nb: [1, 2\nc: 3\n");
    assert!(matches!(kind, ProblemKind::Syntax { .. }));
    assert_eq!(line, Some(3));
}

#[test]
fn what_is_no_text_is_an_error() {
    let problems = read_bytes(b"a: 1\nb: \xff\xfe\n").unwrap_err();
    assert_eq!(problems[0].line, Some(2));
    assert_eq!(problems[0].kind, ProblemKind::NotUtf8);
    let problems = read_bytes(b"\xff\xfea\0:\0").unwrap_err();
    assert_eq!(problems[0].kind, ProblemKind::NotUtf8);
    for (text, code) in [("a: 1\nb: \0\n", 0), ("a: 1\nb: x\u{7}\n", 7)] {
        let (line, _, kind) = problem(text);
        assert_eq!(line, Some(2));
        assert_eq!(kind, ProblemKind::ControlCharacter { code });
    }
}

#[test]
fn a_nul_that_is_written_as_an_escape_is_an_error() {
    assert!(matches!(
        problem(r#"a: {b: ["x\0y"]}"#).2,
        ProblemKind::NulCharacter
    ));
    assert!(matches!(
        problem(r#""x\0y": 1"#).2,
        ProblemKind::NulCharacter
    ));
}

#[test]
fn lines_are_found_for_what_is_there_and_for_what_is_missing() {
    let text = "a: 1\nsteps:\n  - name: x\n    handler:\n      callable: X\n  -\n    name: y\n";
    let lines = locations(text, TemplateLimits::default());
    assert_eq!(lines.find("a").map(|at| at.line), Some(1));
    assert_eq!(
        lines.find("steps[0].handler.callable").map(|at| at.line),
        Some(5)
    );
    assert_eq!(
        lines.find("steps[0].handler.method").map(|at| at.line),
        Some(4)
    );
    assert_eq!(lines.find("steps[1]").map(|at| at.line), Some(7));
    assert_eq!(
        lines.find("steps[1].handler.callable").map(|at| at.line),
        Some(7)
    );
    assert_eq!(lines.find("version").map(|at| at.line), Some(1));
}

/// Documents that are made to cost. Each is refused, and within a time that its size explains;
/// the test runner's own time limit is the judge of that.
mod hostile {
    use std::fmt::Write;

    use super::{ProblemKind, problem};

    #[test]
    fn anchors_that_explode_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..40 {
            let alias = format!("*a{}", level - 1);
            let aliases = vec![alias; 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
        }
        assert!(matches!(problem(&text).2, ProblemKind::TooManyNodes { .. }));
    }

    #[test]
    fn a_large_text_cannot_be_multiplied() {
        let text = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            "*a, ".repeat(50)
        );
        assert!(matches!(
            problem(&text).2,
            ProblemKind::AliasesTooLarge { .. }
        ));
    }

    #[test]
    fn anchors_within_anchors_are_refused() {
        let open: Vec<_> = (0..60).map(|level| format!("&a{level} [")).collect();
        let open = open.concat();
        let text = format!("a: {open}{}{}", "1,".repeat(20_000), "]".repeat(60));
        assert!(matches!(problem(&text).2, ProblemKind::TooManyNodes { .. }));
    }

    #[test]
    fn aliases_cannot_nest_deeper_than_the_limit() {
        let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(40), "]".repeat(40));
        let text = format!("a: &a {}\nb: {}\n", nested("1"), nested("*a"));
        assert!(matches!(problem(&text).2, ProblemKind::TooDeep { .. }));
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in [
            "[".repeat(10_000),
            "{a: ".repeat(10_000),
            "a: ".to_owned() + &"[".repeat(500_000),
            "- ".repeat(10_000),
            "- ".repeat(500_000),
            "? ".repeat(10_000) + "a",
            format!("a: {}{}", "[".repeat(70), "]".repeat(70)),
            (0..1_200).map(|level| " ".repeat(level) + "a:\n").collect(),
        ] {
            let kind = problem(&text).2;
            let is_refused = matches!(kind, ProblemKind::TooDeep { .. } | ProblemKind::NotAKey);
            assert!(is_refused, "{kind:?} for {}", &text[..40]);
        }
    }

    #[test]
    fn nesting_up_to_the_limit_is_read() {
        let text = format!("{}1{}", "[".repeat(64), "]".repeat(64));
        super::read(&text).unwrap();
    }

    #[test]
    fn many_values_are_refused() {
        let keys: Vec<_> = (0..120_000).map(|key| format!("{key}:\n")).collect();
        for text in [
            format!("[{}]", "1,".repeat(500_000)),
            "- a\n".repeat(250_000),
            "[".repeat(60) + &"{a: b},".repeat(140_000),
            keys.concat(),
        ] {
            let kind = problem(&text).2;
            assert!(matches!(kind, ProblemKind::TooManyNodes { .. }), "{kind:?}");
        }
    }

    #[test]
    fn long_texts_of_nothing_much_end() {
        let size = 1_000_000;
        for text in [
            "&".repeat(size),
            "*".repeat(size),
            "!".repeat(size),
            "%".repeat(size),
            "%TAG ! x\n".repeat(size / 9),
            "#".repeat(size),
            "\"".repeat(size),
            "'".repeat(size),
            "\\".repeat(size),
            "\t".repeat(size),
            "|\n".repeat(size / 2),
            ">\n".repeat(size / 2),
            "|".to_owned() + &"\n ".repeat(size / 2),
            "---\n".repeat(size / 4),
            "...\n".repeat(size / 4),
            "? \n".repeat(size / 3),
            ": \n".repeat(size / 3),
            "a: ".repeat(size / 3),
            "a:\n".repeat(size / 3),
            ",".repeat(size),
            "{".to_owned() + &",".repeat(size),
            "]".repeat(size),
            "\u{feff}".repeat(size / 3),
            "a\n\n".repeat(size / 3),
            "a #\n".repeat(size / 4),
            "[".repeat(200) + &"a: ".repeat(size / 3),
            "[".repeat(200) + &"? ".repeat(size / 2),
            "&a ".repeat(size / 3),
            "!!str ".repeat(size / 6),
            "- - ".repeat(10) + &"\n".repeat(size),
            "%a b\n".repeat(size / 5),
            "0".repeat(size),
            "1e".to_owned() + &"9".repeat(size),
            "[\"a\":".repeat(100) + &"\"b\":".repeat(size / 4),
            "<<: {}\n".repeat(40_000),
        ] {
            // Only the time that it takes matters.
            let _ = super::read(&text);
        }
    }
}

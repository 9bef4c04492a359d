//! The text that PostgreSQL writes for a `jsonb`.
//!
//! PostgreSQL writes a stored `jsonb` in one way only: keys by length and then by bytes, numbers
//! without exponents, one space after each comma and colon. With the same text, a registration
//! computes the hash of a document before it sends it, and sends only documents whose hash differs.
//! A trigger in PostgreSQL computes the hash that counts.

use std::fmt::Write;

use serde_json::Value;

/// A larger exponent is outside of the range of `numeric` and of `f64`.
const MAX_EXPONENT: i64 = 20_000;

/// Room for most templates, so that the text seldom moves while it grows.
const USUAL_BYTES: usize = 4 * 1024;

/// Returns the text that PostgreSQL writes for `value` after it was stored as `jsonb`.
///
/// The text is JSON with the same meaning. No `jsonb` can hold a NUL character; a `value` with one is
/// written as any JSON would be.
#[must_use]
pub fn text(value: &Value) -> String {
    let mut out = String::with_capacity(USUAL_BYTES);
    write_value(&mut out, value);
    out.shrink_to_fit();
    out
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| (key.len(), key.as_bytes()));
            out.push('{');
            for (place, (key, value)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                write_string(out, key);
                out.push_str(": ");
                write_value(out, value);
            }
            out.push('}');
        }
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(place) = rest.bytes().position(needs_escape) {
        out.push_str(&rest[..place]);
        let byte = rest.as_bytes()[place];
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\x08' => out.push_str("\\b"),
            b'\x0c' => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => write!(out, "\\u{control:04x}").expect("a string takes every text"),
        }
        rest = &rest[place + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_number(out: &mut String, number: &serde_json::Number) {
    if number.is_f64() {
        let text = number.to_string();
        if write_decimal(out, &text).is_none() {
            out.push_str(&text);
        }
    } else {
        write!(out, "{number}").expect("a string takes every text");
    }
}

/// Writes the JSON number `text` as PostgreSQL prints a `numeric`: all its digits, trailing zeros
/// included, and no exponent (`1.50e1` becomes `15.0`). Returns `None` if the exponent is too large.
fn write_decimal(out: &mut String, text: &str) -> Option<()> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => ("-", text),
        None => ("", text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    if exponent.abs() > MAX_EXPONENT {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // The position of the point, counted from the first digit.
    let point = i64::try_from(whole.len()).ok()? + exponent;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let (whole, fraction) = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => {
            let missing = i64::try_from(point - digits.len()).ok()?;
            (digits + &zeros(missing), String::new())
        }
        Ok(point) => (digits[..point].to_owned(), digits[point..].to_owned()),
        Err(_) => (String::new(), zeros(-point) + &digits),
    };
    let whole = whole.trim_start_matches('0');
    let is_zero = whole.is_empty() && fraction.bytes().all(|digit| digit == b'0');
    if !is_zero {
        out.push_str(sign);
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(&fraction);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{text, write_decimal};

    #[test]
    fn keys_are_sorted_by_length_and_then_by_bytes() {
        let value = json!({"bb": 1, "a": [], "é": {}, "ab": [1, "x"], "": null});
        assert_eq!(
            text(&value),
            r#"{"": null, "a": [], "ab": [1, "x"], "bb": 1, "é": {}}"#
        );
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        let value = json!("\u{1}\u{8}\u{c}\n\r\t\"\\/\u{7f}é\u{1f600}\u{1f}");
        assert_eq!(
            text(&value),
            "\"\\u0001\\b\\f\\n\\r\\t\\\"\\\\/\u{7f}é\u{1f600}\\u001f\""
        );
    }

    #[test]
    fn numbers_have_no_exponents_and_keep_their_scale() {
        for (written, expected) in [
            ("1", "1"),
            ("1.0", "1.0"),
            ("1.50", "1.50"),
            ("-0.0", "0.0"),
            ("0e5", "0"),
            ("1e3", "1000"),
            ("1.5e3", "1500"),
            ("1.2345e2", "123.45"),
            ("1e-7", "0.0000001"),
            ("-12.5e-3", "-0.0125"),
            ("0.001e2", "0.1"),
            ("00.5e0", "0.5"),
        ] {
            let mut out = String::new();
            write_decimal(&mut out, written).unwrap();
            assert_eq!(out, expected, "{written}");
        }
        assert_eq!(text(&json!(u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(&json!(i64::MIN)), i64::MIN.to_string());
        assert_eq!(text(&json!(1e20)), "100000000000000000000");
    }

    #[test]
    fn it_is_json_of_the_same_value() {
        let value = json!({
            "numbers": [0, -1, 1.5, 1e-7, 2.5e15],
            "deep": {"er": [{"a": "\"\\\n"}]},
        });
        assert_eq!(serde_json::from_str::<Value>(&text(&value)).unwrap(), value);
    }
}

//! Values of scalars by the core schema of YAML 1.2.

use std::borrow::Cow;

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

use crate::path::clip;
use crate::problem::ProblemKind;

/// The prefix of the core schema's tags, written `!!` in a document.
const CORE: &str = "tag:yaml.org,2002:";

/// The value of a scalar.
#[derive(Debug)]
pub(super) struct Meaning {
    pub(super) value: Value,
    /// A warning about it.
    pub(super) doubt: Option<ProblemKind>,
}

impl From<Value> for Meaning {
    fn from(value: Value) -> Self {
        Self { value, doubt: None }
    }
}

/// Returns the full name of a tag.
pub(super) fn full_name(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}

/// Returns the value of a scalar.
pub(super) fn meaning(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<Meaning, ProblemKind> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => plain(text),
            _ => Ok(Value::String(text.into_owned()).into()),
        };
    };
    let name = full_name(tag);
    let mismatch = |text: &str| ProblemKind::TagMismatch {
        tag: clip(&name),
        text: clip(text),
    };
    match name.strip_prefix(CORE) {
        Some("str") => Ok(Value::String(text.into_owned()).into()),
        Some(kind @ ("null" | "bool" | "int" | "float")) => {
            let value = plain(Cow::Borrowed(&text))?.value;
            match (kind, value) {
                ("null", Value::Null) => Ok(Value::Null.into()),
                ("bool", Value::Bool(is)) => Ok(Value::Bool(is).into()),
                ("int", Value::Number(number)) if !number.is_f64() => {
                    Ok(Value::Number(number).into())
                }
                ("float", Value::Number(number)) => number
                    .as_f64()
                    .and_then(Number::from_f64)
                    .map(|number| Value::Number(number).into())
                    .ok_or_else(|| mismatch(&text)),
                _ => Err(mismatch(&text)),
            }
        }
        Some("seq" | "map") => Err(mismatch(&text)),
        // A lone `!` makes a plain scalar a text.
        None if name == "!" => Ok(Value::String(text.into_owned()).into()),
        _ => Err(ProblemKind::UnknownTag { tag: clip(&name) }),
    }
}

/// Returns true if a list or mapping may have this tag.
pub(super) fn fits_collection(tag: &Tag, kind: &str) -> bool {
    let name = full_name(tag);
    name == "!" || name.strip_prefix(CORE) == Some(kind)
}

/// Returns true for the key that merges.
pub(super) fn is_merge_key(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    match tag {
        Some(tag) => full_name(tag).strip_prefix(CORE) == Some("merge"),
        None => style == ScalarStyle::Plain && text == "<<",
    }
}

/// Returns the value of a scalar without quotes and tag.
fn plain(text: Cow<'_, str>) -> Result<Meaning, ProblemKind> {
    let value = match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => {
            // Workers in other languages read YAML 1.1, where these are booleans.
            let doubt = ProblemKind::OldBoolean {
                text: text.to_string(),
            };
            return Ok(Meaning {
                value: Value::String(text.into_owned()),
                doubt: Some(doubt),
            });
        }
        number if matches!(number.as_bytes()[0], b'0'..=b'9' | b'-' | b'+' | b'.') => {
            if let Some(meaning) = self::number(number)? {
                return Ok(meaning);
            }
            Value::String(text.into_owned())
        }
        _ => Value::String(text.into_owned()),
    };
    Ok(value.into())
}

/// Returns the number that `text` denotes, if it is one.
fn number(text: &str) -> Result<Option<Meaning>, ProblemKind> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(text, digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(text, digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if all_digits(unsigned) {
        let number = if text.starts_with('-') {
            text.parse::<i64>().map(Number::from)
        } else {
            unsigned.parse::<u64>().map(Number::from)
        };
        let number = number.map_err(|_| ProblemKind::HugeNumber { text: clip(text) })?;
        // YAML 1.1 reads these digits as octal, and the author may mean a code instead of a number.
        let is_padded = unsigned.len() > 1 && unsigned.starts_with('0');
        let doubt = is_padded.then(|| ProblemKind::LeadingZero { text: clip(text) });
        let value = Value::Number(number);
        return Ok(Some(Meaning { value, doubt }));
    }
    let is_infinite = matches!(unsigned, ".inf" | ".Inf" | ".INF");
    if is_infinite || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(ProblemKind::NotAJsonNumber { text: clip(text) });
    }
    if !is_float(unsigned) {
        return Ok(None);
    }
    let number = text.parse().ok().and_then(Number::from_f64);
    match number {
        Some(number) => Ok(Some(Value::Number(number).into())),
        None => Err(ProblemKind::NotAJsonNumber { text: clip(text) }),
    }
}

fn radix(text: &str, digits: &str, radix: u32) -> Result<Option<Meaning>, ProblemKind> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Ok(None);
    }
    let number = u64::from_str_radix(digits, radix)
        .map_err(|_| ProblemKind::HugeNumber { text: clip(text) })?;
    Ok(Some(Value::from(number).into()))
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns true if `text` is `1.`, `1.5`, `.5` or one of them with an exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_fits = exponent
        .is_none_or(|exponent| all_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => all_digits(fraction),
        Some((whole, fraction)) => {
            all_digits(whole) && (fraction.is_empty() || all_digits(fraction))
        }
        None => all_digits(mantissa),
    };
    exponent_fits && mantissa_fits
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::{Value, json};

    use super::{ProblemKind, plain};

    fn value(text: &str) -> Value {
        plain(Cow::Borrowed(text)).unwrap().value
    }

    #[test]
    fn the_core_schema_is_followed() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("True", json!(true)),
            ("false", json!(false)),
            ("12", json!(12)),
            ("-12", json!(-12)),
            ("+12", json!(12)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.5", json!(1.5)),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("-1e3", json!(-1000.0)),
            ("1.0.0", json!("1.0.0")),
            ("1e", json!("1e")),
            ("-", json!("-")),
            (".", json!(".")),
            ("0x", json!("0x")),
            ("0b1", json!("0b1")),
            ("1_000", json!("1_000")),
            ("12:30", json!("12:30")),
            ("2025-08-29", json!("2025-08-29")),
            ("nULL", json!("nULL")),
            ("infinity", json!("infinity")),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_an_error() {
        for text in [".inf", "-.Inf", ".nan", "1e999"] {
            let problem = plain(Cow::Borrowed(text)).unwrap_err();
            assert!(
                matches!(problem, ProblemKind::NotAJsonNumber { .. }),
                "{text:?}"
            );
        }
        for text in ["18446744073709551616", "-9223372036854775809"] {
            let problem = plain(Cow::Borrowed(text)).unwrap_err();
            assert!(
                matches!(problem, ProblemKind::HugeNumber { .. }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_other_readers_take_otherwise_is_doubtful() {
        let padded = plain(Cow::Borrowed("0123")).unwrap();
        assert_eq!(padded.value, json!(123));
        assert!(matches!(
            padded.doubt,
            Some(ProblemKind::LeadingZero { .. })
        ));
        let word = plain(Cow::Borrowed("yes")).unwrap();
        assert_eq!(word.value, json!("yes"));
        assert!(matches!(word.doubt, Some(ProblemKind::OldBoolean { .. })));
        assert_eq!(plain(Cow::Borrowed("0")).unwrap().doubt, None);
    }
}

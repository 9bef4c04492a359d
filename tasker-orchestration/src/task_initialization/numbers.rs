//! The numbers of a JSON text as they are written, in one pass over the text.
//!
//! A JSON reader rounds numbers to 64 bits, and PostgreSQL does not. So digits are read from the text.

use std::borrow::Cow;
use std::cell::OnceCell;

use sha2::{Digest, Sha256};

/// The place of a value, as a chain up to the root, so that most places cost nothing.
#[derive(Debug, Default)]
pub(super) struct Place<'a> {
    parent: Option<(&'a Place<'a>, Segment<'a>)>,
    digest: OnceCell<[u8; 32]>,
}

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    Member(&'a str),
    Item(usize),
}

impl Place<'_> {
    fn below<'a>(&'a self, segment: Segment<'a>) -> Place<'a> {
        Place {
            parent: Some((self, segment)),
            digest: OnceCell::new(),
        }
    }

    /// Returns the JSON pointer of this place below `root`.
    pub(super) fn pointer(&self, root: &str) -> String {
        let Some((parent, segment)) = self.parent else {
            return root.to_owned();
        };
        let mut pointer = parent.pointer(root);
        pointer.push('/');
        match segment {
            Segment::Member(key) => pointer += &key.replace('~', "~0").replace('/', "~1"),
            Segment::Item(index) => pointer += &index.to_string(),
        }
        pointer
    }

    /// Returns a hash that only this place has. Computed once, because many numbers may share a long path.
    fn digest(&self) -> &[u8; 32] {
        self.digest.get_or_init(|| {
            let mut hasher = Sha256::new();
            if let Some((parent, segment)) = self.parent {
                hasher.update(parent.digest());
                match segment {
                    Segment::Member(key) => {
                        hasher.update(b"m");
                        hasher.update(key);
                    }
                    Segment::Item(index) => {
                        hasher.update(b"i");
                        hasher.update((index as u64).to_be_bytes());
                    }
                }
            }
            hasher.finalize().into()
        })
    }
}

/// Calls `visit` with the place and the text of each number of `json`, which a JSON reader has accepted,
/// so that it is nested at most 128 levels deep.
pub(super) fn visit_numbers(json: &str, visit: impl FnMut(&Place<'_>, &str)) {
    let mut numbers = Numbers { json, at: 0, visit };
    let end = numbers.value(&Place::default());
    debug_assert!(end.is_some(), "the text is JSON");
}

struct Numbers<'t, V> {
    json: &'t str,
    at: usize,
    visit: V,
}

impl<'t, V: FnMut(&Place<'_>, &str)> Numbers<'t, V> {
    /// Passes a value. Returns nothing if the text ends within it.
    fn value(&mut self, place: &Place<'_>) -> Option<()> {
        let first = self.next()?;
        match first {
            b'{' | b'[' => {
                self.at += 1;
                let mut index = 0;
                loop {
                    match self.next()? {
                        b'}' | b']' => break self.at += 1,
                        b',' => self.at += 1,
                        _ if first == b'{' => {
                            let key = self.string()?;
                            self.next()?;
                            self.at += 1;
                            self.value(&place.below(Segment::Member(&key)))?;
                        }
                        _ => {
                            self.value(&place.below(Segment::Item(index)))?;
                            index += 1;
                        }
                    }
                }
            }
            b'"' => drop(self.string()?),
            _ => {
                let rest = self.json.get(self.at..)?;
                let in_scalar = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
                let length = rest.bytes().take_while(|byte| in_scalar(*byte)).count();
                let scalar = rest.get(..length).filter(|scalar| !scalar.is_empty())?;
                if first == b'-' || first.is_ascii_digit() {
                    (self.visit)(place, scalar);
                }
                self.at += length;
            }
        }
        Some(())
    }

    /// Passes spaces and returns the next byte.
    fn next(&mut self) -> Option<u8> {
        let rest = self.json.as_bytes().get(self.at..)?;
        let spaces = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        let spaces = spaces.count();
        self.at += spaces;
        rest.get(spaces).copied()
    }

    /// Passes a string and returns it.
    fn string(&mut self) -> Option<Cow<'t, str>> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            match self.json.as_bytes().get(self.at)? {
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                b'"' => break self.at += 1,
                _ => self.at += 1,
            }
        }
        if escaped {
            let text = self.json.get(start..self.at)?;
            serde_json::from_str(text).ok().map(Cow::Owned)
        } else {
            self.json.get(start + 1..self.at - 1).map(Cow::Borrowed)
        }
    }
}

/// Returns true if `number` is an integer beyond 64 bits. Numbers that are written with a fraction or an
/// exponent are no integers.
pub(super) fn is_large_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
        && number.parse::<i64>().is_err()
        && number.parse::<u64>().is_err()
}

/// Returns a hash of the place and the digits of `number` if a float of 64 bits is written with other digits.
pub(super) fn rounded(place: &Place<'_>, number: &str) -> Option<[u8; 32]> {
    // A float keeps 15 digits.
    if number.len() <= 16 && !number.contains(['e', 'E']) {
        return None;
    }
    if !number.contains(['.', 'e', 'E']) && !is_large_integer(number) {
        return None;
    }
    let decimal = Decimal::read(number);
    let float = number.parse::<f64>().ok()?;
    // Programs write floats with the fewest digits that tell them apart, or with 17.
    let forms = [format!("{float:e}"), format!("{float:.16e}")];
    if forms.iter().any(|form| decimal == Decimal::read(form)) {
        return None;
    }
    let mut hasher = Sha256::new();
    hasher.update(place.digest());
    hasher.update([u8::from(decimal.is_negative)]);
    hasher.update(decimal.exponent.to_be_bytes());
    hasher.update(decimal.digits);
    Some(hasher.finalize().into())
}

/// A decimal number: its digits without zeros around them, and the exponent of the last one.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn read(number: &str) -> Self {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = format!("{whole}{fraction}");
        let kept = all.trim_end_matches('0');
        let digits = kept.trim_start_matches('0');
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
        // An exponent beyond 64 bits belongs to a number that is zero or was not accepted.
        let exponent: i64 = exponent.parse().unwrap_or(i64::MIN);
        let exponent = exponent
            .saturating_sub(length(fraction))
            .saturating_add(length(&all) - length(kept));
        Self {
            is_negative: mantissa.starts_with('-'),
            exponent: if digits.is_empty() { 0 } else { exponent },
            digits: digits.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, rounded, visit_numbers};

    fn visited(json: &str) -> Vec<(String, String)> {
        let mut visited = Vec::new();
        visit_numbers(json, |place, number| {
            visited.push((place.pointer("/context"), number.to_owned()));
        });
        visited
    }

    #[test]
    fn each_number_has_its_place_and_its_digits() {
        let json = r#" {"a\"/~\u0041" : [ 1, -2.50 ,{"":1E+5}, "3", true], "é": {"b": []}, "c":[[0 ]],"d": null } "#;
        let expected = [
            ("/context/a\"~1~0A/0", "1"),
            ("/context/a\"~1~0A/1", "-2.50"),
            ("/context/a\"~1~0A/2/", "1E+5"),
            ("/context/c/0/0", "0"),
        ];
        assert_eq!(
            visited(json),
            expected.map(|(place, number)| (place.to_owned(), number.to_owned()))
        );
        assert_eq!(visited("7").len(), 1);
    }

    #[test]
    fn a_number_is_rounded_if_a_float_has_other_digits() {
        let is_rounded = |number: &str| rounded(&Place::default(), number).is_some();
        for number in [
            "0",
            "-0.0",
            "1.10",
            "67.89",
            "1e300",
            "6.02214076E+23",
            "0.30000000000000004",
            "0.10000000000000001",
            "9007199254740993",
            "-9223372036854775808",
            "100000000000000000000.0",
            "5e-324",
            "1.0000000000000000000000",
            "0.000e99999999999999999999",
        ] {
            assert!(!is_rounded(number), "{number}");
        }
        for number in [
            "12345678901234567.89",
            "-12345678901234567.89",
            "18446744073709551616.0",
            "0.1000000000000000055511151231257827",
            "1e-400",
        ] {
            assert!(is_rounded(number), "{number}");
        }
    }

    #[test]
    fn digits_and_places_are_distinguished_and_spellings_are_not() {
        let all = |json: &str| {
            let mut all = Vec::new();
            visit_numbers(json, |place, number| all.extend(rounded(place, number)));
            all.sort_unstable();
            all
        };
        let one = all(r#"{"a": [12345678901234567.89, 0.12345678901234567891]}"#);
        assert_eq!(one.len(), 2);
        let same = r#"{"\u0061":[1234567890123456789e-2,12.345678901234567891E-2]}"#;
        assert_eq!(one, all(same));
        for other in [
            r#"{"a": [12345678901234567.91, 0.12345678901234567891]}"#,
            r#"{"a": [0.12345678901234567891, 12345678901234567.89]}"#,
            r#"{"b": [12345678901234567.89, 0.12345678901234567891]}"#,
            r#"{"a": [-12345678901234567.89, 0.12345678901234567891]}"#,
        ] {
            assert_ne!(one, all(other), "{other}");
        }
    }
}

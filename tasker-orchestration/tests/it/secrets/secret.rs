//! Passwords that can be recognised in all that a program prints.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::distr::{Alphanumeric, SampleString};

/// A random password.
///
/// It begins and ends with characters that have a meaning in URLs, JSON and globs. Its middle is
/// random letters and digits, which no such encoding changes; [`Secret::is_in`] searches for these.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    core: String,
}

impl Secret {
    pub(super) fn new() -> Self {
        Self {
            core: Alphanumeric.sample_string(&mut rand::rng(), 18),
        }
    }

    /// Returns the password.
    pub(super) fn password(&self) -> String {
        format!("/@:{}%41?", self.core)
    }

    /// Returns the password, percent-encoded.
    pub(super) fn in_url(&self) -> String {
        encoded_for_urls(&self.password())
    }

    /// Returns the middle of the password, which needs no encoding anywhere.
    pub(super) fn core(&self) -> &str {
        &self.core
    }

    /// Returns `true` if `text` contains the secret: plain, in another case, percent-encoded, in
    /// base64 (alone or after a user's name), in hexadecimal or as a list of bytes.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let core = self.core.as_bytes();
        let lower = text.to_ascii_lowercase();
        let in_any_case = [
            self.core.clone(),
            encoded_for_urls(&self.core),
            joined(core, "", |byte| format!("{byte:02x}")),
            joined(core, ", ", |byte| byte.to_string()),
        ];
        in_any_case
            .iter()
            .any(|form| lower.contains(&form.to_ascii_lowercase()))
            || (0..3)
                .map(|offset| in_base64(core, offset))
                .any(|form| text.contains(&form) || text.contains(&for_urls(&form)))
    }
}

fn joined(bytes: &[u8], separator: &str, one: impl Fn(u8) -> String) -> String {
    let all: Vec<String> = bytes.iter().map(|byte| one(*byte)).collect();
    all.join(separator)
}

fn encoded_for_urls(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        // Writing to a string cannot fail.
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}

/// Returns the digits of `bytes` in base64 after `offset` other bytes, without those at both ends
/// that depend on the neighbours.
fn in_base64(bytes: &[u8], offset: usize) -> String {
    let digits = STANDARD_NO_PAD.encode([&[0; 2][..offset], bytes].concat());
    let whole = (offset + bytes.len()) * 8 / 6;
    digits[(offset * 8).div_ceil(6)..whole].to_owned()
}

/// Converts to the alphabet of base64 for URLs.
fn for_urls(base64: &str) -> String {
    base64.replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::Secret;

    fn secret() -> Secret {
        Secret {
            core: String::from("Xq7Kd2Vb9Tn4Zw8Lp1"),
        }
    }

    #[test]
    fn every_form_of_a_secret_is_found() {
        for text in [
            "postgres://app:%2F%40%3AXq7Kd2Vb9Tn4Zw8Lp1%2541%3F@db",
            "password=/@:Xq7Kd2Vb9Tn4Zw8Lp1%41?",
            "XQ7KD2VB9TN4ZW8LP1",
            "%58%71%37%4B%64%32%56%62%39%54%6E%34%5A%77%38%4C%70%31",
            "%58%71%37%4b%64%32%56%62%39%54%6e%34%5a%77%38%4c%70%31",
            // Basic authentication as `a:`, `ap:` and `app:` with the password after it.
            "Basic YTovQDpYcTdLZDJWYjlUbjRadzhMcDElNDE/",
            "Basic YXA6L0A6WHE3S2QyVmI5VG40Wnc4THAxJTQxPw==",
            "Basic YXBwOi9AOlhxN0tkMlZiOVRuNFp3OExwMSU0MT8=",
            "5871374b6432566239546e345a77384c7031",
            "Text([88, 113, 55, 75, 100, 50, 86, 98, 57, 84, 110, 52, 90, 119, 56, 76, 112, 49])",
        ] {
            assert!(secret().is_in(text), "{text}");
        }
    }

    #[test]
    fn other_texts_do_not_contain_it() {
        for text in ["", "Xq7Kd2Vb9Tn4", "postgres://app:***@db", "***"] {
            assert!(!secret().is_in(text), "{text}");
        }
    }

    #[test]
    fn secrets_differ_and_can_be_in_urls() {
        assert_ne!(Secret::new().password(), Secret::new().password());
        let secret = secret();
        let url = format!("redis://app:{}@localhost", secret.in_url());
        let url: reqwest::Url = url.parse().unwrap();
        assert_eq!(url.password(), Some(secret.in_url().as_str()));
    }
}

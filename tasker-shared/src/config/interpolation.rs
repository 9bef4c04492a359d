//! `${NAME}` and `${NAME:-default}` in the texts of configuration files.
//!
//! As in a shell, an empty variable counts as unset. There is no nesting, and a variable's value is
//! not interpolated again, so that a `${` in a password stays unchanged.

use super::variables::EnvVarRule;

/// A piece of a text.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    Reference {
        name: &'a str,
        default: Option<&'a str>,
    },
}

/// A `${` that does not start a reference.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed;

/// Splits a text into literals and references.
pub(super) fn parse(text: &str) -> Result<Vec<Piece<'_>>, Malformed> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (literal, reference) = rest.split_at(start);
        let (inside, after) = reference["${".len()..].split_once('}').ok_or(Malformed)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        // Any other text may be a secret that was not meant as a reference, and the name of a
        // reference is printed.
        if !is_variable_name(name) {
            return Err(Malformed);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        pieces.push(Piece::Reference { name, default });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces)
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A text cannot be interpolated.
#[derive(Debug, PartialEq)]
pub(super) enum Unresolved {
    Malformed,
    Unlisted(String),
    Unset(&'static EnvVarRule),
    Refused(&'static EnvVarRule),
}

/// Checks that each reference is well formed and names a variable on the allowlist.
pub(super) fn check(text: &str) -> Result<(), Unresolved> {
    for piece in parse(text).map_err(|Malformed| Unresolved::Malformed)? {
        if let Piece::Reference { name, .. } = piece {
            EnvVarRule::find(name).ok_or_else(|| Unresolved::Unlisted(name.to_owned()))?;
        }
    }
    Ok(())
}

/// Returns `text` with its references replaced by the values that `lookup` returns.
pub(super) fn interpolate<'a>(
    text: &str,
    lookup: impl Fn(&str) -> Option<&'a str>,
) -> Result<String, Unresolved> {
    let mut filled = String::with_capacity(text.len());
    for piece in parse(text).map_err(|Malformed| Unresolved::Malformed)? {
        let (name, default) = match piece {
            Piece::Literal(literal) => {
                filled.push_str(literal);
                continue;
            }
            Piece::Reference { name, default } => (name, default),
        };
        let rule = EnvVarRule::find(name).ok_or_else(|| Unresolved::Unlisted(name.to_owned()))?;
        match lookup(name).filter(|value| !value.is_empty()) {
            Some(value) if (rule.accepts)(value) => filled.push_str(value),
            Some(_) => return Err(Unresolved::Refused(rule)),
            None => filled.push_str(default.ok_or(Unresolved::Unset(rule))?),
        }
    }
    Ok(filled)
}

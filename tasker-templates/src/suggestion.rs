//! Suggestions for misspelt names.

/// Longer names are not compared, because comparing costs time and typing errors in them are rare.
const MAX_LENGTH: usize = 64;

/// The most candidates that are compared, so that a hostile document cannot take much time.
const MAX_CANDIDATES: usize = 200;

/// Returns the candidate that `text` most likely misspells.
pub(super) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    // Allow one slip in a short word and two in a longer one. Case does not count.
    let allowed = if text.len() < 6 { 1 } else { 2 };
    let text = text.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(text.len()) <= allowed)
        .take(MAX_CANDIDATES)
        .map(|candidate| {
            let distance = strsim::osa_distance(&text, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the end of a sentence that names the suggestion, or an empty text.
pub(super) fn perhaps(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; perhaps {name:?} is meant"))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["dependencies", "retry", "handler"];
        assert_eq!(nearest("dependancies", known), Some("dependencies"));
        assert_eq!(nearest("Retry", known), Some("retry"));
        assert_eq!(
            nearest("timeoutSeconds", ["timeout_seconds"]),
            Some("timeout_seconds")
        );
        assert_eq!(nearest("rerty", known), Some("retry"));
        assert_eq!(nearest("notes", known), None);
        assert_eq!(nearest("", known), None);
    }
}

//! Conditional requests with entity tags.

use http::{HeaderMap, HeaderValue, header};
use tasker_shared::types::ContentHash;

/// Returns the strong entity tag of a document with this hash.
///
/// # Panics
/// Never, because quoted hexadecimal digits are a valid header value.
#[must_use]
pub fn etag(hash: &ContentHash) -> HeaderValue {
    HeaderValue::try_from(format!("\"{hash}\"")).expect("quoted hexadecimal digits are ASCII")
}

/// Returns true if `If-None-Match` contains `etag` or `*`.
///
/// Tags are compared weakly, as RFC 9110 requires for this header. A header that is not text
/// matches nothing, so the client receives the document.
#[must_use]
pub fn none_match_holds(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        // A comma inside a quoted tag splits it in two. Neither half matches, because our tags
        // contain no comma.
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| {
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            tag == "*" || opaque.as_bytes() == etag.as_bytes()
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use tasker_shared::types::ContentHash;

    use super::{etag, none_match_holds};

    fn holds(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header::IF_NONE_MATCH,
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        none_match_holds(&headers, &etag(&ContentHash::from_bytes([0xab; 32])))
    }

    fn tag() -> String {
        format!("\"{}\"", "ab".repeat(32))
    }

    #[test]
    fn the_tag_is_the_quoted_hash() {
        let tag_of_hash = etag(&ContentHash::from_bytes([0xab; 32]));
        assert_eq!(tag_of_hash.to_str().unwrap(), tag());
    }

    #[test]
    fn a_matching_tag_is_found_alone_in_lists_and_in_repeated_headers() {
        let tag = tag();
        assert!(holds(&[&tag]));
        assert!(holds(&[&format!("W/{tag}")]));
        assert!(holds(&[&format!("\"other\", {tag}")]));
        assert!(holds(&[&format!("\"other\",W/{tag} , \"more\"")]));
        assert!(holds(&["\"other\"", &tag]));
        assert!(holds(&["*"]));
    }

    #[test]
    fn anything_else_does_not_match() {
        let unquoted = "ab".repeat(32);
        assert!(!holds(&[]));
        assert!(!holds(&[""]));
        assert!(!holds(&["\"other\""]));
        assert!(!holds(&[&unquoted]));
        assert!(!holds(&["\"*\""]));
        assert!(!holds(&["\u{e9}"]));
    }
}

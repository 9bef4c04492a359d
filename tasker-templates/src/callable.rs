//! The callables of steps, as the queue has them.

use std::borrow::Cow;

/// Returns a callable as it is queued. Workers claim URLs by patterns of SQL's `LIKE`, so the scheme and the
/// host are in lower case, and a path follows them.
#[must_use]
pub fn queued_callable(callable: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url(callable) else {
        return Cow::Borrowed(callable);
    };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let slash = if path.starts_with('/') { "" } else { "/" };
    Cow::Owned(format!(
        "{}://{}{slash}{path}",
        scheme.to_lowercase(),
        host.to_lowercase()
    ))
}

/// Returns the scheme and the rest of a callable that is run over HTTP.
pub(crate) fn url(callable: &str) -> Option<(&str, &str)> {
    let is_http = |scheme: &str| {
        ["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    };
    callable
        .split_once("://")
        .filter(|(scheme, _)| is_http(scheme))
}

#[cfg(test)]
mod tests {
    use super::queued_callable;

    #[test]
    fn urls_have_one_spelling_of_their_host() {
        for (callable, queued) in [
            ("http://a.example:7701", "http://a.example:7701/"),
            ("http://a.example?x=A/B", "http://a.example/?x=A/B"),
            (
                "HTTPS://A.Example/Run/Me?X=1",
                "https://a.example/Run/Me?X=1",
            ),
            ("http://a.example/run", "http://a.example/run"),
            ("Shop::Charge", "Shop::Charge"),
            ("queue://Host", "queue://Host"),
        ] {
            assert_eq!(queued_callable(callable), queued);
        }
    }
}

//! URLs without their secrets, for logs, errors and endpoints.

use serde::Serializer;

/// `url` with its password, and every query value, replaced by `***`. A text that is no URL is
/// replaced whole, since nothing tells where its secret starts.
#[must_use]
pub fn url(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return String::from("***");
    };
    if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
        return String::from("***");
    }
    if parsed.query().is_some() {
        let names: Vec<String> = parsed
            .query_pairs()
            .map(|(name, _)| name.into_owned())
            .collect();
        parsed
            .query_pairs_mut()
            .clear()
            .extend_pairs(names.iter().map(|name| (name, "***")));
    }
    parsed.into()
}

/// For `#[serde(serialize_with)]`: a configuration that is shown carries no secret.
pub fn serialize_url<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&url(value))
}

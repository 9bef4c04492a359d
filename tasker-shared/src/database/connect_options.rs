//! Parses PostgreSQL's URL.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use url::{Url, form_urlencoded};

use super::DatabaseError;

/// The parameters that the client library knows, besides `options[NAME]`.
const KNOWN: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Parses `url`. Parameters that have no effect here, such as those of other drivers, are removed
/// with a warning that names them, because the client library would log them with their values.
///
/// # Errors
/// [`DatabaseError::Url`], which quotes nothing of the URL.
pub(super) fn read(url: &str) -> Result<PgConnectOptions, DatabaseError> {
    let mut url = Url::parse(url).map_err(|_| DatabaseError::Url)?;
    let ignored = remove_unknown_parameters(&mut url);
    if !ignored.is_empty() {
        tracing::warn!(
            parameters = ignored.join(" "),
            "parameters of the database URL have no effect"
        );
    }
    let options = PgConnectOptions::from_str(url.as_str()).map_err(|_| DatabaseError::Url)?;
    // Poolers refuse this start-up parameter, and we read no float as text.
    Ok(options.extra_float_digits(None))
}

/// Removes unknown parameters and returns their names. A part without `=` may be a value, and has no
/// name.
fn remove_unknown_parameters(url: &mut Url) -> Vec<String> {
    let Some(query) = url.query() else {
        return Vec::new();
    };
    let (known, unknown): (Vec<&str>, Vec<&str>) = query.split('&').partition(|part| {
        // The client library compares decoded names.
        let pair = form_urlencoded::parse(part.as_bytes()).next();
        pair.is_some_and(|(name, _)| KNOWN.contains(&&*name) || name.starts_with("options["))
    });
    let names = unknown
        .iter()
        .map(|part| {
            part.split_once('=')
                .map_or("***", |(name, _)| name)
                .to_owned()
        })
        .collect();
    let rest = known.join("&");
    url.set_query(Some(rest.as_str()).filter(|rest| !rest.is_empty()));
    names
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{read, remove_unknown_parameters};

    #[test]
    fn parameters_that_the_library_would_log_do_not_reach_it() {
        for (text, rest, names) in [
            ("postgres://db/x", "postgres://db/x", vec![]),
            (
                "postgres://db/x?sslmode=require&options[jit]=off",
                "postgres://db/x?sslmode=require&options[jit]=off",
                vec![],
            ),
            (
                "postgres://db/x?options%5Bsearch_path%5D=x&ssl%6Dode=require&%6Ait=off",
                "postgres://db/x?options%5Bsearch_path%5D=x&ssl%6Dode=require",
                vec!["%6Ait"],
            ),
            (
                "postgres://db/x?sslpassword=s3cret&user=a%40b",
                "postgres://db/x?user=a%40b",
                vec!["sslpassword"],
            ),
            (
                "postgres://db/x?s3cret&target_session_attrs=any",
                "postgres://db/x",
                vec!["***", "target_session_attrs"],
            ),
        ] {
            let mut url = Url::parse(text).expect(text);
            assert_eq!(remove_unknown_parameters(&mut url), names, "{text}");
            assert_eq!(url.as_str(), rest);
        }
    }

    #[test]
    fn an_invalid_url_is_not_quoted() {
        for url in [
            "postgres://app@db/x?sslmode=s3cret",
            "postgres://app@db/x?port=s3cret",
            "postgres://app:%ffs3cret@db/x",
            "postgres://app:s3cret@db:port",
        ] {
            let error = read(url).expect_err(url);
            let text = format!("{error} {error:?}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}

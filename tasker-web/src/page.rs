//! Pages of lists: a limit, and a cursor at which the next page begins.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Uri, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::extract::ApiJson;
use crate::problem::{FieldError, Problem};
use crate::problem_kinds as kinds;

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;

/// Selects a page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Size of the page, from 1 to 1000. Default 100.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<i64>,
    /// The cursor of the page, from the answer with the previous page.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Returns the size of the page.
    ///
    /// # Errors
    /// Fails if the limit is out of bounds.
    pub fn limit(&self) -> Result<i64, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(limit)
        } else {
            Err(bad_query("limit", format!("must be from 1 to {MAX_LIMIT}")))
        }
    }

    /// Returns the key of the last item of the previous page.
    ///
    /// # Errors
    /// Fails if the cursor is not one of ours.
    pub fn after<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let bytes = hex::decode(cursor).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .map(Some)
            .ok_or_else(|| bad_query("cursor", "must come from the previous page".into()))
    }
}

/// A page and the cursor of the next one.
#[derive(Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page. `None` on the last page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of `items`, of which there is one more than `limit` if another page follows.
    pub fn new<K: Serialize>(mut items: Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let cursor = |last| serde_json::to_vec(&key(last)).map(hex::encode).ok();
        let next = items.last().filter(|_| more).and_then(cursor);
        Self { items, next }
    }
}

impl<T: Serialize> Page<T> {
    /// Answers with the items as an array, and with the address of the next page in `Link`.
    ///
    /// # Panics
    /// Never: paths, numbers and hexadecimal digits are valid header values.
    #[must_use]
    pub fn into_array(self, uri: &Uri, limit: i64) -> Response {
        let link = self.next.map(|cursor| {
            let path = uri.path();
            let link = format!("<{path}?limit={limit}&cursor={cursor}>; rel=\"next\"");
            HeaderValue::try_from(link).expect("a path is visible ASCII")
        });
        let mut response = ApiJson(self.items).into_response();
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// Refuses the query parameter `parameter`.
#[must_use]
pub fn bad_query(parameter: &str, detail: String) -> Problem {
    Problem::new(
        &kinds::INVALID_QUERY_PARAMETER,
        format!("`{parameter}` {detail}."),
    )
    .with_errors(vec![FieldError::new(parameter, detail)])
}

#[cfg(test)]
mod tests {
    use super::{Page, PageQuery};

    #[test]
    fn the_next_page_begins_after_the_last_item() {
        let page = Page::new(vec!["a", "b", "c"], 2, |item| (*item).to_owned());
        assert_eq!(page.items, ["a", "b"]);
        let query = PageQuery {
            limit: None,
            cursor: page.next,
        };
        let after: Option<String> = query.after().expect("it is ours");
        assert_eq!(after.as_deref(), Some("b"));
        assert_eq!(
            Page::new(vec!["a", "b"], 2, |item| (*item).to_owned()).next,
            None
        );
    }

    #[test]
    fn foreign_cursors_and_wrong_limits_are_refused() {
        let query = |limit, cursor: &str| PageQuery {
            limit: Some(limit),
            cursor: Some(cursor.into()),
        };
        assert!(query(0, "").limit().is_err());
        assert!(query(1001, "").limit().is_err());
        assert!(query(1, "x").after::<String>().is_err());
        assert!(query(1, "00").after::<String>().is_err());
    }
}

//! A walk through everything that a service offers over HTTP.

use serde_json::Value;

use crate::TestkitError;

/// A parameter that names nothing that there is.
const NOBODY: &str = "018f0000-0000-7000-8000-000000000000";

/// Asks a service for everything that its OpenAPI document at `/api-docs/openapi.json` lists, all
/// at once, and answers everything that came back: statuses, headers and bodies. `authorization`
/// goes along as a header that no service of ours wants.
///
/// # Errors
/// When the document cannot be had. A request that gets no answer is a part of what is told.
pub async fn ask_everything(base_url: &str, authorization: &str) -> Result<String, TestkitError> {
    let client = reqwest::Client::new();
    let document = client
        .get(format!("{base_url}/api-docs/openapi.json"))
        .send()
        .await?
        .text()
        .await?;
    let paths = serde_json::from_str::<Value>(&document)?["paths"].take();
    let mut requests = tokio::task::JoinSet::new();
    let missing = (String::from("/nowhere"), String::from("get"));
    for (path, method) in operations(&paths).chain([missing]) {
        let method = method
            .to_uppercase()
            .parse()
            .unwrap_or(reqwest::Method::GET);
        let request = client
            .request(method, format!("{base_url}{}", with_parameters(&path)))
            .header("authorization", authorization)
            .json(&serde_json::json!({"name": NOBODY, "namespace": "nobody", "context": {}}));
        requests.spawn(async move { told(request.send().await).await });
    }
    let mut all = document;
    while let Some(answer) = requests.join_next().await {
        all.push('\n');
        all.push_str(&answer.unwrap_or_else(|lost| lost.to_string()));
    }
    Ok(all)
}

/// Each path with each of its methods.
fn operations(paths: &Value) -> impl Iterator<Item = (String, String)> {
    let paths = paths.as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(|(method, _)| (path.clone(), method.clone()))
    })
}

/// `path` with something in place of each `{parameter}`.
fn with_parameters(path: &str) -> String {
    let filled: Vec<&str> = path
        .split('/')
        .map(|part| if part.starts_with('{') { NOBODY } else { part })
        .collect();
    filled.join("/")
}

async fn told(answer: reqwest::Result<reqwest::Response>) -> String {
    match answer {
        Ok(answer) => {
            let head = format!("{} {:?}", answer.status(), answer.headers());
            format!("{head}\n{}", answer.text().await.unwrap_or_default())
        }
        Err(error) => format!("{error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NOBODY, operations, with_parameters};

    #[test]
    fn every_operation_is_asked_for_with_something_in_its_parameters() {
        let paths = json!({"/a/{b}/c": {"get": {}, "post": {}}, "/d": {"delete": {}}});
        let asked: Vec<_> = operations(&paths)
            .map(|(path, method)| format!("{method} {}", with_parameters(&path)))
            .collect();
        let expected = [
            format!("get /a/{NOBODY}/c"),
            format!("post /a/{NOBODY}/c"),
            String::from("delete /d"),
        ];
        assert_eq!(asked, expected);
    }
}

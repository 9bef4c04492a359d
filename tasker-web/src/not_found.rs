//! Names the template that a request probably meant.

use tasker_shared::registry::RegistryError;
use tasker_shared::registry::catalog::{NameListing, TemplateCatalog};

use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::unknown_field::nearest;

/// The most versions that an answer lists.
const SHOWN_VERSIONS: usize = 10;

/// Maps an error of resolving a template to a problem. If the template is not registered, the problem
/// names its registered versions, or the nearest template.
pub async fn resolve_problem(catalog: &TemplateCatalog, error: RegistryError) -> Problem {
    let RegistryError::NotFound {
        namespace,
        name,
        version,
    } = &error
    else {
        return error.into();
    };
    // The answer is right without the hint, so an error is not worth another one.
    let candidates = catalog
        .candidates(namespace, name)
        .await
        .unwrap_or_default();
    match hint(namespace, name, &candidates) {
        Some(hint) => Problem::new(
            &kinds::TEMPLATE_NOT_FOUND,
            format!("No template {namespace}/{name}/{version} is registered. {hint}"),
        ),
        None => error.into(),
    }
}

fn hint(namespace: &str, name: &str, candidates: &[NameListing]) -> Option<String> {
    let wanted = full_name(namespace, name);
    let names: Vec<String> = candidates
        .iter()
        .map(|one| full_name(&one.namespace, &one.name))
        .collect();
    let near = nearest(&wanted, names.iter().map(String::as_str))?;
    let found = names.iter().position(|one| one == near)?;
    let versions = &candidates[found].versions;
    let shown = versions[..versions.len().min(SHOWN_VERSIONS)].join(", ");
    let more = versions.len().saturating_sub(SHOWN_VERSIONS);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(if near == wanted {
        format!("Registered versions: {shown}{more}.")
    } else {
        format!("Did you mean {near}? Registered versions: {shown}{more}.")
    })
}

fn full_name(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use tasker_shared::registry::catalog::NameListing;

    use super::hint;

    fn listing(namespace: &str, name: &str, versions: &[&str]) -> NameListing {
        NameListing {
            namespace: namespace.into(),
            name: name.into(),
            versions: versions.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_versions_or_the_nearest_name_are_given() {
        let all = [
            listing("shop", "order", &["2.0.0", "1.0.0"]),
            listing("stock", "count", &["1.0.0"]),
        ];
        assert_eq!(
            hint("shop", "order", &all).unwrap_or_default(),
            "Registered versions: 2.0.0, 1.0.0."
        );
        assert_eq!(
            hint("shop", "odrer", &all).unwrap_or_default(),
            "Did you mean shop/order? Registered versions: 2.0.0, 1.0.0."
        );
        assert_eq!(hint("shop", "order", &[]), None);
        assert_eq!(hint("xyz", "qqq", &all), None);
    }
}

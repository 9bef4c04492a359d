//! Registering many templates at once, each for itself.
//!
//! PostgreSQL works for one connection on one core. So a large batch is registered in two halves,
//! side by side, each in a transaction of its own.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::PgPool;

use super::RegistryError;
use super::index::Snapshot;
use super::registration::{self, Registered};
use super::submission::Submission;
use crate::database::{self, DatabaseError};

/// How long making namespaces may take.
const LIMIT: Duration = Duration::from_secs(30);
/// A batch with fewer bytes to write is registered as a whole: another connection and the
/// namespaces' statement would cost more than half of it.
const DIVIDED_BYTES: usize = 512 * 1024;
/// In a pool of fewer connections nothing is left for polls beside both halves and the half of the
/// pool that reads of bodies may take.
const DIVIDED_CONNECTIONS: u32 = 6;

/// Registers `templates`: a few all or none, and of many each half all or none. Names must not
/// repeat. The answer has what was registered, in their order, and what kept the rest from it.
///
/// `known` is what [`registration::register`] says.
pub(super) async fn register(
    pool: &PgPool,
    mut templates: Vec<Submission>,
    known: Option<&Snapshot>,
) -> (Registered, Result<(), RegistryError>) {
    let connections = pool.options().get_max_connections();
    let divided = known.filter(|_| connections >= DIVIDED_CONNECTIONS);
    let divided = divided.and_then(|known| Some((known, middle(&templates, known)?)));
    let Some((known, middle)) = divided else {
        return Registered::and_error(registration::register(pool, templates, known).await);
    };
    if let Err(error) = create_namespaces(pool, new_namespaces(&templates, known)).await {
        registration::count("failed", templates.len());
        return (Registered::default(), Err(error.into()));
    }
    let second = templates.split_off(middle);
    // Both to their ends: what fails for one may be done for the other.
    let (first, second) = tokio::join!(
        registration::register(pool, templates, Some(known)),
        registration::register(pool, second, Some(known)),
    );
    let (first, first_result) = Registered::and_error(first);
    let (second, second_result) = Registered::and_error(second);
    (first.followed_by(second), first_result.and(second_result))
}

/// Where the second half of what is to be written begins, if there is much to write.
fn middle(templates: &[Submission], known: &Snapshot) -> Option<usize> {
    let bytes = templates
        .iter()
        .map(|template| match registration::unchanged(template, known) {
            Some(_) => 0,
            None => template.bytes(),
        });
    let bytes: Vec<usize> = bytes.collect();
    let total: usize = bytes.iter().sum();
    if total < DIVIDED_BYTES {
        return None;
    }
    let mut written = 0;
    let before_middle = bytes.iter().take_while(|bytes| {
        written += **bytes;
        written <= total / 2
    });
    // One that is larger than all others is a half for itself.
    let middle = before_middle.count().max(1);
    (middle < templates.len()).then_some(middle)
}

/// Namespaces of `templates` of which nothing is registered.
fn new_namespaces(templates: &[Submission], known: &Snapshot) -> Vec<String> {
    let mut new: HashSet<&str> = templates
        .iter()
        .map(|template| template.namespace.as_str())
        .collect();
    for entry in known.iter() {
        new.remove(entry.name().namespace);
    }
    new.into_iter().map(str::to_owned).collect()
}

/// Makes these namespaces: a half that had to would keep the other waiting until its end.
async fn create_namespaces(pool: &PgPool, names: Vec<String>) -> Result<(), DatabaseError> {
    if names.is_empty() {
        return Ok(());
    }
    database::read(pool, LIMIT, |connection| {
        let names = names.clone();
        Box::pin(async move {
            sqlx::query!("SELECT tasker.register_namespaces($1)", &names)
                .execute(connection)
                .await
        })
    })
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::core::task_template::TemplateDocument;

    /// A template with this many bytes and some more.
    fn submission(namespace: &str, bytes: usize) -> Submission {
        let document = serde_json::json!({
            "name": "any", "namespace_name": namespace, "version": "1.0.0",
            "task_handler": {"callable": "Tests::Handler",
                "initialization": {"padding": "x".repeat(bytes)}},
            "steps": [],
        });
        (&TemplateDocument::from_json(document).unwrap()).into()
    }

    #[test]
    fn a_batch_is_divided_by_what_there_is_to_write() {
        let known = Snapshot::empty();
        let of = |sizes: &[usize]| -> Vec<Submission> {
            sizes.iter().map(|size| submission("any", *size)).collect()
        };
        assert_eq!(middle(&[], &known), None);
        assert_eq!(middle(&of(&[100_000; 5]), &known), None);
        assert_eq!(middle(&of(&[100_000; 6]), &known), Some(3));
        assert_eq!(middle(&of(&[400_000, 100_000, 100_000]), &known), Some(1));
        assert_eq!(middle(&of(&[100_000, 100_000, 400_000]), &known), Some(2));
        assert_eq!(middle(&of(&[600_000]), &known), None);
    }
}

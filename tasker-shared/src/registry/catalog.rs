//! Reads registered templates, names near one that is not registered, and the state of triggers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::RegistryError;
use crate::database;
use crate::types::ContentHash;

/// The longest time that a read may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A registered template without its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateListing {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// The author's description.
    pub description: Option<String>,
    /// The hash of its document.
    pub hash: ContentHash,
    /// The position of the commit that made it current.
    pub sequence: i64,
    /// The time at which its content was registered, by the database's clock.
    pub registered_at: DateTime<Utc>,
}

/// A namespace that has registered templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceListing {
    /// The name of the namespace.
    pub name: String,
    /// Number of templates; all versions of one name count as one.
    pub template_count: usize,
    /// Number of templates, each version counted.
    pub version_count: usize,
}

/// A registered name with its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameListing {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The registered versions. The latest registration is first.
    pub versions: Vec<String>,
}

/// The time and the author of a template's retirement; none if it is not retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// The time, by the database's clock.
    pub retired_at: Option<DateTime<Utc>>,
    /// The name that the request gave.
    pub retired_by: Option<String>,
}

/// A part of the registered templates in the order of namespace, name and version.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only templates after this (namespace, name, version).
    pub after: Option<(String, String, String)>,
    /// The most templates that are returned.
    pub limit: i64,
}

struct Row {
    namespace: String,
    name: String,
    version: String,
    description: Option<String>,
    sequence: i64,
    registered_at: DateTime<Utc>,
    content_hash: String,
}

impl Row {
    fn into_listing(self) -> Option<TemplateListing> {
        Some(TemplateListing {
            hash: self.content_hash.parse().ok()?,
            namespace: self.namespace,
            name: self.name,
            version: self.version,
            description: self.description,
            sequence: self.sequence,
            registered_at: self.registered_at,
        })
    }
}

/// Reads registered templates from PostgreSQL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TemplateCatalog {
    pool: PgPool,
}

impl TemplateCatalog {
    /// Creates a catalog of the templates in the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Returns one page. Reads as many rows as it returns.
    pub async fn page(&self, page: Page) -> Result<Vec<TemplateListing>, RegistryError> {
        let rows = database::run_idempotent(&self.pool, LIMIT, |connection| {
            let Page {
                namespace,
                after,
                limit,
            } = page.clone();
            Box::pin(async move {
                let (after_namespace, name, version) = after.unwrap_or_default();
                // Two statements, because one with an optional namespace would read the whole table.
                if let Some(namespace) = namespace {
                    return sqlx::query_as!(
                        Row,
                        r#"
                        SELECT v.namespace, v.name, v.version, t.description, v.sequence,
                               v.registered_at, v.content_hash AS "content_hash!"
                        FROM tasker.template_versions v
                        JOIN tasker.named_tasks t ON t.named_task_uuid = v.named_task_uuid
                        WHERE v.content_hash IS NOT NULL AND v.namespace = $1
                            AND (v.name, v.version) > ($2, $3)
                        ORDER BY v.namespace, v.name, v.version
                        LIMIT $4
                        "#,
                        namespace,
                        name,
                        version,
                        limit,
                    )
                    .fetch_all(connection)
                    .await;
                }
                sqlx::query_as!(
                    Row,
                    r#"
                    SELECT v.namespace, v.name, v.version, t.description, v.sequence, v.registered_at,
                           v.content_hash AS "content_hash!"
                    FROM tasker.template_versions v
                    JOIN tasker.named_tasks t ON t.named_task_uuid = v.named_task_uuid
                    WHERE v.content_hash IS NOT NULL AND (v.namespace, v.name, v.version) > ($1, $2, $3)
                    ORDER BY v.namespace, v.name, v.version
                    LIMIT $4
                    "#,
                    after_namespace,
                    name,
                    version,
                    limit,
                )
                .fetch_all(connection)
                .await
            })
        })
        .await?;
        Ok(rows.into_iter().filter_map(Row::into_listing).collect())
    }

    /// Returns the registered versions of one name. The latest registration is first.
    pub async fn versions(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<String>, RegistryError> {
        let versions = database::run_idempotent(&self.pool, LIMIT, |connection| {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            Box::pin(async move {
                sqlx::query_scalar!(
                    "
                    SELECT version FROM tasker.template_versions
                    WHERE content_hash IS NOT NULL AND namespace = $1 AND name = $2
                    ORDER BY sequence DESC, version DESC
                    ",
                    namespace,
                    name,
                )
                .fetch_all(connection)
                .await
            })
        });
        Ok(versions.await?)
    }

    /// Returns at most `limit` namespaces after `after`, sorted by name.
    pub async fn namespaces(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<NamespaceListing>, RegistryError> {
        let rows = database::run_idempotent(&self.pool, LIMIT, |connection| {
            let after = after.to_owned();
            Box::pin(async move {
                sqlx::query!(
                    r#"
                    SELECT namespace, count(DISTINCT name) AS "templates!", count(*) AS "versions!"
                    FROM tasker.template_versions
                    WHERE content_hash IS NOT NULL AND namespace > $1
                    GROUP BY namespace
                    ORDER BY namespace
                    LIMIT $2
                    "#,
                    after,
                    limit,
                )
                .fetch_all(connection)
                .await
            })
        })
        .await?;
        let count = |count: i64| usize::try_from(count).unwrap_or(0);
        let namespaces = rows.into_iter().map(|row| NamespaceListing {
            name: row.namespace,
            template_count: count(row.templates),
            version_count: count(row.versions),
        });
        Ok(namespaces.collect())
    }

    /// Returns names among which the one that a caller meant may be: `name` itself, and at most 1,000
    /// others of `namespace` and 1,000 of any namespace, because comparing all of many would be slow.
    pub async fn candidates(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<NameListing>, RegistryError> {
        let names = database::run_idempotent(&self.pool, LIMIT, |connection| {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            Box::pin(async move {
                sqlx::query_as!(
                    NameListing,
                    r#"
                    SELECT namespace AS "namespace!", name AS "name!",
                           array_agg(version ORDER BY sequence DESC) AS "versions!"
                    FROM (
                        SELECT namespace, name, version, sequence FROM tasker.template_versions
                        WHERE content_hash IS NOT NULL AND namespace = $1 AND name = $2
                        UNION
                        (SELECT namespace, name, version, sequence FROM tasker.template_versions
                        WHERE content_hash IS NOT NULL AND namespace = $1 LIMIT 1000)
                        UNION
                        (SELECT namespace, name, version, sequence FROM tasker.template_versions
                        WHERE content_hash IS NOT NULL LIMIT 1000)
                    ) near
                    GROUP BY namespace, name
                    "#,
                    namespace,
                    name,
                )
                .fetch_all(connection)
                .await
            })
        });
        Ok(names.await?)
    }

    /// Retires a template: new tasks do not find it within `max_staleness_ms`, and its row stays for
    /// the tasks that were created from it. A template that is retired already keeps its time and name.
    /// Returns `None` if there is no such template.
    pub async fn retire(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
        retired_by: &str,
    ) -> Result<Option<Retirement>, RegistryError> {
        let retired = database::run_idempotent(&self.pool, LIMIT, |connection| {
            let names = [namespace, name, version, retired_by].map(str::to_owned);
            Box::pin(async move {
                let [namespace, name, version, retired_by] = names;
                sqlx::query_as!(
                    Retirement,
                    r#"
                    UPDATE tasker.named_tasks t SET
                        retired_by = CASE WHEN t.retired_at IS NULL THEN $4 ELSE t.retired_by END,
                        retired_at = coalesce(t.retired_at, now()),
                        updated_at = now()
                    FROM tasker.task_namespaces n
                    WHERE n.task_namespace_uuid = t.task_namespace_uuid
                        AND n.name = $1 AND t.name = $2 AND t.version = $3
                    RETURNING t.retired_at, t.retired_by
                    "#,
                    namespace,
                    name,
                    version,
                    retired_by,
                )
                .fetch_optional(connection)
                .await
            })
        });
        Ok(retired.await?)
    }

    /// Ends the retirement of a template. Returns false if there is no such template.
    pub async fn restore(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<bool, RegistryError> {
        let restored = database::run_idempotent(&self.pool, LIMIT, |connection| {
            let names = [namespace, name, version].map(str::to_owned);
            Box::pin(async move {
                let [namespace, name, version] = names;
                sqlx::query!(
                    "
                    UPDATE tasker.named_tasks t
                    SET retired_at = NULL, retired_by = NULL, updated_at = now()
                    FROM tasker.task_namespaces n
                    WHERE n.task_namespace_uuid = t.task_namespace_uuid
                        AND n.name = $1 AND t.name = $2 AND t.version = $3
                    ",
                    namespace,
                    name,
                    version,
                )
                .execute(connection)
                .await
            })
        });
        Ok(restored.await?.rows_affected() > 0)
    }

    /// Returns the retirement of a template, without values if it is not retired, and `None` if there
    /// is no such template.
    pub async fn retirement(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<Option<Retirement>, RegistryError> {
        let found = database::run_idempotent(&self.pool, LIMIT, |connection| {
            let names = [namespace, name, version].map(str::to_owned);
            Box::pin(async move {
                let [namespace, name, version] = names;
                sqlx::query_as!(
                    Retirement,
                    "
                    SELECT t.retired_at, t.retired_by
                    FROM tasker.named_tasks t
                    JOIN tasker.task_namespaces n USING (task_namespace_uuid)
                    WHERE n.name = $1 AND t.name = $2 AND t.version = $3
                    ",
                    namespace,
                    name,
                    version,
                )
                .fetch_optional(connection)
                .await
            })
        });
        Ok(found.await?)
    }

    /// Returns the triggers that do not fire as they have to.
    pub(super) async fn wrong_triggers(&self) -> Result<Vec<String>, RegistryError> {
        let wrong = database::run_idempotent(&self.pool, LIMIT, |connection| {
            Box::pin(async move {
                sqlx::query_scalar("SELECT tasker.template_triggers_wrong()")
                    .fetch_one(connection)
                    .await
            })
        });
        Ok(wrong.await?)
    }
}

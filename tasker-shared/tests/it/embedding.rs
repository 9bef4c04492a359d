//! The README's example of embedding the library.

// README: begin
use std::error::Error;

use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::task_template::{TemplateDocument, TemplateLimits};

const REFUND: &[u8] = b"
name: refund
namespace_name: payments
version: 1.0.0
steps:
  - name: pay_back
    handler: {callable: Payments::PayBack}
";

/// Registers a template and resolves it. `ConfigLoader::load_from_process()` returns a
/// configuration that takes PostgreSQL from `DATABASE_URL` and Redis from `REDIS_URL`.
async fn embed(mut config: TaskerConfig) -> Result<(), Box<dyn Error>> {
    config.common.cache.get_or_insert_default().enabled = true;
    // Connects to PostgreSQL and migrates its schema. Redis may come up later.
    let context = SystemContext::connect(config).await?;
    let registry = &context.task_handler_registry;

    let template = TemplateDocument::from_yaml(REFUND, TemplateLimits::default())?;
    registry.register_task_template(&template).await?;

    let request = TaskRequest::new("refund", "payments").with_version("1.0.0");
    let resolved = registry.resolve_handler(&request).await?;
    assert_eq!(resolved.template.steps[0].name, "pay_back");

    context.shutdown().await;
    Ok(())
}
// README: end

#[tokio::test]
async fn the_example_of_the_readme_runs() {
    use std::collections::BTreeMap;

    use tasker_shared::config::ConfigLoader;
    use tasker_test_support::{TestDatabase, redis};

    let database = TestDatabase::create().await.unwrap();
    let prefix = format!("it_{}", database.name());
    let variables = [
        ("DATABASE_URL", database.url()),
        ("REDIS_URL", redis().await.unwrap().url()),
        ("TASKER__COMMON__CACHE__KEY_PREFIX", &prefix),
    ];
    let variables: BTreeMap<_, _> = variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let config = ConfigLoader::new(None, variables).load().unwrap();
    embed(config).await.unwrap();
}

#[test]
fn the_readme_has_the_example_that_runs() {
    let (_, rest) = include_str!("embedding.rs")
        .split_once("// README: begin\n")
        .unwrap();
    let (example, _) = rest.split_once("// README: end").unwrap();
    let readme = include_str!("../../../README.md");
    assert!(
        readme.contains(example.trim()),
        "copy it into README.md:\n{example}"
    );
}

/// The paths that the specification gives.
#[test]
fn the_specified_items_have_their_paths_and_registries_are_cloned() {
    #[expect(unused_imports, reason = "that they exist is the test")]
    use tasker_shared::{
        cache::{
            errors::CacheError,
            provider::CacheProvider,
            providers::{NoOpCacheService, RedisCacheService},
            traits::CacheService,
        },
        config::{
            config_loader::EnvVarRule,
            tasker::{CacheConfig, CommonConfig, RedisConfig},
        },
        registry::task_handler_registry::TaskHandlerRegistry,
        system_context::SystemContext,
        types::handler_metadata::HandlerMetadata,
    };
    fn is_clone<T: Clone>() {}
    is_clone::<TaskHandlerRegistry>();
}

//! Registries under test within this process, each as a process of its own would have it.

pub(crate) mod load;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::{CacheConfig, DatabaseConfig};
use tasker_shared::database::{migrator, pool as database_pool};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::PostgresServer;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::error::{Failure, Result};
use crate::templates::{STAYING, VERSION, document, name};
use crate::world::World;

/// The number of templates. Each resolver of a load has its own share, so that no two requests
/// wait for the same load.
pub(crate) const COUNT: usize = 128;
/// The time that a step may take that has to succeed.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// The limit for waiting until a Redis is in use again.
pub(crate) const IN_USE_LIMIT: Duration = Duration::from_secs(15);
/// `connection_timeout_seconds`.
pub(crate) const CONNECTING: Duration = Duration::from_secs(1);

/// The runtimes of subjects, and the processes beside them.
pub(crate) struct Subjects {
    /// Runs subjects and nothing else.
    pub(crate) runtime: Handle,
    /// Runs controls and nothing else.
    pub(crate) control: Handle,
    pub(crate) postgres: Arc<PostgresServer>,
    /// A process without Redis that registers as well.
    pub(crate) writer: Subject,
}

/// A registry with its own pool and cache provider.
pub(crate) struct Subject {
    pub(crate) registry: Arc<TaskHandlerRegistry>,
    pub(crate) provider: Arc<CacheProvider>,
    /// The duration of `from_config_graceful`.
    pub(crate) connected_in: Duration,
    pub(crate) pool: PgPool,
}

/// A registration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registration {
    pub(crate) with_redis: bool,
    pub(crate) started: Instant,
    /// Nothing while it is under way.
    pub(crate) took: Option<Duration>,
}

impl Subjects {
    pub(crate) async fn create(runtime: Handle, control: Handle) -> Result<Self> {
        let postgres = Arc::new(PostgresServer::start().await?);
        let pool = pool(&postgres.url("postgres"))?;
        migrator::migrate(&pool).await?;
        let documents: Vec<_> = (0..COUNT)
            .map(|number| TemplateDocument::from_json(document(STAYING, &name(number), 0)))
            .collect::<Result<_, _>>()?;
        let writer = Subject::without_redis(pool);
        writer.registry.register_task_templates(&documents).await?;
        warm_up(&writer.pool).await?;
        Ok(Self {
            runtime,
            control,
            postgres,
            writer,
        })
    }

    /// Starts a subject in the runtime of all subjects.
    pub(crate) async fn start(&self, url: &str, config: CacheConfig) -> Result<Subject> {
        let pool = pool(url)?;
        let starting = self.runtime.spawn(async move {
            warm_up(&pool).await?;
            let started = Instant::now();
            let provider = CacheProvider::from_config_graceful(&config).await;
            Ok(Subject::on(pool, provider, config, started.elapsed()))
        });
        within("start", starting).await??
    }

    /// Registers changed templates, by `subject` and by a process without Redis in turn, until it
    /// is dropped or fails. Notes each registration when it starts and when it ends.
    pub(crate) async fn register(
        &self,
        subject: Option<&Subject>,
        every: Duration,
        notes: &Mutex<Vec<Registration>>,
    ) -> Failure {
        let all = || notes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            for registrar in [Some(&self.writer), subject].into_iter().flatten() {
                // Not one at once after the other, because each wakes all processes.
                tokio::time::sleep(every).await;
                let mut registration = Registration {
                    with_redis: !std::ptr::eq(registrar, &raw const self.writer),
                    started: Instant::now(),
                    took: None,
                };
                all().push(registration);
                registration.took = match self.register_one(registrar).await {
                    Ok(took) => Some(took),
                    Err(error) => return error,
                };
                if let Some(last) = all().last_mut() {
                    *last = registration;
                }
            }
        }
    }

    async fn register_one(&self, registrar: &Subject) -> Result<Duration> {
        let name = name(rand::random_range(0..COUNT));
        let document = TemplateDocument::from_json(document(STAYING, &name, rand::random()))?;
        let registry = Arc::clone(&registrar.registry);
        let registering = self.runtime.spawn(async move {
            let started = Instant::now();
            let registered = registry.register_task_template(&document).await;
            registered.map(|_| started.elapsed())
        });
        Ok(registering.await??)
    }

    /// Ends a subject and everything that it runs in the background.
    pub(crate) async fn stop(&self, subject: Subject) -> Result {
        let stopping = self.runtime.spawn(async move {
            subject.registry.shutdown().await;
            subject.provider.shutdown().await;
            subject.pool.close().await;
        });
        within("stop", stopping).await??;
        Ok(())
    }
}

impl Subject {
    /// Returns a subject that keeps nothing but the template index.
    pub(crate) fn without_redis(pool: PgPool) -> Self {
        Self::on(pool, CacheProvider::noop(), cache(false), Duration::ZERO)
    }

    fn on(
        pool: PgPool,
        provider: CacheProvider,
        config: CacheConfig,
        connected_in: Duration,
    ) -> Self {
        let provider = Arc::new(provider);
        let registry = TaskHandlerRegistry::with_cache(pool.clone(), Arc::clone(&provider), config);
        registry.start();
        Self {
            registry: Arc::new(registry),
            provider,
            connected_in,
            pool,
        }
    }

    /// Waits until Redis is in use over all connections, before anything fails.
    pub(crate) async fn until_connected(&self) -> Result {
        let connected = async {
            in_use(self).await;
            loop {
                let status = self.provider.status().await;
                if status.healthy && status.connections_up == status.connections_max {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        within("connect to Redis", connected).await
    }
}

/// Waits until Redis answers for so many keys that each primary of a cluster has several.
pub(crate) async fn in_use(subject: &Subject) {
    for number in 0..64 {
        let key = format!("answered:{number}");
        while !subject.provider.is_enabled() || subject.provider.get(&key).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Returns the services' configuration without a Redis.
pub(crate) fn cache(local_tier: bool) -> CacheConfig {
    let mut config = CacheConfig {
        enabled: true,
        ..CacheConfig::default()
    };
    if !local_tier {
        config.local_max_bytes = 0;
    }
    config
}

/// Returns the services' configuration with the Redis of `world`.
pub(crate) fn cache_on(world: &World, through_link: bool, local_tier: bool) -> CacheConfig {
    let mut redis = world.redis_config(through_link);
    redis.connection_timeout_seconds = CONNECTING.as_secs().try_into().unwrap_or(u32::MAX);
    CacheConfig {
        redis: Some(redis),
        ..cache(local_tier)
    }
}

/// Returns a pool as the services have it.
pub(crate) fn pool(url: &str) -> Result<PgPool> {
    Ok(database_pool::create(&DatabaseConfig {
        url: url.to_owned(),
        ..DatabaseConfig::default()
    })?)
}

/// Opens all connections of the pool and prepares the statement that loads a template, because both
/// take round trips that say nothing about Redis.
async fn warm_up(pool: &PgPool) -> Result {
    let mut held = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        held.push(pool.acquire().await?);
    }
    drop(held);
    let subject = Subject::without_redis(pool.clone());
    let mut loads = JoinSet::new();
    for number in 0..COUNT {
        let registry = Arc::clone(&subject.registry);
        loads.spawn(async move { registry.get_template(STAYING, &name(number), VERSION).await });
    }
    for loaded in loads.join_all().await {
        loaded?;
    }
    subject.registry.shutdown().await;
    Ok(())
}

/// Waits for a step that has to succeed.
async fn within<T>(action: &'static str, work: impl Future<Output = T>) -> Result<T> {
    let done = tokio::time::timeout(LIMIT, work).await;
    done.map_err(|_| format!("a registry did not {action} within {LIMIT:?}").into())
}

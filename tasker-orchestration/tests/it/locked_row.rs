//! A lock that is held for long, and everything that does not need it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Client;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{CacheConfig, TaskerConfig};
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{Access, TestDatabase};
use tokio::task::JoinSet;

use crate::app::TestApp;
use crate::process::{PATIENCE, Service, program};

/// Clients that want tasks of the locked template.
const CLIENTS: usize = 30;
/// The pause of a client between two requests.
const THINKING: Duration = Duration::from_millis(100);
/// The time for which the lock is held: longer than any limit of a query, a lock or a request.
const HELD: Duration = Duration::from_secs(30);
/// The time for which everything is measured before that.
const BEFORE: Duration = Duration::from_secs(6);
/// The connections of a service: its pool, and those of polls, probes and notifications.
const CONNECTIONS: i64 = 20 + 6;
/// The most by which the lock may delay others at the 99th percentile.
const DELAY: Duration = Duration::from_millis(100);

/// The templates `locked` and `free`.
pub(crate) const TEMPLATES: &str = r#"
INSERT INTO tasker.task_namespaces (name) VALUES ('shop');
INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
SELECT task_namespace_uuid, t.name, '1.0.0', jsonb_build_object(
    'name', t.name, 'namespace_name', 'shop', 'version', '1.0.0',
    'task_handler', '{"callable": "Shop::Handler"}'::jsonb,
    'steps', '[{"name": "only", "handler": {"callable": "Shop::Only"}}]'::jsonb)
FROM tasker.task_namespaces, unnest(ARRAY['locked', 'free']) AS t (name)
"#;

/// Asks for a task, and returns the answer's status.
pub(crate) async fn post(client: &Client, service: &str, name: &str) -> u16 {
    let request = json!({
        "name": name, "namespace": "shop", "version": "1.0.0",
        "context": {"id": uuid::Uuid::now_v7()},
    });
    let request = client.post(format!("{service}/v1/tasks")).json(&request);
    request.send().await.unwrap().status().as_u16()
}

/// Two services, and a process that resolves templates.
struct Fleet {
    database: TestDatabase,
    services: [Service; 2],
    client: Client,
    /// Each resolve waits for a poll that was sent after it.
    current: SystemContext,
    /// Each resolve reads the database.
    plain: TaskHandlerRegistry,
}

type Writer = BoxFuture<'static, ()>;
type Times = BTreeMap<&'static str, Vec<Duration>>;

impl Fleet {
    async fn start() -> Self {
        let database = TestDatabase::create().await.unwrap();
        let start = async || {
            let mut program = program();
            program.env("TASKER__COMMON__CACHE__ENABLED", "true");
            Service::start_program(program, &database).await
        };
        let services = [start().await, start().await];
        let mut admin = PgConnection::connect(database.url()).await.unwrap();
        admin.execute(TEMPLATES).await.unwrap();
        let mut config = TaskerConfig::default();
        let access = Access::to(database.url());
        config.common.database.url = access.url;
        config.common.database.pool_mode = access.pool_mode.to_owned();
        config.common.database.direct_url = access.direct_url;
        config.common.cache = Some(CacheConfig {
            enabled: true,
            max_staleness_ms: 0,
            ..CacheConfig::default()
        });
        let current = SystemContext::connect(config).await.unwrap();
        let fleet = Self {
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            plain: TaskHandlerRegistry::new(current.database_pool().clone()),
            current,
            services,
            database,
        };
        for service in &fleet.services {
            assert_eq!(fleet.post(service, "locked").await, 201);
        }
        fleet
    }

    async fn admin(&self) -> PgConnection {
        PgConnection::connect(self.database.url()).await.unwrap()
    }

    async fn post(&self, service: &Service, name: &str) -> u16 {
        post(&self.client, &service.url, name).await
    }

    /// Does everything that does not need the lock, for so long, and returns how long each took.
    async fn measure(&self, time: Duration) -> Times {
        let started = Instant::now();
        let mut times = Times::new();
        let mut note = |kind, sent: Instant| times.entry(kind).or_default().push(sent.elapsed());
        while started.elapsed() < time {
            for service in &self.services {
                let sent = Instant::now();
                assert_eq!(self.post(service, "free").await, 201);
                note("task of another template", sent);
                let sent = Instant::now();
                let ready = self.client.get(format!("{}/health/ready", service.url));
                assert_eq!(ready.send().await.unwrap().status(), 200);
                note("readiness", sent);
            }
            for name in ["free", "locked"] {
                let sent = Instant::now();
                let registry = &self.current.task_handler_registry;
                registry.get_template("shop", name, "1.0.0").await.unwrap();
                note("resolve after a poll", sent);
                let sent = Instant::now();
                let read = self.plain.get_template("shop", name, "1.0.0").await;
                read.unwrap();
                note("resolve from the database", sent);
            }
        }
        times
    }

    /// Has clients make tasks of the locked template.
    fn want(&self, wanting: &mut JoinSet<()>) {
        for number in 0..CLIENTS {
            let client = self.client.clone();
            let url = self.services[number % self.services.len()].url.clone();
            wanting.spawn(async move {
                loop {
                    let status = post(&client, &url, "locked").await;
                    assert!(matches!(status, 201 | 503), "{status}");
                    tokio::time::sleep(THINKING).await;
                }
            });
        }
    }

    /// Measures without and with the lock. Clients want tasks of the locked template meanwhile; if the lock
    /// does not hold them up, without it as well, because they are the load then.
    async fn compare(&self, lock: &'static str, holds_up: bool, locked_out: Option<Writer>) {
        let mut wanting = JoinSet::new();
        if !holds_up {
            self.want(&mut wanting);
        }
        let before = self.measure(BEFORE).await;
        let mut holder = self.admin().await;
        holder.execute(lock).await.unwrap();
        if holds_up {
            self.want(&mut wanting);
        }
        if let Some(locked_out) = locked_out {
            wanting.spawn(locked_out);
        }
        let during = self.measure(HELD).await;
        let backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                        AND application_name = 'tasker'";
        let backends: i64 = sqlx::query_scalar(backends)
            .fetch_one(&mut self.admin().await)
            .await
            .unwrap();
        assert!(backends <= 3 * CONNECTIONS, "{backends} backends");
        wanting.abort_all();
        while let Some(ended) = wanting.join_next().await {
            assert!(ended.unwrap_err().is_cancelled());
        }
        holder.execute("ROLLBACK").await.unwrap();
        for service in &self.services {
            assert_eq!(self.post(service, "locked").await, 201);
        }
        // The machine may have become busier meanwhile.
        let mut wanting = JoinSet::new();
        if !holds_up {
            self.want(&mut wanting);
        }
        let after = self.measure(BEFORE).await;
        drop(wanting);
        let mut delayed = Vec::new();
        for (kind, during) in during {
            let [low, high] = high_of(during);
            let without = [&before, &after].map(|times| high_of(times[kind].clone()));
            let [usual, longest] = [0, 1].map(|which| without[0][which].max(without[1][which]));
            eprintln!(
                "{kind}: p99 {usual:?} without, {low:?} during; longest {longest:?}, {high:?}"
            );
            // On a busy machine a percentile differs from the next by as much as it is.
            if low > 2 * usual + DELAY {
                delayed.push(kind);
            }
        }
        assert!(delayed.is_empty(), "{delayed:?}");
    }
}

/// The 99th percentile, and the longest.
fn high_of(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [times[(times.len() - 1) * 99 / 100], times[times.len() - 1]]
}

/// Requests that waited for their turn have less time left than a wait for a lock may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_locked_template_is_told_who_holds_the_lock_and_that_nothing_was_made() {
    let app = TestApp::start().await;
    app.register("order", json!({"identity_strategy": "always_unique"}))
        .await;
    assert_eq!(app.task_of("order", json!({})).await.status, 201);
    let mut holder = PgConnection::connect(app.url()).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut holder)
        .await
        .unwrap();
    holder
        .execute("BEGIN; SELECT FROM tasker.named_tasks FOR UPDATE")
        .await
        .unwrap();
    let mut refused = Vec::new();
    for _ in 0..3 {
        let posts = (0..CLIENTS).map(|number| {
            let app = &app;
            async move {
                // Each with another time left when its turn comes.
                tokio::time::sleep(Duration::from_millis(40) * u32::try_from(number).unwrap())
                    .await;
                app.task_of("order", json!({})).await
            }
        });
        refused.extend(futures::future::join_all(posts).await);
    }
    let mut named = 0;
    for answer in refused {
        assert_eq!(answer.status, 503, "{answer:?}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "database_unavailable", "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        named += usize::from(detail.contains(&format!("pid {pid} ")));
    }
    // The others got no turn.
    assert!(named >= 12, "{named}");
    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(app.count("tasks").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_template_delays_its_own_tasks_only() {
    let fleet = Fleet::start().await;
    let lock = "BEGIN; SELECT FROM tasker.named_tasks WHERE name = 'locked' FOR UPDATE";
    fleet.compare(lock, true, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_clock_delays_changes_of_templates_only() {
    let fleet = Fleet::start().await;
    let mut writer = fleet.admin().await;
    let writing = async move {
        let change = "UPDATE tasker.named_tasks SET configuration = jsonb_set(configuration,
            '{task_handler,initialization}', to_jsonb(clock_timestamp())) WHERE name = 'locked'";
        loop {
            if let Err(refused) = writer.execute(change).await {
                let code = refused.as_database_error().unwrap().code();
                assert_eq!(code.as_deref(), Some("55P03"), "{refused}");
            }
        }
    };
    let lock = "BEGIN; SELECT FROM tasker.template_clock FOR UPDATE";
    fleet.compare(lock, false, Some(writing.boxed())).await;
}

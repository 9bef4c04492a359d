//! Workers that are killed, frozen or stopped as processes, and a PostgreSQL that restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use tasker_orchestration::{TaskInitializer, TemplateLoader};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::{PostgresServer, ServiceProcess, TcpProxy, free_port, until};
use tasker_worker::{Handlers, StepContext, Worker};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::sleep;
use uuid::Uuid;

use super::engine::{Engine, step};
use crate::support::lead_to;

const LEASE: u32 = 3;
/// The time that all steps of a lost worker may take to run again, on a machine that needs none to
/// start them.
const BAR: Duration = Duration::from_secs(3 + 2);
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// Handlers behind HTTP. They answer when they are released.
#[derive(Clone)]
struct Remote {
    /// The attempts that were asked for, by step.
    asked: Arc<Mutex<BTreeMap<Uuid, Vec<i64>>>>,
    released: watch::Sender<bool>,
    port: u16,
}

impl Remote {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let remote = Self {
            asked: Arc::default(),
            released: watch::Sender::new(false),
            port: listener.local_addr().unwrap().port(),
        };
        let router = Router::new()
            .route("/step", post(run_step))
            .with_state(remote.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        remote
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn step(&self, name: &str) -> Value {
        let callable = format!("http://{}/step", self.host());
        json!({"name": name, "handler": {"callable": callable}, "retry": {"max_attempts": 1}})
    }

    fn release(&self) {
        self.released.send_replace(true);
    }

    /// Returns how many steps were asked for as this attempt or a later one.
    fn steps_at(&self, attempt: i64) -> usize {
        let asked = self.asked.lock().unwrap();
        let reached = asked
            .values()
            .filter(|attempts| attempts.iter().any(|it| *it >= attempt));
        reached.count()
    }

    /// Waits until so many steps were asked for as this attempt.
    async fn until(&self, count: usize, attempt: i64) {
        let started = Instant::now();
        while self.steps_at(attempt) < count {
            let asked = self.steps_at(attempt);
            assert!(
                started.elapsed() < PATIENCE,
                "{asked} of {count} run as attempt {attempt}"
            );
            sleep(POLL).await;
        }
    }

    /// Runs a worker process for these handlers.
    async fn worker(&self, database: &str, settings: &[(&str, &str)]) -> Process {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let templates = tempfile::tempdir().unwrap();
        let folder = templates.path().to_string_lossy();
        let (hosts, lease) = (self.host(), LEASE.to_string());
        let mut environment = vec![
            ("DATABASE_URL", database),
            ("TASKER__WORKER__WEB__BIND_ADDRESS", &*address),
            ("TASKER_TEMPLATE_PATH", &*folder),
            ("TASKER__WORKER__HTTP_HANDLERS__ALLOWED_HOSTS", &*hosts),
            ("TASKER__WORKER__EXECUTION__MAX_CONCURRENT_STEPS", "50"),
            ("TASKER__WORKER__EXECUTION__LEASE_SECONDS", &*lease),
        ];
        environment.extend(settings);
        let program = Path::new(env!("CARGO_BIN_EXE_tasker-worker"));
        let service = ServiceProcess::start("tasker-worker", program, &environment).await;
        Process {
            service: service.unwrap(),
            address,
            started_in: Duration::ZERO,
            _templates: templates,
        }
    }
}

async fn run_step(State(remote): State<Remote>, body: String) -> String {
    let body: Value = serde_json::from_str(&body).unwrap();
    let id: Uuid = body["step"]["workflow_step_uuid"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let attempt = body["step"]["attempt"].as_i64().unwrap();
    remote
        .asked
        .lock()
        .unwrap()
        .entry(id)
        .or_default()
        .push(attempt);
    let mut released = remote.released.subscribe();
    released.wait_for(|released| *released).await.unwrap();
    json!({"attempt": attempt}).to_string()
}

struct Process {
    service: ServiceProcess,
    address: String,
    /// The time that it took to start all its steps after the first one.
    started_in: Duration,
    /// Empty. Removed with the process.
    _templates: TempDir,
}

impl Process {
    /// Waits until the process reports that this counter is 1.
    async fn until_one(&self, counter: &str) {
        let started = Instant::now();
        loop {
            let url = format!("http://{}/metrics", self.address);
            let metrics = match reqwest::get(url).await {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            let is_one = |line: &str| line.starts_with(counter) && line.ends_with(" 1");
            if metrics.lines().any(is_one) {
                return;
            }
            let steps = metrics
                .lines()
                .filter(|line| line.starts_with("tasker_step"));
            assert!(
                started.elapsed() < PATIENCE,
                "{counter} is not 1 in {:#?}\n{}",
                steps.collect::<Vec<_>>(),
                self.service.log()
            );
            sleep(POLL).await;
        }
    }
}

/// An engine with a task of `count` steps that a process has claimed.
async fn claimed(
    remote: &Remote,
    count: usize,
    settings: &[(&str, &str)],
) -> (Engine, Process, Uuid) {
    let engine = Engine::start_with(|config| {
        config.worker.http_handlers.allowed_hosts = vec![remote.host()];
        config.worker.execution.lease_seconds = LEASE;
    })
    .await;
    let steps: Vec<Value> = (0..count)
        .map(|n| remote.step(&format!("part{n}")))
        .collect();
    engine.register("parts", json!(steps)).await;
    let task = engine.create("parts", json!({})).await;
    let mut process = remote.worker(engine.url(), settings).await;
    remote.until(1, 1).await;
    let first = Instant::now();
    remote.until(count, 1).await;
    process.started_in = first.elapsed();
    (engine, process, task)
}

/// All steps of the task are complete, by their second attempts, and each ran twice.
async fn ran_again(engine: &Engine, remote: &Remote, task: Uuid, reason: &str) {
    assert_eq!(engine.end(task).await, "complete");
    for journal in engine.journal(task).await {
        assert!(
            journal.ends_with(&format!(
                "in_progress(claimed) enqueued({reason}) in_progress(claimed) \
                 complete(handler_completed)"
            )),
            "{journal}"
        );
    }
    for attempts in remote.asked.lock().unwrap().values() {
        assert_eq!(attempts, &[1, 2]);
    }
    let of_second = "SELECT count(*) FROM tasker.workflow_steps WHERE results ->> 'attempt' <> '2'";
    assert_eq!(engine.count(of_second).await, 0);
    assert_eq!(
        engine.count("SELECT count(*) FROM tasker.step_queue").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_claims_of_a_killed_worker_run_again_within_the_lease() {
    let remote = Remote::start().await;
    let (engine, process, task) = claimed(&remote, 50, &[]).await;
    let _heir = engine.work(Handlers::new());
    process.service.kill().await.unwrap();
    let died = Instant::now();
    remote.until(50, 2).await;
    let bar = BAR + 2 * process.started_in;
    assert!(died.elapsed() < bar, "{:?}, not {bar:?}", died.elapsed());
    remote.release();
    ran_again(&engine, &remote, task, "lease_expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_claims_of_a_frozen_worker_run_again_and_it_records_nothing_late() {
    let remote = Remote::start().await;
    let (engine, process, task) = claimed(&remote, 50, &[]).await;
    let heir = engine.work(Handlers::new());
    process.service.freeze().unwrap();
    let frozen = Instant::now();
    remote.until(50, 2).await;
    let bar = BAR + 2 * process.started_in;
    assert!(
        frozen.elapsed() < bar,
        "{:?}, not {bar:?}",
        frozen.elapsed()
    );
    // The frozen process has all its answers when it is thawed.
    remote.release();
    assert_eq!(engine.end(task).await, "complete");
    process.service.thaw().unwrap();
    process.until_one("tasker_worker_leases_lost_total").await;
    ran_again(&engine, &remote, task, "lease_expired").await;
    // It works again, under another id.
    heir.drain().await;
    let task = engine.create("parts", json!({})).await;
    assert_eq!(engine.end(task).await, "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_comes_after_an_operators_is_refused_and_counted() {
    let remote = Remote::start().await;
    let (engine, process, task) = claimed(&remote, 1, &[]).await;
    let outcome: String = sqlx::query_scalar(
        "SELECT tasker.step_operate(task_uuid, workflow_step_uuid, 'complete_manually', '7',
                                    '{\"reason\": \"test\", \"by\": \"me\"}')
         FROM tasker.workflow_steps WHERE task_uuid = $1",
    )
    .bind(task)
    .fetch_one(engine.pool())
    .await
    .unwrap();
    assert_eq!(outcome, "done");
    remote.release();
    process.until_one("tasker_step_results_refused_total").await;
    assert_eq!(engine.result(task, "part0").await, json!(7));
    // The attempt that the operator took is recorded, too.
    assert_eq!(
        engine.journal(task).await,
        ["part0: enqueued(dependencies_complete) in_progress(claimed) complete(test)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_returns_claims_at_once_without_counting_an_attempt() {
    let remote = Remote::start().await;
    let settings = [
        ("TASKER__WORKER__EXECUTION__LEASE_SECONDS", "600"),
        ("TASKER__WORKER__EXECUTION__DRAIN_TIMEOUT_SECONDS", "1"),
    ];
    let (engine, process, task) = claimed(&remote, 20, &settings).await;
    let _heir = engine.work(Handlers::new());
    process.service.stop().await.unwrap();
    remote.until(20, 2).await;
    remote.release();
    // The only counted attempt is the second one: `max_attempts` is 1.
    ran_again(&engine, &remote, task, "worker_drained").await;
    let drained = "SELECT count(*) FROM tasker.workers WHERE lost_at IS NULL";
    assert_eq!(engine.count(drained).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_renew_stops_its_handlers_before_others_run_them() {
    /// Notes when its handler was dropped.
    struct Noted(tokio::sync::mpsc::UnboundedSender<(&'static str, Instant)>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.send(("stopped", Instant::now())).ok();
        }
    }
    // Beats come within a second, so that no ping of an idle connection is before one.
    let engine = Engine::start_with(|config| config.worker.execution.lease_seconds = 2).await;
    engine
        .register("one", json!([step("a", "hang", &[])]))
        .await;
    let (notes, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let proxy = TcpProxy::before(engine.url()).await.unwrap();
    let cut_off = engine.another(|config| lead_to(proxy.url(), config)).await;
    let note = notes.clone();
    let handlers = Handlers::new().function("hang", move |_: StepContext| {
        let note = note.clone();
        async move {
            note.send(("started", Instant::now())).unwrap();
            let _guard = Noted(note);
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    let _cut_off = Worker::builder(cut_off).handlers(handlers).start();
    let task = engine.create("one", json!({})).await;
    let (started, _) = until("the step starts", async || heard.try_recv().ok()).await;
    assert_eq!(started, "started");
    let seen = "SELECT (extract(epoch FROM min(seen_at)) * 1000000)::bigint FROM tasker.workers";
    for delay in [Duration::ZERO, Duration::from_millis(300)] {
        proxy.delay(delay).await;
        let before = engine.count(seen).await;
        engine.until(seen, |now| now > before).await;
    }
    // The last answer is on its way by then.
    sleep(Duration::from_millis(100)).await;
    proxy.half_open().await;
    let heir = Handlers::new().function("hang", move |_: StepContext| {
        notes.send(("started again", Instant::now())).unwrap();
        async { Ok(()) }
    });
    let _heir = engine.work(heir);
    assert_eq!(engine.end(task).await, "complete");
    let (first, stopped) = until("its handler stops", async || heard.try_recv().ok()).await;
    let (second, again) = until("it starts again", async || heard.try_recv().ok()).await;
    assert_eq!((first, second), ("stopped", "started again"));
    assert!(stopped < again);
    let over = "SELECT (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint
                    - 1000 * lease_seconds
                FROM tasker.workers WHERE lost_at IS NOT NULL";
    let over = Duration::from_millis(engine.count(over).await.unsigned_abs());
    assert!(
        stopped.elapsed() > over,
        "it stopped after the end of its lease"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_end_although_postgresql_restarts_and_crashes() {
    let server = PostgresServer::start().await.unwrap();
    let mut config = TaskerConfig::default();
    config.common.database.url = server.url("postgres");
    let context = Arc::new(SystemContext::connect(config).await.unwrap());
    let loader = TemplateLoader::new(Arc::clone(&context.task_handler_registry));
    let initializer = TaskInitializer::new(loader, context.database_pool().clone());
    let engine = Engine::on(context, initializer);
    let steps = json!([
        step("a", "work", &[]),
        step("b", "work", &["a"]),
        step("c", "work", &["b"])
    ]);
    engine.register("line", steps).await;
    let handlers = Handlers::new().function("work", async |step: StepContext| {
        sleep(Duration::from_millis(30)).await;
        Ok(json!(step.attempt()))
    });
    let _workers = [engine.work(handlers.clone()), engine.work(handlers)];
    for _ in 0..100 {
        engine.create("line", json!({})).await;
    }
    let complete =
        "SELECT count(*) FROM tasker.workflow_step_transitions WHERE to_state = 'complete'";
    // Statements of the test fail, too, while the server is away.
    let until_count = async |sql: &'static str, reached: &dyn Fn(i64) -> bool| {
        let started = Instant::now();
        loop {
            let count = sqlx::query_scalar::<_, i64>(sql)
                .fetch_one(engine.pool())
                .await;
            if count.as_ref().is_ok_and(|count| reached(*count)) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{sql} is {count:?}");
            sleep(POLL).await;
        }
    };
    until_count(complete, &|count| count >= 20).await;
    server.restart().await.unwrap();
    until_count(complete, &|count| count >= 60).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let unfinished = "SELECT count(*) FROM tasker.tasks WHERE NOT complete";
    until_count(unfinished, &|count| count == 0).await;
    until_count(complete, &|count| count == 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_reports_its_lease_and_logs_a_failed_step_with_its_task() {
    let remote = Remote::start().await;
    let (engine, process, task) = claimed(&remote, 1, &[]).await;
    let url = format!("http://{}/health/detailed", process.address);
    let health: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let listed: Uuid = sqlx::query_scalar("SELECT worker_uuid FROM tasker.workers")
        .fetch_one(engine.pool())
        .await
        .unwrap();
    let expected = json!({"status": "healthy", "worker_uuid": listed});
    assert_eq!(health["checks"]["execution"], expected, "{health}");
    remote.release();
    assert_eq!(engine.end(task).await, "complete");

    let nowhere = format!("http://{}/nowhere", remote.host());
    engine
        .register("nowhere", json!([step("lost", &nowhere, &[])]))
        .await;
    let (task, state) = engine.run("nowhere", json!({})).await;
    assert_eq!(state, "error");
    let correlation: Uuid =
        sqlx::query_scalar("SELECT correlation_id FROM tasker.tasks WHERE task_uuid = $1")
            .bind(task)
            .fetch_one(engine.pool())
            .await
            .unwrap();
    // It is logged a moment after the database has it.
    let started = Instant::now();
    let failures = loop {
        let log = process.service.log();
        let failures = log
            .lines()
            .filter(|line| line.contains("a step failed for good"));
        let failures: Vec<Value> = failures
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if !failures.is_empty() {
            break failures;
        }
        assert!(started.elapsed() < PATIENCE, "{log}");
        sleep(POLL).await;
    };
    let [failure] = &failures[..] else {
        panic!("{failures:?}");
    };
    assert_eq!(failure["task_uuid"], json!(task), "{failure}");
    assert_eq!(failure["correlation_id"], json!(correlation), "{failure}");
    assert_eq!(
        (&failure["step"], &failure["attempt"]),
        (&json!("lost"), &json!(1))
    );
    assert_eq!(failure["error"], "Http404", "{failure}");
}

//! A database with an orchestration service and workers, each a process of its own.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_test_support::{
    HeldFolder, PostgresServer, ServiceProcess, TestDatabase, free_port, resident_kib,
};
use tasker_worker::{Handlers, StepContext};
use tokio::sync::Mutex;

use super::client::Client;
use crate::error::Result;
use crate::measure::{Numbers, ms, rate};
use crate::world::migrated_pool;

/// Set for a process of this program that is to be a service. Its value names which.
const ROLE: &str = "BENCH_ROLE";
/// Four steps in a line.
pub(super) const LINEAR: &str = "linear";
/// A first step, a thousand after it, and one after all of them.
pub(super) const FAN: &str = "fan";
pub(super) const FAN_STEPS: usize = 1_002;
const CALLABLE: &str = "bench.Nothing";
/// The most requests at once.
pub(super) const CONCURRENCY: usize = 64;

/// Becomes a service if this process was started as one.
pub(crate) fn become_service() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    Some(if role == "worker" {
        let handlers = Handlers::new().function(CALLABLE, async |_: StepContext| Ok(json!({})));
        tasker_worker::run(handlers)
    } else {
        use tasker_orchestration::service;
        tasker_web::run_service(&service::INFO, service::start)
    })
}

/// The services on one database. They stop on drop.
pub(super) struct Fleet {
    pub(super) pool: PgPool,
    pub(super) clients: Arc<Vec<Mutex<Client>>>,
    _orchestration: ServiceProcess,
    workers: Vec<ServiceProcess>,
    _folder: HeldFolder,
    /// Dropped last.
    pub(super) database: TestDatabase,
}

impl Fleet {
    /// Starts the services on a new database, and runs a task of each kind.
    pub(super) async fn start(server: &PostgresServer, workers: usize) -> Result<Self> {
        Self::start_with(server, workers, &[]).await
    }

    /// Starts the services with more variables in their environment.
    pub(super) async fn start_with(
        server: &PostgresServer,
        workers: usize,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let database = TestDatabase::create_on(&server.url("postgres")).await?;
        let pool = migrated_pool(&database).await?;
        register_all(&pool).await?;
        let folder = HeldFolder::create()?;
        let (orchestration, address) =
            start("orchestration", &database, &folder, environment).await?;
        let mut started = Vec::new();
        for _ in 0..workers {
            let worker = start("worker", &database, &folder, environment).await?;
            started.push(worker.0);
        }
        let mut clients = Vec::new();
        for _ in 0..CONCURRENCY {
            clients.push(Mutex::new(Client::connect(address).await?));
        }
        let fleet = Self {
            pool,
            clients: Arc::new(clients),
            _orchestration: orchestration,
            workers: started,
            _folder: folder,
            database,
        };
        fleet.tasks_per_second(CONCURRENCY * 4).await?;
        fleet.fan_steps_per_second().await?;
        Ok(fleet)
    }

    /// Returns the memory of the workers, in MiB.
    pub(super) fn workers_mib(&self) -> f64 {
        let folders = self.workers.iter().filter_map(ServiceProcess::proc_folder);
        let kib: usize = folders.filter_map(|folder| resident_kib(&folder)).sum();
        kib as f64 / 1024.0
    }

    /// Runs linear tasks, 64 at a time.
    pub(super) async fn tasks_per_second(&self, count: usize) -> Result<f64> {
        let caller = |clients: Arc<Vec<Mutex<Client>>>, numbers: Numbers| async move {
            for number in numbers {
                let mut client = clients[number % CONCURRENCY].lock().await;
                client.run_task(LINEAR).await?;
            }
            Ok(())
        };
        rate(CONCURRENCY, 0..count, &self.clients, caller).await
    }

    /// Runs linear tasks one at a time, and returns the time of each in milliseconds.
    pub(super) async fn times(&self, count: usize) -> Result<Vec<f64>> {
        let mut client = self.clients[0].lock().await;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            client.run_task(LINEAR).await?;
            times.push(ms(started.elapsed()));
        }
        Ok(times)
    }

    /// Runs one task that fans out and joins, from the request to the end.
    pub(super) async fn fan_steps_per_second(&self) -> Result<f64> {
        let started = Instant::now();
        self.clients[0].lock().await.run_task(FAN).await?;
        Ok(FAN_STEPS as f64 / started.elapsed().as_secs_f64())
    }

    /// Returns how many steps are not complete, or were run more than once.
    pub(super) async fn wrong_steps(&self) -> Result<i64> {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM tasker.workflow_steps
             WHERE NOT processed OR attempts IS DISTINCT FROM 1",
        );
        Ok(count.fetch_one(&self.pool).await?)
    }
}

async fn register_all(pool: &PgPool) -> Result {
    let parts: Vec<String> = (0..FAN_STEPS - 2).map(|n| format!("step_{n}")).collect();
    let mut fan = vec![step("start", &[])];
    fan.extend(parts.iter().map(|name| step(name, &["start".to_owned()])));
    fan.push(step("join", &parts));
    register_linear(pool, LINEAR).await?;
    register(pool, FAN, fan).await
}

/// Registers a template of four steps in a line.
pub(super) async fn register_linear(pool: &PgPool, name: &str) -> Result {
    let names: Vec<String> = (0..4).map(|n| format!("step_{n}")).collect();
    let steps = (0..4)
        .map(|n| step(&names[n], &names[n.saturating_sub(1)..n]))
        .collect();
    register(pool, name, steps).await
}

fn step(name: &str, dependencies: &[String]) -> Value {
    json!({"name": name, "handler": {"callable": CALLABLE}, "dependencies": dependencies})
}

async fn register(pool: &PgPool, name: &str, steps: Vec<Value>) -> Result {
    let document = TemplateDocument::from_json(json!({
        "name": name, "namespace_name": "bench", "version": "1.0.0",
        "identity_strategy": "always_unique", "steps": steps,
    }))?;
    let registry = TaskHandlerRegistry::new(pool.clone());
    registry.register_task_template(&document).await?;
    Ok(())
}

/// Starts a service and waits until it is ready.
async fn start(
    role: &'static str,
    database: &TestDatabase,
    folder: &HeldFolder,
    more: &[(&str, &str)],
) -> Result<(ServiceProcess, SocketAddr)> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let text = address.to_string();
    let program = std::env::current_exe()?;
    let folder = folder.path().to_string_lossy();
    let mut environment = vec![
        (ROLE, role),
        ("DATABASE_URL", database.url()),
        (
            "TASKER_CONFIG_ROOT",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"),
        ),
        ("TASKER_TEMPLATE_PATH", &folder),
        ("TASKER__WORKER__WEB__BIND_ADDRESS", &text),
        ("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS", &text),
        ("RUST_LOG", "error"),
    ];
    environment.extend(more);
    let port = address.port();
    let service = ServiceProcess::start_ready(role, &program, &environment, port).await?;
    Ok((service, address))
}

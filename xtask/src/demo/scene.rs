//! The servers and services of the demonstration, and what is shown with them.

use std::time::{Duration, Instant};

use reqwest::Client;
use sqlx::{Connection, Executor, PgConnection};
use tasker_testkit::{Origin, Postgres, Redis, free_port};
use tempfile::TempDir;

use crate::cargo::root;
use crate::demo::redis_keys::template_keys;
use crate::demo::report::{self, Latencies, Row, mean_resolve, milliseconds};
use crate::demo::service::{self, ORCHESTRATION, Service, WORKER};
use crate::demo::subject::Subject;
use crate::demo::template_file::copy_folder;
use crate::error::{XtaskError, chain};
use crate::servers;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const WARM_REQUESTS: usize = 20;
const FILL_DEADLINE: Duration = Duration::from_secs(3);
const CHANGE_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Everything that runs. Fields are dropped from the top: services before their servers.
pub(crate) struct Scene {
    /// None only while it is restarted.
    worker: Option<Service>,
    orchestration: Service,
    second: Option<Service>,
    subjects: Vec<Subject>,
    environment: Vec<(&'static str, String)>,
    http: Client,
    folder: TempDir,
    redis: Option<Redis>,
    _postgres: Postgres,
}

impl Scene {
    /// Gets the servers and starts a worker and an orchestration service on them.
    pub(crate) async fn set(without_redis: bool, may_install: bool) -> Result<Self, XtaskError> {
        let folder = tempfile::tempdir().map_err(XtaskError::file("a temporary folder"))?;
        copy_folder(&root().join("config/tasks"), folder.path())?;

        let postgres = servers::postgres(may_install).await?;
        let database_url = demo_database(&postgres).await?;
        let redis = if without_redis {
            None
        } else {
            acquire_redis(may_install).await
        };
        // Where nothing listens, for want of anything better to say.
        let redis_url = match &redis {
            Some(redis) => redis.url().to_owned(),
            None => format!("redis://127.0.0.1:{}", free_port()?),
        };
        if redis.is_none() {
            println!("Redis       none: everything below works without, and is slower");
        }

        let environment = vec![
            ("DATABASE_URL", database_url),
            ("REDIS_URL", redis_url),
            (
                "TASKER_CONFIG_ROOT",
                root().join("config").display().to_string(),
            ),
            ("TASKER_TEMPLATE_PATH", folder.path().display().to_string()),
            ("TASKER__COMMON__CACHE__ENABLED", String::from("true")),
        ];
        let http = Client::builder()
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        let worker =
            Service::start(WORKER, service::port(8081)?, &borrowed(&environment), &http).await?;
        let subjects = Subject::all(&worker, folder.path()).await?;
        // Looking at the templates filled both tiers; the first task is to find them empty.
        worker.delete("/templates/cache").await?;
        let port = service::port(8080)?;
        let orchestration =
            Service::start(ORCHESTRATION, port, &borrowed(&environment), &http).await?;
        Ok(Self {
            worker: Some(worker),
            orchestration,
            second: None,
            subjects,
            environment,
            http,
            folder,
            redis,
            _postgres: postgres,
        })
    }

    /// Requests tasks from a service that has the templates nowhere, in Redis, and in memory.
    pub(crate) async fn show_tiers(&mut self) -> Result<(), XtaskError> {
        if let Some(keys) = self.keys().await? {
            println!("\nkeys in Redis after the worker's boot: {}", keys.len());
        }
        let mut cold = Latencies::default();
        let mut accepted = Vec::new();
        for subject in std::mem::take(&mut self.subjects) {
            match subject.request(&self.orchestration).await {
                Ok(requested) => {
                    cold.push(requested.took);
                    accepted.push(subject);
                }
                Err(XtaskError::Answer {
                    status: 400..500, ..
                }) => {
                    println!(
                        "{} wants another context than the demo's guess",
                        subject.name
                    );
                }
                Err(error) => return Err(error),
            }
        }
        self.subjects = accepted;
        let first = self.subjects.first().ok_or(XtaskError::NoTemplate)?;
        let mut warm = Latencies::default();
        for _ in 0..WARM_REQUESTS {
            warm.push(first.request(&self.orchestration).await?.took);
        }
        let metrics = self.orchestration.get_text("/metrics").await?;
        let resolve = mean_resolve(&metrics, "database");
        let mut rows = vec![Row {
            title: "cold: from PostgreSQL",
            requests: cold,
            resolve,
        }];
        if self.redis.is_some() {
            rows.push(self.redis_hits().await?);
        }
        rows.push(Row {
            title: "warm: from this process's memory",
            requests: warm,
            resolve: None,
        });
        report::print(&rows);
        Ok(())
    }

    /// A second service has nothing in its memory, but finds what the first left in Redis.
    async fn redis_hits(&mut self) -> Result<Row, XtaskError> {
        let start = Instant::now();
        while self
            .keys()
            .await?
            .is_some_and(|keys| keys.len() < self.subjects.len())
            && start.elapsed() < FILL_DEADLINE
        {
            tokio::time::sleep(POLL).await;
        }
        let environment = borrowed(&self.environment);
        let second = Service::start(ORCHESTRATION, free_port()?, &environment, &self.http).await?;
        let mut requests = Latencies::default();
        for subject in &self.subjects {
            requests.push(subject.request(&second).await?.took);
        }
        let resolve = mean_resolve(&second.get_text("/metrics").await?, "redis");
        self.second = Some(second);
        Ok(Row {
            title: "Redis hit: a second, fresh orchestration",
            requests,
            resolve,
        })
    }

    /// Changes a template on disk, restarts the worker as a deployment would, and waits until
    /// orchestration makes tasks from the new template.
    pub(crate) async fn show_change(&mut self) -> Result<(), XtaskError> {
        let subject = self.subjects.first().ok_or(XtaskError::NoTemplate)?;
        let before = subject.request(&self.orchestration).await?.template_hash;
        let start = Instant::now();
        subject
            .file
            .describe("Changed while the demonstration was running.")?;
        println!(
            "\nchanged {} on disk, restarting the worker",
            subject.file.file_name()
        );

        let old = self.worker.take();
        let restart = async {
            let port = match old {
                Some(old) => {
                    let port = old.port();
                    old.stop().await?;
                    port
                }
                None => service::port(8081)?,
            };
            let environment = borrowed(&self.environment);
            let worker = Service::start(WORKER, port, &environment, &self.http).await?;
            Ok::<_, XtaskError>((worker, start.elapsed()))
        };
        let arrival = async {
            loop {
                let hash = subject.request(&self.orchestration).await?.template_hash;
                if hash != before {
                    return Ok((hash, start.elapsed()));
                }
                if start.elapsed() > CHANGE_DEADLINE {
                    let seconds = CHANGE_DEADLINE.as_secs();
                    return Err(XtaskError::NoChange { seconds });
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let ((worker, ready), (after, arrived)) = tokio::try_join!(restart, arrival)?;
        println!("  template_hash before  {before}");
        println!("  template_hash after   {after}");
        println!(
            "  orchestration makes tasks of it {} after the edit",
            milliseconds(arrived)
        );
        println!(
            "  (the restarted worker was ready {} after the edit)",
            milliseconds(ready)
        );
        self.worker = Some(worker);
        Ok(())
    }

    /// What the tiers hold now.
    pub(crate) async fn show_caches(&self) -> Result<(), XtaskError> {
        println!();
        if let Some(worker) = &self.worker {
            for subject in &self.subjects {
                let Subject {
                    namespace,
                    name,
                    version,
                    ..
                } = subject;
                worker
                    .get(&format!("/templates/{namespace}/{name}/{version}"))
                    .await?;
            }
            println!(
                "worker, /templates/cache/stats        {}",
                worker.get("/templates/cache/stats").await?
            );
            println!(
                "worker, /templates/cache/distributed  {}",
                worker.get("/templates/cache/distributed").await?
            );
        }
        println!(
            "orchestration, /health/ready          {}",
            self.orchestration.get("/health/ready").await?["status"]
        );
        match self.keys().await? {
            None => println!("Redis: none. No request failed; every process keeps its own copies."),
            Some(keys) => {
                println!("keys in Redis: {}", keys.len());
                for (key, seconds) in keys {
                    println!("  {key}  (expires in {seconds} s)");
                }
            }
        }
        Ok(())
    }

    pub(crate) fn print_addresses(&self) {
        println!();
        if let Some(worker) = &self.worker {
            println!(
                "worker         {}  (API: /api-docs/openapi.json)",
                worker.url()
            );
        }
        println!(
            "orchestration  {}  (API: /api-docs/openapi.json)",
            self.orchestration.url()
        );
        if let Some(second) = &self.second {
            println!("orchestration  {}  (the second one)", second.url());
        }
        println!(
            "templates      {}  (edit them; restart to register)",
            self.folder.path().display()
        );
    }

    /// The template keys in Redis with their remaining life in seconds. None without a Redis.
    async fn keys(&self) -> Result<Option<Vec<(String, i64)>>, XtaskError> {
        match &self.redis {
            Some(redis) => template_keys(redis.url()).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The database that `DATABASE_URL` names as it is, or a fresh one on a server of ours.
async fn demo_database(postgres: &Postgres) -> Result<String, XtaskError> {
    let Some(server) = postgres
        .server()
        .filter(|_| postgres.origin() != Origin::Environment)
    else {
        return Ok(postgres.url().to_owned());
    };
    let mut connection = PgConnection::connect(postgres.url()).await?;
    connection.execute("CREATE DATABASE tasker_demo").await?;
    connection.close().await?;
    Ok(server.url("tasker_demo"))
}

/// A demonstration without Redis is one too.
async fn acquire_redis(may_install: bool) -> Option<Redis> {
    match servers::redis(may_install).await {
        Ok(redis) => Some(redis),
        Err(error) => {
            eprintln!("{}", chain(&error));
            None
        }
    }
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

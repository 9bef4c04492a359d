//! The servers and services of the demonstration.

use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{HeldFolder, Origin, Postgres, Redis, causes, free_port};

use crate::cargo::root;
use crate::demo::redis_keys::template_keys;
use crate::demo::service::{self, ORCHESTRATION, Service, WORKER};
use crate::demo::subject::Subject;
use crate::demo::template_file::copy_folder;
use crate::error::XtaskError;
use crate::servers;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that runs. Fields are dropped from the top: services before their servers.
pub(crate) struct Scene {
    /// None only while it is restarted.
    pub(super) worker: Option<Service>,
    pub(super) orchestration: Service,
    pub(super) second: Option<Service>,
    pub(super) subjects: Vec<Subject>,
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) http: Client,
    folder: HeldFolder,
    pub(super) redis: Option<Redis>,
    _postgres: Postgres,
}

impl Scene {
    /// Gets the servers and starts a worker and an orchestration service on them.
    pub(crate) async fn set(without_redis: bool, may_install: bool) -> Result<Self, XtaskError> {
        let folder = HeldFolder::create()?;
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
        let subjects = accepted(&worker, folder.path(), &environment, &http).await?;
        // Choosing the templates filled both tiers; the first task is to find them empty.
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
    pub(super) async fn keys(&self) -> Result<Option<Vec<(String, i64)>>, XtaskError> {
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
            eprintln!("{}", causes(&error));
            None
        }
    }
}

/// The templates that tasks can be asked for, as a service says that ends before the show begins.
async fn accepted(
    worker: &Service,
    folder: &Path,
    environment: &[(&'static str, String)],
    http: &Client,
) -> Result<Vec<Subject>, XtaskError> {
    let judge = Service::start(ORCHESTRATION, free_port()?, &borrowed(environment), http).await?;
    let mut accepted = Vec::new();
    for subject in Subject::all(worker, folder).await? {
        match subject.request(&judge).await {
            Ok(_) => accepted.push(subject),
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
    judge.stop().await?;
    Ok(accepted)
}

pub(super) fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

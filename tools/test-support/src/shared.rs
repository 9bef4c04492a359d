//! The PostgreSQL and the Redis that all tests of a process share.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use tokio::sync::OnceCell;
use url::Url;

use crate::docker::{Container, Image};
use crate::{Failure, PostgresServer, RedisServer, Result, causes, postgres_server, redis_server};

/// The limit for a server that the environment names to answer.
const REACH_DEADLINE: Duration = Duration::from_secs(5);
/// The limit for a server in a container to answer.
const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A server that all tests of this process share.
#[derive(Debug)]
pub struct SharedServer {
    url: String,
    source: &'static str,
    /// Its drop ends the server, unless the environment names it.
    _owner: Option<Box<dyn Any + Send + Sync>>,
}

impl SharedServer {
    /// Returns the server's URL. PostgreSQL's names a database whose user may create others.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn started(url: String, server: impl Any + Send + Sync) -> Self {
        Self {
            url,
            source: "started from this machine's programs",
            _owner: Some(Box::new(server)),
        }
    }
}

impl fmt::Display for SharedServer {
    /// Writes the URL without secrets, and the source of the server.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", redacted(&self.url), self.source)
    }
}

/// Returns the PostgreSQL of this process: the one that `DATABASE_URL` names if it answers, else a
/// container, else one started from this machine's programs. It stays until the process ends.
///
/// It holds no connection, so tests with separate runtimes can share it.
pub async fn postgres() -> Result<&'static SharedServer> {
    static POSTGRES: OnceCell<SharedServer> = OnceCell::const_new();
    let url = |port| format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let start = async || {
        let server = PostgresServer::start().await?;
        Ok(SharedServer::started(server.url("postgres"), server))
    };
    let (image, answers) = (postgres_server::image(), postgres_server::answers);
    let find = || find("DATABASE_URL", image, url, answers, start);
    POSTGRES.get_or_try_init(find).await
}

/// Returns the Redis of this process, from the same sources, first the one that `REDIS_URL` names.
pub async fn redis() -> Result<&'static SharedServer> {
    static REDIS: OnceCell<SharedServer> = OnceCell::const_new();
    let url = |port| format!("redis://127.0.0.1:{port}");
    let start = async || {
        let server = RedisServer::start().await?;
        Ok(SharedServer::started(server.url(), server))
    };
    let (image, answers) = (redis_server::image(), redis_server::answers);
    let find = || find("REDIS_URL", image, url, answers, start);
    REDIS.get_or_try_init(find).await
}

/// Returns the server that this variable names if it answers, else one in a container, else the one
/// that `start` starts.
async fn find(
    variable: &str,
    image: Image,
    url: impl Fn(u16) -> String,
    answers: impl AsyncFn(&str) -> Result,
    start: impl AsyncFn() -> Result<SharedServer>,
) -> Result<SharedServer> {
    if let Some(server) = named_by(variable, &answers).await {
        return Ok(server);
    }
    if let Some(server) = in_container(image, url, answers).await {
        return Ok(server);
    }
    start().await
}

/// Returns a URL without its password and parameters.
fn redacted(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return String::from("(an invalid URL)");
    };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return String::from("(a URL whose password cannot be hidden)");
    }
    // Parameters can contain secrets too.
    url.set_query(None);
    url.into()
}

/// Returns the server that this variable names, if it answers.
async fn named_by(variable: &str, answers: impl AsyncFn(&str) -> Result) -> Option<SharedServer> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty())?;
    match tokio::time::timeout(REACH_DEADLINE, answers(&url)).await {
        Ok(Ok(())) => {
            return Some(SharedServer {
                url,
                source: "named by the environment",
                _owner: None,
            });
        }
        Ok(Err(error)) => {
            eprintln!("cannot use the server in {variable}: {}", causes(&*error));
        }
        Err(_) => eprintln!("the server in {variable} does not answer; looking for another"),
    }
    None
}

/// Returns a server in a container, if there is a Docker engine that can run one.
async fn in_container(
    image: Image,
    url: impl Fn(u16) -> String,
    answers: impl AsyncFn(&str) -> Result,
) -> Option<SharedServer> {
    let start = async {
        let Some((container, port)) = Container::start(image).await? else {
            return Ok(None);
        };
        let url = url(port);
        while answers(&url).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
        Ok::<_, Failure>(Some(SharedServer {
            url,
            source: "started in a container",
            _owner: Some(Box::new(container)),
        }))
    };
    match tokio::time::timeout(START_DEADLINE, start).await {
        Ok(Ok(server)) => return server,
        Ok(Err(error)) => eprintln!("not using the Docker engine: {}", causes(&*error)),
        Err(_) => eprintln!("not using the Docker engine: its container does not answer"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(
            redacted("postgres://tasker:secret@db.example:5432/tasker?password=secret"),
            "postgres://tasker:***@db.example:5432/tasker"
        );
        assert_eq!(
            redacted("redis://:secret@localhost:6379/1"),
            "redis://:***@localhost:6379/1"
        );
        assert_eq!(redacted("redis://localhost:6379"), "redis://localhost:6379");
        assert!(!redacted("no url, secret").contains("secret"));
    }
}

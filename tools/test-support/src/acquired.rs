//! A PostgreSQL and a Redis, wherever they can be had.

use std::fmt;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;
use url::Url;

use crate::docker::Engine;
use crate::{PostgresServer, RedisServer, TestkitError, causes, redis_connection};

/// A server that somebody names in the environment answers within this time or counts as lost.
const REACH_DEADLINE: Duration = Duration::from_secs(5);

/// Where a server comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `DATABASE_URL` or `REDIS_URL` names it. It is not ours: it stays as it is.
    Environment,
    /// A container of a Docker engine, removed after use.
    Container,
    /// The programs on this machine, stopped after use.
    Programs,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Environment => "named by the environment",
            Self::Container => "started in a container",
            Self::Programs => "started from this machine's programs",
        })
    }
}

/// A server for everybody in this process.
#[derive(Debug)]
pub struct Acquired<Server> {
    url: String,
    origin: Origin,
    server: Option<Server>,
}

/// A PostgreSQL for everybody in this process. Its URL is that of a database whose user may create
/// others: the one that `DATABASE_URL` names, or `postgres` on a server of ours.
pub type Postgres = Acquired<PostgresServer>;

/// A Redis for everybody in this process.
pub type Redis = Acquired<RedisServer>;

impl<Server> Acquired<Server> {
    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the server comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The server, if it is ours.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    fn named(url: String) -> Self {
        Self {
            url,
            origin: Origin::Environment,
            server: None,
        }
    }

    fn ours(url: String, server: Server, origin: Origin) -> Self {
        Self {
            url,
            origin,
            server: Some(server),
        }
    }
}

impl Postgres {
    /// The server that `DATABASE_URL` names if it answers, else a container, else one started from
    /// this machine's programs.
    pub async fn acquire() -> Result<Self, TestkitError> {
        if let Some(url) = named_by("DATABASE_URL", reach_postgres).await {
            return Ok(Self::named(url));
        }
        let (server, origin) =
            match in_docker(
                |engine| async move { PostgresServer::start_container(&engine, &[]).await },
            )
            .await
            {
                Some(server) => (server, Origin::Container),
                None => (PostgresServer::start_program(&[]).await?, Origin::Programs),
            };
        Ok(Self::ours(server.url("postgres"), server, origin))
    }
}

impl Redis {
    /// The server that `REDIS_URL` names if it answers, else a container, else one started from
    /// this machine's programs.
    pub async fn acquire() -> Result<Self, TestkitError> {
        if let Some(url) = named_by("REDIS_URL", reach_redis).await {
            return Ok(Self::named(url));
        }
        let (server, origin) =
            match in_docker(
                |engine| async move { RedisServer::start_container(&engine, &[]).await },
            )
            .await
            {
                Some(server) => (server, Origin::Container),
                None => (RedisServer::start_program(&[]).await?, Origin::Programs),
            };
        Ok(Self::ours(server.url(), server, origin))
    }
}

/// The PostgreSQL of this process, acquired on first use and there until the process ends.
///
/// It holds no connection, so tests with a runtime each can share it.
pub async fn postgres() -> Result<&'static Postgres, TestkitError> {
    static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
    POSTGRES.get_or_try_init(Postgres::acquire).await
}

/// The Redis of this process, acquired on first use and there until the process ends.
///
/// It holds no connection, so tests with a runtime each can share it.
pub async fn redis() -> Result<&'static Redis, TestkitError> {
    static REDIS: OnceCell<Redis> = OnceCell::const_new();
    REDIS.get_or_try_init(Redis::acquire).await
}

/// A URL without its password, fit to be printed.
#[must_use]
pub fn redacted(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return String::from("(a URL that cannot be understood)");
    };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return String::from("(a URL whose password cannot be hidden)");
    }
    // Parameters can hold secrets too.
    url.set_query(None);
    url.into()
}

/// The URL in this variable, if it is set and the server answers.
async fn named_by<Reach>(variable: &str, reach: impl FnOnce(String) -> Reach) -> Option<String>
where
    Reach: Future<Output = Result<(), TestkitError>>,
{
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty())?;
    match tokio::time::timeout(REACH_DEADLINE, reach(url.clone())).await {
        Ok(Ok(())) => return Some(url),
        Ok(Err(error)) => eprintln!(
            "{variable} names a server that cannot be used: {}; looking for another",
            causes(&error)
        ),
        Err(_) => eprintln!("{variable} names a server that does not answer; looking for another"),
    }
    None
}

async fn reach_postgres(url: String) -> Result<(), TestkitError> {
    Ok(PgConnection::connect(&url).await?.close().await?)
}

async fn reach_redis(url: String) -> Result<(), TestkitError> {
    let mut connection = redis_connection(&url).await?;
    Ok(redis::cmd("PING").query_async(&mut connection).await?)
}

/// A server in a container of the Docker engine, if there is one and it gives one.
async fn in_docker<Server, Start>(start: impl FnOnce(Engine) -> Start) -> Option<Server>
where
    Start: Future<Output = Result<Server, TestkitError>>,
{
    match start(Engine::detect()?).await {
        Ok(server) => Some(server),
        Err(error) => {
            eprintln!("not using the Docker engine: {}", causes(&error));
            None
        }
    }
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

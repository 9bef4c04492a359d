//! A PostgreSQL and a Redis that ask for passwords.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{PostgresServer, RedisServer, Secret, TestDatabase, TestkitError, redis_connection};

/// The user of both servers. A user's name is no secret.
const USER: &str = "app";
/// How long a server may take to apply what it was told.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A PostgreSQL and a Redis of a test's own on which the user `app` needs a password, to kill,
/// freeze and lock out a program under test with.
#[derive(Debug)]
pub struct GuardedServers {
    // Dropped first: it is dropped by a statement.
    database: TestDatabase,
    /// The PostgreSQL. Its superuser `postgres` needs no password.
    pub postgres: PostgresServer,
    /// The Redis. Its default user needs no password.
    pub redis: RedisServer,
    /// The password of `app` in PostgreSQL.
    pub postgres_secret: Secret,
    /// The password of `app` in Redis.
    pub redis_secret: Secret,
}

impl GuardedServers {
    /// Starts both, with an empty database that belongs to `app`.
    pub async fn start() -> Result<Self, TestkitError> {
        let (postgres_secret, redis_secret) = (Secret::new(), Secret::new());
        let password = format!(">{}", redis_secret.password());
        let account = ["--user", USER, "on", &password, "~*", "&*", "+@all"];
        let redis = RedisServer::start_with(&account).await?;
        let postgres = PostgresServer::start().await?;
        let database = TestDatabase::create_on(&postgres.url("postgres")).await?;
        let servers = Self {
            database,
            postgres,
            redis,
            postgres_secret,
            redis_secret,
        };
        servers.ask_for_passwords().await?;
        Ok(servers)
    }

    /// The database's URL, with user and password.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.database_url_with(&self.postgres_secret)
    }

    /// The database's URL with another password.
    #[must_use]
    pub fn database_url_with(&self, secret: &Secret) -> String {
        let database = self.postgres.url(self.database.name());
        database.replacen("postgres@", &format!("{USER}:{}@", secret.in_url()), 1)
    }

    /// Redis' URL, with user and password.
    #[must_use]
    pub fn redis_url(&self) -> String {
        let account = format!("redis://{USER}:{}@", self.redis_secret.in_url());
        self.redis.url().replacen("redis://", &account, 1)
    }

    /// Whether either password is in `text`, in any form.
    #[must_use]
    pub fn are_betrayed_by(&self, text: &str) -> bool {
        self.postgres_secret.is_in(text) || self.redis_secret.is_in(text)
    }

    /// Gives `app` another password in PostgreSQL and ends its sessions, or gives it back the
    /// one that its URL has.
    pub async fn lock_postgres(&self, locked: bool) -> Result<(), TestkitError> {
        let secret = if locked {
            Secret::new()
        } else {
            self.postgres_secret.clone()
        };
        let password = format!("ALTER ROLE {USER} PASSWORD '{}'", secret.password());
        self.as_superuser(&[
            &password,
            &format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'"
            ),
        ])
        .await
    }

    /// Gives `app` another password in Redis and ends its connections, or gives it back the one
    /// that its URL has.
    pub async fn lock_redis(&self, locked: bool) -> Result<(), TestkitError> {
        let secret = if locked {
            Secret::new()
        } else {
            self.redis_secret.clone()
        };
        let mut connection = redis_connection(&self.redis.url()).await?;
        let password = format!(">{}", secret.password());
        let () = redis::cmd("ACL")
            .arg(&["SETUSER", USER, "resetpass", &password])
            .query_async(&mut connection)
            .await?;
        let _ended: u64 = redis::cmd("CLIENT")
            .arg(&["KILL", "USER", USER])
            .query_async(&mut connection)
            .await?;
        Ok(())
    }

    /// Makes the account, and lets nobody but the superuser in without a password.
    async fn ask_for_passwords(&self) -> Result<(), TestkitError> {
        let password = self.postgres_secret.password();
        let rules = "DO $$ BEGIN EXECUTE format(
            'COPY (VALUES (''host all postgres all trust''), (''host all all all scram-sha-256'')) \
            TO %L', current_setting('hba_file')); END $$";
        self.as_superuser(&[
            &format!("CREATE ROLE {USER} LOGIN PASSWORD '{password}'"),
            &format!("ALTER DATABASE {} OWNER TO {USER}", self.database.name()),
            rules,
            "SELECT pg_reload_conf()",
        ])
        .await?;
        // The server reads its rules again when it comes to it.
        let nobody = self.database_url_with(&Secret::new());
        let start = Instant::now();
        while PgConnection::connect(&nobody).await.is_ok() {
            if start.elapsed() > PATIENCE {
                let log = self.postgres.log().await;
                return Err(TestkitError::too_slow(
                    "postgres",
                    "ask for passwords",
                    PATIENCE,
                    &log,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Runs statements that hold nothing but names and passwords of ours.
    async fn as_superuser(&self, statements: &[&str]) -> Result<(), TestkitError> {
        let mut connection = PgConnection::connect(&self.postgres.url("postgres")).await?;
        for statement in statements {
            connection
                .execute(AssertSqlSafe((*statement).to_owned()))
                .await?;
        }
        Ok(connection.close().await?)
    }
}

//! A PostgreSQL and a Redis that require passwords.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use tasker_test_support::{PostgresServer, RedisServer, Result, TestDatabase, redis_connection};

use super::secret::Secret;

/// The user of both servers. A user's name is not a secret.
const USER: &str = "app";
/// The limit for a server to apply a changed setting.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A PostgreSQL and a Redis of a test's own, on which the user `app` needs a password.
#[derive(Debug)]
pub(super) struct PasswordServers {
    // Dropped first: it is dropped by a statement.
    database: TestDatabase,
    /// The PostgreSQL. Its superuser `postgres` needs no password.
    pub(super) postgres: PostgresServer,
    /// The Redis. Its default user needs no password.
    pub(super) redis: RedisServer,
    /// The password of `app` in PostgreSQL.
    pub(super) postgres_secret: Secret,
    /// The password of `app` in Redis.
    pub(super) redis_secret: Secret,
}

impl PasswordServers {
    /// Starts both, with an empty database that belongs to `app`.
    pub(super) async fn start() -> Result<Self> {
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
        servers.require_passwords().await?;
        Ok(servers)
    }

    /// Returns the database's URL, with user and password.
    pub(super) fn database_url(&self) -> String {
        self.database_url_with(&self.postgres_secret)
    }

    /// Returns the database's URL with another password.
    pub(super) fn database_url_with(&self, secret: &Secret) -> String {
        let database = self.postgres.url(self.database.name());
        database.replacen("postgres@", &format!("{USER}:{}@", secret.in_url()), 1)
    }

    /// Returns the URL of Redis, with user and password.
    pub(super) fn redis_url(&self) -> String {
        let account = format!("redis://{USER}:{}@", self.redis_secret.in_url());
        self.redis.url().replacen("redis://", &account, 1)
    }

    /// Returns `true` if either password is in `text`, in any form.
    pub(super) fn are_leaked_by(&self, text: &str) -> bool {
        self.postgres_secret.is_in(text) || self.redis_secret.is_in(text)
    }

    /// Changes the password of `app` in PostgreSQL and ends its sessions, or restores the password.
    pub(super) async fn lock_postgres(&self, locked: bool) -> Result {
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

    /// Changes the password of `app` in Redis and ends its connections, or restores the password.
    pub(super) async fn lock_redis(&self, locked: bool) -> Result {
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

    /// Creates the account, and requires a password from all users but the superuser.
    async fn require_passwords(&self) -> Result {
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
        // The server reloads its rules in the background.
        let nobody = self.database_url_with(&Secret::new());
        let start = Instant::now();
        while PgConnection::connect(&nobody).await.is_ok() {
            let log = self.postgres.log();
            assert!(start.elapsed() < PATIENCE, "no password is required: {log}");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Runs statements that contain only names and passwords of this file.
    async fn as_superuser(&self, statements: &[&str]) -> Result {
        let mut connection = PgConnection::connect(&self.postgres.url("postgres")).await?;
        for statement in statements {
            connection
                .execute(AssertSqlSafe((*statement).to_owned()))
                .await?;
        }
        Ok(connection.close().await?)
    }
}

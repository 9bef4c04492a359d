//! The program: its command line, its exit codes, and how it stops.

use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{
    PostgresServer, RedisServer, TcpProxy, TestDatabase, free_port, redis_connection,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// Longer than anything here takes; a test that waits for so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program, with nothing of this environment but what tells where programs are.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasker-orchestration"));
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("TASKER_ENV", "test")
        .env("TASKER__COMMON__CACHE__ENABLED", "false")
        .env("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS", "127.0.0.1:0")
        // Not the repository: the embedded defaults are what is configured.
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) async fn output(command: &mut Command) -> Output {
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

/// Reads all lines as they come, because the service drops lines that nobody reads.
fn collect_lines(stderr: ChildStderr) -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if sender.send(line).is_err() {
                // The service is dropped with the receiver.
                return;
            }
        }
    });
    receiver
}

/// A running service.
pub(crate) struct Service {
    child: Child,
    log: UnboundedReceiver<String>,
    pub(crate) url: String,
}

impl Service {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_program(program(), database).await
    }

    pub(crate) async fn start_program(program: Command, database: &TestDatabase) -> Self {
        Self::start_at(program, database.url()).await
    }

    /// Starts a program on the database of this URL.
    pub(crate) async fn start_at(mut program: Command, url: &str) -> Self {
        program.env("DATABASE_URL", url).stderr(Stdio::piped());
        let mut service = Self::of(program.spawn().unwrap());
        service.until_listening().await;
        service
    }

    /// Starts one that may not listen yet.
    fn begin(mut program: Command, database: &TestDatabase) -> Self {
        program
            .env("DATABASE_URL", database.url())
            .stderr(Stdio::piped());
        Self::of(program.spawn().unwrap())
    }

    fn of(mut child: Child) -> Self {
        Self {
            log: collect_lines(child.stderr.take().unwrap()),
            child,
            url: String::new(),
        }
    }

    async fn until_listening(&mut self) {
        let listening = self.logged("listening").await;
        self.url = format!("http://{}", listening["address"].as_str().unwrap());
    }

    /// Returns the most memory that the process has used, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() / 1024
    }

    /// Waits for a log line with this message.
    pub(crate) async fn logged(&mut self, message: &str) -> Value {
        let found = timeout(PATIENCE, async {
            while let Some(line) = self.log.recv().await {
                let entry: Value = serde_json::from_str(&line).unwrap();
                if entry["message"] == message {
                    return Some(entry);
                }
            }
            None
        });
        found
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("the log ends without {message:?}"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap()
            .code()
    }

    /// The status that `path` answers, on a connection of its own.
    async fn status(&self, path: &str) -> u16 {
        let url = format!("{}{path}", self.url);
        reqwest::get(url).await.unwrap().status().as_u16()
    }

    /// Asks for a task of a template that has to wait for a lock on its table.
    fn ask_for_a_task(&self) -> tokio::task::JoinHandle<Option<u16>> {
        let url = format!("{}/v1/tasks", self.url);
        tokio::spawn(async move {
            let request = reqwest::Client::new()
                .post(url)
                .json(&json!({"name": "slow"}));
            Some(request.send().await.ok()?.status().as_u16())
        })
    }
}

/// A program with its cache in the Redis of this URL.
fn program_with_redis(url: &str) -> Command {
    let mut command = program();
    command
        .env("TASKER__COMMON__CACHE__ENABLED", "true")
        .env("TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS", "2000")
        .env("REDIS_URL", url);
    command
}

async fn get_json(url: String) -> Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_redis_that_is_lost_is_warned_of_and_fails_no_request() {
    let database = TestDatabase::create().await.unwrap();
    let redis = RedisServer::start().await.unwrap();
    let mut service = Service::start_program(program_with_redis(&redis.url()), &database).await;
    redis.kill().await.unwrap();
    let line = "the cache is not used until it is well again; requests continue without it";
    let lost = service.logged(line).await;
    assert_eq!(lost["level"], "WARN");
    assert_eq!(service.status("/v1/handlers").await, 200);
    let ready = get_json(format!("{}/health/ready", service.url)).await;
    assert_eq!(ready["status"], "degraded");
}

#[tokio::test]
async fn the_database_in_the_redis_url_is_the_one_that_is_used() {
    let database = TestDatabase::create().await.unwrap();
    let redis = RedisServer::start().await.unwrap();
    let url = format!("{}/1", redis.url());
    let service = Service::start_program(program_with_redis(&url), &database).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection
        .execute(
            "INSERT INTO tasker.task_namespaces (name) VALUES ('default');
             INSERT INTO tasker.named_tasks (task_namespace_uuid, name, configuration)
             SELECT task_namespace_uuid, 'quick', '{\"name\": \"quick\", \"steps\": []}'
             FROM tasker.task_namespaces",
        )
        .await
        .unwrap();
    let created = reqwest::Client::new()
        .post(format!("{}/v1/tasks", service.url))
        .json(&json!({"name": "quick"}))
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    let mut connection = redis_connection(&redis.url()).await.unwrap();
    let size = async |connection: &mut redis::aio::MultiplexedConnection, database: u8| -> u64 {
        let () = redis::cmd("SELECT")
            .arg(database)
            .query_async(connection)
            .await
            .unwrap();
        redis::cmd("DBSIZE").query_async(connection).await.unwrap()
    };
    let started = std::time::Instant::now();
    while size(&mut connection, 1).await == 0 {
        assert!(started.elapsed() < PATIENCE, "nothing is in database 1");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(size(&mut connection, 0).await, 0);
}

#[tokio::test]
async fn a_contradiction_about_the_cache_starts_the_service_without_it() {
    let database = TestDatabase::create().await.unwrap();
    let contradiction = || {
        let mut command = program_with_redis("redis://localhost:6379/1");
        command.env("TASKER__COMMON__CACHE__REDIS__DATABASE", "2");
        command
    };
    let checked = output(contradiction().arg("--check-config")).await;
    assert_eq!(
        checked.status.code(),
        Some(i32::from(tasker_web::exit::CONFIG))
    );
    let mut service = Service::begin(contradiction(), &database);
    let refused = service
        .logged("the cache is not used, because its configuration is wrong")
        .await;
    assert_eq!(refused["level"], "ERROR");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("another database"),
        "{refused}"
    );
    service.until_listening().await;
    let health = get_json(format!("{}/health/detailed", service.url)).await;
    let cache = &health["checks"]["cache"];
    assert!(
        cache["refused"]
            .as_str()
            .unwrap()
            .contains("another database"),
        "{cache}"
    );
    assert_eq!(cache["status"], "degraded");
    assert_eq!(service.status("/health/ready").await, 200);
}

#[tokio::test]
async fn settings_without_effect_are_listed_in_one_warning() {
    let database = TestDatabase::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("merged.toml");
    std::fs::write(
        &file,
        "[common.backoff]\nseconds = 1\n[rust_worker]\nenabled = true\n",
    )
    .unwrap();
    let mut command = program();
    command
        .env_remove("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS")
        .env("TASKER_CONFIG_PATH", &file)
        .env("TASKER_WEB_BIND_ADDRESS", "127.0.0.1:0")
        .env("TASKER_DEPLOYMENT", "blue");
    let mut service = Service::begin(command, &database);
    let warning = service
        .logged("settings are present and have no effect")
        .await;
    assert_eq!(warning["level"], "WARN");
    assert_eq!(
        warning["settings"],
        "TASKER_DEPLOYMENT common.backoff rust_worker"
    );
    service.until_listening().await;
    assert_eq!(service.status("/health/ready").await, 200);
}

/// The log line with which the program ends, and its code.
async fn refused(url: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = program();
    command.args(arguments).env("DATABASE_URL", url).env(
        "TASKER__COMMON__DATABASE__POOL__ACQUIRE_TIMEOUT_SECONDS",
        "1",
    );
    let output = output(&mut command).await;
    (output.status.code().unwrap(), text(&output))
}

#[tokio::test]
async fn a_start_that_fails_names_the_cause_and_the_remedy() {
    let server = PostgresServer::start_with(&[("password_encryption", "scram-sha-256")])
        .await
        .unwrap();
    let free = free_port().unwrap();
    let unknown = server.url("nowhere");
    let nobody = format!("postgres://app@127.0.0.1:{free}/tasker");
    let role = server.url("postgres").replace("postgres@", "stranger@");
    for (url, cause, remedy) in [
        (
            &unknown,
            "database \\\"nowhere\\\" does not exist",
            "createdb",
        ),
        (&nobody, "Connection refused", "start PostgreSQL"),
        (
            &role,
            "role \\\"stranger\\\" does not exist",
            "correct user and password",
        ),
    ] {
        for arguments in [&[][..], &["--migrate"]] {
            let (code, text) = refused(url, arguments).await;
            assert_eq!(code, i32::from(tasker_web::exit::UNAVAILABLE), "{text}");
            assert!(text.contains(cause), "{cause} is not in {text}");
            assert!(text.contains(remedy), "{remedy} is not in {text}");
        }
    }
}

#[tokio::test]
async fn a_start_waits_for_a_connection_that_becomes_free_and_says_why() {
    let server = PostgresServer::start_with(&[("max_connections", "5")])
        .await
        .unwrap();
    let url = server.url("postgres");
    let mut others = Vec::new();
    while let Ok(connection) = PgConnection::connect(&url).await {
        others.push(connection);
    }
    let mut command = program();
    command
        .env("DATABASE_URL", &url)
        .env("TASKER__COMMON__DATABASE__POOL__MAX_CONNECTIONS", "2")
        .stderr(Stdio::piped());
    let mut service = Service::of(command.spawn().unwrap());
    let waiting = service
        .logged("PostgreSQL cannot be used yet; trying again")
        .await;
    assert_eq!(waiting["cause"], "too_many_connections");
    drop(others);
    service.until_listening().await;
    assert_eq!(service.status("/health/ready").await, 200);
}

#[tokio::test]
async fn a_connection_that_is_lost_while_migrating_is_tried_again() {
    let database = TestDatabase::create().await.unwrap();
    let proxy = TcpProxy::before(database.url()).await.unwrap();
    let mut direct = PgConnection::connect(database.url()).await.unwrap();
    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    // The migrator waits for this, because it creates the schema, too.
    holder.execute("BEGIN; CREATE SCHEMA tasker").await.unwrap();
    let mut command = program();
    command
        .env("DATABASE_URL", proxy.url())
        .stderr(Stdio::piped());
    let mut service = Service::of(command.spawn().unwrap());
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let started = std::time::Instant::now();
    loop {
        let waiting: i64 = sqlx::query_scalar(waits)
            .fetch_one(&mut direct)
            .await
            .unwrap();
        if waiting > 0 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "no migration waits");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.cut().await;
    let lost = service
        .logged("PostgreSQL cannot be used yet; trying again")
        .await;
    assert_eq!(lost["cause"], "connection_lost", "{lost}");
    holder.execute("ROLLBACK").await.unwrap();
    service.until_listening().await;
    assert_eq!(service.status("/health/ready").await, 200);
}

#[tokio::test]
async fn a_later_releases_migrations_are_ignored_and_known_ones_are_checked() {
    let database = TestDatabase::create().await.unwrap();
    let migrated = output(
        program()
            .arg("--migrate")
            .env("DATABASE_URL", database.url()),
    )
    .await;
    assert_eq!(migrated.status.code(), Some(0), "{}", text(&migrated));
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection
        .execute(
            "INSERT INTO tasker._tasker_shared_migrations
                 (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, '\\x00', 1)",
        )
        .await
        .unwrap();
    let mut service = Service::begin(program(), &database);
    let warning = service
        .logged("the schema has migrations of a later release, which are ignored")
        .await;
    assert_eq!(
        (&warning["level"], &warning["versions"]),
        (&json!("WARN"), &json!("9999"))
    );
    service.until_listening().await;
    connection
        .execute("UPDATE tasker._tasker_shared_migrations SET checksum = '\\x01' WHERE version = 2")
        .await
        .unwrap();
    let (code, text) = refused(database.url(), &[]).await;
    assert_eq!(code, i32::from(tasker_web::exit::UNAVAILABLE), "{text}");
    assert!(text.contains("migration 2 "), "{text}");
}

#[tokio::test]
async fn triggers_that_were_disabled_are_an_error_at_the_start() {
    let database = TestDatabase::create().await.unwrap();
    let migrated = output(
        program()
            .arg("--migrate")
            .env("DATABASE_URL", database.url()),
    )
    .await;
    assert_eq!(migrated.status.code(), Some(0), "{}", text(&migrated));
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection
        .execute(
            "ALTER TABLE tasker.named_tasks DISABLE TRIGGER USER;
             ALTER TABLE tasker.named_tasks ENABLE TRIGGER USER",
        )
        .await
        .unwrap();
    let mut service = Service::begin(program(), &database);
    service.until_listening().await;
    let line = "triggers of the templates' tables do not fire as they have to";
    let error = service.logged(line).await;
    assert_eq!(error["level"], "ERROR");
    let health = get_json(format!("{}/health/detailed", service.url)).await;
    assert_eq!(health["checks"]["triggers"]["status"], "degraded");
    assert_eq!(health["status"], "degraded");
    let metrics = reqwest::get(format!("{}/metrics", service.url))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("tasker_template_triggers_wrong 7"),
        "{metrics}"
    );
}

/// Registers `default/slow/0.1.0` and locks the table of tasks until the connection is closed.
async fn lock_tasks(database: &TestDatabase) -> PgConnection {
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection
        .execute(
            r#"
            INSERT INTO tasker.task_namespaces (name) VALUES ('default');
            INSERT INTO tasker.named_tasks (task_namespace_uuid, name, configuration)
            SELECT task_namespace_uuid, 'slow',
                   '{"name": "slow", "namespace_name": "default", "version": "0.1.0",
                     "task_handler": {"callable": "Slow"}, "steps": []}'
            FROM tasker.task_namespaces;
            "#,
        )
        .await
        .unwrap();
    // On its own: BEGIN would take the statements before it in its text into the transaction.
    connection
        .execute("BEGIN; LOCK TABLE tasker.tasks IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    connection
}

/// Waits until somebody waits for the lock.
async fn somebody_waits(connection: &mut PgConnection) {
    // Not pg_stat_activity, which a transaction sees as it was when it first looked.
    let waiting = "SELECT count(*) FROM pg_locks
                   WHERE NOT granted AND relation = 'tasker.tasks'::regclass";
    timeout(PATIENCE, async {
        while sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&mut *connection)
            .await
            .unwrap()
            == 0
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn help_and_version_are_answered_and_a_wrong_argument_is_a_usage_error() {
    let help = output(program().arg("--help")).await;
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help).contains("--check-config"));
    let version = output(program().arg("--version")).await;
    assert_eq!(
        text(&version).trim(),
        concat!("tasker-orchestration ", env!("CARGO_PKG_VERSION"))
    );
    let wrong = output(program().arg("--serve-me")).await;
    assert_eq!(wrong.status.code(), Some(64));
}

#[tokio::test]
async fn the_configuration_is_checked_without_a_database() {
    let nowhere = "postgres://u:hunter2@127.0.0.1:1/none";
    let right = output(program().arg("--check-config").env("DATABASE_URL", nowhere)).await;
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    assert!(text(&right).starts_with("OK"));

    for (variable, value) in [
        ("TASKER__ORCHESTRATION__WEB__REQUEST_TIMEOUT_MS", "soon"),
        ("TASKER__ORCHESTRATION__WEB__BIND_ADDRES", "127.0.0.1:1"),
        ("TASKER_LOG_FORMAT", "xml"),
    ] {
        let wrong = output(program().arg("--check-config").env(variable, value)).await;
        assert_eq!(
            wrong.status.code(),
            Some(78),
            "{variable}: {}",
            text(&wrong)
        );
        assert_eq!(
            output(program().env(variable, value)).await.status.code(),
            Some(78)
        );
    }
}

#[tokio::test]
async fn a_lost_database_is_told_from_a_wrong_configuration_and_keeps_its_password() {
    let nowhere = "postgres://u:hunter2@127.0.0.1:1/none";
    let lost = output(program().env("DATABASE_URL", nowhere)).await;
    assert_eq!(lost.status.code(), Some(69), "{}", text(&lost));
    assert!(text(&lost).contains("127.0.0.1:1"), "{}", text(&lost));
    assert!(!text(&lost).contains("hunter2"), "{}", text(&lost));
}

#[tokio::test]
async fn an_address_in_use_is_told_before_the_database_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = output(
        program()
            .env("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS", &address)
            .env("DATABASE_URL", "postgres://u@127.0.0.1:1/none"),
    )
    .await;
    assert_eq!(refused.status.code(), Some(71), "{}", text(&refused));
    assert!(text(&refused).contains(&address), "{}", text(&refused));
}

#[tokio::test]
async fn sigterm_makes_not_ready_lets_requests_finish_and_exits_with_0() {
    let database = TestDatabase::create().await.unwrap();
    let mut service = Service::start(&database).await;
    assert_eq!(service.status("/health/ready").await, 200);
    let mut lock = lock_tasks(&database).await;
    let task = service.ask_for_a_task();
    somebody_waits(&mut lock).await;

    service.signal(Signal::TERM);
    service.logged("not ready, draining").await;
    assert_eq!(service.status("/health/ready").await, 503);
    let refused = service.logged("request not served").await;
    assert_eq!(refused["level"], "WARN");
    assert_eq!(
        (&refused["code"], &refused["status"]),
        (&json!("draining"), &json!(503))
    );
    assert!(refused["request_id"].is_string(), "{refused}");
    lock.execute("COMMIT").await.unwrap();

    assert_eq!(task.await.unwrap(), Some(201));
    service.logged("stopped").await;
    assert_eq!(service.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let database = TestDatabase::create().await.unwrap();
    let mut service = Service::start(&database).await;
    let mut lock = lock_tasks(&database).await;
    let task = service.ask_for_a_task();
    somebody_waits(&mut lock).await;

    service.signal(Signal::INT);
    service.logged("not ready, draining").await;
    service.signal(Signal::INT);
    assert_eq!(service.exit_code().await, Some(130));
    assert_eq!(task.await.unwrap(), None);
}

#[tokio::test]
async fn a_service_whose_log_nobody_reads_serves_and_stops() {
    let database = TestDatabase::create().await.unwrap();
    let port = free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let mut child = program()
        .env("DATABASE_URL", database.url())
        .env("TASKER_LOG", "trace")
        .env(
            "TASKER__ORCHESTRATION__WEB__BIND_ADDRESS",
            format!("127.0.0.1:{port}"),
        )
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let http = reqwest::Client::new();
    let get = async |path: &str| {
        let answer = http.get(format!("{url}{path}")).timeout(PATIENCE).send();
        answer
            .await
            .map(|answer| (answer.status().as_u16(), answer))
    };
    let serves = async {
        while !matches!(get("/health/ready").await, Ok((200, _))) {
            tokio::task::yield_now().await;
        }
        loop {
            // Each request writes a line or two.
            let requests = (0..32).map(|_| get("/health/live"));
            for answer in futures::future::join_all(requests).await {
                assert_eq!(answer.unwrap().0, 200);
            }
            let (status, metrics) = get("/metrics").await.unwrap();
            assert_eq!(status, 200);
            let metrics = metrics.text().await.unwrap();
            let mut lines = metrics.lines();
            let dropped =
                lines.find_map(|line| line.strip_prefix("tasker_log_lines_dropped_total "));
            if dropped.is_some_and(|dropped| dropped != "0") {
                return;
            }
        }
    };
    timeout(PATIENCE, serves).await.unwrap();
    assert_eq!(get("/health/live").await.unwrap().0, 200);

    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn running_out_of_files_is_one_line_and_passes() {
    let database = TestDatabase::create().await.unwrap();
    let inner = program();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 64; exec \"$0\""])
        .arg(inner.as_std().get_program())
        .env_clear()
        .envs(
            inner
                .as_std()
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let mut service = Service::start_program(limited, &database).await;
    let address = service.url.strip_prefix("http://").unwrap().to_owned();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    let message = "connections cannot be accepted; raise the limit of open files (ulimit -n) if it is reached";
    assert_eq!(service.logged(message).await["level"], "WARN");
    // Several attempts fail before the files are there again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(clients);
    assert_eq!(service.status("/health/live").await, 200);
    let metrics = reqwest::get(format!("{}/metrics", service.url))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let failed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("tasker_http_accept_errors_total "));
    assert!(failed.unwrap().parse::<u64>().unwrap() > 1, "{metrics}");

    service.signal(Signal::TERM);
    timeout(PATIENCE, async {
        while let Some(line) = service.log.recv().await {
            assert!(!line.contains(message), "logged again: {line}");
        }
    })
    .await
    .unwrap();
    assert_eq!(service.exit_code().await, Some(0));
}

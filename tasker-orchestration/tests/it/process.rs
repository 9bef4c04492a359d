//! The program: its command line, its exit codes, and how it stops.

use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{Access, TestDatabase, free_port, until};
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
    /// The lines that were read.
    read: Vec<Value>,
    pub(crate) url: String,
}

impl Service {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_program(program(), database).await
    }

    pub(crate) async fn start_program(mut program: Command, database: &TestDatabase) -> Self {
        let access = Access::to(database.url());
        program.envs(access.variables());
        Self::start_at(program, &access.url).await
    }

    /// Starts a program on the database of this URL.
    pub(crate) async fn start_at(mut program: Command, url: &str) -> Self {
        program.env("DATABASE_URL", url).stderr(Stdio::piped());
        let mut service = Self::of(program.spawn().unwrap());
        service.until_listening().await;
        service
    }

    /// Starts one that may not listen yet.
    pub(crate) fn begin(mut program: Command, database: &TestDatabase) -> Self {
        program
            .envs(Access::to(database.url()).variables())
            .stderr(Stdio::piped());
        Self::of(program.spawn().unwrap())
    }

    pub(crate) fn of(mut child: Child) -> Self {
        Self {
            log: collect_lines(child.stderr.take().unwrap()),
            read: Vec::new(),
            child,
            url: String::new(),
        }
    }

    pub(crate) async fn until_listening(&mut self) {
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
                self.read.push(entry.clone());
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

    /// Stops the service, and returns all its lines of this level.
    pub(crate) async fn lines_of(mut self, level: &str) -> Vec<Value> {
        self.signal(Signal::TERM);
        self.logged("stopped").await;
        self.read.retain(|line| line["level"] == level);
        self.read
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
    pub(crate) async fn status(&self, path: &str) -> u16 {
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
    until("somebody waits for the lock", async || {
        let waiting = sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *connection);
        (waiting.await.unwrap() > 0).then_some(())
    })
    .await;
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
    let mut command = program();
    command
        .arg("--check-config")
        .env("DATABASE_URL", nowhere)
        .env("TASKER_DEPLOYMENT", "blue");
    let right = output(&mut command).await;
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    assert!(text(&right).starts_with("OK"));
    let unused = "settings are present and have no effect: TASKER_DEPLOYMENT";
    assert!(text(&right).contains(unused), "{}", text(&right));

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
async fn a_queue_that_is_not_measured_has_a_metric_that_stands_still() {
    let database = TestDatabase::create().await.unwrap();
    let mut service = Service::start(&database).await;
    let url = format!("{}/metrics", service.url);
    let measured = async || {
        let metrics = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let mut lines = metrics.lines();
        let name = "tasker_queue_last_success_timestamp_seconds ";
        let value = lines.find_map(|line| line.strip_prefix(name));
        value
            .expect("it is set at the start")
            .parse::<i64>()
            .unwrap()
    };
    let mut lock = PgConnection::connect(database.url()).await.unwrap();
    lock.execute("BEGIN; LOCK tasker.step_queue").await.unwrap();
    let message = "the queue cannot be measured; its metrics are old";
    assert_eq!(service.logged(message).await["level"], "WARN");
    // The statement has waited for the lock for four seconds.
    let stale = measured().await;
    assert!(chrono::Utc::now().timestamp() - stale >= 3, "{stale}");
    lock.execute("COMMIT").await.unwrap();
    service.logged("the queue is measured again").await;
    assert!(measured().await > stale);
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

//! Handlers that are written in Python.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tasker_worker::{Handlers, StepContext, StepOutcome};
use tokio::net::TcpListener;

use super::engine::Engine;

/// Checks the signature as the specification of Standard Webhooks says, with nothing of ours.
const SERVER: &str = r#"
import base64, email.utils, hashlib, hmac, json, time
from http.server import BaseHTTPRequestHandler, HTTPServer
seen = {}
begun = {}
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        mac = hmac.new(b'0123456789abcdef', signed, hashlib.sha256).digest()
        if self.headers['webhook-signature'] != 'v1,' + base64.b64encode(mac).decode():
            return self.answer(401, {'error': 'signature'})
        step = json.loads(body)
        key = self.headers['idempotency-key']
        seen[key] = seen.get(key, 0) + 1
        if self.path == '/flaky' and seen[key] == 1:
            return self.answer(503, {}, {'retry-after': '0'})
        if self.path == '/burst' and seen[key] == 1:
            return self.answer(500, 'x' * 3000000)
        if self.path == '/later' and seen[key] == 1:
            begun[key] = time.time()
            date = email.utils.formatdate(time.time() + 3, usegmt=True)
            return self.answer(429, {}, {'retry-after': date})
        if self.path == '/later':
            return self.answer(200, {'waited': time.time() - begun[key]})
        if self.path == '/digits':
            return self.answer(200, {'n': 123456789012345678901234567890, 'large': 10 ** 400})
        if self.path == '/copy':
            return self.answer(200, step['dependencies'])
        if self.path == '/refused':
            return self.answer(422, {'error': 'no'})
        if self.path == '/redirect':
            return self.answer(302, {}, {'location': '/flaky'})
        if self.path == '/large':
            return self.answer(200, 'x' * 2000000)
        self.answer(200, {'calls': seen[key], 'context': step['task']['context'],
                          'dependencies': sorted(step['dependencies']),
                          'entry': [step['step'].get('method'), step['step'].get('resolver')]})
    def answer(self, status, value, headers={}):
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header('content-length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args):
        pass
server = HTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// Keeps connections, and closes each when it is used for the second time, without an answer.
const CLOSER: &str = r"
import json, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
seen = {}
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    used = False
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        seen[self.path] = seen.get(self.path, 0) + 1
        if self.path == '/crash':
            time.sleep(1.5)
        if self.used or self.path == '/silent':
            self.close_connection = True
            return
        self.used = True
        data = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header('content-length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args):
        pass
server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
";

struct Server(Child);

impl Server {
    fn start(script: &str) -> (Self, u16) {
        let mut child = Command::new("python3")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        (Self(child), line.trim().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn engine(port: u16) -> Engine {
    Engine::start_with(|config| {
        let http = &mut config.worker.http_handlers;
        http.allowed_hosts = vec![format!("127.0.0.1:{port}"), format!("LocalHost:{port}")];
        http.signing_secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==".into();
    })
    .await
}

/// A step that is tried twice, without a pause of its own.
fn sent(name: &str, callable: &str, dependencies: &[&str]) -> Value {
    json!({
        "name": name, "dependencies": dependencies,
        "retry": {"max_attempts": 2, "backoff": "none"}, "handler": {"callable": callable},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_sent_to_allowed_hosts_and_answers_are_results() {
    let (_server, port) = Server::start(SERVER);
    let engine = engine(port).await;
    let step = |name: &str, path: &str, dependencies: &[&str]| {
        sent(
            name,
            &format!("http://127.0.0.1:{port}/{path}"),
            dependencies,
        )
    };
    let mut last = step("b", "plain", &["a"]);
    last["handler"]["method"] = json!("run");
    engine
        .register("good", json!([step("a", "flaky", &[]), last]))
        .await;
    for path in ["refused", "redirect", "large"] {
        engine.register(path, json!([step("a", path, &[])])).await;
    }
    let _worker = engine.work(Handlers::new());
    let (task, state) = engine.run("good", json!({"n": 1})).await;
    assert_eq!(state, "complete", "{:?}", engine.journal(task).await);
    assert_eq!(engine.result(task, "a").await["calls"], 2);
    assert_eq!(
        engine.result(task, "b").await,
        json!({"calls": 1, "context": {"n": 1}, "dependencies": ["a"], "entry": ["run", null]})
    );
    for (path, kind) in [
        ("refused", "Http422"),
        ("redirect", "Http302"),
        ("large", "ResultTooLarge"),
    ] {
        let (task, state) = engine.run(path, json!({})).await;
        assert_eq!(state, "error");
        let error: Value = engine.result(task, "a").await["error"].clone();
        assert_eq!(error["type"], kind, "{error}");
        assert!(engine.journal(task).await[0].ends_with("error(permanent_error)"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_judged_by_its_status_and_awaited_until_its_date() {
    let (_server, port) = Server::start(SERVER);
    let engine = engine(port).await;
    let _worker = engine.work(Handlers::new());
    for path in ["burst", "later"] {
        let callable = format!("http://127.0.0.1:{port}/{path}");
        engine
            .register(path, json!([sent("a", &callable, &[])]))
            .await;
        let (task, state) = engine.run(path, json!({})).await;
        assert_eq!(state, "complete", "{:?}", engine.result(task, "a").await);
        if path == "later" {
            // Dates have whole seconds.
            let waited = engine.result(task, "a").await["waited"].as_f64().unwrap();
            assert!((1.5..20.0).contains(&waited), "{waited}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_keep_all_their_digits() {
    let (_server, port) = Server::start(SERVER);
    let engine = engine(port).await;
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let steps = json!([
        sent("a", &url("digits"), &[]),
        sent("b", &url("copy"), &["a"])
    ]);
    engine.register("digits", steps).await;
    let _worker = engine.work(Handlers::new());
    let (task, state) = engine.run("digits", json!({})).await;
    assert_eq!(state, "complete");
    let stored: Vec<String> = sqlx::query_scalar(
        "SELECT coalesce(results ->> 'n', results -> 'a' ->> 'n') FROM tasker.workflow_steps
         WHERE task_uuid = $1",
    )
    .bind(task)
    .fetch_all(engine.pool())
    .await
    .unwrap();
    assert_eq!(stored, ["123456789012345678901234567890"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_was_closed_costs_no_attempt() {
    let (_server, port) = Server::start(CLOSER);
    let engine = engine(port).await;
    let once = |name: &str, dependencies: &[&str]| {
        let callable = format!("http://127.0.0.1:{port}/{name}");
        let mut step = sent(name, &callable, dependencies);
        step["retry"] = json!({"max_attempts": 1});
        step
    };
    engine
        .register("silent", json!([once("silent", &[])]))
        .await;
    engine
        .register("kept", json!([once("one", &[]), once("two", &["one"])]))
        .await;
    let _worker = engine.work(Handlers::new());
    let (task, state) = engine.run("silent", json!({})).await;
    assert_eq!(state, "error");
    let error = engine.result(task, "silent").await["error"].clone();
    assert_eq!(error["type"], "HttpUnreachable", "{error}");
    engine
        .register(
            "crash",
            json!([once("warm", &[]), once("crash", &["warm"])]),
        )
        .await;
    let (task, state) = engine.run("kept", json!({})).await;
    assert_eq!(state, "complete", "{:?}", engine.result(task, "two").await);
    // A new connection that is closed without an answer is an attempt.
    assert_eq!(
        engine.result(task, "two").await,
        json!({"/silent": 1, "/one": 1, "/two": 2})
    );
    // So is a kept one, if the handler may have worked.
    let (task, state) = engine.run("crash", json!({})).await;
    assert_eq!(state, "error", "{:?}", engine.result(task, "crash").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_of_a_cancelled_task_gives_its_place_to_another_step() {
    // Takes requests and never answers.
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = server.local_addr().unwrap().to_string();
    let engine = Engine::start_with(|config| {
        let http = &mut config.worker.http_handlers;
        http.allowed_hosts = vec![host.clone()];
        http.timeout_seconds = 86_400;
        config.worker.execution.max_concurrent_steps = 1;
        config.worker.execution.lease_seconds = 3;
    })
    .await;
    let hanging = sent("a", &format!("http://{host}/"), &[]);
    engine.register("hangs", json!([hanging])).await;
    engine.register("good", json!([sent("a", "ok", &[])])).await;
    let _worker = engine.work(Handlers::new().function("ok", async |_: StepContext| Ok(())));
    let task = engine.create("hangs", json!({})).await;
    let _request = server.accept().await.unwrap();
    sqlx::query("SELECT tasker.task_cancel($1, '{\"reason\": \"test\"}')")
        .bind(task)
        .execute(engine.pool())
        .await
        .unwrap();
    assert_eq!(engine.run("good", json!({})).await.1, "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_found_in_every_spelling() {
    let (_server, port) = Server::start(SERVER);
    let engine = engine(port).await;
    let callables = [
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}?x=1"),
        format!("HTTP://127.0.0.1:{port}/Plain"),
        format!("http://LOCALHOST:{port}/plain"),
    ];
    let mut steps: Vec<Value> = callables
        .iter()
        .enumerate()
        .map(|(n, callable)| sent(&format!("s{n}"), callable, &[]))
        .collect();
    // The same for a step that is created later.
    let mut decision = sent("decide", "decide", &[]);
    decision["type"] = json!("decision");
    steps.push(decision);
    steps.push(sent("chosen", &callables[2], &["decide"]));
    engine.register("spelt", json!(steps)).await;
    let decide = async |_: StepContext| Ok(StepOutcome::create_steps(["chosen"]));
    let _worker = engine.work(Handlers::new().function("decide", decide));
    let (_, state) = engine.run("spelt", json!({})).await;
    assert_eq!(state, "complete");
}

//! Handlers that are written in Python.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tasker_worker::Handlers;

use super::engine::Engine;

/// Checks the signature as the specification of Standard Webhooks says, with nothing of ours.
const SERVER: &str = r#"
import base64, hashlib, hmac, json
from http.server import BaseHTTPRequestHandler, HTTPServer
seen = {}
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
        if self.path == '/refused':
            return self.answer(422, {'error': 'no'})
        if self.path == '/redirect':
            return self.answer(302, {}, {'location': '/flaky'})
        if self.path == '/large':
            return self.answer(200, 'x' * 2000000)
        self.answer(200, {'calls': seen[key], 'context': step['task']['context'],
                          'dependencies': sorted(step['dependencies'])})
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

struct Server(Child);

impl Server {
    fn start() -> (Self, u16) {
        let mut child = Command::new("python3")
            .args(["-c", SERVER])
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

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_sent_to_allowed_hosts_and_answers_are_results() {
    let (_server, port) = Server::start();
    let engine = Engine::start_with(|config| {
        let http = &mut config.worker.http_handlers;
        http.allowed_hosts = vec![format!("127.0.0.1:{port}")];
        http.signing_secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==".into();
    })
    .await;
    let step = |name: &str, path: &str, dependencies: &[&str]| {
        json!({
            "name": name, "dependencies": dependencies, "retry": {"max_attempts": 2},
            "handler": {"callable": format!("http://127.0.0.1:{port}/{path}")},
        })
    };
    engine
        .register(
            "good",
            json!([step("a", "flaky", &[]), step("b", "plain", &["a"])]),
        )
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
        json!({"calls": 1, "context": {"n": 1}, "dependencies": ["a"]})
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

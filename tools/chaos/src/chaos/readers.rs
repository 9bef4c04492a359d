//! Reads of both services over HTTP. The agents read over the library.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::task::JoinSet;

use super::Run;
use super::members::WORKER;
use crate::clock;
use crate::judge::history::{Answer, Read};
use crate::templates::{self, VERSION};

const READERS: usize = 3;
const PAUSE: Duration = Duration::from_millis(10);

/// Reads from a service until the run ends.
pub(super) fn start(
    run: &Arc<Run>,
    service: usize,
    process: u16,
    seed: u64,
    work: &mut JoinSet<()>,
) {
    for reader in 0..READERS {
        let random = StdRng::seed_from_u64(seed ^ (service * READERS + reader) as u64);
        work.spawn(read(Arc::clone(run), service, process, random));
    }
}

async fn read(run: Arc<Run>, member: usize, process: u16, mut random: StdRng) {
    let templates = templates::all();
    let url = run.processes.url(member);
    while !run.is_ending() {
        let template = random.random_range(0..templates.len());
        let (namespace, name) = &templates[template];
        let path = if member == WORKER {
            format!("{url}/templates/{namespace}/{name}/{VERSION}")
        } else {
            format!("{url}/v1/handlers/{namespace}/{name}?version={VERSION}")
        };
        let start = clock::now();
        let answer = ask(&run, &path).await;
        let end = clock::now();
        run.note(|history| {
            let answer = match answer {
                Ok(Some(marker)) => Answer::Content(marker),
                Ok(None) => Answer::Absent,
                Err(code) => Answer::Failed(history.code(&code)),
            };
            history.reads.push(Read {
                template: u16::try_from(template).expect("there are few templates"),
                process,
                start,
                end,
                answer,
            });
        });
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the marker, `None` for "not found", or the code of a problem.
async fn ask(run: &Run, path: &str) -> Result<Option<u32>, String> {
    let failed = |_: reqwest::Error| String::from("http_failed");
    let response = run.processes.http.get(path).send().await.map_err(failed)?;
    let status = response.status();
    let body = response.text().await.map_err(failed)?;
    if status == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if status.is_success() {
        let marker = templates::marker(&body);
        return marker.map(Some).ok_or_else(|| String::from("no_marker"));
    }
    let problem: Value = serde_json::from_str(&body).unwrap_or_default();
    Err(problem["code"]
        .as_str()
        .unwrap_or(status.as_str())
        .to_owned())
}

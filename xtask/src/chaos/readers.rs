//! Readers over HTTP. The readers over the library are in the agents.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::task::JoinSet;

use super::clock;
use super::history::{Answer, Read};
use super::recorder::Recorder;
use super::stage::{ORCHESTRATION_SLOT, Stage, WORKER_SLOT};
use super::templates::{self, VERSION};

const READERS: usize = 3;
const PAUSE: Duration = Duration::from_millis(10);

/// Reads from both services until the run ends.
pub(super) fn start(
    stage: &Arc<Stage>,
    recorder: &Arc<Recorder>,
    seed: u64,
    tasks: &mut JoinSet<()>,
) {
    for slot in [WORKER_SLOT, ORCHESTRATION_SLOT] {
        // Which versions there are the orchestration service asks PostgreSQL, and only then the
        // registry for the template.
        let absence_is_newer = slot == ORCHESTRATION_SLOT;
        let process = recorder.with(|history| history.process(slot, absence_is_newer));
        for reader in 0..READERS {
            let (stage, recorder) = (Arc::clone(stage), Arc::clone(recorder));
            let random = StdRng::seed_from_u64(seed ^ (slot * READERS + reader) as u64);
            tasks.spawn(read(stage, recorder, slot, process, random));
        }
    }
}

async fn read(
    stage: Arc<Stage>,
    recorder: Arc<Recorder>,
    slot: usize,
    process: u16,
    mut random: StdRng,
) {
    let templates = templates::all();
    let url = stage.slots[slot].url.clone().unwrap_or_default();
    while !stage.is_ending() {
        let template = random.random_range(0..templates.len());
        let (namespace, name) = &templates[template];
        let path = if slot == WORKER_SLOT {
            format!("{url}/templates/{namespace}/{name}/{VERSION}")
        } else {
            format!("{url}/v1/handlers/{namespace}/{name}?version={VERSION}")
        };
        let start = clock::now();
        let answer = ask(&stage, &path).await;
        let end = clock::now();
        recorder.with(|history| {
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

/// The marker, none if there is no such template, or a problem's code.
async fn ask(stage: &Stage, path: &str) -> Result<Option<u32>, String> {
    let unreachable = |error: reqwest::Error| {
        String::from(if error.is_timeout() {
            "http_timeout"
        } else {
            "http_failed"
        })
    };
    let response = stage.http.get(path).send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unreachable)?;
    if status == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        let marker = templates::marker(&body["template"]);
        return marker.map(Some).ok_or_else(|| String::from("no_marker"));
    }
    let code = body["code"].as_str();
    Err(code.map_or_else(|| status.as_u16().to_string(), str::to_owned))
}

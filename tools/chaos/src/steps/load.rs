//! Those who ask for tasks and cancel some, and one who changes the templates.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sqlx::PgConnection;
use strum::VariantArray;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Chaos;
use super::history::{Asked, Version};
use super::members::ORCHESTRATIONS;
use super::operators::act_all;
use super::shapes::{NAMESPACE, Shape, VERSION};
use crate::clock;
use crate::error::Result;

const CREATORS: u64 = 4;
const PAUSE_MS: std::ops::Range<u64> = 50..300;
/// The share of tasks that are cancelled, and of requests that wait for the end.
const CANCELLED: f64 = 0.1;
const WAITING: f64 = 0.2;
/// A creator's answer is late after this, beside the time for which it waits. Shorter than some of the
/// faults of Redis, because a request must not hang with it.
const LATE: Duration = Duration::from_secs(5);
const CANCEL_MS: std::ops::Range<u64> = 0..400;
const CHANGE_MS: std::ops::Range<u64> = 500..2000;
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Registers the first document of each template.
pub(super) async fn prepare(chaos: &Chaos, connection: &mut PgConnection) -> Result {
    sqlx::query("INSERT INTO tasker.task_namespaces (name) VALUES ($1)")
        .bind(NAMESPACE)
        .execute(&mut *connection)
        .await?;
    for &shape in Shape::VARIANTS {
        register(chaos, connection, shape, 0, clock::now()).await?;
    }
    Ok(())
}

/// Works until the run ends.
pub(super) fn start(chaos: &Arc<Chaos>, seed: u64, work: &mut JoinSet<()>) {
    for creator in 0..CREATORS {
        let random = StdRng::seed_from_u64(seed.wrapping_add(100 + creator));
        work.spawn(create_all(Arc::clone(chaos), random));
    }
    let random = StdRng::seed_from_u64(seed.wrapping_add(99));
    work.spawn(change_all(Arc::clone(chaos), random));
    let random = StdRng::seed_from_u64(seed.wrapping_add(98));
    work.spawn(act_all(Arc::clone(chaos), random));
}

async fn create_all(chaos: Arc<Chaos>, mut random: StdRng) {
    while !chaos.is_ending() {
        let service = random.random_range(ORCHESTRATIONS);
        let url = format!("{}/v1/tasks", chaos.processes.url(service));
        if let Some(task) = create(&chaos, service, &url, &mut random).await
            && random.random_bool(CANCELLED)
        {
            clock::pause(&mut random, CANCEL_MS).await;
            // Before the request, because it may be carried out although its answer is lost.
            chaos.note(|history| history.tasks.entry(task).or_default().is_cancelled = true);
            let request = chaos.processes.http.delete(format!("{url}/{task}"));
            let start = clock::now();
            let answer = request.send().await;
            match answer.as_ref().map(|answer| answer.status().as_u16()) {
                Ok(200) => chaos.note(|history| history.answered(task, "cancelled")),
                // It is too late.
                Ok(409) => {}
                _ => chaos.refused(&answer, " to a cancellation", service, start),
            }
        }
        clock::pause(&mut random, PAUSE_MS).await;
    }
}

/// Asks for a task. Returns it if it was created.
async fn create(chaos: &Chaos, service: usize, url: &str, random: &mut StdRng) -> Option<Uuid> {
    let shape = Shape::VARIANTS[random.random_range(0..Shape::VARIANTS.len())];
    let seed: u32 = random.random();
    let body = json!({
        "name": shape.as_ref(), "namespace": NAMESPACE, "version": VERSION,
        "context": {"seed": seed}, "priority": random.random_range(0..3),
    });
    let (wait, limit) = if random.random_bool(WAITING) {
        ("?wait=2s", LATE + Duration::from_secs(2))
    } else {
        ("", LATE)
    };
    let request = chaos
        .processes
        .http
        .post(format!("{url}{wait}"))
        .json(&body);
    let start = clock::now();
    let answer = request.send().await;
    let took = Duration::from_nanos(clock::now() - start);
    if took > limit {
        chaos.refused(&answer, " late", service, start);
    }
    let created: Value = match answer {
        Ok(answer) if answer.status().as_u16() == 201 => answer.json().await.ok()?,
        refused => {
            chaos.refused(&refused, "", service, start);
            return None;
        }
    };
    let end = clock::now();
    let task: Uuid = created["task_uuid"].as_str()?.parse().ok()?;
    chaos.note(|history| {
        history.tasks.entry(task).or_default().asked = Some(Asked { start, end });
        // Nothing follows these, but an operator may put a failed task back to work.
        let ended = created["status"].as_str();
        if let Some(ended) = ended.filter(|it| ["complete", "cancelled"].contains(it)) {
            history.answered(task, ended);
        }
    });
    Some(task)
}

async fn change_all(chaos: Arc<Chaos>, mut random: StdRng) {
    while !chaos.is_ending() {
        clock::pause(&mut random, CHANGE_MS).await;
        let marker = chaos.note(|history| history.versions.len());
        let marker = u32::try_from(marker).unwrap_or(u32::MAX);
        let shape = Shape::VARIANTS[random.random_range(0..Shape::VARIANTS.len())];
        let start = clock::now();
        // A change whose answer was lost is made again, until it is known to be made.
        loop {
            if let Ok(mut connection) = chaos.world.connect().await
                && register(&chaos, &mut connection, shape, marker, start)
                    .await
                    .is_ok()
            {
                break;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
}

async fn register(
    chaos: &Chaos,
    connection: &mut PgConnection,
    shape: Shape,
    marker: u32,
    start: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
         SELECT task_namespace_uuid, $2, $3, $4 FROM tasker.task_namespaces WHERE name = $1
         ON CONFLICT (task_namespace_uuid, name, version)
         DO UPDATE SET configuration = excluded.configuration",
    )
    .bind(NAMESPACE)
    .bind(shape.as_ref())
    .bind(VERSION)
    .bind(shape.document(marker))
    .execute(connection)
    .await?;
    chaos.note(|history| {
        history.versions.push(Version {
            shape: shape.to_string(),
            marker,
            start,
            end: clock::now(),
        });
    });
    Ok(())
}

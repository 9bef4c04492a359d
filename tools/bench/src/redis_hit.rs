//! The first resolve of a template in a process while Redis has it, beside a plain cache that gets
//! and parses the value on every hit.

use std::hint::black_box;
use std::sync::Arc;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use tasker_shared::models::core::task_template::TaskTemplate;
use tasker_shared::registry::Tier;

use crate::Bench;
use crate::error::Result;
use crate::fixtures::{LARGE, SMALL};
use crate::measure::{rate, rounds};
use crate::report::Bar;
use crate::world::{Templates, World, resolve};

const CONCURRENCY: usize = 64;
/// Resolves before each measured round. The first ones release memory of the round before.
const UNMEASURED: usize = 512;

/// The value of the plain cache: names, and the template.
#[derive(Deserialize)]
#[expect(dead_code, reason = "it is parsed and dropped")]
struct Plain {
    namespace: String,
    name: String,
    version: String,
    template: TaskTemplate,
}

const PLAIN_VALUES: &str = "SELECT json_build_object('namespace', n.name, 'name', t.name,
        'version', t.version, 'template', t.configuration)::text
    FROM tasker.named_tasks t JOIN tasker.task_namespaces n USING (task_namespace_uuid)
    WHERE n.name = $1";

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (world, effort, report) = bench.parts();
    for (size, count) in [(SMALL, 4_000), (LARGE, 400)] {
        let namespace = format!("cold{}", size.bytes);
        let count = UNMEASURED + effort.of(count);
        let templates = world.register(&namespace, count, size).await?;
        world.fill(&templates).await?;
        let plain_keys = Arc::new(fill_plain(world, &templates).await?);
        let mut redis = world.redis().await?;
        // A round takes 30 ms, so it takes many of them for a stable median.
        let pairs = rounds(
            3 * effort.rounds,
            || ours(world, &templates),
            || get_and_parse(&redis, &plain_keys),
        )
        .await?;
        let what = format!("first resolve, Redis hit, {}, c={CONCURRENCY}", size.label);
        report.compared(what, "/s", "GET and parse", &pairs, Bar::AtLeast(1.0));
        let () = redis.unlink(&*plain_keys).await?;
    }
    Ok(())
}

/// Caches the templates as the plain cache does, and returns their keys.
async fn fill_plain(world: &World, templates: &Templates) -> Result<Vec<String>> {
    let values = sqlx::query_scalar(PLAIN_VALUES).bind(&templates.namespace);
    let values: Vec<String> = values.fetch_all(&world.pool).await?;
    let keys = templates.keys.iter().map(|key| format!("plain:{key}"));
    let pairs: Vec<(String, String)> = keys.zip(values).collect();
    let () = world.redis().await?.mset(&pairs).await?;
    Ok(pairs.into_iter().map(|(key, _)| key).collect())
}

async fn ours(world: &World, templates: &Arc<Templates>) -> Result<f64> {
    let process = world.process().await?;
    let resolve = |numbers| {
        resolve(
            &process.registry,
            templates,
            CONCURRENCY,
            numbers,
            Tier::Redis,
        )
    };
    resolve(0..UNMEASURED).await?;
    let per_second = resolve(UNMEASURED..templates.names.len()).await?;
    process.stop().await;
    Ok(per_second)
}

async fn get_and_parse(redis: &MultiplexedConnection, keys: &Arc<Vec<String>>) -> Result<f64> {
    let get = |keys: Arc<Vec<String>>, numbers| {
        let mut redis = redis.clone();
        async move {
            for number in numbers {
                let key: &String = &keys[number];
                let value: Vec<u8> = redis.get(key).await?;
                black_box(serde_json::from_slice::<Plain>(&value)?);
            }
            Ok(())
        }
    };
    rate(CONCURRENCY, 0..UNMEASURED, keys, get).await?;
    rate(CONCURRENCY, UNMEASURED..keys.len(), keys, get).await
}

//! Writers that send SQL to PostgreSQL. The agents register through the library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;

use super::Run;
use crate::clock;
use crate::templates::{self, MOVING, STAYING, VERSION};

const PAUSE_MS: std::ops::Range<u64> = 30..90;
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// A template stays deleted for so long.
const ABSENCE_MS: std::ops::Range<u64> = 50..1500;

/// The number of the next write, above the numbers of all processes.
static NUMBER: AtomicU32 = AtomicU32::new(1 << 31);

/// Creates both namespaces, and the templates of the moving one.
pub(super) async fn prepare(run: &Run, connection: &mut PgConnection) -> Option<()> {
    let [here, _] = MOVING;
    let names = format!("VALUES ('{STAYING}'), ('{here}')");
    let sql = format!("INSERT INTO tasker.task_namespaces (name) {names}");
    write(run, connection, |_| sql).await?;
    for name in templates::moving() {
        write(run, connection, |number| insert(here, &name, number)).await?;
    }
    Some(())
}

/// Writes until the run ends.
pub(super) fn start(run: &Arc<Run>, seed: u64, work: &mut JoinSet<()>) {
    for moving in [false, true] {
        let random = StdRng::seed_from_u64(seed.wrapping_add(10 + u64::from(moving)));
        work.spawn(write_all(Arc::clone(run), random, moving));
    }
}

async fn write_all(run: Arc<Run>, mut random: StdRng, moving: bool) {
    while !run.is_ending() {
        // A transaction that is lost with its connection is committed or rolled back by now.
        let Ok(mut connection) = run.world.connect().await else {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            continue;
        };
        while !run.is_ending() {
            let written = if moving {
                write_moving(&run, &mut connection, &mut random).await
            } else {
                write_staying(&run, &mut connection, &mut random).await
            };
            if written.is_none() {
                break;
            }
            clock::pause(&mut random, PAUSE_MS).await;
        }
    }
}

async fn write_staying(
    run: &Run,
    connection: &mut PgConnection,
    random: &mut StdRng,
) -> Option<()> {
    let name = templates::any_staying(random);
    let insert = |number| insert(STAYING, &name, number);
    let delete = || format!("DELETE FROM tasker.named_tasks WHERE name = '{name}'");
    match random.random_range(0..10) {
        0..6 => write(run, connection, |number| update(&name, number)).await,
        6..8 => {
            let both = |number| format!("{}; {}", delete(), insert(number));
            write(run, connection, both).await
        }
        _ => {
            write(run, connection, |_| delete()).await?;
            clock::pause(random, ABSENCE_MS).await;
            write(run, connection, insert).await
        }
    }
}

async fn write_moving(run: &Run, connection: &mut PgConnection, random: &mut StdRng) -> Option<()> {
    if random.random_bool(0.5) {
        let [here, there] = MOVING;
        let sql = format!(
            "UPDATE tasker.task_namespaces SET name = CASE name WHEN '{here}' THEN '{there}' \
             ELSE '{here}' END WHERE name IN ('{here}', '{there}')"
        );
        return write(run, connection, |_| sql).await;
    }
    let mut names: Vec<_> = templates::moving().collect();
    let name = names.swap_remove(random.random_range(0..names.len()));
    write(run, connection, |number| update(&name, number)).await
}

fn update(name: &str, number: u32) -> String {
    format!(
        "UPDATE tasker.named_tasks SET configuration = jsonb_set(configuration, \
         '{{task_handler,initialization,marker}}', '{number}') WHERE name = '{name}'"
    )
}

/// An agent may have registered the same name meanwhile.
fn insert(namespace: &str, name: &str, number: u32) -> String {
    let document = templates::document(namespace, name, number);
    format!(
        "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration) \
         SELECT task_namespace_uuid, '{name}', '{VERSION}', '{document}'::jsonb \
         FROM tasker.task_namespaces WHERE name = '{namespace}' \
         ON CONFLICT (task_namespace_uuid, name, version) \
         DO UPDATE SET configuration = excluded.configuration"
    )
}

/// Runs one transaction: the statements that `sql` returns for the number of the write. Returns
/// `None` if it failed, because the connection may be lost.
async fn write(
    run: &Run,
    connection: &mut PgConnection,
    sql: impl FnOnce(u32) -> String,
) -> Option<()> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // PostgreSQL runs the statements of one message in one transaction.
    let sql = format!(
        "SELECT set_config('chaos.write', '{number}', true); {}",
        sql(number)
    );
    run.note(|history| history.write(number, clock::now(), None));
    let written = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    let code = written.as_ref().err().map(|error| {
        let code = error.as_database_error().and_then(DatabaseError::code);
        code.map_or_else(|| String::from("connection_lost"), String::from)
    });
    run.note(|history| history.written(number, clock::now(), code.as_deref()));
    written.ok().map(drop)
}

//! Writers that send SQL to PostgreSQL. The agents register through the library.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::error::DatabaseError;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::Run;
use crate::clock;
use crate::judge::history::WriteKind;
use crate::templates::{self, MOVING, STAYING, VERSION};

const PAUSE_MS: std::ops::Range<u64> = 30..90;
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How long a template stays deleted.
const ABSENCE_MS: std::ops::Range<u64> = 50..1500;
/// The numbers of these writers' writes begin here, above those of all processes.
const FIRST_NUMBER: u32 = 1 << 31;

const UPDATE: &str = "UPDATE tasker.named_tasks SET configuration =
    jsonb_set(configuration, '{task_handler,initialization,marker}', to_jsonb($2::bigint))
    WHERE name = $1";
/// An agent may have registered the same name meanwhile.
const INSERT: &str = "INSERT INTO tasker.named_tasks
        (task_namespace_uuid, name, version, configuration)
    SELECT task_namespace_uuid, $2, $3, $4::jsonb FROM tasker.task_namespaces WHERE name = $1
    ON CONFLICT (task_namespace_uuid, name, version)
        DO UPDATE SET configuration = excluded.configuration";
const RENAME: &str = "UPDATE tasker.task_namespaces
    SET name = CASE name WHEN $1 THEN $2 ELSE $1 END WHERE name IN ($1, $2)";

/// Creates the moving namespace with its templates.
pub(super) async fn prepare(run: &Run, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for namespace in [STAYING, MOVING[0]] {
        let insert = sqlx::query("INSERT INTO tasker.task_namespaces (name) VALUES ($1)");
        insert.bind(namespace).execute(&mut *connection).await?;
    }
    for name in templates::moving() {
        let number = begin(run, WriteKind::Inserted);
        insert(connection, MOVING[0], &name, number).await?;
        run.note(|history| history.written(number, clock::now(), None));
    }
    Ok(())
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
            pause(&mut random, PAUSE_MS).await;
        }
    }
}

async fn pause(random: &mut StdRng, milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(milliseconds))).await;
}

async fn write_staying(
    run: &Run,
    connection: &mut PgConnection,
    random: &mut StdRng,
) -> Option<()> {
    let name = templates::any_staying(random);
    match random.random_range(0..10) {
        0..6 => write(run, connection, WriteKind::Updated, &name).await,
        6..8 => write(run, connection, WriteKind::Replaced, &name).await,
        _ => {
            write(run, connection, WriteKind::Deleted, &name).await?;
            pause(random, ABSENCE_MS).await;
            write(run, connection, WriteKind::Inserted, &name).await
        }
    }
}

async fn write_moving(run: &Run, connection: &mut PgConnection, random: &mut StdRng) -> Option<()> {
    let mut names: Vec<_> = templates::moving().collect();
    let name = names.swap_remove(random.random_range(0..names.len()));
    let rename = random.random_bool(0.5);
    let kind = if rename {
        WriteKind::Renamed
    } else {
        WriteKind::Updated
    };
    write(run, connection, kind, &name).await
}

/// Runs one transaction. Returns `None` if the connection is no longer usable.
async fn write(
    run: &Run,
    connection: &mut PgConnection,
    kind: WriteKind,
    name: &str,
) -> Option<()> {
    let number = begin(run, kind);
    let written = transact(run, connection, kind, name, number).await;
    let code = written.as_ref().err().map(|error| {
        let code = error.as_database_error().and_then(DatabaseError::code);
        code.map_or_else(|| String::from("connection_lost"), String::from)
    });
    run.note(|history| history.written(number, clock::now(), code.as_deref()));
    written.ok()
}

/// Notes a write that begins, and returns its number.
fn begin(run: &Run, kind: WriteKind) -> u32 {
    let number = FIRST_NUMBER + run.sql_writes.fetch_add(1, Ordering::Relaxed);
    run.note(|history| history.write(number, kind, clock::now(), None));
    number
}

async fn transact(
    run: &Run,
    connection: &mut PgConnection,
    kind: WriteKind,
    name: &str,
    number: u32,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT set_config('chaos.write', $1, true)")
        .bind(number.to_string())
        .execute(&mut *transaction)
        .await?;
    if matches!(kind, WriteKind::Deleted | WriteKind::Replaced) {
        let delete = sqlx::query("DELETE FROM tasker.named_tasks WHERE name = $1");
        delete.bind(name).execute(&mut *transaction).await?;
    }
    match kind {
        WriteKind::Updated => {
            let update = sqlx::query(UPDATE).bind(name).bind(i64::from(number));
            update.execute(&mut *transaction).await?;
        }
        WriteKind::Inserted | WriteKind::Replaced => {
            insert(&mut transaction, STAYING, name, number).await?;
        }
        WriteKind::Renamed => {
            let rename = sqlx::query(RENAME).bind(MOVING[0]).bind(MOVING[1]);
            rename.execute(&mut *transaction).await?;
        }
        WriteKind::Deleted | WriteKind::Registered => {}
    }
    // The commit is requested no earlier than now.
    run.note(|history| {
        if let Some(write) = history.writes.get_mut(&number) {
            write.start = clock::now();
        }
    });
    transaction.commit().await
}

async fn insert(
    connection: &mut PgConnection,
    namespace: &str,
    name: &str,
    number: u32,
) -> Result<(), sqlx::Error> {
    let document = templates::document(namespace, name, number).to_string();
    let insert = sqlx::query(INSERT).bind(namespace).bind(name).bind(VERSION);
    insert.bind(document).execute(connection).await.map(drop)
}

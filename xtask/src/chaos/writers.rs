//! Writers: agents that register, and hands that write SQL.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::error::DatabaseError;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::agents::Agents;
use super::clock;
use super::history::WriteKind;
use super::recorder::Recorder;
use super::stage::{AGENTS, Stage};
use super::templates::{self, MOVING, STAYING, VERSION};

const PAUSE_MS: std::ops::Range<u64> = 30..90;
/// After this a writer without an agent looks whether the run is over.
const AGENT_LIMIT: Duration = Duration::from_secs(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How long a template stays deleted.
const ABSENCE_MS: std::ops::Range<u64> = 50..1500;
/// How often the watched template is chosen rather than any.
const WATCHED_SHARE: f64 = 0.3;

/// Writes until the run ends.
pub(super) fn start(
    stage: &Arc<Stage>,
    agents: &Arc<Agents>,
    recorder: &Arc<Recorder>,
    seed: u64,
    tasks: &mut JoinSet<()>,
) {
    for slot in AGENTS {
        let (stage, agents, recorder) = (stage.clone(), agents.clone(), recorder.clone());
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(slot as u64));
        tasks.spawn(async move {
            while !stage.is_ending() {
                if agents.ready_in(slot, AGENT_LIMIT).await {
                    register(&agents, &recorder, slot, &mut random).await;
                    pause(&mut random, PAUSE_MS).await;
                }
            }
        });
    }
    for moving in [false, true] {
        let hand = Hand {
            stage: Arc::clone(stage),
            recorder: Arc::clone(recorder),
            random: StdRng::seed_from_u64(seed.wrapping_add(10 + u64::from(moving))),
        };
        tasks.spawn(hand.run(moving));
    }
}

async fn register(agents: &Agents, recorder: &Recorder, slot: usize, random: &mut StdRng) {
    let name = staying_name(random);
    let number = recorder.write(WriteKind::Registered);
    let document = templates::document(STAYING, &name, number);
    if let Some(reply) = agents.register(slot, number, &document).await {
        match reply.code {
            None => recorder.acknowledged(number, reply.end),
            Some(code) => recorder.failed(number, reply.end, &code),
        }
    }
}

fn staying_name(random: &mut StdRng) -> String {
    let mut names: Vec<_> = templates::staying().collect();
    let chosen = if random.random_bool(WATCHED_SHARE) {
        usize::from(templates::WATCHED)
    } else {
        random.random_range(0..names.len())
    };
    names.swap_remove(chosen)
}

async fn pause(random: &mut StdRng, milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(milliseconds))).await;
}

/// Makes the moving namespace with its templates.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    recorder: &Recorder,
) -> Result<(), sqlx::Error> {
    for namespace in [STAYING, MOVING[0]] {
        sqlx::query("INSERT INTO tasker.task_namespaces (name) VALUES ($1)")
            .bind(namespace)
            .execute(&mut *connection)
            .await?;
    }
    for name in templates::moving() {
        let number = recorder.write(WriteKind::Inserted);
        insert(connection, MOVING[0], &name, number).await?;
        recorder.acknowledged(number, clock::now());
    }
    Ok(())
}

/// Somebody who writes SQL, straight to PostgreSQL.
struct Hand {
    stage: Arc<Stage>,
    recorder: Arc<Recorder>,
    random: StdRng,
}

impl Hand {
    async fn run(mut self, moving: bool) {
        while !self.stage.is_ending() {
            // Whatever is lost with a connection is rolled back, or committed, by then.
            let Ok(mut connection) = self.stage.connect().await else {
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            };
            while !self.stage.is_ending() {
                let written = if moving {
                    self.write_moving(&mut connection).await
                } else {
                    self.write_staying(&mut connection).await
                };
                if written.is_none() {
                    break;
                }
                pause(&mut self.random, PAUSE_MS).await;
            }
        }
    }

    async fn write_staying(&mut self, connection: &mut PgConnection) -> Option<()> {
        let name = staying_name(&mut self.random);
        match self.random.random_range(0..10) {
            0..6 => self.write(connection, WriteKind::Updated, &name).await,
            6..8 => self.write(connection, WriteKind::Replaced, &name).await,
            _ => {
                self.write(connection, WriteKind::Deleted, &name).await?;
                pause(&mut self.random, ABSENCE_MS).await;
                self.write(connection, WriteKind::Inserted, &name).await
            }
        }
    }

    async fn write_moving(&mut self, connection: &mut PgConnection) -> Option<()> {
        let mut names: Vec<_> = templates::moving().collect();
        let name = names.swap_remove(self.random.random_range(0..names.len()));
        let kind = if self.random.random_bool(0.5) {
            WriteKind::Renamed
        } else {
            WriteKind::Updated
        };
        self.write(connection, kind, &name).await
    }

    /// One transaction. `None`: the connection is of no more use.
    async fn write(
        &self,
        connection: &mut PgConnection,
        kind: WriteKind,
        name: &str,
    ) -> Option<()> {
        let number = self.recorder.write(kind);
        match self.transact(connection, kind, name, number).await {
            Ok(()) => {
                self.recorder.acknowledged(number, clock::now());
                Some(())
            }
            Err(error) => {
                let code = error.as_database_error().and_then(DatabaseError::code);
                let code = code.unwrap_or("connection_lost".into());
                self.recorder.failed(number, clock::now(), &code);
                None
            }
        }
    }

    async fn transact(
        &self,
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
        match kind {
            WriteKind::Registered => {}
            WriteKind::Updated => update(&mut transaction, name, number).await?,
            WriteKind::Replaced => {
                delete(&mut transaction, name).await?;
                insert(&mut transaction, STAYING, name, number).await?;
            }
            WriteKind::Deleted => delete(&mut transaction, name).await?,
            WriteKind::Inserted => insert(&mut transaction, STAYING, name, number).await?,
            WriteKind::Renamed => rename(&mut transaction).await?,
        }
        self.recorder.committing(number);
        transaction.commit().await
    }
}

async fn update(connection: &mut PgConnection, name: &str, number: u32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE tasker.named_tasks SET configuration =
             jsonb_set(configuration, '{task_handler,initialization,marker}', to_jsonb($2::bigint))
         WHERE name = $1",
    )
    .bind(name)
    .bind(i64::from(number))
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM tasker.named_tasks WHERE name = $1")
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}

/// An agent may have registered the same name meanwhile.
async fn insert(
    connection: &mut PgConnection,
    namespace: &str,
    name: &str,
    number: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
         SELECT task_namespace_uuid, $2, $3, $4::jsonb FROM tasker.task_namespaces WHERE name = $1
         ON CONFLICT (task_namespace_uuid, name, version)
             DO UPDATE SET configuration = excluded.configuration",
    )
    .bind(namespace)
    .bind(name)
    .bind(VERSION)
    .bind(templates::document(namespace, name, number).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

async fn rename(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE tasker.task_namespaces SET name = CASE name WHEN $1 THEN $2 ELSE $1 END
         WHERE name IN ($1, $2)",
    )
    .bind(MOVING[0])
    .bind(MOVING[1])
    .execute(connection)
    .await?;
    Ok(())
}

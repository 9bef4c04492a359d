//! Services behind pgbouncer with its default settings.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{PgBouncer, TestDatabase, until};
use tokio::process::Command;

use crate::locked_row::{TEMPLATES, post};
use crate::process::{PATIENCE, Service, output, program, text};

/// The time after which a statement that was given up has ended at the server: the interval at which
/// PostgreSQL looks for its client, on a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(3);

fn behind(pooler: &PgBouncer, mode: &str) -> Command {
    let mut program = program();
    program
        .env("DATABASE_URL", pooler.url())
        .env("TASKER__COMMON__CACHE__ENABLED", "true")
        .env("TASKER__COMMON__DATABASE__POOL_MODE", mode)
        // The pooler has 20 sessions of the server.
        .env("TASKER__COMMON__DATABASE__POOL__MAX_CONNECTIONS", "10");
    program
}

async fn migrate(database: &TestDatabase) -> PgConnection {
    let mut direct = program();
    direct.arg("--migrate").env("DATABASE_URL", database.url());
    assert!(output(&mut direct).await.status.success());
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    admin
}

/// Makes tasks from many connections, and waits until a retired template is gone.
async fn use_all(urls: &[&str], admin: &mut PgConnection) {
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    for _ in 0..5 {
        let posts = (0..40).map(|number| post(&client, urls[number % urls.len()], "free"));
        for status in join_all(posts).await {
            assert_eq!(status, 201);
        }
    }
    let retire = "UPDATE tasker.named_tasks SET retired_at = now() WHERE name = 'free'";
    admin.execute(retire).await.unwrap();
    for url in urls {
        until("the template is gone", async || {
            (post(&client, url, "free").await == 404).then_some(())
        })
        .await;
        assert_eq!(post(&client, url, "locked").await, 201);
    }
}

#[tokio::test]
async fn services_run_behind_a_pooler_in_session_mode() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "session").await.unwrap();
    let service = Service::start_at(behind(&pooler, "session"), pooler.url()).await;
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    use_all(&[&service.url], &mut admin).await;
}

/// Clients that send requests of all kinds at once.
const CLIENTS: usize = 30;

/// Sends requests of all kinds to these services, and returns those that failed.
async fn mixed_load(urls: &[&str]) -> Vec<String> {
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    let clients = (0..CLIENTS).map(|number| {
        let (client, url) = (&client, urls[number % urls.len()]);
        async move {
            let mut failed = Vec::new();
            for turn in 0..8 {
                let path = match (number + turn) % 5 {
                    0 => "/v1/tasks",
                    1 => "/v1/handlers",
                    2 => "/v1/queue",
                    3 => "/health/ready",
                    _ => "POST",
                };
                let status = if path == "POST" {
                    post(client, url, "free").await
                } else {
                    let answer = client.get(format!("{url}{path}")).send().await.unwrap();
                    answer.status().as_u16()
                };
                if status >= 300 {
                    failed.push(format!("{path}: {status}"));
                }
            }
            failed
        }
    });
    join_all(clients).await.concat()
}

/// The pooler has 20 sessions, and each of the services may open more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_with_default_settings_share_the_sessions_of_a_pooler() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "session").await.unwrap();
    let start = async || {
        let mut program = program();
        program.env("TASKER__COMMON__CACHE__ENABLED", "true");
        Service::start_at(program, pooler.url()).await
    };
    let first = start().await;
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    // One service has taken all that it could get when the other one starts.
    assert_eq!(mixed_load(&[&first.url]).await, [""; 0]);
    let second = start().await;
    until("the second service is ready", async || {
        (second.status("/health/ready").await == 200).then_some(())
    })
    .await;
    for urls in [
        &[&*second.url][..],
        &[&*first.url, &*second.url],
        &[&*first.url],
        &[&*second.url],
        &[&*first.url, &*second.url],
    ] {
        assert_eq!(mixed_load(urls).await, [""; 0], "{urls:?}");
    }
}

#[tokio::test]
async fn services_run_behind_a_pooler_in_transaction_mode_with_a_direct_way_for_the_rest() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "transaction")
        .await
        .unwrap();
    let start = async || {
        let mut program = behind(&pooler, "transaction");
        program.env("TASKER__COMMON__DATABASE__DIRECT_URL", database.url());
        Service::start_at(program, pooler.url()).await
    };
    // The first one migrates.
    let services = [start().await, start().await];
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    use_all(
        &services.each_ref().map(|service| &*service.url),
        &mut admin,
    )
    .await;
    let listeners = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let listeners: i64 = sqlx::query_scalar(listeners)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(listeners, 4, "both kinds of notifications reach both");
}

#[tokio::test]
async fn without_a_direct_way_changes_are_polled_for_and_one_line_says_so() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "transaction")
        .await
        .unwrap();

    let mut unmigrated = behind(&pooler, "transaction");
    let refused = output(&mut unmigrated).await;
    assert_eq!(refused.status.code(), Some(69));
    assert!(text(&refused).contains("direct_url"), "{}", text(&refused));

    let mut admin = migrate(&database).await;
    let service = Service::start_at(behind(&pooler, "transaction"), pooler.url()).await;
    use_all(&[&service.url], &mut admin).await;
    let mut warnings = service.lines_of("WARN").await;
    warnings.retain(|line| line["message"].as_str().unwrap().contains("notifications"));
    assert_eq!(warnings.len(), 1, "{warnings:#?}");

    // The second one meets the prepared statements of the first.
    for _ in 0..2 {
        let mut unaware = behind(&pooler, "session");
        let refused = output(&mut unaware).await;
        assert_eq!(refused.status.code(), Some(69));
        assert!(text(&refused).contains("pool_mode"), "{}", text(&refused));
    }
}

/// The pooler would keep the advisory lock and the limits of a migration for its other clients.
#[tokio::test]
async fn nothing_is_migrated_through_a_pooler_in_transaction_mode() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "transaction")
        .await
        .unwrap();
    let mut misled = behind(&pooler, "transaction");
    misled.env("TASKER__COMMON__DATABASE__DIRECT_URL", pooler.url());
    for (mut program, setting) in [
        (behind(&pooler, "session"), "pool_mode"),
        (misled, "direct_url"),
    ] {
        let refused = output(program.arg("--migrate")).await;
        assert_eq!(refused.status.code(), Some(69));
        assert!(text(&refused).contains(setting), "{}", text(&refused));
    }
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'tasker'";
    let schemas: i64 = sqlx::query_scalar(schemas)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(schemas, 0);
}

#[tokio::test]
async fn statements_that_were_given_up_end_at_the_server_behind_a_pooler() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "transaction")
        .await
        .unwrap();
    let mut admin = migrate(&database).await;
    let service = Service::start_at(behind(&pooler, "transaction"), pooler.url()).await;
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    assert_eq!(post(&client, &service.url, "locked").await, 201);

    let bounds = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    let lock = "BEGIN; SELECT FROM tasker.named_tasks WHERE name = 'locked' FOR UPDATE";
    holder.execute(lock).await.unwrap();
    let waiting = tokio::spawn({
        let (client, url) = (client.clone(), service.url.clone());
        async move {
            let request = json!({"name": "locked", "namespace": "shop", "version": "1.0.0"});
            client
                .post(format!("{url}/v1/tasks"))
                .json(&request)
                .send()
                .await
        }
    });
    let waits = async |admin: &mut PgConnection| -> i64 {
        sqlx::query_scalar(bounds).fetch_one(admin).await.unwrap()
    };
    until("the statement waits", async || {
        (waits(&mut admin).await > 0).then_some(())
    })
    .await;
    // The service ends without a word to the pooler.
    service.signal(rustix::process::Signal::KILL);
    assert!(waiting.await.unwrap().is_err(), "the service is gone");
    let killed = Instant::now();
    while waits(&mut admin).await > 0 {
        assert!(killed.elapsed() < GIVEN_UP, "the statement goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn transactions_have_the_bounds_of_sessions() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "transaction")
        .await
        .unwrap();
    let mut admin = migrate(&database).await;
    // A trigger shows the settings of a transaction in which a template is prepared for tasks.
    admin
        .execute(
            "CREATE TABLE public.seen (name text, value text);
             CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO public.seen SELECT s.name, current_setting(s.name)
                 FROM unnest(ARRAY['lock_timeout', 'statement_timeout', 'jit',
                     'idle_in_transaction_session_timeout',
                     'client_connection_check_interval']) AS s (name);
                 RETURN NEW;
             END $$;
             CREATE TRIGGER see BEFORE INSERT ON tasker.template_documents
                 FOR EACH ROW EXECUTE FUNCTION public.see()",
        )
        .await
        .unwrap();
    let service = Service::start_at(behind(&pooler, "transaction"), pooler.url()).await;
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    assert_eq!(post(&client, &service.url, "free").await, 201);
    let seen: Value = sqlx::query_scalar("SELECT jsonb_object_agg(name, value) FROM public.seen")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    let bounds = json!({
        "lock_timeout": "4s", "statement_timeout": "10s", "jit": "off",
        "idle_in_transaction_session_timeout": "1min",
        "client_connection_check_interval": "500ms",
    });
    assert_eq!(seen, bounds);
}

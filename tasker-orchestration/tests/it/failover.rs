//! A service whose primary is demoted and comes back as a standby.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{PostgresServer, TcpProxy, until};

use crate::locked_row::{TEMPLATES, post};
use crate::process::{PATIENCE, Service, program};

/// The time after which the service is right again: the bound, a pause after a failed poll, and some time
/// for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Waits until readiness and the creation of a task have these statuses.
async fn until_status(client: &Client, service: &Service, ready: u16, created: u16) {
    let started = Instant::now();
    loop {
        let probe = client.get(format!("{}/health/ready", service.url));
        let probe = probe.send().await.unwrap().status().as_u16();
        let task = post(client, &service.url, "free").await;
        if (probe, task) == (ready, created) {
            return;
        }
        assert!(started.elapsed() < SOON, "ready {probe}, created {task}");
    }
}

/// Waits until no template is resolved by what the index has, which is from before the demotion.
async fn until_stale(client: &Client, service: &Service) {
    until("the index is older than its bound", async || {
        let report = client.get(format!("{}/health/detailed", service.url));
        let report: Value = report.send().await.unwrap().json().await.unwrap();
        (report["checks"]["directory"]["within_bound"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_refuses_on_a_demoted_primary_and_follows_the_address() {
    let first = PostgresServer::start().await.unwrap();
    let address = TcpProxy::before(&first.url("postgres")).await.unwrap();
    let mut program = program();
    program.env("TASKER__COMMON__CACHE__ENABLED", "true");
    let service = Service::start_at(program, address.url()).await;
    let mut admin = PgConnection::connect(&first.url("postgres")).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    admin.close().await.unwrap();
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    until_status(&client, &service, 200, 201).await;

    let second = PostgresServer::start_standby(&first).await.unwrap();
    first.stop().await.unwrap();
    second.promote().await.unwrap();
    first.follow(&second).await.unwrap();
    until_status(&client, &service, 503, 503).await;
    until_stale(&client, &service).await;

    // The connections to the first stay open.
    address.redirect(&second.url("postgres")).unwrap();
    until_status(&client, &service, 200, 201).await;
    for _ in 0..50 {
        assert_eq!(post(&client, &service.url, "free").await, 201);
    }
}

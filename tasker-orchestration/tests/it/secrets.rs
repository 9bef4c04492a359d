//! No password is in anything that the program says, whatever happens to it.

use std::path::Path;

use tasker_testkit::{GuardedServers, HeldFolder, Secret, ServiceProcess, free_port, ordeal};

use crate::process::{output, program, text};

/// What a wrong configuration ends a service with, and what a lost database does.
const CONFIG: i32 = 78;
const UNAVAILABLE: i32 = 69;

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_printed_or_answered_through_all_failures() {
    let servers = GuardedServers::start().await.unwrap();
    let client = Secret::new();
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    servers.redis.kill().await.unwrap();
    let service = ServiceProcess::start(
        "tasker-orchestration",
        Path::new(env!("CARGO_BIN_EXE_tasker-orchestration")),
        &[
            ("DATABASE_URL", &servers.database_url()),
            ("REDIS_URL", &servers.redis_url()),
            ("TASKER__COMMON__CACHE__ENABLED", "true"),
            // A debug build that writes everything down is slow.
            ("TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS", "500"),
            ("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS", &address),
            ("TASKER_LOG", ""),
            ("TASKER_LOG_FORMAT", "json"),
            ("RUST_LOG", "trace"),
        ],
    )
    .await
    .unwrap();

    let base_url = format!("http://{address}");
    let answered = ordeal(&servers, &base_url, &format!("Bearer {}", client.core()))
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", service.log()));
    service.stop().await.unwrap();

    let log = service.log();
    for expected in [
        "\"level\":\"TRACE\"",
        "\"target\":\"sqlx::query\"",
        "the cache cannot be used yet",
        "the cache is not used until it is well again",
        "password authentication failed",
        "stopped",
    ] {
        assert!(log.contains(expected), "the log has no {expected}");
    }
    for line in log.lines().chain(answered.lines()) {
        assert!(!servers.are_betrayed_by(line), "{line}");
        assert!(!client.is_in(line), "{line}");
    }
}

#[tokio::test]
async fn no_password_is_printed_by_a_start_that_fails() {
    let servers = GuardedServers::start().await.unwrap();
    let wrong = Secret::new();
    let (secret, core) = (wrong.in_url(), wrong.core());
    let refused = servers.database_url_with(&wrong);
    let lost = format!("postgres://app:{secret}@127.0.0.1:1/none");
    let with = |parameters: &str| format!("{lost}?{parameters}");
    let cases = [
        ("DATABASE_URL", refused.clone(), UNAVAILABLE),
        (
            "DATABASE_URL",
            format!("{refused}?connect_timeout=1"),
            UNAVAILABLE,
        ),
        ("DATABASE_URL", lost.clone(), UNAVAILABLE),
        (
            "DATABASE_URL",
            with(&format!("password={secret}")),
            UNAVAILABLE,
        ),
        (
            "DATABASE_URL",
            with(&format!("sslpassword={core}")),
            UNAVAILABLE,
        ),
        ("DATABASE_URL", with(core), UNAVAILABLE),
        ("DATABASE_URL", with(&format!("sslmode={core}")), CONFIG),
        ("DATABASE_URL", with(&format!("port={core}")), CONFIG),
        (
            "DATABASE_URL",
            format!("postgres://app:%ff{core}@127.0.0.1:1/none"),
            CONFIG,
        ),
        (
            "DATABASE_URL",
            format!("postgres://app:{core}@127.0.0.1:port/none"),
            CONFIG,
        ),
        (
            "DATABASE_URL",
            format!("postgres://app:53/{core}@127.0.0.1:1/none"),
            CONFIG,
        ),
        (
            "DATABASE_URL",
            format!("postgres://app:53?{core}@127.0.0.1:1/none"),
            CONFIG,
        ),
        (
            "DATABASE_URL",
            format!("postgres://app:53?{core}=x@127.0.0.1:1/none"),
            CONFIG,
        ),
        (
            "DATABASE_URL",
            format!("postgres://app:53#{core}@127.0.0.1:1/none"),
            CONFIG,
        ),
        (
            "DATABASE_URL",
            format!("mysql://app:{core}@127.0.0.1:1/none"),
            CONFIG,
        ),
        ("DATABASE_URL", format!("app:{core}@127.0.0.1/none"), CONFIG),
        (
            "REDIS_URL",
            format!("redis://:{core}@localhost/nine"),
            CONFIG,
        ),
        (
            "REDIS_URL",
            format!("redis://:{core}@localhost:port"),
            CONFIG,
        ),
        ("REDIS_URL", format!("redis://:5/{core}@localhost"), CONFIG),
        ("REDIS_URL", format!("http://:{core}@localhost"), CONFIG),
        ("REDIS_URL", format!(":{core}@localhost"), CONFIG),
        ("PGPASSWORD", core.to_owned(), UNAVAILABLE),
        (
            "TASKER__COMMON__CACHE__KEY_PREFIX",
            format!("{core}*"),
            CONFIG,
        ),
        (
            "TASKER__COMMON__DATABASE__PASSWORD",
            core.to_owned(),
            CONFIG,
        ),
    ];
    for (variable, value, expected) in cases {
        let mut command = program();
        command
            .env("DATABASE_URL", &lost)
            .env(variable, &value)
            .env("RUST_LOG", "trace");
        let ended = output(&mut command).await;
        let said = text(&ended);
        assert_eq!(
            ended.status.code(),
            Some(expected),
            "{variable}={value}: {said}"
        );
        assert!(!wrong.is_in(&said), "{variable}={value}: {said}");
        let checked = text(&output(command.arg("--check-config")).await);
        assert!(!wrong.is_in(&checked), "{variable}={value}: {checked}");
    }
}

#[tokio::test]
async fn no_password_is_printed_from_a_file_that_is_wrong() {
    let secret = Secret::new();
    let core = secret.core();
    let folder = HeldFolder::create().unwrap();
    let base = folder.path().join("tasker/base");
    for part in [&base, &folder.path().join("tasker/environments/test")] {
        std::fs::create_dir_all(part).unwrap();
    }
    for wrong in [
        format!("[common.database]\nurl = postgres://app:{core}@127.0.0.1:1/none"),
        format!("[common.database]\nurl = [\"postgres://app:{core}@127.0.0.1:1/none\"]"),
        format!("[common.database]\nurl = \"postgres://app:{core}@127.0.0.1:port/none\""),
        format!("[common.database]\nurl = \"${{DATABASE_URL:-app:{core}@127.0.0.1}}\""),
        format!("[common.database]\npassword = \"{core}\""),
        format!("[common.cache]\nenabled = \"{core}\""),
    ] {
        std::fs::write(base.join("common.toml"), &wrong).unwrap();
        let mut command = program();
        command
            .env("TASKER_CONFIG_ROOT", folder.path())
            .env("RUST_LOG", "trace");
        let ended = output(&mut command).await;
        let said = text(&ended);
        assert_eq!(ended.status.code(), Some(CONFIG), "{wrong}: {said}");
        assert!(!secret.is_in(&said), "{wrong}: {said}");
    }
}

#[tokio::test]
async fn no_password_is_printed_from_a_password_file_that_is_wrong() {
    use std::os::unix::fs::PermissionsExt;

    let secret = Secret::new();
    let folder = HeldFolder::create().unwrap();
    let file = folder.path().join("pgpass");
    std::fs::write(&file, format!("127.0.0.1:1:none;app;{}\n", secret.core())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = program();
    command
        .env("PGPASSFILE", &file)
        .env("DATABASE_URL", "postgres://app@127.0.0.1:1/none")
        .env("RUST_LOG", "trace");
    let ended = output(&mut command).await;
    let said = text(&ended);
    assert_eq!(ended.status.code(), Some(UNAVAILABLE), "{said}");
    assert!(!secret.is_in(&said), "{said}");
}

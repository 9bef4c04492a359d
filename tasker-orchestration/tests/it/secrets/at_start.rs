//! A program that fails to start prints no password.

use std::os::unix::fs::PermissionsExt;

use tasker_test_support::HeldFolder;

use super::secret::Secret;
use super::servers::PasswordServers;
use crate::process::{output, program, text};

/// Exit codes for an invalid configuration and for a database that cannot be reached.
const CONFIG: i32 = 78;
const UNAVAILABLE: i32 = 69;

/// A variable, a value that contains a password, and the exit code of a start with it.
const WRONG_VALUES: [(&str, &str, i32); 21] = [
    (
        "DATABASE_URL",
        "postgres://app:SECRET@127.0.0.1:1/none",
        UNAVAILABLE,
    ),
    (
        "DATABASE_URL",
        "postgres://app@127.0.0.1:1/none?password=SECRET",
        UNAVAILABLE,
    ),
    (
        "DATABASE_URL",
        "postgres://app@127.0.0.1:1/none?sslpassword=SECRET",
        UNAVAILABLE,
    ),
    (
        "DATABASE_URL",
        "postgres://app@127.0.0.1:1/none?SECRET",
        UNAVAILABLE,
    ),
    (
        "DATABASE_URL",
        "postgres://app@127.0.0.1:1/none?sslmode=SECRET",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "postgres://app@127.0.0.1:1/none?port=SECRET",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "postgres://app:%ffSECRET@127.0.0.1:1/none",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "postgres://app:SECRET@127.0.0.1:port/none",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "postgres://app:53/SECRET@127.0.0.1:1/none",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "postgres://app:53?SECRET@127.0.0.1:1/none",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "postgres://app:53?SECRET=x@127.0.0.1:1/none",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "postgres://app:53#SECRET@127.0.0.1:1/none",
        CONFIG,
    ),
    (
        "DATABASE_URL",
        "mysql://app:SECRET@127.0.0.1:1/none",
        CONFIG,
    ),
    ("DATABASE_URL", "app:SECRET@127.0.0.1/none", CONFIG),
    // A service starts without a cache that is wrong, and then finds no database.
    ("REDIS_URL", "redis://:SECRET@localhost/nine", UNAVAILABLE),
    ("REDIS_URL", "redis://:SECRET@localhost:port", UNAVAILABLE),
    ("REDIS_URL", "redis://:5/SECRET@localhost", UNAVAILABLE),
    ("REDIS_URL", "http://:SECRET@localhost", UNAVAILABLE),
    ("REDIS_URL", ":SECRET@localhost", UNAVAILABLE),
    ("PGPASSWORD", "SECRET", UNAVAILABLE),
    ("TASKER__COMMON__DATABASE__PASSWORD", "SECRET", CONFIG),
];

#[tokio::test]
async fn no_password_is_printed_by_a_start_that_fails() {
    let secret = Secret::new();
    for (variable, value, expected) in WRONG_VALUES {
        let value = value.replace("SECRET", secret.core());
        let mut command = program();
        command
            .env("DATABASE_URL", "postgres://app@127.0.0.1:1/none")
            .env(variable, &value)
            .env("RUST_LOG", "trace");
        let ended = output(&mut command).await;
        let said = text(&ended);
        assert_eq!(ended.status.code(), Some(expected), "{value}: {said}");
        assert!(!secret.is_in(&said), "{value}: {said}");
        let checked = text(&output(command.arg("--check-config")).await);
        assert!(!secret.is_in(&checked), "{value}: {checked}");
    }
}

#[tokio::test]
async fn no_password_is_printed_when_it_is_refused() {
    let servers = PasswordServers::start().await.unwrap();
    let wrong = Secret::new();
    let refused = servers.database_url_with(&wrong);
    for url in [format!("{refused}?connect_timeout=1"), refused] {
        let mut command = program();
        command.env("DATABASE_URL", &url).env("RUST_LOG", "trace");
        let ended = output(&mut command).await;
        let said = text(&ended);
        assert_eq!(ended.status.code(), Some(UNAVAILABLE), "{said}");
        assert!(said.contains("password authentication failed"), "{said}");
        assert!(!wrong.is_in(&said), "{said}");
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
    for (wrong, expected) in [
        format!("[common.database]\nurl = postgres://app:{core}@127.0.0.1:1/none"),
        format!("[common.database]\nurl = [\"postgres://app:{core}@127.0.0.1:1/none\"]"),
        format!("[common.database]\nurl = \"postgres://app:{core}@127.0.0.1:port/none\""),
        format!("[common.database]\nurl = \"${{DATABASE_URL:-app:{core}@127.0.0.1}}\""),
        format!("[common.database]\npassword = \"{core}\""),
    ]
    .map(|wrong| (wrong, CONFIG))
    .into_iter()
    .chain([(format!("[common.cache]\nenabled = \"{core}\""), UNAVAILABLE)])
    {
        std::fs::write(base.join("common.toml"), &wrong).unwrap();
        let mut command = program();
        command
            .env("TASKER_CONFIG_ROOT", folder.path())
            .env("RUST_LOG", "trace");
        if expected == UNAVAILABLE {
            command.env("DATABASE_URL", "postgres://app@127.0.0.1:1/none");
        }
        let ended = output(&mut command).await;
        let said = text(&ended);
        assert_eq!(ended.status.code(), Some(expected), "{wrong}: {said}");
        assert!(!secret.is_in(&said), "{wrong}: {said}");
    }
}

#[tokio::test]
async fn no_password_is_printed_from_a_password_file_that_is_wrong() {
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

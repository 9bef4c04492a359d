//! The program `tasker-worker`, as a supervisor sees it.

use std::process::{Command, Output};

use tasker_testkit::TestDatabase;

/// Runs the program to its end, in a folder that has no templates.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_tasker-worker"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn code(output: &Output) -> u8 {
    u8::try_from(output.status.code().expect("it ended by itself")).unwrap()
}

#[test]
fn it_tells_its_version() {
    let output = run(&["--version"], &[]);
    assert_eq!(code(&output), tasker_shared::web::exit::OK);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        shown.trim(),
        concat!("tasker-worker ", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn a_missing_template_folder_ends_it_as_a_configuration_error_does() {
    let database = TestDatabase::create().await.unwrap();
    let output = run(
        &[],
        &[
            ("TASKER__COMMON__DATABASE__URL", database.url()),
            ("TASKER__WORKER__WEB__BIND_ADDRESS", "127.0.0.1:0"),
            ("TASKER_TEMPLATE_PATH", "/no/such/folder"),
        ],
    );
    assert_eq!(code(&output), tasker_shared::web::exit::CONFIG);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(shown.contains("/no/such/folder"), "{shown}");
    assert!(shown.contains("TASKER_TEMPLATE_PATH"), "{shown}");
}

#[test]
fn a_lost_database_ends_it_with_a_code_of_its_own() {
    let output = run(
        &[],
        &[
            (
                "TASKER__COMMON__DATABASE__URL",
                "postgres://nobody@127.0.0.1:1/none",
            ),
            ("TASKER__WORKER__WEB__BIND_ADDRESS", "127.0.0.1:0"),
        ],
    );
    assert_eq!(code(&output), tasker_shared::web::exit::UNAVAILABLE);
}

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{FoundTemplates, check_template_files, require_folder};
use crate::registry::{DiscoveryProblem, RegistryError};

const LIMIT: u64 = 64 * 1024;

fn template(name: &str) -> String {
    format!(
        "name: {name}\nnamespace_name: files\nversion: 1.0.0\nsteps:\n  - name: only\n    handler:\n      callable: Only\n"
    )
}

fn write(folder: &TempDir, path: &str, text: &str) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(folder: &TempDir) -> FoundTemplates {
    read_below(folder.path())
}

fn read_below(folder: &Path) -> FoundTemplates {
    check_template_files(&[folder.to_owned()], LIMIT).unwrap()
}

fn names(files: &FoundTemplates) -> Vec<&str> {
    let templates = files.templates.iter();
    templates.map(|template| template.name.as_str()).collect()
}

fn file_names(problems: &[DiscoveryProblem]) -> Vec<&str> {
    let problems = problems.iter();
    problems
        .map(|problem| problem.file.file_name().unwrap().to_str().unwrap())
        .collect()
}

#[test]
fn template_files_are_found_at_any_depth_in_the_order_of_paths() {
    let folder = TempDir::new().unwrap();
    write(&folder, "b.yaml", &template("b"));
    write(&folder, "a/deep/er/a.yml", &template("a"));
    write(&folder, "c.yaml", &template("c"));
    write(&folder, "notes.txt", "not: [a template");
    write(&folder, ".hidden.yaml", "not: [a template");
    write(&folder, ".git/x.yaml", "not: [a template");
    let files = read(&folder);
    assert_eq!(names(&files), ["a", "b", "c"]);
    assert_eq!(files.total_files, 3);
    assert!(files.errors.is_empty(), "{:?}", files.errors);
    assert!(files.warnings.is_empty(), "{:?}", files.warnings);
}

#[test]
fn a_folder_comes_before_what_its_name_begins() {
    let folder = TempDir::new().unwrap();
    for path in ["a.yaml", "a-b/y.yaml", "a/z.yaml"] {
        let name = path.replace(['.', '-', '/'], "_");
        write(&folder, path, &template(&name));
    }
    // `Path` orders by components.
    assert_eq!(names(&read(&folder)), ["a_z_yaml", "a_b_y_yaml", "a_yaml"]);
}

#[test]
fn bad_files_are_reported_and_stop_no_others() {
    let folder = TempDir::new().unwrap();
    write(&folder, "a_syntax.yaml", "name: [\n");
    write(
        &folder,
        "b_invalid.yaml",
        &template("b").replace("callable: Only", "method: x\n    dependencies: [none]"),
    );
    write(&folder, "c_binary.yaml", "name: a\n\u{1}\n");
    write(&folder, "d_empty.yaml", "");
    write(&folder, "good.yaml", &template("good"));
    let files = read(&folder);
    assert_eq!(names(&files), ["good"]);
    assert_eq!(files.total_files, 5);
    assert_eq!(
        file_names(&files.errors),
        [
            "a_syntax.yaml",
            "b_invalid.yaml",
            "b_invalid.yaml",
            "c_binary.yaml",
            "d_empty.yaml"
        ]
    );
    let lines_and_paths: Vec<_> = files.errors[1..3]
        .iter()
        .map(|problem| (problem.line, problem.path.as_str()))
        .collect();
    assert_eq!(
        lines_and_paths,
        [
            (Some(6), "steps[0].handler.callable"),
            (Some(8), "steps[0].dependencies[0]")
        ]
    );
    assert_eq!(files.errors[3].line, Some(2));
}

#[test]
fn warnings_are_reported_for_files_that_count() {
    let folder = TempDir::new().unwrap();
    write(&folder, "a.yaml", &template("a").replace("1.0.0", "1.10"));
    let files = read(&folder);
    assert_eq!(files.templates[0].version, "1.10");
    assert_eq!(files.warnings.len(), 1);
    assert_eq!(files.warnings[0].line, Some(3));
    assert_eq!(files.warnings[0].path, "version");
}

#[test]
fn a_file_over_the_limit_is_refused_unread() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("huge.yaml");
    // Sparse: reading it would be noticed.
    fs::File::create(&path)
        .unwrap()
        .set_len(50 * 1024 * 1024 * 1024)
        .unwrap();
    let files = read(&folder);
    assert_eq!(file_names(&files.errors), ["huge.yaml"]);
    assert!(files.errors[0].message.contains("65536 bytes"));
}

#[test]
fn names_that_are_nearly_those_of_templates_are_warnings() {
    let folder = TempDir::new().unwrap();
    write(&folder, "good.yaml", &template("good"));
    for name in ["a.json", "b.YAML", "c.ymal", "d.yaml.txt"] {
        write(&folder, name, &template("ignored"));
    }
    for name in ["e.yaml.bak", "f.md", "g.yml~"] {
        write(&folder, name, &template("ignored"));
    }
    let files = read(&folder);
    assert_eq!(names(&files), ["good"]);
    assert_eq!(files.total_files, 1);
    assert_eq!(
        file_names(&files.warnings),
        ["a.json", "b.YAML", "c.ymal", "d.yaml.txt"]
    );
}

#[test]
fn a_refused_file_reports_its_warnings_with_line_and_column() {
    let folder = TempDir::new().unwrap();
    let text = template("a").replace(
        "      callable: Only",
        "      callable: Only\n    retries: 3\n    dependencies: [none]",
    );
    write(&folder, "a.yaml", &text);
    let files = read(&folder);
    assert_eq!(files.errors.len(), 1);
    assert_eq!(files.warnings.len(), 1, "{:?}", files.warnings);
    assert_eq!(files.warnings[0].path, "steps[0].retries");
    assert_eq!(
        (files.warnings[0].line, files.warnings[0].column),
        (Some(8), Some(5))
    );
}

#[test]
fn two_files_with_one_name_and_different_documents_are_both_refused() {
    let folder = TempDir::new().unwrap();
    write(&folder, "a.yaml", &template("same"));
    write(
        &folder,
        "b.yaml",
        &template("same").replace("Only", "Other"),
    );
    write(&folder, "c.yaml", &format!("# again\n{}", template("same")));
    write(
        &folder,
        "d.yaml",
        &template("same").replace("1.0.0", "1.0.1"),
    );
    let files = read(&folder);
    let versions: Vec<_> = files.templates.iter().map(|one| &*one.version).collect();
    assert_eq!(versions, ["1.0.1"]);
    assert_eq!(file_names(&files.errors), ["b.yaml"]);
    assert!(files.errors[0].message.contains("a.yaml"));
    assert!(files.errors[0].message.contains("files/same/1.0.0"));
    assert_eq!(file_names(&files.warnings), ["c.yaml"]);
    assert!(files.warnings[0].message.contains("a.yaml"));
}

#[tokio::test]
async fn a_missing_folder_is_an_error() {
    let folder = TempDir::new().unwrap();
    write(&folder, "file", "");
    for path in ["absent", "file"] {
        let path = folder.path().join(path);
        let error = require_folder(&path).await.unwrap_err();
        let RegistryError::Folder { path: reported, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(Path::new(reported), path);
    }
}

#[test]
fn an_empty_folder_has_no_files() {
    let files = read(&TempDir::new().unwrap());
    assert_eq!(files.total_files, 0);
    assert!(files.errors.is_empty());
}

#[test]
fn our_own_examples_are_valid_without_warnings() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tasks");
    let files = read_below(&examples);
    assert!(files.templates.len() >= 4, "{:?}", names(&files));
    assert_eq!(files.templates.len(), files.total_files);
    assert!(files.errors.is_empty(), "{:?}", files.errors);
    assert!(files.warnings.is_empty(), "{:?}", files.warnings);
    for template in &files.templates {
        // The path of an example is its namespace and name.
        let path = format!("{}/{}.yaml", template.namespace, template.name);
        assert!(examples.join(&path).is_file(), "{path}");
        assert!(template.document.contains("\"input_schema\": {"), "{path}");
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::{file_names, names, read, template, write};

    #[test]
    fn links_are_followed_and_a_loop_is_reported() {
        let folder = TempDir::new().unwrap();
        let elsewhere = TempDir::new().unwrap();
        write(&elsewhere, "linked.yaml", &template("linked"));
        write(&folder, "inner/good.yaml", &template("good"));
        symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        symlink(folder.path(), folder.path().join("inner/loop")).unwrap();
        let files = read(&folder);
        assert_eq!(names(&files), ["good", "linked"]);
        assert_eq!(file_names(&files.errors), ["loop"]);
        assert!(files.errors[0].message.contains("leads back"));
    }

    #[test]
    fn a_link_to_nowhere_is_reported_unless_it_is_hidden() {
        let folder = TempDir::new().unwrap();
        write(&folder, "good.yaml", &template("good"));
        symlink("nowhere", folder.path().join("gone.yaml")).unwrap();
        symlink("nowhere", folder.path().join(".#good.yaml")).unwrap();
        let files = read(&folder);
        assert_eq!(names(&files), ["good"]);
        assert_eq!(file_names(&files.errors), ["gone.yaml"]);
    }

    #[test]
    fn a_file_that_is_not_regular_is_not_opened() {
        let folder = TempDir::new().unwrap();
        let _socket = UnixListener::bind(folder.path().join("socket.yaml")).unwrap();
        let pipe = folder.path().join("pipe.yaml");
        // Opening a pipe that nobody writes to would wait forever.
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        symlink("/dev/zero", folder.path().join("zeros.yaml")).unwrap();
        let files = read(&folder);
        assert!(files.templates.is_empty());
        assert_eq!(
            file_names(&files.errors),
            ["pipe.yaml", "socket.yaml", "zeros.yaml"]
        );
        for problem in &files.errors {
            assert!(problem.message.contains("regular"), "{problem:?}");
        }
    }
}

//! Holds what is written, and what is deployed, to the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use saphyr::{LoadableYamlNode, Yaml};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn all_code(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &all_code(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

fn pages() -> Vec<PathBuf> {
    let folders = [root().to_owned(), root().join("docs"), root().join("log-generator")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
}

/// Texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_promise_names_a_test_that_is_there() {
    let readme = read("README.md");
    let promises = readme.split("## What it promises").nth(1).unwrap().split("\n## ").next().unwrap();
    let code = all_code(&root().join("src")) + &all_code(&root().join("tests"));
    let rows: Vec<_> = promises.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 5);
    for row in rows {
        let tests: Vec<_> = quoted(row.rsplit('|').nth(1).unwrap()).collect();
        assert!(!tests.is_empty(), "no test is named: {row}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "the README names the test `{test}`, which is not there");
        }
    }
}

#[test]
fn settings_of_the_readme_are_there() {
    let readme = read("README.md");
    let table = readme.split("## Settings").nth(1).unwrap().split("\n## ").next().unwrap();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').collect();
        for key in quoted(cells[1]) {
            let last = key.rsplit('.').next().unwrap();
            assert!(sigyn::config::DEFAULTS.contains(&format!("{last}:")), "`{key}` is no setting");
        }
        for name in quoted(cells[2]) {
            assert!(sigyn::config::DEFAULTS.contains(name), "config/sigyn.yaml does not know `{name}`");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(page.parent().unwrap().join(file).exists(), "{} links to {file}", page.display());
            }
        }
    }
}

#[test]
fn the_generator_takes_what_compose_gives_it() {
    let text = read("docker-compose.yml");
    let compose = &Yaml::load_from_str(&text).unwrap()[0];
    let command = compose["services"]["log-generator"]["command"].as_sequence().unwrap();
    let arguments = command.iter().map(|argument| argument.as_str().unwrap());
    let cli = log_generator::cli::Cli::try_parse_from(std::iter::once("log-generator").chain(arguments)).unwrap();
    assert!(cli.generate.repeat, "the stack's traffic must not end");
    let folder = cli.generate.output.unwrap();
    for shipper in ["alloy/config.alloy", "promtail/promtail.yaml"] {
        assert!(read(shipper).contains(&format!("{folder}*.log")), "{shipper} does not read {folder}");
    }
    let given = &compose["services"]["sigyn"]["environment"];
    for line in read(".env.example").lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name) {
        assert!(given.contains_mapping_key(line), "docker-compose.yml does not pass {line} on");
    }
}

#[test]
fn alerts_are_about_metrics_that_exist() {
    let text = read("deploy/prometheus-rules.yaml");
    assert_eq!(Yaml::load_from_str(&text).unwrap().len(), 1);
    let known: BTreeSet<_> = sigyn::telemetry::METRICS.iter().map(|metric| metric.name).collect();
    for line in text.lines().filter(|line| line.trim_start().starts_with("expr:")) {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("sigyn_")) {
            assert!(known.contains(word), "{line}");
        }
    }
}

#[test]
fn the_image_copies_all_that_cargo_wants() {
    let dockerfile = read("Dockerfile");
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--"))
        .flat_map(|line| line.split_whitespace().rev().skip(1))
        .collect();
    assert!(copied.len() > 5);
    let folder = tempfile::tempdir().unwrap();
    for name in copied {
        assert!(root().join(name).exists(), "the Dockerfile copies {name}, which is not there");
        std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"];
    let output = std::process::Command::new(cargo).args(arguments).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

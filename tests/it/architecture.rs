//! Holds the code to ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The code of a file without its inline tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("").to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Path below `src`, without ending and `/mod`, such as `notify/outbox`.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    below.to_str().unwrap().trim_end_matches("/mod").to_owned()
}

fn sources() -> Vec<(String, String)> {
    files(&root().join("src"), "rs")
        .iter()
        .map(|path| (module(path), path))
        .filter(|(module, _)| module != "main" && module != "lib" && !module.ends_with("tests"))
        .map(|(module, path)| (module, code(path)))
        .collect()
}

fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("<!-- imports -->").nth(1).unwrap().split("<!-- /imports -->").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| module"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let allowed = cells[2].split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        (cells[1].to_owned(), allowed.collect())
    })
    .collect()
}

/// Names after `crate::` anywhere in the code, also in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            for part in list.split_inclusive([',', '{', '}']) {
                let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if depth == 0 && !name.is_empty() {
                    found.insert(name);
                }
                depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
                if depth < 0 {
                    break;
                }
            }
        } else {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn imports_are_those_of_the_table() {
    let table = table();
    let mut wrong = Vec::new();
    for (module, code) in sources() {
        // The longest row that is the module or a folder above it.
        let row = table
            .iter()
            .filter(|(name, _)| module == **name || module.starts_with(&format!("{name}/")))
            .max_by_key(|(name, _)| name.len());
        let Some((name, allowed)) = row else {
            wrong.push(format!("{module}: no row in ARCHITECTURE.md"));
            continue;
        };
        let own = name.split('/').next().unwrap();
        for import in imports(&code) {
            if import != own && !allowed.contains("*") && !allowed.contains(&import) {
                wrong.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not allowed by ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_stages_know_no_world() {
    let forbidden = ["tokio", "std::fs", "std::net", "std::thread", "reqwest", "sqlx", "std::env"];
    for (module, code) in sources() {
        let stage = module.split('/').next().unwrap();
        // Settings and the file source do I/O elsewhere.
        if !["detect", "incident", "engine"].contains(&stage) {
            continue;
        }
        for word in forbidden {
            assert!(!code.contains(word), "{module} names {word}");
        }
    }
}

#[test]
fn only_the_app_spawns() {
    for (module, code) in sources() {
        if module == "app" || module.starts_with("app/") {
            continue;
        }
        for word in ["tokio::spawn", "task::spawn(", "thread::spawn", "JoinSet"] {
            assert!(!code.contains(word), "{module} uses {word}");
        }
    }
}

#[test]
fn sql_and_lokis_paths_stand_in_one_place() {
    for (module, code) in sources() {
        if !module.starts_with("store") {
            for word in ["sqlx::", "INSERT INTO", "SELECT "] {
                assert!(!code.contains(word), "{module} contains {word}");
            }
        }
        if !module.starts_with("collect/client") {
            assert!(!code.contains("/loki/api/v1"), "{module} names a path of Loki");
        }
    }
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for folder in ["src", "log-generator/src"] {
        for path in files(&root().join(folder), "rs") {
            let lines = fs::read_to_string(&path).unwrap();
            let lines = lines.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
            if lines > 600 {
                long.push(format!("{}: {lines}", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "over 600 lines without tests:\n{}", long.join("\n"));
}

#[test]
fn every_dependency_is_in_the_table() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for manifest in ["Cargo.toml", "log-generator/Cargo.toml"] {
        let manifest = fs::read_to_string(root().join(manifest)).unwrap();
        let mut inside = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
                let name = name.trim();
                let listed = architecture.split([' ', ',', '|']).any(|word| word == name);
                assert!(listed, "{name} is not in ARCHITECTURE.md's table of dependencies");
            }
        }
    }
}

#[test]
fn yaml_files_parse_and_name_files_that_are_there() {
    use saphyr::LoadableYamlNode;
    for path in ["docker-compose.yml", "loki/loki.yaml", "promtail/promtail.yaml", "config/sigyn.yaml"] {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let parsed = saphyr::Yaml::load_from_str(&text);
        assert!(parsed.is_ok_and(|documents| documents.len() == 1), "{path} is no YAML document");
    }
    let compose = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    for mount in compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")) {
        let file = mount.split(':').next().unwrap();
        assert!(root().join(file).exists(), "docker-compose.yml mounts {file}, which is not there");
    }
    // The trap of Loki 3.8: without it, chunks go to the current working directory.
    let loki = fs::read_to_string(root().join("loki/loki.yaml")).unwrap();
    assert!(loki.contains("object_store:\n      filesystem:\n        dir: /loki/chunks"));
}

#[test]
fn every_metric_is_in_the_table_and_the_other_way_round() {
    let name = regex::Regex::new(r#"(?:counter|gauge|histogram)!\(\s*"(sigyn_\w+)""#).unwrap();
    let mut recorded = BTreeSet::new();
    for (_, code) in sources() {
        recorded.extend(name.captures_iter(&code).map(|found| found[1].to_owned()));
    }
    let table: BTreeSet<String> = sigyn::telemetry::METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(recorded, table);
}

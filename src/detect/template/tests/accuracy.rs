//! Grouping accuracy on labelled raw lines, with one setting for all systems.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::{Level, Limits, Miner, TemplateId};

/// The folder of labelled data, where there is one.
fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("SIGYN_SHARED").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let folder = folder.join("data/templates");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not there", folder.display());
    println!("SKIPPED: {} is not there", folder.display());
    None
}

/// Share of lines whose group holds exactly the same lines as the true one.
fn grouping_accuracy<T: Ord + Copy>(truth: &[&str], groups: &[T]) -> f64 {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut own: BTreeMap<T, BTreeMap<&str, usize>> = BTreeMap::new();
    for (event, group) in truth.iter().zip(groups) {
        *sizes.entry(event).or_default() += 1;
        *own.entry(*group).or_default().entry(event).or_default() += 1;
    }
    let right = own.values().filter(|events| events.len() == 1).flatten();
    let right: usize = right.filter(|(event, size)| sizes[*event] == **size).map(|(_, size)| size).sum();
    right as f64 / truth.len() as f64
}

#[test]
fn grouping_accuracy_on_raw_lines() {
    let Some(folder) = shared() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "gz"));
    files.sort();
    let (mut end, mut online) = (0.0, 0.0);
    println!("{:<12} {:>8} {:>8} {:>9} {:>7}", "system", "end", "online", "templates", "events");
    for path in &files {
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text);
        let (truth, lines): (Vec<&str>, Vec<&str>) = text.lines().filter_map(|line| line.split_once('\t')).unzip();
        let mut miner = Miner::new(Limits::default());
        let stream = miner.stream(0);
        let given: Vec<TemplateId> =
            lines.iter().map(|line| miner.mine(stream, 0, Level::Unknown, line).template).collect();
        let resolved: Vec<TemplateId> = given.iter().map(|id| miner.resolve(*id)).collect();
        let (now, then) = (grouping_accuracy(&truth, &resolved), grouping_accuracy(&truth, &given));
        let events: std::collections::BTreeSet<_> = truth.iter().collect();
        let templates: std::collections::BTreeSet<_> = resolved.iter().collect();
        let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".tsv.gz");
        println!("{name:<12} {now:>8.3} {then:>8.3} {:>9} {:>7}", templates.len(), events.len());
        end += now / files.len() as f64;
        online += then / files.len() as f64;
        if let Some(out) = std::env::var_os("SIGYN_GA_OUT") {
            let ids: Vec<String> = resolved.iter().map(|id| id.0.to_string()).collect();
            std::fs::write(Path::new(&out).join(format!("{name}.ids")), ids.join("\n") + "\n").unwrap();
            let ids: Vec<String> = given.iter().map(|id| id.0.to_string()).collect();
            std::fs::write(Path::new(&out).join(format!("{name}.online")), ids.join("\n") + "\n").unwrap();
        }
    }
    println!("{:<12} {end:>8.3} {online:>8.3}", "mean");
    assert!(end >= 0.97 && online >= 0.90, "{end} at the end, {online} at the moment of the line");
}

//! The static binary alone in an empty root, as in the image: no libraries, no shell, no `/etc`, only the roots of trust.
//!
//! `$SIGYN_STATIC` names the binary; else it is looked for where `.ci/run` builds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::tls::{Authority, Served};

/// Not being able to test is a failure where all is there to do it, else it is only said.
fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    println!("SKIPPED: {why}");
}

fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SIGYN_STATIC") {
        return Some(PathBuf::from(named)).filter(|path| path.exists());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let target = root().join(target).join(format!("{}-unknown-linux-musl", std::env::consts::ARCH));
    let built = ["static", "debug", "release"].map(|profile| target.join(profile).join("sigyn"));
    // The newest: an old one says nothing about the code of today.
    let age = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    built.into_iter().filter(|path| path.exists()).max_by_key(age)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program that runs another one in `folder` as its root; `None` where nobody may do that.
fn chroot(folder: &Path) -> Option<Command> {
    let folder_as = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg(folder);
        command
    };
    let works = |mut command: Command| {
        let tried = command.args(["/sigyn", "--version"]).env_clear().output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let mut ways = Vec::new();
    for folder in ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        ways.push((format!("{folder}/chroot"), vec![]));
        ways.push((format!("{folder}/unshare"), vec!["--map-root-user", "--root"]));
    }
    let way = ways.iter().find(|(program, arguments)| works(folder_as(program, arguments)));
    way.map(|(program, arguments)| folder_as(program, arguments))
}

/// Whether an ELF file asks for a dynamic loader (a program header of type PT_INTERP, elf(5)); 64 bit, little endian.
fn asks_for_a_loader(elf: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        elf[at..at + len].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(elf[..6], [0x7f, b'E', b'L', b'F', 2, 1], "not a 64-bit little-endian ELF file");
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(first + index * size, 4) == 3)
}

/// Runs the binary alone in a new empty root that trusts `authority`; `None` (and said why) where that is not possible.
fn alone(loki: &str, authority: Option<&str>, arguments: &[&str]) -> Option<Output> {
    let Some(binary) = binary() else {
        skipped("no static binary; build it with `cargo build --profile static --target x86_64-unknown-linux-musl`");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::copy(binary, folder.path().join("sigyn")).unwrap();
    if let Some(authority) = authority {
        fs::write(folder.path().join("roots.pem"), authority).unwrap();
    }
    fs::create_dir(folder.path().join("data")).unwrap();
    let Some(mut command) = chroot(folder.path()) else {
        skipped("neither chroot nor unshare may change the root here");
        return None;
    };
    let output = command
        .arg("/sigyn")
        .args(arguments)
        .env_clear()
        .env("LOKI_URL", loki)
        .env("SSL_CERT_FILE", "/roots.pem")
        .env("SIGYN__STORE__DATA_DIR", "/data")
        .output();
    Some(output.unwrap())
}

#[expect(clippy::disallowed_methods, reason = "what a real process is to read must lie in its past")]
fn a_minute_ago() -> i64 {
    jiff::Timestamp::now().as_nanosecond() as i64 - 60_000_000_000
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit {:?}\n{out}\n{err}", output.status.code())
}

#[test]
fn it_asks_for_no_loader() {
    match binary() {
        Some(path) => assert!(!asks_for_a_loader(&fs::read(path).unwrap()), "the binary is not static"),
        None => skipped("no static binary"),
    }
    // The binary that these tests run in is a dynamic one: the check can tell them apart.
    if cfg!(target_env = "gnu") {
        assert!(asks_for_a_loader(&fs::read(std::env::current_exe().unwrap()).unwrap()));
    }
}

#[test]
fn it_reads_loki_over_tls_in_an_empty_root() {
    let served = Served::start(None);
    served.loki.push(&[("service_name", "cart")], a_minute_ago(), "hello".to_owned());
    let Some(checked) = alone(&served.url, Some(&served.authority.pem()), &["check", "--online"]) else { return };
    let said = text(&checked);
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("answers, version 3.8.0") && said.contains("watch `all`: 1 streams"), "{said}");
    // The state, too, needs nothing but the folder.
    let once = alone(&served.url, Some(&served.authority.pem()), &["once"]).unwrap();
    assert!(once.status.success() && !text(&once).contains("falls behind"), "{}", text(&once));
}

#[test]
fn it_refuses_who_is_not_trusted() {
    let served = Served::start(None);
    let stranger = Authority::new("somebody else");
    let Some(checked) = alone(&served.url, Some(&stranger.pem()), &["check", "--online"]) else { return };
    let said = text(&checked);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("is not trusted") && said.contains("set loki.ca_file"), "{said}");
}

#[test]
fn it_needs_no_roots_where_nothing_is_encrypted() {
    let served = Served::start(None);
    let Some(once) = alone(&served.loki.url(), None, &["once"]) else { return };
    assert!(once.status.success(), "{}", text(&once));
}

//! A real PostgreSQL for the tests of one process: started by the first that needs it, with a database for each.
//!
//! The server runs below a shell that waits for the end of its input: when the process of the tests ends, however it
//! does, the input ends, and the shell stops the server and removes its folder.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::Connection;

/// The user that Debian's package makes; the server refuses to run as root.
const USER: &str = "postgres";

/// So often it is tried to start one.
const TRIES: u32 = 3;

const SCRIPT: &str = r#"
set -eu
bin=$1 port=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$bin/initdb" --pgdata="$dir/data" --username=sigyn --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null 2>"$dir/initdb" \
  || { cat "$dir/initdb" >&2; exit 1; }
"$bin/postgres" -D "$dir/data" -k "$dir" -p "$port" -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200 \
  >"$dir/log" 2>&1 </dev/null &
server=$!
until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
  kill -0 "$server" || { cat "$dir/log" >&2; exit 1; }
  sleep 0.05
done
echo ready
cat >/dev/null
kill -INT "$server"
wait "$server" || true
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its end of input ends the server.
    _shell: Child,
    port: u16,
    count: AtomicU32,
}

impl Server {
    /// The server of this process; `None`, with a word on standard output, when PostgreSQL is not installed here. In CI it
    /// must be.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        SERVER.get_or_init(Self::start).as_ref()
    }

    /// A server of its own; it ends with the value.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing (package postgresql); CI needs it");
            println!("SKIPPED: PostgreSQL is not installed (package postgresql)");
            return None;
        };
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        // A port that is free now may be another's by the time that the server is made.
        let started = (0..TRIES).find_map(|_| Self::at(&bin, root));
        Some(started.expect("the server did not start"))
    }

    /// A server on a port that is free at this moment; `None` when it did not start.
    fn at(bin: &Path, root: bool) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = if root {
            let mut command = Command::new("runuser");
            command.args(["-u", USER, "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command.args(["-c", SCRIPT, "sh"]).arg(bin).arg(port.to_string()).current_dir("/");
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line == "ready\n" {
            return Some(Self { _shell: shell, port, count: AtomicU32::new(0) });
        }
        let _ = shell.wait();
        None
    }

    /// The URL of a new and empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", self.count.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("postgres://sigyn:secret@127.0.0.1:{}/{name}", self.port)
    }

    /// Carries out SQL. On a thread and over the network: a process that is started has the open files of this one for a
    /// moment, locks too.
    pub(crate) fn run(&self, database: &str, sql: &str) {
        let (url, sql) = (self.url(database), sql.to_owned());
        let work = async move {
            let mut link = sqlx::PgConnection::connect(&url).await.unwrap();
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut link).await.unwrap();
            link.close().await.unwrap();
        };
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime().block_on(work)).join().unwrap();
    }
}

/// Where the programs are: Debian keeps them out of the path, by version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    let whole =
        |bin: &&PathBuf| ["initdb", "postgres", "pg_isready"].iter().all(|name| Path::new(bin).join(name).exists());
    found.iter().find(whole).cloned()
}

//! The real binary as a child process: a folder of its own, an environment that holds nothing but what a test sets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// Nothing that a test waits for takes this long, even on a machine that does ten times as much besides.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What the daemon says once it listens to signals and probes.
pub(crate) const SERVED: &str = "probes and metrics are served address=";

/// Waits until `check` finds something, looking again and again.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Where processes of one test run: their folder, and their environment.
pub(crate) struct Place {
    folder: TempDir,
    env: BTreeMap<String, String>,
    program: PathBuf,
}

/// How a process ended, and all that it said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let place = Self { folder, env: BTreeMap::new(), program: binary() };
        let data = place.data().to_str().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        place.set("PATH", path).set("SIGYN__STORE__DATA_DIR", data).set("SIGYN__HTTP__LISTEN", "127.0.0.1:0")
    }

    /// Sets a variable of the environment.
    pub(crate) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a variable for what starts from now on.
    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Another program than sigyn's own.
    pub(crate) fn program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// Writes a file into the folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the state.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.run_on(args, Vec::new())
    }

    /// The same, with this as its standard input.
    pub(crate) fn run_on(&self, args: &[&str], input: Vec<u8>) -> Ended {
        let mut command = assert_cmd::Command::from_std(self.command(args));
        let output = command.write_stdin(input).timeout(PATIENCE).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts a daemon.
    pub(crate) fn start(&self, args: &[&str]) -> Daemon {
        Daemon::of(self.command(args))
    }

    /// Starts a daemon whose files may not grow beyond so many bytes, as on a disk that is full.
    pub(crate) fn start_on_full_disk(&self, args: &[&str], bytes: u64) -> Daemon {
        // The signal would end it; ignored, writing fails. Blocks are 512 bytes in POSIX shells, 1024 in others.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
        let mut command = self.surrounded(Command::new("sh"));
        command.args(["-c", &script]).arg(&self.program).args(args);
        Daemon::of(command)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.surrounded(Command::new(&self.program));
        command.args(args);
        command
    }

    fn surrounded(&self, mut command: Command) -> Command {
        command.env_clear().envs(&self.env).current_dir(self.folder.path()).stdin(Stdio::null());
        // A group of its own: when a group loses its parent while one of it is stopped, the system hangs up on all of it.
        command.process_group(0);
        command
    }
}

/// The binary: cargo tells tests where it is; an example has it one folder above its own.
fn binary() -> PathBuf {
    option_env!("CARGO_BIN_EXE_sigyn").map_or_else(
        || std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("sigyn"),
        PathBuf::from,
    )
}

fn listen(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            let mut said = into.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    })
}

/// A process that runs until it is told to stop; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    said: Arc<Mutex<String>>,
    ears: Vec<JoinHandle<()>>,
}

impl Daemon {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let ears = vec![listen(child.stdout.take().unwrap(), &said), listen(child.stderr.take().unwrap(), &said)];
        Self { child, said, ears }
    }

    /// All that it has said so far, on both outputs.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said this.
    pub(crate) async fn says(&mut self, text: &str) {
        until(&format!("`{text}` from sigyn"), async || {
            // Looked at before what it said: its last words may come with its end.
            let over = self.child.try_wait().unwrap().is_some();
            if over {
                self.heard();
            }
            let said = self.said();
            let found = said.contains(text);
            assert!(found || !over, "ended without saying `{text}`:\n{said}");
            found.then_some(())
        })
        .await;
    }

    /// Base URL of its probes.
    pub(crate) async fn url(&mut self) -> String {
        self.says(SERVED).await;
        let said = self.said();
        let (_, rest) = said.split_once(SERVED).unwrap();
        format!("http://{}", rest.lines().next().unwrap().trim())
    }

    /// Status and text of a probe.
    pub(crate) async fn ask(&mut self, method: reqwest::Method, path: &str) -> (u16, String) {
        // An error means that another test has installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.request(method, format!("{}{path}", self.url().await)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        self.ask(reqwest::Method::GET, path).await
    }

    /// The sum of a metric over all its labels; 0 when it is not there.
    pub(crate) async fn metric(&mut self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let values = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end. `None`: it still runs.
    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.heard();
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Of a process that has ended: waits until all that it said is heard.
    fn heard(&mut self) {
        for ear in self.ears.drain(..) {
            ear.join().unwrap();
        }
    }

    /// Asks it to stop. That it keeps its promise of ten seconds is its own word: after nine it gives up and ends with 1, and
    /// how late a busy machine lets it go is not its doing. Before it listens to signals, one would just end it.
    pub(crate) async fn stop(mut self) -> String {
        self.says(SERVED).await;
        self.signal("TERM");
        let status = self.ended_within(PATIENCE).await;
        let said = self.said();
        assert_eq!(status.map(|status| status.code()), Some(Some(0)), "the drain failed:\n{said}");
        said
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

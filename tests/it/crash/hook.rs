//! Receivers that fail as receivers do, and remember what they were told.
//!
//! A request is *told* when its body has come whole and is not refused: whoever then breaks the connection, or answers
//! when nobody listens any more, has it all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::shop::dice;

/// A message is refused at most so often: the pauses between attempts grow.
const PATIENCE: u64 = 3;
/// How late a late answer is.
const LATE: Duration = Duration::from_millis(300);

/// What the receivers were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    /// By the key of the message: how often it came and was not refused.
    pub(crate) told: BTreeMap<String, u64>,
    /// By the kind of failure.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// Messages whose body is not what their key says.
    pub(crate) mixed_up: Vec<String>,
    /// How often each message was refused.
    refused: BTreeMap<String, u64>,
    asked: u64,
}

#[derive(Debug, Default)]
struct State {
    wire: Wire,
    /// The chance that a request fails, in percent.
    ill: u64,
    seed: u64,
    /// Answers that are held at this moment.
    holding: u64,
    /// How long all answers are held.
    hold: Duration,
}

/// Any number of receivers at one address; they end with the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

/// How a request is met.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Well,
    /// 429 with `Retry-After`.
    TooMany,
    /// 500.
    Broken,
    /// The connection is reset before anything is read.
    Reset,
    /// Told, and the connection is closed without an answer.
    Silent,
    /// Told, and the answer comes late.
    Late,
}

impl Hooks {
    pub(crate) async fn start(seed: u64, ill: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hooks = Self { url, state: Arc::new(Mutex::new(State { seed, ill, ..State::default() })) };
        let server = hooks.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        hooks
    }

    /// All answers are held for so long from now on.
    pub(crate) fn hold(&self, hold: Duration) {
        self.state.lock().unwrap().hold = hold;
    }

    /// Whether somebody waits for an answer to what was told.
    pub(crate) fn holds(&self) -> bool {
        self.state.lock().unwrap().holding > 0
    }

    /// No failures any more.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.ill, state.hold) = (0, Duration::ZERO);
    }

    pub(crate) fn wire(&self) -> Wire {
        self.state.lock().unwrap().wire.clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Some(keep) = self.one(&mut stream).await {
            if !keep {
                return;
            }
        }
    }

    /// One request; whether the connection goes on, `None` when it is closed.
    async fn one(&self, stream: &mut TcpStream) -> Option<bool> {
        let (key, body) = read(stream).await?;
        let answer = self.state.lock().unwrap().meet(&key, &body);
        match answer {
            Answer::TooMany => say(stream, "429 Too Many Requests\r\nretry-after: 1").await,
            Answer::Broken => say(stream, "500 Internal Server Error").await,
            Answer::Reset => {
                let _ = stream.set_zero_linger();
                Some(false)
            }
            Answer::Silent => Some(false),
            Answer::Well | Answer::Late => {
                let late = if answer == Answer::Late { LATE } else { Duration::ZERO };
                let hold = late.max(self.state.lock().unwrap().hold);
                if !hold.is_zero() {
                    self.state.lock().unwrap().holding += 1;
                    tokio::time::sleep(hold).await;
                    self.state.lock().unwrap().holding -= 1;
                }
                say(stream, "200 OK").await
            }
        }
    }
}

impl State {
    fn meet(&mut self, key: &str, body: &str) -> Answer {
        let wire = &mut self.wire;
        wire.asked += 1;
        let (chance, kind) = (dice(self.seed ^ (wire.asked << 20)), dice(self.seed ^ (wire.asked << 40)));
        let refused = wire.refused.get(key).copied().unwrap_or(0);
        let (answer, name) = match kind % 5 {
            _ if chance % 100 >= self.ill => (Answer::Well, ""),
            0 if refused < PATIENCE => (Answer::TooMany, "429"),
            1 if refused < PATIENCE => (Answer::Broken, "500"),
            2 if refused < PATIENCE => (Answer::Reset, "reset"),
            3 if refused < PATIENCE => (Answer::Silent, "no answer"),
            _ => (Answer::Late, "late answer"),
        };
        if answer != Answer::Well {
            *wire.failures.entry(name).or_default() += 1;
        }
        if !matches!(answer, Answer::Well | Answer::Late) {
            *wire.refused.entry(key.to_owned()).or_default() += 1;
        }
        if matches!(answer, Answer::Well | Answer::Late | Answer::Silent) {
            *wire.told.entry(key.to_owned()).or_default() += 1;
            let said: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
            let own = format!("{}/{}/", said["incident"].as_str().unwrap_or("?"), said["number"]);
            if !key.starts_with(&own) || said["key"] != key {
                wire.mixed_up.push(key.to_owned());
            }
        }
        answer
    }
}

/// Key and body of a request; `None` when the connection ends before it is whole.
async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim().to_owned()).unwrap_or_default()
            };
            let length: usize = field("content-length:").parse().unwrap_or(0);
            if bytes.len() >= head + length {
                let body = String::from_utf8_lossy(&bytes[head..head + length]).into_owned();
                return Some((field("idempotency-key:"), body));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn say(stream: &mut TcpStream, status: &str) -> Option<bool> {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{{}}");
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(true)
}

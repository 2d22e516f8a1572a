//! Stack traces: consecutive lines of one stream that are one event.
//!
//! What comes in: the lines of a stream, one after another. What goes out: which of them go on with the event before, and what
//! was thrown with its top frames once that is known; line numbers are left out. It knows the forms of Java, Python, Go, .NET,
//! Node, Ruby and Rust. What never happens here: more than a few hundred bytes kept of a stream.

use memchr::memmem;

use super::byte::{is_alnum, is_blank, is_stop};
use super::snapshot::{stored, stored_enum};

/// Frames that name an event.
const FRAMES: usize = 3;
/// Lines after which a trace is given up: what follows is no trace any more.
const LINES: u32 = 1_000;
/// Longest name of what was thrown, or of a frame.
const NAME: usize = 128;

/// What a trace turned out to be: what was thrown, and the top frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) thrown: String,
    pub(super) frames: Vec<String>,
}

/// What a line is to the event before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An event of its own; one that may go on.
    Event,
    /// It goes on with the event before.
    Continues,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// No trace so far.
    #[default]
    None,
    /// What was thrown first, then frames: Java, .NET, Node, Ruby.
    Down,
    /// Frames first, what was thrown last: Python.
    Up,
    /// Python after what was thrown: another may follow.
    Thrown,
    Go,
    /// The line after `panicked at` is the message.
    Rust,
}

/// The trace of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    mode: Mode,
    lines: u32,
    signature: Signature,
    /// The signature was handed out.
    told: bool,
    /// There is an event that a line may go on with.
    event: bool,
}

stored!(Signature { thrown, frames });
stored!(Trace { mode, lines, signature, told, event });
stored_enum!(Mode[None, Down, Up, Thrown, Go, Rust]);

/// What a single line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look<'a> {
    Frame(&'a [u8]),
    /// Belongs to a trace, and names nothing.
    More,
    Python,
    Go,
    Goroutine,
    Rust,
    Thrown(&'a [u8]),
    Other,
}

impl Trace {
    /// Bytes that it holds besides itself.
    pub(super) fn held(&self) -> usize {
        let frames = &self.signature.frames;
        self.signature.thrown.len() + frames.iter().map(|frame| size_of::<String>() + frame.len()).sum::<usize>()
    }

    /// Takes a line. `header`: it begins with the stream's header, so it is an event unless it is a frame without doubt.
    /// `headed`: lines of this stream have a header at all.
    #[inline]
    pub(super) fn part(&mut self, line: &[u8], header: bool, headed: bool) -> Part {
        let quick = line.first().is_some_and(|b| b.is_ascii_digit() || matches!(b, b'{' | b'['));
        if self.mode == Mode::None && quick {
            self.event = true;
            return Part::Event;
        }
        self.judge(line, header, headed)
    }

    fn judge(&mut self, line: &[u8], header: bool, headed: bool) -> Part {
        let look = look(line);
        let part = if header { self.headed(look) } else { self.bare(line, look, headed) };
        if part == Part::Continues {
            self.lines += 1;
            if self.lines > LINES {
                *self = Self { event: true, ..Self::default() };
                return Part::Event;
            }
        } else {
            self.lines = 0;
        }
        self.event = true;
        part
    }

    /// The event that is complete now, if there is one; told once. `over`: no line more can belong to it.
    pub(super) fn signature(&mut self, over: bool) -> Option<&Signature> {
        let Signature { thrown, frames } = &self.signature;
        if self.told || self.mode == Mode::None || (thrown.is_empty() && frames.is_empty()) {
            return None;
        }
        let whole = match self.mode {
            Mode::Up => false,
            Mode::Thrown => true,
            _ => frames.len() >= FRAMES,
        };
        let some = !frames.is_empty() || self.mode == Mode::Thrown;
        if !(whole || over && some) {
            return None;
        }
        self.told = true;
        Some(&self.signature)
    }

    /// The signature that was handed out last.
    pub(super) fn told(&self) -> Option<&Signature> {
        if self.told { Some(&self.signature) } else { None }
    }

    /// Whether there is something to hand out when it is over.
    pub(super) fn is_due(&self) -> bool {
        !self.told && self.mode != Mode::None
    }

    pub(super) fn is_idle(&self) -> bool {
        self.mode == Mode::None
    }

    fn start(&mut self, mode: Mode) {
        (self.mode, self.told) = (mode, false);
        self.signature.thrown.clear();
        self.signature.frames.clear();
    }

    fn end(&mut self) -> Part {
        self.mode = Mode::None;
        Part::Event
    }

    /// A line with a header: each line of a trace may have one, from a logger that splits at line breaks.
    fn headed(&mut self, look: Look<'_>) -> Part {
        match look {
            Look::Frame(name) if self.event => self.frame(name),
            Look::More if self.mode != Mode::None => Part::Continues,
            Look::Python => {
                self.start(Mode::Up);
                Part::Event
            }
            Look::Thrown(name) if self.mode == Mode::Up => self.thrown(name),
            Look::Thrown(name) => {
                self.start(Mode::Down);
                self.name(name);
                Part::Event
            }
            Look::Other if self.mode == Mode::Up => Part::Continues,
            _ => self.end(),
        }
    }

    fn bare(&mut self, line: &[u8], look: Look<'_>, headed: bool) -> Part {
        let indented = line.first().is_some_and(|b| is_blank(*b));
        let goes_on = if self.event && (headed || self.mode != Mode::None) { Part::Continues } else { Part::Event };
        match (self.mode, look) {
            (Mode::Rust, Look::Frame(name)) if name.starts_with(b"/") || name.starts_with(b"./") => Part::Continues,
            (_, Look::Frame(name)) if self.event => self.frame(name),
            (Mode::Thrown | Mode::Up, Look::Python) => {
                self.start(Mode::Up);
                Part::Continues
            }
            (_, Look::Python) => {
                let part = if headed { goes_on } else { Part::Event };
                self.start(Mode::Up);
                part
            }
            (Mode::Go, Look::Goroutine) => Part::Continues,
            (_, Look::Go | Look::Goroutine) => {
                self.start(Mode::Go);
                self.name(line.split(|b| *b == b'\n').next().unwrap_or_default());
                Part::Event
            }
            (_, Look::Rust) => {
                self.start(Mode::Rust);
                self.name(b"panicked");
                Part::Event
            }
            (Mode::Up, Look::Thrown(name)) if !indented => self.thrown(name),
            (Mode::Up, _) if indented => Part::Continues,
            (Mode::Up, _) => self.thrown(first_word(line)),
            (Mode::Thrown, _) if is_between(line) => Part::Continues,
            (Mode::Go, _) if goes_on_go(line) => {
                if !indented && let Some(name) = go_frame(line) {
                    return self.frame(name);
                }
                Part::Continues
            }
            (Mode::Rust, Look::Other) if self.lines == 0 => Part::Continues,
            (Mode::None, Look::More) => self.end(),
            (_, Look::More) => Part::Continues,
            (_, Look::Thrown(name)) => {
                // Below an event with a header it is what that event is about.
                let part = if headed && self.mode == Mode::None { goes_on } else { Part::Event };
                self.start(Mode::Down);
                self.name(name);
                part
            }
            _ => self.end(),
        }
    }

    fn name(&mut self, name: &[u8]) {
        self.signature.thrown.clear();
        push(&mut self.signature.thrown, name);
    }

    /// What was thrown ends a trace of Python.
    fn thrown(&mut self, name: &[u8]) -> Part {
        self.name(name);
        self.mode = Mode::Thrown;
        Part::Continues
    }

    fn frame(&mut self, name: &[u8]) -> Part {
        if self.mode == Mode::None {
            self.start(Mode::Down);
        }
        let frames = &mut self.signature.frames;
        // Where the top frames come last, the last are kept.
        if self.mode == Mode::Up && frames.len() == FRAMES {
            frames.remove(0);
        }
        if frames.len() < FRAMES {
            let mut text = String::new();
            push(&mut text, name);
            frames.push(text);
        }
        Part::Continues
    }
}

fn push(out: &mut String, name: &[u8]) {
    let name = name.get(..NAME).unwrap_or(name);
    // Numbers in names are those of generated classes, threads and lines.
    let mut digits = false;
    for sign in String::from_utf8_lossy(name).chars() {
        let digit = sign.is_ascii_digit();
        match (digit, digits) {
            (false, _) => out.push(sign),
            (true, false) => out.push('0'),
            (true, true) => {}
        }
        digits = digit;
    }
}

fn first_word(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|b| is_blank(*b) || matches!(b, b':' | b'(')).unwrap_or(line.len());
    line.get(..end).unwrap_or_default()
}

fn look(line: &[u8]) -> Look<'_> {
    let text = line.trim_ascii_start();
    let indented = text.len() < line.len();
    let Some(first) = text.first() else { return Look::Other };
    let starts = |with: &[u8]| text.starts_with(with);
    match first {
        b'a' if starts(b"at ") => frame_at(text, indented).map_or(Look::Other, Look::Frame),
        b'f' if indented && starts(b"from ") => ruby_frame(text).map_or(Look::Other, Look::Frame),
        b'f' if starts(b"fatal error: ") => Look::Go,
        b'F' if starts(b"File \"") => python_frame(text).map_or(Look::Other, Look::Frame),
        b'.' if starts(b"... ") => Look::More,
        b'-' if starts(b"--- End of") || starts(b"---> ") => Look::More,
        b'C' if starts(b"Caused by: ") => Look::More,
        b'S' if starts(b"Suppressed: ") => Look::More,
        b'n' if starts(b"note: run with `RUST_BACKTRACE") => Look::More,
        b's' if starts(b"stack backtrace:") => Look::More,
        b'T' if starts(b"Traceback (most recent call last):") => Look::Python,
        b'p' if starts(b"panic: ") => Look::Go,
        b'g' if starts(b"goroutine ") && text.contains(&b'[') => Look::Goroutine,
        b't' if starts(b"thread '") && memmem::find(text, b"' panicked at ").is_some() => Look::Rust,
        b'0'..=b'9' if indented => rust_frame(text).map_or(Look::Other, Look::Frame),
        b'E' if starts(b"Exception in thread ") => {
            let name = text.rsplit(|b| *b == b'"').next().unwrap_or_default().trim_ascii();
            Look::Thrown(first_word(if name.is_empty() { text } else { name }))
        }
        b'U' if starts(b"Unhandled exception. ") => Look::Thrown(first_word(text.get(21..).unwrap_or_default())),
        b'U' if starts(b"Uncaught ") => Look::Thrown(first_word(text.get(9..).unwrap_or_default())),
        _ if is_thrown(first_word(text)) => Look::Thrown(first_word(text)),
        _ => Look::Other,
    }
}

/// `java.lang.IllegalStateException`, `TypeError`, `redis.exceptions.ConnectionError`: up to a colon or the end.
fn is_thrown(name: &[u8]) -> bool {
    let ends =
        [&b"Exception"[..], b"Error", b"Throwable", b"Interrupt", b"Warning"].iter().any(|end| name.ends_with(end));
    if !ends {
        return false;
    }
    let last = name.rsplit(|b| matches!(b, b'.' | b'$')).next().unwrap_or_default();
    last.first().is_some_and(u8::is_ascii_uppercase)
        && last.len() > 5
        && name.iter().all(|b| is_alnum(*b) || matches!(b, b'.' | b'_' | b'$' | b'/'))
        || matches!(name, b"Error")
}

/// `at a.b.C.m(C.java:12)`, `at Object.<anonymous> (/x.js:1:2)`, `at A.B() in /x.cs:line 12`.
fn frame_at(text: &[u8], indented: bool) -> Option<&[u8]> {
    let rest = text.get(3..)?;
    let rest = rest.strip_prefix(b"async ").or(rest.strip_prefix(b"new ")).unwrap_or(rest);
    let end = rest.iter().position(|b| matches!(b, b'(' | b'\n')).unwrap_or(rest.len());
    let name = rest.get(..end)?.trim_ascii_end();
    let name = memmem::find(name, b" in ").and_then(|at| name.get(..at)).unwrap_or(name);
    let whole = name.iter().all(|b| !is_blank(*b)) || name.ends_with(b"]");
    let known =
        end < rest.len() || name.starts_with(b"/") || memmem::find(rest, b":line ").is_some() || name.contains(&b':');
    if whole && known && (indented || name.contains(&b'.')) { Some(name) } else { None }
}

/// `File "/app/x.py", line 12, in handle`
fn python_frame(text: &[u8]) -> Option<&[u8]> {
    memmem::find(text, b"\", line ")?;
    let at = memmem::rfind(text, b", in ").map(|at| at + 5);
    let name = match at {
        Some(at) => text.get(at..)?,
        None => text.get(6..memmem::find(text, b"\", line ")?)?,
    };
    Some(name.split(|b| *b == b'\n').next().unwrap_or(name))
}

/// ``from app.rb:12:in `handle'``
fn ruby_frame(text: &[u8]) -> Option<&[u8]> {
    let at = memmem::find(text, b":in ")?;
    Some(super::byte::strip(text.get(at + 4..)?, b"`'\""))
}

/// `  3: app::handle`
fn rust_frame(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let name = text.get(digits..)?.strip_prefix(b": ")?.trim_ascii();
    let part = |b: &u8| !is_stop(*b) || matches!(b, b':' | b'<' | b'>' | b' ' | b'{' | b'}' | b'\'');
    if memmem::find(name, b"::").is_some() && name.iter().all(part) { Some(name) } else { None }
}

/// `main.handle(0x1, ...)`; the frames of the runtime itself say nothing.
fn go_frame(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().rposition(|b| *b == b'(')?;
    let name = line.get(..end)?;
    if name.is_empty() || name.starts_with(b"runtime.") || name == b"panic" { None } else { Some(name) }
}

fn goes_on_go(line: &[u8]) -> bool {
    let starts = |with: &[u8]| line.starts_with(with);
    let frame = line.last() == Some(&b')') && line.contains(&b'(') && !first_word(line).is_empty() && {
        let name = first_word(line);
        name.contains(&b'.') || name == b"panic"
    };
    line.trim_ascii().is_empty()
        || starts(b"\t")
        || starts(b"created by ")
        || starts(b"exit status ")
        || starts(b"[signal ")
        || starts(b"[recovered")
        || frame
}

/// What stands between two exceptions of Python.
fn is_between(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
        || line.starts_with(b"During handling of the above exception")
        || line.starts_with(b"The above exception was the direct cause")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of lines, `+` for what goes on, and the signatures where they are told.
    fn read(text: &str, headed: bool) -> String {
        let mut trace = Trace::default();
        let mut out = String::new();
        let show = |signature: &Signature| format!("{{{} < {}}}", signature.thrown, signature.frames.join(" < "));
        for line in text.lines() {
            let header = line.starts_with("2026 ");
            let before = trace.clone();
            let part = trace.part(line.strip_prefix("2026 ").unwrap_or(line).as_bytes(), header, headed);
            if part == Part::Event {
                out += &before.clone().signature(true).map(show).unwrap_or_default();
            }
            out.push(if part == Part::Event { '.' } else { '+' });
            out += &trace.signature(false).map(show).unwrap_or_default();
        }
        out + &trace.signature(true).map(show).unwrap_or_default()
    }

    #[test]
    fn java() {
        let text = "2026 ERROR failed\njava.lang.IllegalStateException: no 12\n\tat a.B.c(B.java:12)\n\tat a.B$3.d(B.java:13)\n\
                    Caused by: java.io.IOException: x\n\tat e.F.g(F.java:1)\n\t... 12 more\n2026 INFO fine";
        insta::assert_snapshot!(read(text, true), @".+++++{java.lang.IllegalStateException < a.B.c < a.B$0.d < e.F.g}+.");
        insta::assert_snapshot!(read("java.io.IOException: a\n\tat a.B.c(B.java:12)\nnext one", false), @".+{java.io.IOException < a.B.c}.");
        insta::assert_snapshot!(read("Exception in thread \"main\" java.lang.Error\n\tat a.B.c(B.java:12)", false), @".+{java.lang.Error < a.B.c}");
    }

    #[test]
    fn python() {
        let text = "2026 ERROR failed\nTraceback (most recent call last):\n  File \"/a.py\", line 3, in run\n    go()\n    ~~^^\n  \
                    File \"/b.py\", line 4, in go\n    x\nValueError: no 3\n\nDuring handling of the above exception, another exception \
                    occurred:\n\nTraceback (most recent call last):\n  File \"/a.py\", line 9, in main\n    y\n\
                    KeyError: 'a'\n2026 INFO fine";
        insta::assert_snapshot!(read(text, true), @".+++++++{ValueError < run < go}+++++++{KeyError < main}.");
    }

    #[test]
    fn others() {
        let go = "started\npanic: runtime error: index out of range [3]\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/a.go:12 +0x1d\nmain.main()\n\t/a.go:3\nexit status 2\nstarted";
        insta::assert_snapshot!(read(go, false), @"..+++++++{panic: runtime error: index out of range [0] < main.f < main.main}.");
        let net = "Unhandled exception. System.InvalidOperationException: no\n   at A.B.C() in /a.cs:line 3\n   at A.D()\n   --- End of inner exception stack trace ---\nup";
        insta::assert_snapshot!(read(net, false), @".+++{System.InvalidOperationException < A.B.C < A.D}.");
        let node = "TypeError: x is not a function\n    at Object.<anonymous> (/a.js:1:2)\n    at async run (/b.js:3:4)\n    at node:internal/main:1:2\nlistening";
        insta::assert_snapshot!(read(node, false), @".+++{TypeError < Object.<anonymous> < run < node:internal/main:0:0}.");
        let rust = "thread 'main' panicked at src/main.rs:2:5:\nboom\nstack backtrace:\n   0: std::panicking::begin\n             at /rustc/x.rs:1:2\n   1: app::main\nnote: run with `RUST_BACKTRACE=full` for more\nup";
        insta::assert_snapshot!(read(rust, false), @".++++++{panicked < std::panicking::begin < app::main}.");
        let ruby = "a.rb:1:in `f': bad (RuntimeError)\n\tfrom a.rb:2:in `g'\n\tfrom a.rb:3:in `<main>'\nup";
        insta::assert_snapshot!(read(ruby, false), @".++{ < g < <main>}.");
        insta::assert_snapshot!(read("looking at home\nat last\nSome Error here\nErrors: 3", false), @"....");
    }
}

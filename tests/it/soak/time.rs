//! The time of the log, as the traffic, the stand-in for Loki and sigyn all see it: as fast as sigyn keeps up with.
//!
//! Its course stands in a small file that sigyn's process looks at again and again, so a process that is started anew
//! finds it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sigyn::app::clock::Clock;
use sigyn::time::{Nanos, SECOND};

/// How often sigyn's process looks at the file.
const LOOK: Duration = Duration::from_millis(10);

/// From `since` of the wall clock, when it was `origin`, at this speed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Course {
    since: Nanos,
    origin: Nanos,
    speed: f64,
}

/// The clock of the surroundings.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    file: Arc<PathBuf>,
    course: Arc<Mutex<Course>>,
}

impl Course {
    fn now(&self) -> Nanos {
        let passed = (Clock::real().now() - self.since) as f64 * self.speed;
        self.origin + passed as Nanos
    }

    fn read(file: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(file).ok()?;
        let mut words = text.split(' ');
        let (since, origin) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { since, origin, speed: words.next()?.parse().ok()? })
    }
}

impl Time {
    /// A clock that stands at `origin` until it is set going.
    pub(crate) fn new(file: PathBuf, origin: Nanos) -> Self {
        let course = Course { since: Clock::real().now(), origin, speed: 0.0 };
        Self { file: Arc::new(file), course: Arc::new(Mutex::new(course)) }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.course.lock().unwrap().now()
    }

    /// Goes on at this speed; true when it was another before.
    pub(crate) fn go(&self, speed: f64) -> bool {
        let mut course = self.course.lock().unwrap();
        if course.speed == speed {
            return false;
        }
        *course = Course { since: Clock::real().now(), origin: course.now(), speed };
        // Renamed into its place, so that nobody reads half of it.
        let (new, Course { since, origin, speed }) = (self.file.with_extension("new"), *course);
        std::fs::write(&new, format!("{since} {origin} {speed}")).unwrap();
        std::fs::rename(new, &*self.file).unwrap();
        true
    }
}

/// The clock of sigyn's process: follows the file until the process ends.
pub(crate) fn follow(file: PathBuf) -> Clock {
    let first = Course::read(&file).unwrap();
    let clock = Clock::fast(first.now(), first.speed);
    let steered = clock.clone();
    std::thread::spawn(move || {
        let mut last = first;
        loop {
            std::thread::sleep(LOOK);
            if let Some(course) = Course::read(&file).filter(|course| *course != last) {
                last = course;
                steered.steer(course.now(), course.speed);
            }
        }
    });
    clock
}

/// `3d 04:05:06` after `start`.
pub(crate) fn since(start: Nanos, at: Nanos) -> String {
    let seconds = (at - start).max(0) / SECOND;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}d {hours:02}:{minutes:02}:{:02}", seconds % 60)
}

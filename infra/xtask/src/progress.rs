//! What a person sees while something takes longer than a breath: a line that moves, and an honest guess of the time.

use crate::folders::{self, Folders};
use anyhow::Result;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often the line moves on a terminal: often enough to look alive.
const TICK: Duration = Duration::from_millis(250);

/// How often a line is printed where there is no terminal: a log of ten minutes stays readable.
const TICK_LOG: Duration = Duration::from_secs(20);

/// Shorter work gets no line: nobody waits for it.
const BREATH: Duration = Duration::from_millis(1500);

/// More cores than this make a build of the workspace no quicker: its heavy crates wait for each other.
const CORES_MAX: u64 = 8;

/// What the work says of itself.
#[derive(Debug, Default)]
pub struct Progress(Mutex<String>);

impl Progress {
    /// Replaces what is shown beside the time, for example `34 of 175 packages`.
    pub fn set(&self, text: impl Into<String>) {
        *self.0.lock().expect("nobody panics while holding it") = text.into();
    }

    fn text(&self) -> String {
        self.0
            .lock()
            .expect("nobody panics while holding it")
            .clone()
    }
}

/// The guess, in seconds, of work that takes `seconds` on two cores and keeps every core busy.
pub fn on_all_cores(seconds: u64) -> u64 {
    shared(seconds, cores())
}

/// How many cores this process may use.
pub fn cores() -> u64 {
    std::thread::available_parallelism().map_or(2, |cores| cores.get() as u64)
}

fn shared(seconds: u64, cores: u64) -> u64 {
    seconds * 2 / cores.clamp(1, CORES_MAX)
}

/// Does `work` under a line with its title and time. The guess is what the same work took here the last time; `first_s` is for
/// the first time, in seconds, measured on two cores.
pub fn timed<T>(
    folders: &Folders,
    name: &str,
    title: &str,
    first_s: u64,
    work: impl FnOnce(&Progress) -> Result<T>,
) -> Result<T> {
    let memory = folders.cache.join("times").join(name);
    let (guess, known) = remembered(&memory).map_or((first_s, false), |seconds| (seconds, true));
    let about = if known {
        format!("{} the last time", spoken(guess))
    } else {
        format!("about {} the first time", spoken(guess))
    };
    let progress = Progress::default();
    let begin = Instant::now();
    let (done, waiting) = channel();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| draw(title, &about, begin, &progress, waiting));
        let result = work(&progress);
        drop(done);
        result
    });
    let took = begin.elapsed();
    match &result {
        Ok(_) => {
            eprintln!("✓ {title}  {}", spoken_exactly(took));
            let _ = folders::write(&memory, took.as_secs().to_string()); // a guess that is lost costs nothing
        }
        Err(_) => eprintln!("✗ {title}  {}", spoken_exactly(took)),
    }
    result
}

fn remembered(memory: &PathBuf) -> Option<u64> {
    std::fs::read_to_string(memory).ok()?.trim().parse().ok()
}

fn draw(title: &str, about: &str, begin: Instant, progress: &Progress, waiting: Receiver<()>) {
    let terminal = std::io::stderr().is_terminal();
    let mut wait = BREATH;
    while waiting.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        wait = if terminal { TICK } else { TICK_LOG };
        let said = progress.text();
        let said = if said.is_empty() {
            said
        } else {
            format!(", {said}")
        };
        let line = format!(
            "… {title}{said}, {} ({about})",
            spoken(begin.elapsed().as_secs())
        );
        let mut out = std::io::stderr().lock();
        let _ = if terminal {
            write!(out, "\r\x1b[2K{line}")
        } else {
            writeln!(out, "{line}")
        };
        let _ = out.flush();
    }
    // Where the line was drawn: what goes to standard output may be read by a program.
    if terminal {
        eprint!("\r\x1b[2K");
    }
}

/// A time as people say it: `45 s`, `2 min 5 s`, `12 min`.
pub fn spoken(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s} s"),
        (min, s) if min < 10 && s > 0 => format!("{min} min {s} s"),
        (min, _) => format!("{min} min"),
    }
}

/// The same, with tenths of a second if they count.
pub fn spoken_exactly(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        spoken(time.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_goes_by_the_cores_up_to_a_bound() {
        assert_eq!(
            [1, 2, 4, 8, 64].map(|cores| shared(640, cores)),
            [1280, 640, 320, 160, 160]
        );
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!(
            [0, 45, 60, 125, 725].map(spoken),
            ["0 s", "45 s", "1 min", "2 min 5 s", "12 min"]
        );
        assert_eq!(spoken_exactly(Duration::from_millis(1234)), "1.2 s");
    }
}

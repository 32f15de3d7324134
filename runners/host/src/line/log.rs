//! A task's log: written by the plugin's calls and the commands' output, sent to the line in chunks.

use millrace_core::cause::{Cause, Classifier};
use millrace_core::log::CHUNKS_MAX;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Largest chunk, in bytes: the desk takes four times as much.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// When chunks are sent: this many of them, this far apart in milliseconds. People watch the first minutes, and what runs for
/// a day is looked at now and then. All together they last for 24 hours, four times the longest time of a task by default.
const PACE: [(usize, u64); 5] = [
    (240, 500),
    (1_000, 1_000),
    (1_000, 5_000),
    (1_000, 30_000),
    (PACE_LAST, 200_000),
];

/// Chunks at the slowest pace. A few hundred stay in reserve for those that are sent early since they are full.
const PACE_LAST: usize = CHUNKS_MAX - 3_240 - 360;

/// How long after a chunk the next one is due, by the number of those that were sent.
pub fn pause(sent: usize) -> Duration {
    let mut before = 0;
    for (count, ms) in PACE {
        before += count;
        if sent < before {
            return Duration::from_millis(ms);
        }
    }
    Duration::from_millis(PACE[PACE.len() - 1].1)
}

/// What a task has to say, in memory until the line has it.
#[derive(Debug)]
pub struct TaskLog {
    bytes_max: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// When something was written last.
    last: Instant,
    classifier: Classifier,
    /// Not yet handed to the line.
    pending: Vec<u8>,
    /// Handed over so far, in bytes.
    sent: u64,
    chunks: usize,
    written: u64,
    full: bool,
    /// Whether the last byte ended a line.
    mid_line: bool,
}

impl TaskLog {
    /// An empty log that takes this many bytes.
    pub fn new(bytes_max: u64) -> Self {
        let inner = Inner {
            last: Instant::now(),
            classifier: Classifier::default(),
            pending: Vec::new(),
            sent: 0,
            chunks: 0,
            written: 0,
            full: false,
            mid_line: false,
        };
        Self {
            bytes_max,
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// For how long nothing was written.
    pub fn silent(&self) -> Duration {
        self.inner().last.elapsed()
    }

    /// What went wrong, by what was written so far.
    pub fn cause(&self) -> Option<Cause> {
        self.inner().classifier.clone().cause()
    }

    /// Output as it comes.
    pub fn bytes(&self, bytes: &[u8]) {
        self.inner().take(bytes, self.bytes_max);
    }

    /// A line of its own.
    pub fn line(&self, text: &str) {
        let mut inner = self.inner();
        if inner.mid_line {
            inner.take(b"\n", self.bytes_max);
        }
        inner.take(
            format!("{}\n", text.trim_end_matches('\n')).as_bytes(),
            self.bytes_max,
        );
    }

    /// The title of what follows, easy to find for people and programs: a line that begins with `==> `.
    pub fn section(&self, title: &str) {
        let text = format!("==> {}", title.replace(['\n', '\r'], " "));
        if self.inner().written > 0 {
            self.line("");
        }
        self.line(&text);
    }

    /// The next bytes to send and where they begin. The same ones until [`sent`](Self::sent) is called, so that a chunk whose
    /// answer was lost can be said again.
    pub fn next_chunk(&self) -> Option<(u64, Vec<u8>)> {
        let inner = self.inner();
        let size = inner.pending.len().min(chunk_bytes(self.bytes_max));
        (size > 0).then(|| (inner.sent, inner.pending[..size].to_vec()))
    }

    /// The line has these bytes.
    pub fn sent(&self, size: usize) {
        let mut inner = self.inner();
        inner.pending.drain(..size);
        inner.sent += size as u64;
        inner.chunks += 1;
    }

    /// Chunks that were sent.
    pub fn chunks(&self) -> usize {
        self.inner().chunks
    }

    /// Whether a full chunk waits, so that it should be sent before its time.
    pub fn is_pressing(&self) -> bool {
        self.inner().pending.len() >= chunk_bytes(self.bytes_max)
    }
}

/// Size of a full chunk, so that even a log of nothing but full ones stays within the chunks in reserve.
fn chunk_bytes(log_bytes_max: u64) -> usize {
    usize::try_from(log_bytes_max / 300)
        .unwrap_or(usize::MAX)
        .clamp(64 << 10, CHUNK_BYTES_MAX)
}

impl Inner {
    fn take(&mut self, bytes: &[u8], bytes_max: u64) {
        if bytes.is_empty() {
            return;
        }
        self.last = Instant::now();
        if self.full {
            return;
        }
        let room = usize::try_from(bytes_max.saturating_sub(self.written)).unwrap_or(usize::MAX);
        let kept = &bytes[..bytes.len().min(room)];
        self.classifier.take(kept);
        self.pending.extend_from_slice(kept);
        self.written += kept.len() as u64;
        self.mid_line = kept.last().is_some_and(|byte| *byte != b'\n');
        if kept.len() < bytes.len() {
            self.full = true;
            let end = format!("\n==> the log ends here: it may have {bytes_max} bytes\n");
            self.classifier.take(end.as_bytes());
            self.pending.extend_from_slice(end.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(log: &TaskLog) -> String {
        let mut all = Vec::new();
        while let Some((offset, bytes)) = log.next_chunk() {
            assert_eq!(offset, all.len() as u64);
            log.sent(bytes.len());
            all.extend(bytes);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn lines_and_sections_begin_at_the_beginning_of_a_line() {
        let log = TaskLog::new(1000);
        log.section("root");
        log.bytes(b"half a li");
        log.line("a line");
        log.bytes(b"whole\n");
        log.section("build\nforged");
        assert_eq!(
            text(&log),
            "==> root\nhalf a li\na line\nwhole\n\n==> build forged\n"
        );
    }

    #[test]
    fn a_log_stays_within_its_bytes_and_says_so_once() {
        let log = TaskLog::new(10);
        log.bytes(b"01234567");
        log.bytes(b"89abc");
        log.line("more");
        let cause = log.cause().unwrap();
        assert_eq!(
            (cause.kind, cause.line),
            (millrace_core::cause::Kind::TooMuchOutput, 2)
        );
        assert_eq!(
            text(&log),
            "0123456789\n==> the log ends here: it may have 10 bytes\n"
        );
    }

    #[test]
    fn a_chunk_stays_the_same_until_it_has_arrived() {
        let log = TaskLog::new(1 << 20);
        log.bytes(&vec![b'a'; 100_000]);
        let first = log.next_chunk().unwrap();
        log.bytes(b"more");
        assert_eq!(first.1.len(), 64 << 10);
        assert_eq!(log.next_chunk().unwrap(), first);
        log.sent(first.1.len());
        assert_eq!(log.next_chunk().unwrap().0, 64 << 10);
    }

    #[test]
    fn a_day_of_output_comes_to_fewer_chunks_than_there_may_be() {
        let day = Duration::from_secs(25 * 3600);
        let (mut at, mut sent) = (Duration::ZERO, 0);
        while at < day {
            at += pause(sent);
            sent += 1;
        }
        let full_ones = |log_bytes: u64| log_bytes as usize / chunk_bytes(log_bytes);
        let most = [1 << 20, 64 << 20, 300 << 20]
            .map(full_ones)
            .into_iter()
            .max()
            .unwrap();
        assert!(
            sent + most + 1 < CHUNKS_MAX,
            "{sent} by time and {most} by size"
        );
    }
}

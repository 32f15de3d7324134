//! Waiting in tests: it has an end, and says what did not come.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest that a test waits for anything: a lost lease takes a minute, and a busy machine as much again.
pub const WAIT_MAX: Duration = Duration::from_secs(120);

/// How often a test looks.
const LOOK: Duration = Duration::from_millis(20);

/// Asks until there is something. `what` says what is waited for, and whatever explains why it does not come.
pub fn wait_for<T>(what: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        past(end, &what);
        std::thread::sleep(LOOK);
    }
}

/// The same, until something holds.
pub fn wait_until(what: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// [`wait_for`], between other tasks.
pub async fn wait_for_async<T>(
    what: impl Fn() -> String,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        past(end, &what);
        tokio::time::sleep(LOOK).await;
    }
}

/// [`wait_until`], between other tasks.
pub async fn wait_until_async(what: impl Fn() -> String, mut holds: impl AsyncFnMut() -> bool) {
    wait_for_async(what, async || holds().await.then_some(())).await;
}

/// News of something that may take long, and is given up when there are none: files that grow.
pub struct News {
    bytes: u64,
    since: Instant,
}

impl News {
    /// There have been news just now.
    pub fn begin() -> Self {
        Self {
            bytes: 0,
            since: Instant::now(),
        }
    }

    /// Whether neither what was told, nor any file below these folders, has changed its size for [`WAIT_MAX`].
    pub fn are_over(&mut self, folders: &[PathBuf], told: &Path) -> bool {
        let below: u64 = folders.iter().map(|folder| bytes_below(folder)).sum();
        let bytes = below + bytes_below(told);
        if bytes != self.bytes {
            (self.bytes, self.since) = (bytes, Instant::now());
        }
        self.since.elapsed() > WAIT_MAX
    }
}

/// Bytes of a file, or of all files below a folder; links are not followed.
fn bytes_below(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !found.is_dir() {
        return found.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| bytes_below(&entry.path())).sum()
}

fn past(end: Instant, what: &impl Fn() -> String) {
    assert!(
        Instant::now() < end,
        "waited {} s in vain for {}",
        WAIT_MAX.as_secs(),
        what()
    );
}

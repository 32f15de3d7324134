//! What is under way, so that a test can wait until nothing is.

use millrace_tests::wait::wait_until_async;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Counts what is under way. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    under_way: AtomicUsize,
    begun: AtomicU64,
}

/// Something that is under way as long as this lives.
#[derive(Debug)]
pub struct Busy(Arc<Counts>);

impl Activity {
    /// Begins something.
    pub fn begin(&self) -> Busy {
        self.0.under_way.fetch_add(1, Ordering::SeqCst);
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Busy(Arc::clone(&self.0))
    }

    /// How many things are under way, and how many ever began.
    fn counts(&self) -> (usize, u64) {
        (
            self.0.under_way.load(Ordering::SeqCst),
            self.0.begun.load(Ordering::SeqCst),
        )
    }

    /// Waits until nothing has been under way for a time, and no reader has found anything in it.
    pub async fn quiet(&self, time: Duration, readers: &[Reads]) {
        let what = || {
            let (under_way, begun) = self.counts();
            format!("quiet: {under_way} under way of {begun}")
        };
        wait_until_async(what, async || {
            let before = self.counts();
            let seen: Vec<u64> = readers.iter().map(Reads::count).collect();
            tokio::time::sleep(time).await;
            // Of two reads that ended meanwhile, the second one began meanwhile, and has seen whatever was written before.
            let is_read = async || {
                readers
                    .iter()
                    .zip(&seen)
                    .all(|(reader, seen)| reader.count() >= seen + 2)
            };
            wait_until_async(|| "two reads of each stream".to_owned(), is_read).await;
            before.0 == 0 && self.counts() == before
        })
        .await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How often a stream was read.
#[derive(Debug, Clone, Default)]
pub struct Reads(Arc<AtomicU64>);

impl Reads {
    /// Counts one that has ended; what it found is under way by now.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

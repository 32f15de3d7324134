//! How much disk a task uses: the blocks of all files below its folder.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a small folder is measured.
const PAUSE: Duration = Duration::from_millis(500);

/// Share of the time that measuring a large folder may take: one part in this many.
const SHARE: u32 = 20;

/// Measures folders again and again, the more seldom the longer it takes.
pub(super) struct Watch {
    bytes_max: u64,
    due: Instant,
}

impl Watch {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, due: Instant::now() + PAUSE }
    }

    /// Whether the folders together have outgrown their bound, as far as it was time to look.
    pub(super) fn is_over(&mut self, folders: &[PathBuf]) -> bool {
        if Instant::now() < self.due {
            return false;
        }
        let began = Instant::now();
        let over = folders.iter().map(|folder| used(folder)).sum::<u64>() > self.bytes_max;
        self.due = Instant::now() + PAUSE.max(began.elapsed() * SHARE);
        over
    }
}

/// Bytes on the disk below a folder, on its own file system. What vanishes meanwhile does not count.
pub fn used(folder: &Path) -> u64 {
    let Ok(top) = fs::symlink_metadata(folder) else { return 0 };
    let (mut bytes, mut open, mut linked) = (0, vec![folder.to_owned()], BTreeSet::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != top.dev() || (found.nlink() > 1 && !found.is_dir() && !linked.insert(found.ino())) {
                continue;
            }
            bytes += found.blocks() * 512;
            if found.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

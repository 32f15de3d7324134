//! Folders for what a small world keeps in files.

use std::path::Path;
use tempfile::TempDir;

/// A folder for what a small world keeps in files. It is in memory, if there is such a place, since nothing of it must outlive anybody and
/// a disk takes its time to make sure that it would.
pub(crate) fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let found = memory
        .is_dir()
        .then(|| tempfile::tempdir_in(memory).ok())
        .flatten();
    found.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

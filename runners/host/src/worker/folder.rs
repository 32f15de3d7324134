//! The runner's folder: taken by one process at a time, with a folder for each task.

use super::config::WorkerError;
use crate::machine::removal::remove_folder;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Takes the runner's folder for this process, as long as the answer is kept.
pub(super) fn lock(folder: &Path) -> Result<File, WorkerError> {
    let failed = |source| WorkerError::Folder {
        folder: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process = io::read_to_string(&file).map_err(failed)?;
            return Err(WorkerError::InUse {
                folder: folder.to_owned(),
                process,
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

/// A folder for tasks, without what a runner that was killed has left in it. What cannot be removed does no harm, and is answered in
/// words.
pub(super) fn fresh(folder: &Path) -> Result<Vec<String>, WorkerError> {
    let failed = |source| WorkerError::Folder {
        folder: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut left = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Err(error) = remove_folder(&path) {
            left.push(format!("{} stays: {error}", path.display()));
        }
    }
    Ok(left)
}

/// A folder for a task, and in it the one that commands see as `/work`, which is answered. Commands run as another user, so it is open
/// to all; the folder around it is not.
pub(super) fn make_for_task(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let shared = folder.join("work");
    fs::create_dir(&shared)?;
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777))?;
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_too_deep_for_others_to_remove_keeps_no_runner_away() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = folder.path().join("tasks");
        fs::create_dir_all(tasks.join("old/work")).unwrap();
        crate::machine::removal::tests::dig(&tasks.join("old/work"), 5000, 1);
        assert_eq!(fresh(&tasks).unwrap(), Vec::<String>::new());
        assert_eq!(fs::read_dir(&tasks).unwrap().count(), 0);
    }
}

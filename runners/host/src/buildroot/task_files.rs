//! Packages that lie in the task's folder.

use super::error::RootError;
use std::path::{Path, PathBuf};

/// Where the task's folder is seen in a sandbox.
const WORK: &str = "/work/";

/// Whether a path is that of a source package; rpmbuild writes `nosrc` if the sources are not in it.
pub(super) fn is_source(package: &str) -> bool {
    package.ends_with(".src.rpm") || package.ends_with(".nosrc.rpm")
}

/// The file of the task's folder that a path below `/work`, or relative to it, means.
pub(super) fn inside(work: &Path, path: &str) -> Result<PathBuf, RootError> {
    let relative = path.strip_prefix(WORK).unwrap_or(path);
    if !millrace_core::sources::is_inside(relative) {
        return Err(RootError::Refused(format!(
            "`{path}` is not a path in the task's folder"
        )));
    }
    let found = work.join(relative);
    // Whatever a command has put there, a link must not lead out.
    let real = found
        .canonicalize()
        .map_err(|_| RootError::Refused(format!("there is no `{path}`")))?;
    if real.starts_with(work.canonicalize()?) {
        Ok(real)
    } else {
        Err(RootError::Refused(format!(
            "`{path}` leads out of the task's folder"
        )))
    }
}

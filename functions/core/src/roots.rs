//! What was in the roots of a build, exactly: which packages, from where, by the digests of their files. Written down by runners, and read
//! as a lock by who wants the same again.

use crate::push::Commit;
use crate::task::TaskId;
use crate::{Arch, BuildId, Digest, PackageName, PlatformName};
use serde::{Deserialize, Serialize};

/// Largest record of what was in roots, and largest lock, in bytes. A package takes some 300, a root of a desktop's build dependencies has
/// 2000, and a lock has those of four architectures with a root to build in and one to try in.
pub const LOCK_BYTES_MAX: u64 = 16 << 20;

/// The version of locks that this one writes and reads.
pub const LOCK_VERSION: u32 = 1;

/// What a root is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootKind {
    /// To build in: what every spec may take for granted.
    Build,
    /// To try in: as little as a user may have.
    Minimal,
}

/// A package that was in a root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RootPackage {
    /// `name-[epoch:]version-release.arch`
    pub nevra: String,
    /// The repository it came from; empty for a file of the task's own, and for what came with an image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repository: String,
    /// SHA-256 of its file; none for what came with an image, whose digest stands for all that is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where the file was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether it came into the root after that was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub later: bool,
}

/// One root of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// What it was for.
    pub kind: RootKind,
    /// What it was made from if that was no repository: `archive sha256:…`, `image sha256:…`, `mock …`, `host …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Every package that was in it, sorted; also what was removed again before the end.
    pub packages: Vec<RootPackage>,
}

/// The roots of one task, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRoots {
    pub task: TaskId,
    /// The architecture that they were of.
    pub arch: Arch,
    pub roots: Vec<Root>,
}

/// What was in all roots of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// [`LOCK_VERSION`]
    pub version: u32,
    pub build: BuildId,
    pub package: PackageName,
    pub commit: Commit,
    pub platform: PlatformName,
    /// The tasks that had roots.
    pub tasks: Vec<TaskRoots>,
}

/// A lock that cannot be used; who wrote it must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Not the JSON that `millrace lock` prints.
    #[error("it is no lock as `millrace lock BUILD` prints it: {0}")]
    Syntax(String),
    /// Written by another version.
    #[error(
        "it is a lock of version {0}, and this is for version {LOCK_VERSION}: print it again with `millrace lock BUILD`"
    )]
    Version(u32),
    /// Nothing says which file a package was.
    #[error(
        "{task}: {nevra} has a repository and no digest or no address: nobody could tell whether it is the same"
    )]
    Loose {
        /// In a root of this task.
        task: TaskId,
        nevra: String,
    },
}

impl Lock {
    /// Reads and checks a lock.
    pub fn parse(text: &[u8]) -> Result<Self, LockError> {
        let lock: Self =
            serde_json::from_slice(text).map_err(|error| LockError::Syntax(error.to_string()))?;
        if lock.version != LOCK_VERSION {
            return Err(LockError::Version(lock.version));
        }
        for TaskRoots { task, roots, .. } in &lock.tasks {
            let mut packages = roots.iter().flat_map(|root| &root.packages);
            let loose = |package: &&RootPackage| {
                !package.repository.is_empty()
                    && (package.digest.is_none() || package.url.is_none())
            };
            if let Some(package) = packages.find(loose) {
                return Err(LockError::Loose {
                    task: task.clone(),
                    nevra: package.nevra.clone(),
                });
            }
        }
        Ok(lock)
    }

    /// The root that a task is to have as its `number`th of this kind, counted from 0.
    pub fn root(&self, task: &TaskId, arch: Arch, kind: RootKind, number: usize) -> Option<&Root> {
        let of_task = self
            .tasks
            .iter()
            .find(|roots| roots.task == *task && roots.arch == arch)?;
        of_task
            .roots
            .iter()
            .filter(|root| root.kind == kind)
            .nth(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(package: &str) -> String {
        format!(
            r#"{{"version":1,"build":"b1","package":"zlib","commit":"{:040}","platform":"el-9","tasks":[{{"task":"rpm@x86_64",
            "arch":"x86_64","roots":[{{"kind":"build","packages":[{package}]}},{{"kind":"build","packages":[]}}]}}]}}"#,
            0
        )
    }

    #[test]
    fn the_roots_of_a_task_are_found_in_the_order_in_which_they_were_made() {
        let digest = Digest::of(b"x");
        let text = lock(&format!(
            r#"{{"nevra":"gcc-1-1.x86_64","repository":"base","digest":"{digest}","url":"file:///gcc.rpm"}}"#
        ));
        let lock = Lock::parse(text.as_bytes()).unwrap();
        let task: TaskId = "rpm@x86_64".parse().unwrap();
        let root = |arch, kind, number| {
            lock.root(&task, arch, kind, number)
                .map(|root| root.packages.len())
        };
        assert_eq!(root(Arch::X86_64, RootKind::Build, 0), Some(1));
        assert_eq!(root(Arch::X86_64, RootKind::Build, 1), Some(0));
        assert_eq!(root(Arch::X86_64, RootKind::Build, 2), None);
        assert_eq!(root(Arch::X86_64, RootKind::Minimal, 0), None);
        assert_eq!(root(Arch::S390x, RootKind::Build, 0), None);
    }

    #[test]
    fn what_nobody_could_tell_from_another_package_is_no_lock() {
        let own = lock(r#"{"nevra":"own-1-1.x86_64"}"#);
        assert!(
            Lock::parse(own.as_bytes()).is_ok(),
            "files of the task's own are not fetched"
        );
        let loose =
            lock(r#"{"nevra":"gcc-1-1.x86_64","repository":"base","url":"file:///gcc.rpm"}"#);
        let problem = Lock::parse(loose.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            problem,
            "rpm@x86_64: gcc-1-1.x86_64 has a repository and no digest or no address: nobody could tell whether it is the same"
        );
        let newer = own.replace("\"version\":1", "\"version\":2");
        assert_eq!(Lock::parse(newer.as_bytes()), Err(LockError::Version(2)));
        assert!(matches!(Lock::parse(b"[]"), Err(LockError::Syntax(_))));
    }
}

//! What roots are made from: the platform's part of a task.

use millrace_core::Arch;
use millrace_core::platform::{Buildroot, Repository};
use millrace_core::protocol::Work;
use millrace_core::roots;

/// What roots are made from.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What the root is for.
    pub arch: Arch,
    /// dnf's `releasever`.
    pub releasever: String,
    /// dnf's `module_platform_id`.
    pub module_platform: Option<String>,
    /// Where packages come from.
    pub repositories: Vec<Repository>,
    /// What roots begin with.
    pub buildroot: Buildroot,
    /// What the root is to have, exactly; what repositories have is of no interest then.
    pub locked: Option<roots::Root>,
}

impl Recipe {
    /// The recipe of a task, on a runner of this architecture.
    pub fn of(work: &Work, arch: Arch) -> Self {
        Self {
            arch: work.arch.unwrap_or(arch),
            releasever: work.releasever.clone(),
            module_platform: work.module_platform.clone(),
            repositories: work.repositories.clone(),
            buildroot: work.buildroot.clone(),
            locked: None,
        }
    }

    /// A URL with `$basearch` and `$releasever` filled in.
    pub(super) fn filled(&self, url: &str) -> String {
        url.replace("$basearch", self.arch.as_str())
            .replace("$releasever", &self.releasever)
    }
}

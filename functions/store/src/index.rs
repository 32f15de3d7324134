//! Indexes by their names, and what the places in them say.
//!
//! The names and the forms of places lie in stores: one that changes is read in its old form too.

use millrace_core::build::Build;
use millrace_core::platform::Requires;
use millrace_core::push::Commit as GitCommit;
use millrace_core::queue::{Priority, QueuedTask, Rank};
use millrace_core::task::TaskId;
use millrace_core::{Arch, PackageName, PlatformName, ProjectName, RunnerName, Timestamp};

/// All builds, the newest first.
pub const BUILDS: &str = "builds";

/// Builds in which something is leased, the earliest expiry first.
pub const LEASED: &str = "leased";

/// All pushes, the newest first.
pub const PUSHES: &str = "pushes";

/// Holds that nobody has given up, the first to end first.
pub const HOLDS: &str = "holds";

/// Tasks that a runner of this architecture may take, project by project; `None` for tasks that any may take.
pub fn ready_index(arch: Option<Arch>) -> String {
    format!("ready/{}", arch.map_or("any", Arch::as_str))
}

/// Builds in which this runner has something leased.
pub fn held_index(runner: &RunnerName) -> String {
    format!("held/{runner}")
}

/// Names of packages that are this package's own or were granted to it, by target and name.
pub fn names_index(package: &PackageName) -> String {
    format!("names/{package}")
}

/// A package's builds, the newest first.
pub fn package_index(package: &PackageName) -> String {
    format!("package/{package}")
}

/// A package's builds on a platform, the newest first.
pub fn package_platform_index(package: &PackageName, platform: &PlatformName) -> String {
    format!("package/{package}/{platform}")
}

/// A commit's builds, the newest first.
pub fn commit_index(commit: &GitCommit) -> String {
    format!("commit/{commit}")
}

/// A package's pushes, the newest first.
pub fn package_pushes_index(package: &PackageName) -> String {
    format!("package-pushes/{package}")
}

/// A commit's pushes, the newest first.
pub fn commit_pushes_index(commit: &GitCommit) -> String {
    format!("commit-pushes/{commit}")
}

/// The holds of a runner that nobody has given up.
pub fn runner_holds_index(runner: &RunnerName) -> String {
    format!("holds/{runner}")
}

/// A place that sorts by time, the latest first.
pub(crate) fn newest_first(at: Timestamp, id: &str) -> String {
    format!("{:020}/{id}", u64::MAX - at.0)
}

/// The place in [`LEASED`] of a build whose leases begin to end at this time: it says whose the build is, and how many of its tasks
/// are leased.
pub(crate) fn leased_place(build: &Build, until: Timestamp) -> String {
    let leased = build
        .tasks
        .iter()
        .filter(|task| task.lease().is_some())
        .count();
    format!(
        "{:020}/{}/{}/{leased}",
        until.0, build.id, build.rank.project
    )
}

/// The time that a place in [`LEASED`] begins with.
pub fn leased_until(place: &str) -> Option<Timestamp> {
    place.split('/').next()?.parse().ok().map(Timestamp)
}

/// Whose the build at a place in [`LEASED`] is, and how many of its tasks are leased; places of versions before there were projects do
/// not say it.
pub(crate) fn leased_share(place: &str) -> Option<(ProjectName, usize)> {
    let mut parts = place.split('/').skip(2);
    let project = parts.next()?.parse().ok()?;
    let leased = parts.next()?.parse().ok()?;
    Some((project, leased))
}

/// The place of a ready task in its [`ready_index`]: by its project, and there by its rank and its age.
pub(crate) fn ready_place(build: &Build, task: &TaskId) -> String {
    let Rank { project, priority } = &build.rank;
    let requires = build
        .step_of(task)
        .map(|step| step.requires.brief())
        .unwrap_or_default();
    let not_by = build
        .push
        .announced
        .options
        .not_by
        .get(task)
        .map(|runner| format!("/{runner}"))
        .unwrap_or_default();
    format!(
        "{project}/{}/{:020}/{}/{task}/{requires}{not_by}",
        *priority as u8, build.created.0, build.id
    )
}

/// The task at a place in a [`ready_index`]; places of versions before there were projects have a time, a build and a task alone.
pub fn queued(place: &str) -> Option<QueuedTask> {
    let parts: Vec<&str> = place.split('/').collect();
    let (rank, [since, build, task], requires, not_by) = match parts.as_slice() {
        [project, priority, since, build, task, requires, not_by @ ..] => {
            let rank = Rank {
                project: project.parse().ok()?,
                priority: *Priority::ALL.get(priority.parse::<usize>().ok()?)?,
            };
            (rank, [since, build, task], *requires, not_by.first())
        }
        [since, build, task] => (Rank::default(), [since, build, task], "", None),
        _ => return None,
    };
    Some(QueuedTask {
        rank,
        since: Timestamp(since.parse().ok()?),
        build: build.parse().ok()?,
        task: task.parse().ok()?,
        requires: Requires::of_brief(requires),
        not_by: not_by.and_then(|name| name.parse().ok()),
    })
}

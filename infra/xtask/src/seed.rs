//! The seed distribution: a closure of Debian's packages as a repository of RPMs, for machines that reach no repository of
//! Enterprise Linux. Roots that dnf makes of it are real ones: database, BuildRequires, upgrades and triggers work.

mod control;
mod convert;
pub mod deps;
mod files;
mod folder;
mod own;
mod perl;
mod spec;
pub mod tables;

use crate::apt::{Apt, Kind};
use crate::command::{self, logged};
use crate::folders::{self, Folders, fresh, remove};
use crate::hex::hex;
use crate::host::{Arch, Family, Host};
use crate::progress::{self, Progress};
use anyhow::{Context, Result, bail};
use folder::{SeedFolder, SeedPackage};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tables::{Suite, Tables};

/// Packages that are converted at once, at least: each waits for the disk a third of its time.
const JOBS_MIN: usize = 2;

/// And at most: apt's mirror and the disk are the bound beyond.
const JOBS_MAX: usize = 8;

/// A finished seed distribution.
#[derive(Debug)]
pub struct Seed {
    /// Its repository, as dnf takes it after `file://`.
    pub repo: PathBuf,
    /// What it was made of.
    pub suite: Suite,
    /// What it is for.
    pub arch: Arch,
}

/// The folder for the seed distribution of a suite. `arch` may be `$basearch`, which dnf replaces by its own.
pub fn folder(folders: &Folders, suite: &Suite, arch: &str) -> PathBuf {
    folders
        .cache
        .join("seed")
        .join(format!("{}-{arch}", suite.name))
}

/// Makes a seed distribution, or finds it made. Without a suite it takes the machine's own; `again` looks for newer packages.
pub fn make(folders: &Folders, suite: Option<&str>, arch: Arch, again: bool) -> Result<Seed> {
    let host = Host::find()?;
    if host.family != Family::Debian {
        bail!(
            "{} has no apt to make a seed distribution with, and needs none: take the platform almalinux-9, whose repositories are public",
            host.title
        );
    }
    let suite = Suite::named(suite.or(host.codename.as_deref()).unwrap_or("bookworm"))?;
    let seed_folder = SeedFolder {
        root: folder(folders, &suite, arch.rpm),
        arch,
    };
    std::fs::create_dir_all(&seed_folder.root)?;
    let lock = std::fs::File::create(seed_folder.join("lock"))?;
    lock.lock()
        .context("wait for another run that makes the same seed distribution")?;
    let seed = Seed {
        repo: seed_folder.join("repo"),
        suite,
        arch,
    };
    let stamp = hex(&Sha256::digest(format!(
        "{} {}",
        convert::RECIPE,
        tables::all_text(arch)?
    )));
    let stamped =
        || std::fs::read_to_string(seed_folder.join("stamp")).is_ok_and(|old| old == stamp);
    if again || !stamped() || !seed.repo.join("repodata/repomd.xml").exists() {
        let title = format!("seed distribution from {}, {}", seed.suite.name, arch.rpm);
        progress::timed(folders, "seed", &title, 60, |progress| {
            build(&seed_folder, &seed, progress)
        })?;
        folders::write(&seed_folder.join("stamp"), stamp)?;
    }
    Ok(seed)
}

fn build(seed_folder: &SeedFolder, seed: &Seed, progress: &Progress) -> Result<()> {
    for tool in ["apt-get", "dpkg-deb", "rpmbuild", "createrepo_c"] {
        command::find(tool)
            .with_context(|| format!("no {tool} here: `cargo xtask setup` installs it"))?;
    }
    // Those of rpmbuild too: two that begin at once would both make them, and one of them fail.
    for folder in [
        "rpms",
        "keys",
        "specs",
        "logs",
        "top/BUILD",
        "top/BUILDROOT",
        "top/SRPMS",
        "trees",
    ] {
        std::fs::create_dir_all(seed_folder.join(folder))?;
    }
    let apt = Apt::new(
        &seed_folder.join("apt"),
        &seed.suite.archive,
        seed_folder.arch.debian,
        Kind::Binary,
    )?;
    progress.set("reading the lists");
    apt.update()?;
    progress.set("downloading");
    let debs = apt.closure(&tables::set(seed_folder.arch)?)?;
    let mut made = converted(seed_folder, &debs, progress)?;
    progress.set("writing the repository");
    let macros = tables::macros(
        &seed.suite,
        seed_folder.arch.triplet,
        rpm_version(&debs).context("the set has no rpm")?,
    );
    made.extend(own::make(seed_folder, &debs, &macros)?);
    publish(seed_folder, &made)
}

/// Version of the rpm among the packages: the file's name is `rpm_4.18.0+dfsg-1_amd64.deb`.
fn rpm_version(debs: &[PathBuf]) -> Option<&str> {
    debs.iter().find_map(|deb| {
        deb.file_name()?
            .to_str()?
            .strip_prefix("rpm_")?
            .split('_')
            .next()
    })
}

/// Converts all packages, several at once; every failure is reported, the first with its reason.
fn converted(
    seed_folder: &SeedFolder,
    debs: &[PathBuf],
    progress: &Progress,
) -> Result<Vec<SeedPackage>> {
    let next = AtomicUsize::new(0);
    let tables = Tables::read();
    let results = Mutex::new(Vec::new());
    let jobs = std::thread::available_parallelism()
        .map_or(JOBS_MIN, |n| n.get().clamp(JOBS_MIN, JOBS_MAX));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(deb) = debs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = convert::convert(deb, seed_folder, &tables)
                        .with_context(|| format!("convert {}", deb.display()));
                    let mut all = results.lock().expect("nobody panics while holding it");
                    all.push(result);
                    progress.set(format!("{} of {} packages", all.len(), debs.len()));
                }
            });
        }
    });
    let results = results
        .into_inner()
        .expect("nobody panics while holding it");
    let failed = results.iter().filter(|result| result.is_err()).count();
    let all: Result<Vec<Option<SeedPackage>>> = results.into_iter().collect();
    Ok(all
        .with_context(|| {
            format!(
                "{failed} of {} packages could not be converted; one of them",
                debs.len()
            )
        })?
        .into_iter()
        .flatten()
        .collect())
}

/// Puts exactly these RPMs into a new repository and swaps it with the old one: readers find one of the two.
fn publish(seed_folder: &SeedFolder, made: &[SeedPackage]) -> Result<()> {
    let new = seed_folder.join("repo.new");
    let old = seed_folder.join("repo.old");
    let repo = seed_folder.join("repo");
    fresh(&new)?;
    for rpm in made {
        std::fs::hard_link(seed_folder.rpm(&rpm.name), new.join(&rpm.name))
            .with_context(|| format!("link {}", rpm.name))?;
    }
    logged(
        Command::new("createrepo_c")
            .args(["--quiet", "--general-compress-type=gz"])
            .arg(&new),
        &seed_folder.join("logs").join("createrepo.log"),
    )?;
    remove(&old)?;
    if repo.exists() {
        std::fs::rename(&repo, &old)?;
    }
    std::fs::rename(&new, &repo)?;
    remove(&old)?;
    sweep(seed_folder, made)
}

/// Removes RPMs of earlier versions.
fn sweep(seed_folder: &SeedFolder, made: &[SeedPackage]) -> Result<()> {
    for entry in std::fs::read_dir(seed_folder.join("rpms"))?.flatten() {
        let name = entry.file_name();
        if !made.iter().any(|rpm| *rpm.name == *name.to_string_lossy()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_rpm_is_in_its_file_name() {
        let debs = [
            "rpm-common_4.18.0+dfsg-1_amd64.deb",
            "rpm_4.20.1+dfsg-3_amd64.deb",
        ]
        .map(PathBuf::from);
        assert_eq!(rpm_version(&debs), Some("4.20.1+dfsg-3"));
    }
}

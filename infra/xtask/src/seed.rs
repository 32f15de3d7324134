//! The seed distribution: a closure of Debian's packages as a repository of RPMs, for machines that reach no repository of
//! Enterprise Linux. Roots that dnf makes of it are real ones: database, BuildRequires, upgrades and triggers work.

mod control;
mod convert;
pub mod deps;
mod files;
mod own;
mod perl;
mod spec;
pub mod tables;

use crate::apt::{Apt, Kind};
use crate::command::{self, logged};
use crate::folders::{self, Folders, fresh, remove};
use crate::host::{Arch, Family, Host};
use crate::platform;
use crate::progress::{self, Progress};
use anyhow::{Context, Result, bail};
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

/// Where a seed distribution is made.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    arch: Arch,
}

impl Place {
    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn rpm(&self, file: &str) -> PathBuf {
        self.folder("rpms").join(file)
    }
}

/// An RPM of the seed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// Its file's name.
    name: String,
    /// The package it was made of.
    debian: String,
}

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

/// The platform that builds for seed distributions of one suite, each of another architecture, with their address filled in.
pub fn platform(folders: &Folders, seeds: &[Seed]) -> Result<String> {
    let first = seeds
        .first()
        .context("a platform is for one architecture at least")?;
    let architectures: Vec<Arch> = seeds.iter().map(|seed| seed.arch).collect();
    let text = platform::for_architectures(folders, first.suite.platform, &architectures)?;
    let repo = match seeds {
        [only] => only.repo.clone(),
        _ => folder(folders, &first.suite, "$basearch").join("repo"),
    };
    Ok(text.replace("@SEED@", &repo.display().to_string()))
}

/// Where the seed distribution of a suite is made; dnf takes its own word for an architecture, `$basearch`, too.
fn folder(folders: &Folders, suite: &Suite, arch: &str) -> PathBuf {
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
    let place = Place {
        root: folder(folders, &suite, arch.rpm),
        arch,
    };
    std::fs::create_dir_all(&place.root)?;
    let lock = std::fs::File::create(place.folder("lock"))?;
    lock.lock()
        .context("wait for another run that makes the same seed distribution")?;
    let seed = Seed {
        repo: place.folder("repo"),
        suite,
        arch,
    };
    let stamp = hex(&Sha256::digest(format!(
        "{} {}",
        convert::RECIPE,
        tables::all_text(arch)?
    )));
    let stamped = || std::fs::read_to_string(place.folder("stamp")).is_ok_and(|old| old == stamp);
    if again || !stamped() || !seed.repo.join("repodata/repomd.xml").exists() {
        let title = format!("seed distribution from {}, {}", seed.suite.name, arch.rpm);
        progress::timed(folders, "seed", &title, 60, |progress| {
            build(&place, &seed, progress)
        })?;
        folders::write(&place.folder("stamp"), stamp)?;
    }
    Ok(seed)
}

fn build(place: &Place, seed: &Seed, progress: &Progress) -> Result<()> {
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
        std::fs::create_dir_all(place.folder(folder))?;
    }
    let apt = Apt::new(
        &place.folder("apt"),
        &seed.suite.archive,
        place.arch.debian,
        Kind::Binary,
    )?;
    progress.set("reading the lists");
    apt.update()?;
    progress.set("downloading");
    let debs = apt.closure(&tables::set(place.arch)?)?;
    let mut made = converted(place, &debs, progress)?;
    progress.set("writing the repository");
    let macros = tables::macros(
        &seed.suite,
        place.arch.triplet,
        rpm_version(&debs).context("the set has no rpm")?,
    );
    made.extend(own::make(place, &debs, &macros)?);
    publish(place, &made)
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

/// Converts all packages, several at once; every failure is told, the first with its reason.
fn converted(place: &Place, debs: &[PathBuf], progress: &Progress) -> Result<Vec<Made>> {
    let (next, tables) = (AtomicUsize::new(0), Tables::read());
    let results = Mutex::new(Vec::new());
    let jobs = std::thread::available_parallelism()
        .map_or(JOBS_MIN, |n| n.get().clamp(JOBS_MIN, JOBS_MAX));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(deb) = debs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = convert::convert(deb, place, &tables)
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
    let all: Result<Vec<Option<Made>>> = results.into_iter().collect();
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

/// Puts exactly these RPMs into a new repository and swaps it with the old one, so that whoever reads finds one of the two.
fn publish(place: &Place, made: &[Made]) -> Result<()> {
    let (new, old, repo) = (
        place.folder("repo.new"),
        place.folder("repo.old"),
        place.folder("repo"),
    );
    fresh(&new)?;
    for rpm in made {
        std::fs::hard_link(place.rpm(&rpm.name), new.join(&rpm.name))
            .with_context(|| format!("link {}", rpm.name))?;
    }
    logged(
        Command::new("createrepo_c")
            .args(["--quiet", "--general-compress-type=gz"])
            .arg(&new),
        &place.folder("logs").join("createrepo.log"),
    )?;
    remove(&old)?;
    if repo.exists() {
        std::fs::rename(&repo, &old)?;
    }
    std::fs::rename(&new, &repo)?;
    remove(&old)?;
    sweep(place, made)
}

/// Removes RPMs of earlier versions.
fn sweep(place: &Place, made: &[Made]) -> Result<()> {
    for entry in std::fs::read_dir(place.folder("rpms"))?.flatten() {
        let name = entry.file_name();
        if !made.iter().any(|rpm| *rpm.name == *name.to_string_lossy()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

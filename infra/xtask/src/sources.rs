//! Upstream's source archives, from the distribution's source packages, whose signatures are checked.

use crate::apt::{Apt, Archive, Kind};
use crate::command::{logged, output_of};
use crate::folders::{self, Folders, fresh};
use crate::host::{Arch, Family, Host};
use crate::seed::deps::upstream;
use crate::seed::tables::Suite;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Suites of Debian that are asked, in this order: mirrors lack a file now and then, and the next suite has it. Older ones have a
/// zlib that is no newer than a seed distribution's.
const SUITES: [&str; 2] = ["trixie", "forky"];

/// Enterprise Linux's own source packages, for machines with dnf.
const SOURCE_REPOSITORIES: [&str; 2] = ["baseos-source", "appstream-source"];

/// A source archive as upstream made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub file: PathBuf,
    pub version: String,
}

/// Gets the source archive of a package, or finds it got.
pub fn get(folders: &Folders, package: &str) -> Result<Source> {
    let kept = folders.cache.join("sources").join(package);
    if let Some(source) = found(&kept, package)? {
        return Ok(source);
    }
    let host = Host::find()?;
    match host.family {
        Family::Debian => by_apt(folders, &host, package, &kept)?,
        Family::Fedora => by_dnf(folders, package, &kept)?,
    }
    found(&kept, package)?
        .with_context(|| format!("no source archive of {package} in {}", kept.display()))
}

fn by_apt(folders: &Folders, host: &Host, package: &str, kept: &Path) -> Result<()> {
    let mut tried = Vec::new();
    for archive in archives(host)? {
        let folder = folders
            .cache
            .join("sources")
            .join(format!("apt-{}", archive.suite));
        let got = Apt::new(&folder, &archive, Arch::native()?.debian, Kind::Source)
            .and_then(|apt| apt.source(package));
        match got {
            Ok(file) => {
                fresh(kept)?;
                let name = file.file_name().context("a file has a name")?;
                std::fs::copy(&file, kept.join(name))?;
                return Ok(());
            }
            Err(error) => tried.push(format!("{}: {error:#}", archive.suite)),
        }
    }
    bail!("cannot get the source of {package}:\n{}", tried.join("\n"))
}

fn archives(host: &Host) -> Result<Vec<Archive>> {
    let own = Suite::named(host.codename.as_deref().unwrap_or("bookworm"))?.archive;
    if own.kind == "debian" {
        Ok(SUITES
            .map(|suite| Archive {
                suite: suite.to_owned(),
                ..own.clone()
            })
            .into())
    } else {
        Ok(vec![own])
    }
}

/// `dnf download --source`, then the archive out of the source package, whose signature is checked first.
fn by_dnf(folders: &Folders, package: &str, kept: &Path) -> Result<()> {
    let folder = folders.cache.join("sources/dnf");
    let got = folder.join(package);
    let keys = folder.join("keys");
    let log = folders.log("sources");
    let key = "https://repo.almalinux.org/almalinux/RPM-GPG-KEY-AlmaLinux-9";
    for id in SOURCE_REPOSITORIES {
        let text = format!(
            "[{id}]\nname={id}\nmirrorlist=https://mirrors.almalinux.org/mirrorlist/9/{id}\ngpgcheck=1\ngpgkey={key}\n"
        );
        folders::write(&folder.join("repos").join(format!("{id}.repo")), text)?;
    }
    fresh(&got)?;
    let reposdir = format!("--setopt=reposdir={}", folder.join("repos").display());
    let mut dnf = Command::new("dnf");
    dnf.args([
        "-y",
        "--releasever=9",
        &reposdir,
        "download",
        "--source",
        "--destdir",
    ])
    .arg(&got)
    .arg(package);
    logged(&mut dnf, &log)?;
    let entry = std::fs::read_dir(&got)?
        .flatten()
        .next()
        .with_context(|| format!("dnf downloaded no {package}"))?;
    fresh(&keys)?;
    logged(
        Command::new("rpmkeys")
            .arg("--dbpath")
            .arg(&keys)
            .args(["--import", key]),
        &log,
    )?;
    logged(
        Command::new("rpmkeys")
            .arg("--dbpath")
            .arg(&keys)
            .args(["--define", "_pkgverify_level all", "-K"])
            .arg(entry.path()),
        &log,
    )?;
    fresh(kept)?;
    let unpack = format!("rpm2cpio \"$1\" | cpio --quiet -id '{package}-*.tar.*'");
    logged(
        Command::new("sh")
            .args(["-c", &unpack, "unpack"])
            .arg(entry.path())
            .current_dir(kept),
        &log,
    )
}

/// The archive in a folder: `zlib_1.3.dfsg+really1.3.1.orig.tar.gz` or `zlib-1.2.11.tar.xz`.
fn found(kept: &Path, package: &str) -> Result<Option<Source>> {
    let Ok(entries) = std::fs::read_dir(kept) else {
        return Ok(None);
    };
    let of = |file: PathBuf| {
        Some(Source {
            version: version(file.file_name()?.to_str()?, package)?,
            file,
        })
    };
    Ok(entries.flatten().find_map(|entry| of(entry.path())))
}

fn version(name: &str, package: &str) -> Option<String> {
    let rest = name.strip_prefix(package)?.strip_prefix(['_', '-'])?;
    let version = &rest[..rest.find(".tar.")?];
    Some(upstream(version.strip_suffix(".orig").unwrap_or(version)).to_owned())
}

/// SHA-512 of a file, as coreutils tells it.
pub fn sha512(file: &Path) -> Result<String> {
    let said = output_of(Command::new("sha512sum").arg("--").arg(file))?;
    Ok(said
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .trim_start_matches('\\')
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_upstreams() {
        assert_eq!(
            version("zlib_1.3.dfsg+really1.3.1.orig.tar.gz", "zlib").as_deref(),
            Some("1.3.1")
        );
        assert_eq!(
            version("pigz_2.8.orig.tar.xz", "pigz").as_deref(),
            Some("2.8")
        );
        assert_eq!(
            version("zlib-1.2.11.tar.xz", "zlib").as_deref(),
            Some("1.2.11")
        );
        assert_eq!(version("zlib_1.3-1.dsc", "zlib"), None);
    }
}

//! apt with lists, status and cache of its own: it reads of the system only the mirror and the archive's keys, and writes nothing.

use crate::command::{logged, output_of};
use crate::folders;
use crate::hex::hex;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Tries at lists and downloads: mirrors are sometimes in the middle of an update, which takes them seconds.
const TRIES: u32 = 4;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(5);

/// A part of an archive of packages.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The last folder of its address, which tells Debian's from Ubuntu's: `debian`.
    pub kind: String,
    /// `bookworm`.
    pub suite: String,
    /// `main universe`.
    pub components: String,
    /// What its lists must be signed with.
    pub keyring: String,
}

/// What is wanted of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Packages that can be installed.
    Binary,
    /// What they were made of.
    Source,
}

/// apt in a folder of its own.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Readies a folder; `arch` by dpkg's name. Nothing counts as installed, so that what a package needs comes out whole.
    pub fn new(folder: &Path, archive: &Archive, arch: &str, kind: Kind) -> Result<Self> {
        ensure!(
            Path::new(&archive.keyring).is_file(),
            "{} is not on this machine: the lists of {} could not be checked (on Debian and Ubuntu the package {} brings it)",
            archive.keyring,
            archive.suite,
            if archive.kind == "ubuntu" {
                "ubuntu-keyring"
            } else {
                "debian-archive-keyring"
            },
        );
        let mirror = mirror(&archive.kind)?;
        for name in [
            "lists/partial",
            "archives/partial",
            "nothing/partial",
            "log",
        ] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let word = if kind == Kind::Binary {
            "deb"
        } else {
            "deb-src"
        };
        let line = format!(
            "{word} [signed-by={}] {mirror} {} {}\n",
            archive.keyring, archive.suite, archive.components
        );
        folders::write(&folder.join("sources.list"), line)?;
        folders::write(&folder.join("status"), "")?;
        Ok(Self {
            folder: folder.to_owned(),
            options: options(folder, arch),
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command
            .args(&self.options)
            .args(words)
            .current_dir(self.archives());
        command
    }

    fn run(&self, name: &str, words: &[&str]) -> Result<()> {
        let log = self.folder.join("log").join(format!("{name}.log"));
        let mut tried = 1;
        loop {
            match logged(&mut self.command(words), &log) {
                Err(_) if tried < TRIES => std::thread::sleep(PAUSE),
                result => return result,
            }
            tried += 1;
        }
    }

    /// Where packages are downloaded to.
    pub fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    /// Gets the lists, and checks their signature.
    pub fn update(&self) -> Result<()> {
        self.run("update", &["update", "--error-on=any"])
    }

    /// Downloads packages and all that they need; gives the files, sorted, and removes what an earlier run left behind.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let nothing = format!(
            "Dir::Cache::archives={}",
            self.folder.join("nothing").display()
        );
        let listed = output_of(
            self.command(&["-o", &nothing, "-y", "--print-uris", "install"])
                .args(packages),
        )?;
        let mut names: Vec<&str> = listed.lines().filter_map(file_of_uri_line).collect();
        names.sort_unstable();
        ensure!(!names.is_empty(), "apt names no files for {packages:?}");
        self.run(
            "download",
            &[&["-y", "--download-only", "install"], packages].concat(),
        )?;
        for entry in std::fs::read_dir(self.archives())? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && !names.contains(&entry.file_name().to_string_lossy().as_ref())
            {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(names
            .iter()
            .map(|name| self.archives().join(name))
            .collect())
    }

    /// Downloads a package without what it needs.
    pub fn alone(&self, package: &str) -> Result<PathBuf> {
        let listed = output_of(&mut self.command(&["--print-uris", "download", package]))?;
        let name = listed
            .lines()
            .find_map(file_of_uri_line)
            .with_context(|| format!("apt knows no package {package}"))?;
        self.run(package, &["download", package])?;
        Ok(self.archives().join(name))
    }

    /// Downloads upstream's archive of a source package, and compares it with the signed lists. That the packaging beside it
    /// may be missing on the mirror is no loss.
    pub fn source(&self, package: &str) -> Result<PathBuf> {
        self.update()?;
        let wanted = ["--only-source", "--download-only", "source", package];
        let listed = output_of(&mut self.command(&[&["--print-uris"], &wanted[..]].concat()))?;
        let upstreams = |line: &&str| {
            file_of_uri_line(line)
                .is_some_and(|name| name.contains(".orig.tar.") && !name.ends_with(".asc"))
        };
        let line = listed
            .lines()
            .find(upstreams)
            .with_context(|| format!("no archive of upstream's in the source package {package}"))?;
        let file = self
            .archives()
            .join(file_of_uri_line(line).unwrap_or_default());
        let got = logged(
            &mut self.command(&wanted),
            &self.folder.join("log").join(format!("{package}.log")),
        );
        if !file.exists() {
            return got.and_then(|()| bail!("apt downloaded no {}", file.display()));
        }
        let digest = hex(&Sha256::digest(std::fs::read(&file)?));
        ensure!(
            line.ends_with(&format!(" SHA256:{digest}")),
            "{} is not what the lists say: it has SHA-256 {digest}",
            file.display()
        );
        Ok(file)
    }
}

/// `'http://…/x.deb' x_1%3a2_amd64.deb 123 SHA256:…`: the name that apt gives to the file.
fn file_of_uri_line(line: &str) -> Option<&str> {
    line.strip_prefix('\'')?.split_whitespace().nth(1)
}

fn options(folder: &Path, arch: &str) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    let values = [
        ("Dir::Etc::sourcelist", at("sources.list")),
        ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
        ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
        ("Dir::State::lists", at("lists")),
        ("Dir::State::status", at("status")),
        ("Dir::State::extended_states", at("extended_states")),
        ("Dir::Cache::archives", at("archives")),
        ("Dir::Cache::pkgcache", String::new()),
        ("Dir::Cache::srcpkgcache", String::new()),
        ("Dir::Log", at("log")),
        ("APT::Architecture", arch.to_owned()),
        ("APT::Architectures", arch.to_owned()),
        ("APT::Install-Recommends", "false".to_owned()),
        ("APT::Sandbox::User", "root".to_owned()), // the folder is the caller's, and apt's own user could not write to it
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::Retries", "5".to_owned()),
        (
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled",
            "false".to_owned(),
        ),
        ("Debug::NoLocking", "1".to_owned()), // callers have a lock of their own
    ];
    let option = |(key, value): (&str, String)| ["-o".to_owned(), format!("{key}={value}")];
    ["-q".to_owned()]
        .into_iter()
        .chain(values.into_iter().flat_map(option))
        .collect()
}

/// The mirror that this machine's own apt is set up with, of an archive whose address ends in `kind`; `MILLRACE_MIRROR` is
/// taken instead if it is set. Security archives are no whole suites; Ubuntu has one called `ubuntu-ports`.
fn mirror(kind: &str) -> Result<String> {
    if let Ok(mirror) = std::env::var("MILLRACE_MIRROR") {
        return Ok(mirror.trim_end_matches('/').to_owned());
    }
    let format = [
        "indextargets",
        "--format",
        "$(REPO_URI) $(COMPONENT)",
        "Created-By: Packages",
    ];
    let listed =
        output_of(Command::new("apt-get").args(format)).context("ask apt for its mirror")?;
    match plain_mirror(&listed, kind) {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!(
            "apt on this machine knows no plain {kind} archive: run `apt-get update`, or set MILLRACE_MIRROR to a mirror's address"
        ),
    }
}

fn plain_mirror<'a>(listed: &'a str, kind: &str) -> Option<&'a str> {
    let uris = listed
        .lines()
        .filter_map(|line| line.strip_suffix(" main"))
        .map(|uri| uri.trim_end_matches('/'));
    uris.filter(|uri| !uri.contains("security")).find(|uri| {
        uri.rsplit('/')
            .next()
            .is_some_and(|last| last.starts_with(kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_a_plain_archive() {
        let listed = "http://security.example/debian-security/ main\nhttp://vendor.example/apt main\nhttp://mirror.example/debian/ main\n";
        assert_eq!(
            plain_mirror(listed, "debian"),
            Some("http://mirror.example/debian")
        );
        assert_eq!(plain_mirror(listed, "ubuntu"), None);
    }

    #[test]
    fn apt_tells_the_name_of_a_file() {
        let line = "'http://mirror.example/z/zlib1g_1.2.13.dfsg-1_amd64.deb' zlib1g_1%3a1.2.13.dfsg-1_amd64.deb 86680 SHA256:0a";
        assert_eq!(
            file_of_uri_line(line),
            Some("zlib1g_1%3a1.2.13.dfsg-1_amd64.deb")
        );
        assert_eq!(file_of_uri_line("Reading package lists..."), None);
    }
}

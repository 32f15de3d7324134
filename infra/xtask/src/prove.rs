//! The proof of a release, by the clients that users have: rpmkeys and dnf.

use crate::command::{logged, output_of};
use crate::folders::{self, Folders, fresh};
use crate::http;
use crate::progress;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the demo compresses: 1.3 MB of numbers.
const ROUND_TRIP: &str = "seq 1 200000 >/tmp/numbers && pigz -k /tmp/numbers && pigz -dc /tmp/numbers.gz | sha256sum && sha256sum </tmp/numbers";

/// What dnf says of an installed package. dnf 4 ends each answer with a line break of its own, dnf 5 does not.
const FROM: &str = "%{name}-%{version}-%{release} from %{from_repo}\\n";

/// What is to be proved.
#[derive(Debug)]
pub struct Proof<'a> {
    /// Where times are remembered.
    pub folders: &'a Folders,
    /// Where the line listens.
    pub address: &'a str,
    /// The platform that was released for.
    pub platform: &'a str,
    /// Its file's text, for the repositories that bring all else.
    pub platform_text: &'a str,
    /// The packages that must come from the line.
    pub packages: &'a [&'a str],
    /// A folder that may be emptied.
    pub folder: PathBuf,
}

impl Proof<'_> {
    /// Prints what the clients say; an error if one of them is not content.
    pub fn show(&self) -> Result<()> {
        let root = self.folder.join("root");
        fresh(&self.folder)?;
        self.write_repositories()?;
        self.write_macros(&root)?;
        let installed = self.signatures().and_then(|()| self.install(&root));
        self.end_agents()?;
        installed?;
        self.run(&root)
    }

    /// dnf checks repositories by gpg, which leaves an agent behind for each that it has checked.
    fn end_agents(&self) -> Result<()> {
        let caches = std::fs::read_dir(self.folder.join("cache"))
            .into_iter()
            .flatten()
            .flatten();
        for keys in caches
            .map(|cache| cache.path().join("pubring"))
            .filter(|keys| keys.is_dir())
        {
            logged(
                Command::new("gpgconf")
                    .arg("--homedir")
                    .arg(&keys)
                    .args(["--kill", "all"]),
                &self.log("gpgconf"),
            )?;
        }
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The line's own .repo file as it is served, and the platform's repositories without the packages to be proved.
    fn write_repositories(&self) -> Result<()> {
        let platform = self.platform;
        let served = http::get(self.address, &format!("/repo/{platform}/{platform}.repo"))?;
        let text = String::from_utf8_lossy(&served).into_owned();
        println!("the .repo file that the line serves:");
        indented(&text);
        for wanted in ["gpgcheck=1", "repo_gpgcheck=1"] {
            ensure!(
                text.lines().any(|line| line.replace(' ', "") == wanted),
                "the served .repo file does not say {wanted}"
            );
        }
        folders::write(&self.folder.join("repos/millrace.repo"), &text)?;
        folders::write(
            &self.folder.join("repos/platform.repo"),
            others(self.platform_text, self.packages),
        )?;
        let key = http::get(
            self.address,
            &format!("/repo/{platform}/RPM-GPG-KEY-millrace"),
        )?;
        folders::write(&self.folder.join("RPM-GPG-KEY-millrace"), key)
    }

    /// Debian's rpm would look for a root's database in somebody's home folder.
    fn write_macros(&self, root: &Path) -> Result<()> {
        let macros = "%_dbpath /var/lib/rpm\n%_db_backend sqlite\n";
        folders::write(&self.folder.join("home/.rpmmacros"), macros)?;
        folders::write(&root.join("etc/rpm/macros.proof"), macros)
    }

    fn dnf(&self, words: &[&str]) -> Command {
        let mut command = Command::new("dnf");
        command.env("HOME", self.folder.join("home"));
        let releasever = value(self.platform_text, "releasever").unwrap_or("9");
        let set = |key: &str, path: PathBuf| format!("--setopt={key}={}", path.display());
        command.args(["-y", &format!("--releasever={releasever}")]);
        if let Some(module) = value(self.platform_text, "module_platform") {
            command.arg(format!("--setopt=module_platform_id={module}"));
        }
        command.args([
            set("reposdir", self.folder.join("repos")),
            set("cachedir", self.folder.join("cache")),
        ]);
        command
            .args([
                "--setopt=install_weak_deps=0",
                "--setopt=tsflags=nodocs",
                "--setopt=metadata_expire=0",
            ])
            .args(words);
        command
    }

    fn signatures(&self) -> Result<()> {
        let rpms = self.folder.join("rpms");
        let database = self.folder.join("rpmdb");
        fresh(&rpms)?;
        fresh(&database)?;
        let into = rpms.display().to_string();
        let words = [
            &[
                "download",
                "--arch",
                std::env::consts::ARCH,
                "--destdir",
                &into,
            ],
            self.packages,
        ]
        .concat();
        let mut dnf = self.dnf(&words);
        progress::timed(self.folders, "proof-download", "dnf download", 2, |_| {
            logged(&mut dnf, &self.log("download"))
        })?;
        let rpmkeys = || {
            let mut command = Command::new("rpmkeys");
            command.arg("--dbpath").arg(&database);
            command
        };
        logged(
            rpmkeys()
                .arg("--import")
                .arg(self.folder.join("RPM-GPG-KEY-millrace")),
            &self.log("import"),
        )?;
        println!("rpmkeys -Kv, with the line's public key alone:");
        let names = files(&rpms)?;
        let said = output_of(
            rpmkeys()
                .args(["--define", "_pkgverify_level all", "-Kv"])
                .args(&names)
                .current_dir(&rpms),
        )?;
        indented(&said);
        ensure!(
            all_signed(&said, names.len()),
            "a signature is missing or bad"
        );
        Ok(())
    }

    fn install(&self, root: &Path) -> Result<()> {
        let at = format!("--installroot={}", root.display());
        // Debian's dnf has a plugin that keeps all that was installed as a repository: it would answer the next time.
        let words = [
            &[
                at.as_str(),
                "--setopt=plugins=0",
                "install",
                "bash",
                "coreutils",
            ],
            self.packages,
        ]
        .concat();
        println!(
            "a fresh root, where {} can come from the line alone:",
            self.packages.join(" and ")
        );
        let mut dnf = self.dnf(&words);
        progress::timed(
            self.folders,
            "proof-install",
            "dnf --installroot",
            5,
            |_| logged(&mut dnf, &self.log("install")),
        )?;
        let query = [
            &[
                at.as_str(),
                "--quiet",
                "repoquery",
                "--installed",
                "--queryformat",
                FROM,
            ],
            self.packages,
        ]
        .concat();
        let said = output_of(&mut self.dnf(&query))?;
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        indented(&lines.join("\n"));
        let served = std::fs::read_to_string(self.folder.join("repos/millrace.repo"))?;
        let ours = |line: &&&str| {
            served.lines().any(|id| {
                id.starts_with('[')
                    && line.ends_with(&format!("from {}", id.trim_matches(['[', ']'])))
            })
        };
        ensure!(
            lines.len() == self.packages.len() && lines.iter().filter(ours).count() == lines.len(),
            "not all of them came from the line"
        );
        Ok(())
    }

    fn run(&self, root: &Path) -> Result<()> {
        println!("the installed program, run inside that root:");
        let inside = |words: &[&str]| {
            let mut command = Command::new("chroot");
            command
                .arg(root)
                .args(words)
                .env("PATH", "/usr/sbin:/usr/bin");
            output_of(command.env_remove("LD_LIBRARY_PATH"))
        };
        println!("    $ pigz --version");
        indented(&inside(&["/bin/sh", "-c", "pigz --version 2>&1"])?);
        println!("    $ {ROUND_TRIP}");
        let said = inside(&["/bin/sh", "-c", ROUND_TRIP])?;
        indented(&said);
        let digests: Vec<&str> = said
            .split_whitespace()
            .filter(|word| word.len() == 64)
            .collect();
        ensure!(
            digests.len() == 2 && digests[0] == digests[1],
            "what came out is not what went in"
        );
        Ok(())
    }
}

/// Whether each of so many packages has a signature in its header that the one key vouches for. rpm 4 says `Header V4 RSA/SHA256
/// Signature, key ID …: OK`, rpm 6 `Header OpenPGP V4 RSA/SHA256 signature, key fingerprint: …: OK`.
fn all_signed(said: &str, packages: usize) -> bool {
    let signatures = said
        .lines()
        .map(|line| line.trim().to_lowercase())
        .filter(|line| line.contains("signature, key"));
    let (good, bad): (Vec<_>, Vec<_>) =
        signatures.partition(|line| line.starts_with("header") && line.ends_with(": ok"));
    good.len() == packages && bad.is_empty()
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".rpm"))
        .collect();
    names.sort();
    ensure!(!names.is_empty(), "dnf downloaded nothing");
    Ok(names)
}

fn indented(text: &str) {
    for line in text.trim_end().lines() {
        println!("    {line}");
    }
}

/// A value of the platform file's top level.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().trim_matches('"'))
}

/// The platform's repositories as dnf reads them, without the packages that must come from the line. Platform files of
/// infra/platforms have one `key = "value"` a line.
fn others(platform: &str, packages: &[&str]) -> String {
    let excluded = packages
        .iter()
        .map(|name| format!("{name} {name}-*"))
        .collect::<Vec<_>>()
        .join(" ");
    let mut text = String::new();
    for section in platform.split("\n[[repositories]]\n").skip(1) {
        let own = section.lines().take_while(|line| !line.starts_with('['));
        let pairs: Vec<(&str, &str)> = own
            .filter_map(|line| line.split_once(" = "))
            .map(|(key, value)| (key, value.trim_matches('"')))
            .collect();
        let of = |wanted: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| *value)
        };
        let id = of("id").unwrap_or_default();
        text += &format!(
            "[{id}]\nname={id}\nenabled=1\nexcludepkgs={excluded}\ngpgcheck={}\n",
            u8::from(of("gpgkey").is_some())
        );
        for key in ["baseurl", "mirrorlist", "gpgkey"] {
            text += &of(key)
                .map(|value| format!("{key}={value}\n"))
                .unwrap_or_default();
        }
    }
    text
}

/// The text of the platform file that a proof is made with.
pub fn platform_name(text: &str) -> Result<&str> {
    value(text, "name").context("the platform file has no name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_must_be_signed_in_the_words_of_rpm_4_and_rpm_6() {
        let four = "a.rpm:\n    Header V4 RSA/SHA256 Signature, key ID 97a226df: OK\n    Header SHA256 digest: OK\n";
        let six = "a.rpm:\n    Header OpenPGP V4 RSA/SHA256 signature, key fingerprint: df3a6b18: OK\n    Payload SHA256 digest: OK\n";
        let unknown = six.replace(": OK\n    Pay", ": NOKEY\n    Pay");
        assert!(
            all_signed(four, 1) && all_signed(six, 1) && all_signed(&format!("{four}{six}"), 2)
        );
        assert!(
            !all_signed(six, 2)
                && !all_signed(&unknown, 1)
                && !all_signed(&format!("{four}{unknown}"), 1)
        );
        assert!(!all_signed("a.rpm:\n    Header SHA256 digest: OK\n", 1));
    }

    #[test]
    fn other_repositories_cannot_bring_what_is_to_be_proved() {
        let platform = "name = \"el-9\"\nreleasever = \"9\"\n\n[[repositories]]\nid = \"baseos\"\nmirrorlist = \"https://m.example/$releasever\"\n\
                        gpgkey = \"https://m.example/KEY\"\n\n[[repositories]]\nid = \"seed\"\nbaseurl = \"file:///seed\"\n\n[buildroot]\nid = \"no\"\n";
        assert_eq!(
            others(platform, &["zlib"]),
            "[baseos]\nname=baseos\nenabled=1\nexcludepkgs=zlib zlib-*\ngpgcheck=1\nmirrorlist=https://m.example/$releasever\n\
             gpgkey=https://m.example/KEY\n[seed]\nname=seed\nenabled=1\nexcludepkgs=zlib zlib-*\ngpgcheck=0\nbaseurl=file:///seed\n"
        );
        assert_eq!(
            (value(platform, "releasever"), value(platform, "id")),
            (Some("9"), None)
        );
    }
}

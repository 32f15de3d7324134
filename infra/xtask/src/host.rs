//! The machine that xtask runs on: its distribution and its architecture.

use anyhow::{Context, Result, bail};

/// Distributions by how packages get onto them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu and what is made of them: apt.
    Debian,
    /// Fedora, AlmaLinux, and other rebuilds of Enterprise Linux: dnf.
    Fedora,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// How packages get onto it.
    pub family: Family,
    /// As it calls itself, for people: `Debian GNU/Linux 12 (bookworm)`.
    pub title: String,
    /// Its release's name, where it has one: `bookworm`.
    pub codename: Option<String>,
}

impl Host {
    /// Reads /etc/os-release.
    pub fn find() -> Result<Self> {
        let text = std::fs::read_to_string("/etc/os-release").context("read /etc/os-release: what distribution is this?")?;
        Self::parse(&text)
    }

    /// Reads the text of an os-release file (os-release(5)).
    pub fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        let title = value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or_else(|| "an unknown distribution".to_owned());
        let ids = format!("{} {}", value("ID").unwrap_or_default(), value("ID_LIKE").unwrap_or_default());
        let like = |names: &[&str]| ids.split_whitespace().any(|id| names.contains(&id));
        let family = if like(&["debian", "ubuntu"]) {
            Family::Debian
        } else if like(&["fedora", "rhel", "almalinux", "centos"]) {
            Family::Fedora
        } else {
            bail!("{title} is neither like Debian nor like Fedora: set it up by hand with what `cargo xtask setup --list` names");
        };
        Ok(Self { family, title, codename: value("VERSION_CODENAME").filter(|name| !name.is_empty()) })
    }
}

/// An architecture by the names that RPM, dpkg and Debian's compilers have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arch {
    /// RPM's: `x86_64`.
    pub rpm: &'static str,
    /// dpkg's: `amd64`.
    pub debian: &'static str,
    /// The folder of libraries on Debian: `x86_64-linux-gnu`.
    pub triplet: &'static str,
}

impl Arch {
    const ALL: [Self; 4] = [
        Self { rpm: "x86_64", debian: "amd64", triplet: "x86_64-linux-gnu" },
        Self { rpm: "aarch64", debian: "arm64", triplet: "aarch64-linux-gnu" },
        Self { rpm: "ppc64le", debian: "ppc64el", triplet: "powerpc64le-linux-gnu" },
        Self { rpm: "s390x", debian: "s390x", triplet: "s390x-linux-gnu" },
    ];

    /// The machine's own.
    pub fn native() -> Result<Self> {
        let rust = std::env::consts::ARCH;
        let little = cfg!(target_endian = "little");
        let rpm = if rust == "powerpc64" && little { "ppc64le" } else { rust };
        Self::named(rpm)
    }

    /// By RPM's name.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|arch| arch.rpm == name);
        found.with_context(|| format!("`{name}` is no architecture of the line: it has x86_64, aarch64, ppc64le and s390x"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_known_by_what_they_are_like() {
        let family = |text: &str| Host::parse(text).map(|host| host.family).ok();
        assert_eq!(family("ID=debian\nVERSION_CODENAME=bookworm\n"), Some(Family::Debian));
        assert_eq!(family("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Some(Family::Debian));
        assert_eq!(family("ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n"), Some(Family::Fedora));
        assert_eq!(family("ID=fedora\n"), Some(Family::Fedora));
        assert_eq!(family("ID=arch\n"), None);
    }

    #[test]
    fn the_codename_is_the_suite() {
        let host = Host::parse("PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nID=ubuntu\nVERSION_CODENAME=noble\n").unwrap();
        assert_eq!((host.title.as_str(), host.codename.as_deref()), ("Ubuntu 24.04 LTS", Some("noble")));
    }
}

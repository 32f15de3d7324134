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
    /// Its release's name, if it has one: `bookworm`.
    pub codename: Option<String>,
}

impl Host {
    /// Reads /etc/os-release.
    pub fn find() -> Result<Self> {
        let text = std::fs::read_to_string("/etc/os-release")
            .context("read /etc/os-release: what distribution is this?")?;
        Self::parse(&text)
    }

    /// Reads the text of an os-release file (os-release(5)).
    pub fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        let title = value("PRETTY_NAME")
            .or_else(|| value("NAME"))
            .unwrap_or_else(|| "an unknown distribution".to_owned());
        let ids = format!(
            "{} {}",
            value("ID").unwrap_or_default(),
            value("ID_LIKE").unwrap_or_default()
        );
        let like = |names: &[&str]| ids.split_whitespace().any(|id| names.contains(&id));
        let family = if like(&["debian", "ubuntu"]) {
            Family::Debian
        } else if like(&["fedora", "rhel", "almalinux", "centos"]) {
            Family::Fedora
        } else {
            bail!(
                "{title} is neither like Debian nor like Fedora: set it up by hand with what `cargo xtask setup --list` names"
            );
        };
        Ok(Self {
            family,
            title,
            codename: value("VERSION_CODENAME").filter(|name| !name.is_empty()),
        })
    }
}

/// An architecture by the names that RPM, dpkg and Debian's compilers have for it: its file in `runners/arch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arch {
    /// RPM's: `x86_64`.
    pub rpm: &'static str,
    /// dpkg's: `amd64`.
    pub debian: &'static str,
    /// The folder of libraries on Debian: `x86_64-linux-gnu`.
    pub triplet: &'static str,
    /// The program of qemu's that runs its programs elsewhere: `qemu-x86_64`.
    pub emulator: &'static str,
}

/// The files, by RPM's names.
const ARCHITECTURES: [(&str, &str); 4] = [
    ("x86_64", include_str!("../../../runners/arch/x86_64.toml")),
    (
        "aarch64",
        include_str!("../../../runners/arch/aarch64.toml"),
    ),
    (
        "ppc64le",
        include_str!("../../../runners/arch/ppc64le.toml"),
    ),
    ("s390x", include_str!("../../../runners/arch/s390x.toml")),
];

impl Arch {
    /// The machine's own.
    pub fn native() -> Result<Self> {
        let rust = std::env::consts::ARCH;
        let little = cfg!(target_endian = "little");
        let rpm = if rust == "powerpc64" && little {
            "ppc64le"
        } else {
            rust
        };
        Self::named(rpm)
    }

    /// Each of the line.
    pub fn all() -> Result<Vec<Self>> {
        ARCHITECTURES
            .into_iter()
            .map(|(name, _)| Self::named(name))
            .collect()
    }

    /// By RPM's name.
    pub fn named(name: &str) -> Result<Self> {
        let (_, text) = ARCHITECTURES
            .into_iter()
            .find(|(rpm, _)| *rpm == name)
            .with_context(|| format!("`{name}` is no architecture of the line: it has x86_64, aarch64, ppc64le and s390x"))?;
        Self::parse(text).with_context(|| format!("runners/arch/{name}.toml"))
    }

    /// Its file has one `key = value` a line.
    fn parse(text: &'static str) -> Result<Self> {
        let value = |key: &str| {
            let found = text
                .lines()
                .filter_map(|line| line.split_once(" = "))
                .find(|(name, _)| *name == key);
            found
                .map(|(_, value)| value.trim_matches('"'))
                .with_context(|| format!("no line `{key} = …`"))
        };
        Ok(Self {
            rpm: value("rpm")?,
            debian: value("debian")?,
            triplet: value("triplet")?,
            emulator: value("emulator")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_known_by_what_they_are_like() {
        let family = |text: &str| Host::parse(text).map(|host| host.family).ok();
        assert_eq!(
            family("ID=debian\nVERSION_CODENAME=bookworm\n"),
            Some(Family::Debian)
        );
        assert_eq!(
            family("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            Some(Family::Debian)
        );
        assert_eq!(
            family("ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Some(Family::Fedora)
        );
        assert_eq!(family("ID=fedora\n"), Some(Family::Fedora));
        assert_eq!(family("ID=arch\n"), None);
    }

    #[test]
    fn the_codename_is_the_suite() {
        let host =
            Host::parse("PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nID=ubuntu\nVERSION_CODENAME=noble\n")
                .unwrap();
        assert_eq!(
            (host.title.as_str(), host.codename.as_deref()),
            ("Ubuntu 24.04 LTS", Some("noble"))
        );
    }

    #[test]
    fn each_architecture_is_what_its_file_says() {
        for (name, _) in ARCHITECTURES {
            assert_eq!(Arch::named(name).unwrap().rpm, name);
        }
        let power = Arch {
            rpm: "ppc64le",
            debian: "ppc64el",
            triplet: "powerpc64le-linux-gnu",
            emulator: "qemu-ppc64le",
        };
        assert_eq!(Arch::named("ppc64le").unwrap(), power);
        assert!(Arch::named("riscv64").is_err());
    }
}

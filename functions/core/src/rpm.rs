//! What the rules need to know of an RPM: its NEVRA and where it may be built.

use crate::Arch;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Facts from an RPM's header (RPM format v4, "Header tags"), as read by the host that made the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpm {
    pub name: String,
    /// EPOCH, 0 if there is none.
    #[serde(default)]
    pub epoch: u32,
    pub version: String,
    pub release: String,
    /// ARCH; `src` for a source package whatever its header says.
    pub arch: String,
    /// EXCLUSIVEARCH; empty if the spec has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclusive_arch: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_arch: Vec<String>,
    /// BUILDARCHS: what `BuildArch:` of the main package says; `noarch` or nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_arch: Vec<String>,
}

/// Which of a platform's repositories a package belongs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Os,
    /// What debuggers read: `-debuginfo`, `-debugsource`, `-debuginfo-common`.
    Debug,
    Source,
}

impl Kind {
    /// The folder of the repository, as the field has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::Debug => "debug",
            Self::Source => "source",
        }
    }
}

impl Rpm {
    /// Whether it is a source package.
    pub fn is_source(&self) -> bool {
        self.arch == "src"
    }

    /// Whether it installs on every architecture.
    pub fn is_noarch(&self) -> bool {
        self.arch == "noarch"
    }

    /// Whether it is the source package that SOURCERPM of another package names; that of one without its sources ends with `.nosrc.rpm`.
    pub fn is_source_of(&self, source_rpm: &str) -> bool {
        let stem = source_rpm
            .strip_suffix(".src.rpm")
            .or_else(|| source_rpm.strip_suffix(".nosrc.rpm"));
        let own = format!("{}-{}-{}", self.name, self.version, self.release);
        self.is_source() && stem == Some(own.as_str())
    }

    /// Which repository it belongs in.
    pub fn kind(&self) -> Kind {
        if self.is_source() {
            Kind::Source
        } else if is_debug(&self.name) {
            Kind::Debug
        } else {
            Kind::Os
        }
    }

    /// Whether this source package is built on the architecture, and why not where it is not.
    ///
    /// ExclusiveArch and ExcludeArch as rpmbuild reads them; `noarch` among ExclusiveArch says nothing about build hosts.
    pub fn builds_on(&self, arch: Arch) -> Result<(), String> {
        let exclusive: Vec<&String> = self
            .exclusive_arch
            .iter()
            .filter(|name| *name != "noarch")
            .collect();
        if !exclusive.is_empty() && !exclusive.iter().any(|name| *name == arch.as_str()) {
            let list = exclusive
                .iter()
                .map(|name| name.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            return Err(format!("ExclusiveArch: {list}"));
        }
        if self.exclude_arch.iter().any(|name| name == arch.as_str()) {
            return Err(format!("ExcludeArch: {}", self.exclude_arch.join(" ")));
        }
        Ok(())
    }

    /// Whether the whole source package makes only `noarch` packages, so that one build host suffices.
    pub fn builds_noarch(&self) -> bool {
        !self.build_arch.is_empty() && self.build_arch.iter().all(|name| name == "noarch")
    }
}

/// Whether a package of this name is for debuggers: by its end, or by `-debuginfo-` anywhere in it, as koji tells them apart
/// (`kernel-debuginfo-common-x86_64`). The step `check` has the same rule.
fn is_debug(name: &str) -> bool {
    name.ends_with("-debuginfo") || name.ends_with("-debugsource") || name.contains("-debuginfo-")
}

/// NEVRA: `name-[epoch:]version-release.arch`.
impl fmt::Display for Rpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = if self.epoch == 0 {
            String::new()
        } else {
            format!("{}:", self.epoch)
        };
        write!(
            f,
            "{}-{epoch}{}-{}.{}",
            self.name, self.version, self.release, self.arch
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, arch: &str) -> Kind {
        let (version, release) = ("1".to_owned(), "1".to_owned());
        let (exclusive_arch, exclude_arch, build_arch) = (vec![], vec![], vec![]);
        Rpm {
            name: name.to_owned(),
            epoch: 0,
            version,
            release,
            arch: arch.to_owned(),
            exclusive_arch,
            exclude_arch,
            build_arch,
        }
        .kind()
    }

    #[test]
    fn what_debuggers_read_goes_where_debuggers_look() {
        for name in [
            "zlib-debuginfo",
            "zlib-debugsource",
            "kernel-debuginfo-common-x86_64",
            "kernel-rt-debuginfo-common-aarch64",
        ] {
            assert_eq!(kind(name, "x86_64"), Kind::Debug, "{name}");
        }
        for name in [
            "zlib",
            "debuginfo",
            "debugsource-tools",
            "debuginfo-install",
            "kernel-debuginformation",
            "zlib-debug",
        ] {
            assert_eq!(kind(name, "x86_64"), Kind::Os, "{name}");
        }
        assert_eq!(kind("kernel-debuginfo-common-x86_64", "src"), Kind::Source);
    }
}

//! Ids and names, each a type of its own, each with the law it keeps.

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name of anything, in bytes: RPM names stay far below, and a name is part of file names (255 bytes at most on the
/// file systems in use) together with version, release and architecture.
pub const NAME_BYTES_MAX: usize = 128;

/// A name that nothing may have; a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is no name for a {what}: use 1 to {NAME_BYTES_MAX} letters, digits and `._+-`, and begin with a letter, a digit or `_`"
)]
pub struct NameError {
    /// What was to be named.
    pub what: &'static str,
    /// What was given, cut if it is long.
    pub name: String,
}

fn checked(what: &'static str, text: &str) -> Result<String, NameError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let begins = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if begins && text.len() <= NAME_BYTES_MAX && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(NameError {
            what,
            name: text.chars().take(NAME_BYTES_MAX).collect(),
        })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Takes a text that keeps to the rules of names.
            pub fn new(text: &str) -> Result<Self, NameError> {
                checked($what, text).map(Self)
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a package as registered: its repository's and its spec file's name, for example `zlib`.
    PackageName,
    "package"
);
name!(
    /// Name of a platform, for example `almalinux-9`.
    PlatformName,
    "platform"
);
name!(
    /// Name of a step, unique within a platform, for example `rpm`.
    StepName,
    "step"
);
name!(
    /// Name under which a plugin is registered; the digest behind it may change, a planned build keeps the one it has.
    PluginName,
    "plugin"
);
name!(
    /// Name of a project: packages that share what the runners give, as another project's do.
    ProjectName,
    "project"
);
name!(
    /// Name of something that not every machine has, for example `secure-boot`.
    FeatureName,
    "feature"
);
name!(
    /// Name of a signing key.
    KeyName,
    "key"
);
name!(
    /// Name of a runner. One name runs one task at a time; a second process under it is told apart by lease numbers.
    RunnerName,
    "runner"
);
name!(
    /// One push to one repository. Follows from forge and delivery id, so that a delivery repeated is the same push.
    PushId,
    "push"
);
name!(
    /// One package at one commit on one platform, wanted once. Follows from push and platform, so that planning the same
    /// push again gives the same build.
    BuildId,
    "build"
);

impl ProjectName {
    /// The project of a repository if nobody has said: the last folder before its name, or else its host.
    pub fn of_clone_url(url: &str) -> Self {
        let path = url
            .split_once("://")
            .map_or(url, |(_, path)| path)
            .trim_end_matches('/');
        let above = path.rsplit(['/', ':']).nth(1).unwrap_or_default();
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._+-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let name: String = above.chars().map(plain).take(NAME_BYTES_MAX).collect();
        let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        Self(if name.is_empty() { "default" } else { name }.to_owned())
    }
}

/// Hexadecimal digits of a [`BuildId`] or [`PushId`]: 48 bits, so that among 100,000 builds two alike have odds of 1 in 50,000,
/// and are refused as a conflict, not mixed up.
const ID_DIGITS: usize = 12;

impl PushId {
    /// The push that this delivery of this forge announces.
    pub fn of_delivery(forge: &str, delivery: &str) -> Self {
        Self(
            Digest::of(format!("push\0{forge}\0{delivery}").as_bytes()).hex()[..ID_DIGITS]
                .to_owned(),
        )
    }
}

impl BuildId {
    /// The build that this push wants on this platform.
    pub fn of_push(push: &PushId, platform: &PlatformName) -> Self {
        Self(
            Digest::of(format!("build\0{push}\0{platform}").as_bytes()).hex()[..ID_DIGITS]
                .to_owned(),
        )
    }
}

/// Number of a lease. Grows by one with every lease of a task, so that a late answer can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseNumber(pub u32);

impl fmt::Display for LeaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment, in milliseconds since 1970-01-01 00:00 UTC, read from the line's clock and never from a runner's.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This many milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here; 0 if `earlier` is later.
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// As RFC 3339 in UTC, to the second: `2026-11-23T20:42:04Z`.
    pub fn rfc3339(self) -> String {
        let seconds = self.0 / 1000;
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The Gregorian date of a day counted from 1970-01-01, by counting 400-year eras that begin in March
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = shifted / 146_097 * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// A processor architecture that the line builds on, named as RPM names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Arch {
    /// 64-bit Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
    #[serde(rename = "aarch64")]
    Aarch64,
    #[serde(rename = "ppc64le")]
    Ppc64le,
    #[serde(rename = "s390x")]
    S390x,
}

/// No architecture of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no architecture of the line: it has x86_64, aarch64, ppc64le and s390x")]
pub struct ArchError(String);

impl Arch {
    /// Every architecture.
    pub const ALL: [Self; 4] = [Self::X86_64, Self::Aarch64, Self::Ppc64le, Self::S390x];

    /// As RPM writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Ppc64le => "ppc64le",
            Self::S390x => "s390x",
        }
    }

    /// The architecture of 32 bits, by RPM's name, whose packages are installed beside those of this one; its file in `runners/arch`
    /// says the same. No task is for it: a step on the 64-bit architecture makes its packages.
    pub const fn multilib(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => Some("i686"),
            Self::Aarch64 | Self::Ppc64le | Self::S390x => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = ArchError;

    fn from_str(text: &str) -> Result<Self, ArchError> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.as_str() == text)
            .ok_or_else(|| ArchError(text.to_owned()))
    }
}

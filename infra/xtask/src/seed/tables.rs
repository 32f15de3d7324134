//! The tables of infra/platforms/seed, read into the program when it is compiled.

use crate::apt::Archive;
use crate::host::Arch;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: &str = include_str!("../../../platforms/seed/names.tsv");
const LINKS: &str = include_str!("../../../platforms/seed/links.tsv");
const REQUIRES: &str = include_str!("../../../platforms/seed/requires.tsv");
const IGNORE: &str = include_str!("../../../platforms/seed/ignore.txt");
const SET: &str = include_str!("../../../platforms/seed/set.txt");
const SET_NATIVE: &str = include_str!("../../../platforms/seed/set-native.txt");
const SUITES: &str = include_str!("../../../platforms/seed/suites.tsv");
const MACROS: &str = include_str!("../../../platforms/seed/macros.millrace-seed");
const MACROS_DEBUGINFO: &str = include_str!("../../../platforms/seed/macros.debuginfo-before-4.20");

/// A suite that a seed distribution can be made of.
#[derive(Debug, Clone)]
pub struct Suite {
    /// `bookworm`.
    pub name: &'static str,
    /// Where its packages come from.
    pub archive: Archive,
    /// The platform that stands for it: `seed-9`.
    pub platform: &'static str,
    /// `%dist`.
    pub dist: &'static str,
    /// `%rhel`.
    pub el: &'static str,
}

impl Suite {
    /// By its name.
    pub fn named(name: &str) -> Result<Self> {
        let known = || {
            rows(SUITES)
                .map(|row| row[0])
                .collect::<Vec<_>>()
                .join(", ")
        };
        rows(SUITES).find(|row| row[0] == name).and_then(|row| Self::of(&row)).with_context(|| {
            format!("no seed distribution can be made of `{name}` yet, only of {}: `--suite` takes one of them where this machine's apt has a mirror of it", known())
        })
    }

    fn of(row: &[&'static str]) -> Option<Self> {
        let &[name, kind, components, keyring, platform, dist, el] = row else {
            return None;
        };
        let text = str::to_owned;
        let archive = Archive {
            kind: text(kind),
            suite: text(name),
            components: text(components),
            keyring: text(keyring),
        };
        Some(Self {
            name,
            archive,
            platform,
            dist,
            el,
        })
    }
}

/// What becomes of one package of Debian's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The RPM's name, if it is another.
    pub renamed: Option<&'static str>,
    /// What it provides besides.
    pub provides: Vec<&'static str>,
    /// What it requires besides.
    pub requires: Vec<&'static str>,
    /// Symbolic links to make: where, and to what.
    pub links: Vec<(&'static str, &'static str)>,
}

/// All tables.
#[derive(Debug)]
pub struct Tables {
    rows: BTreeMap<&'static str, Row>,
    ignored: BTreeSet<&'static str>,
}

impl Tables {
    /// Reads them.
    pub fn read() -> Self {
        let mut all: BTreeMap<&str, Row> = BTreeMap::new();
        for row in rows(NAMES) {
            let entry = all.entry(row[0]).or_default();
            entry.renamed = Some(row[1]).filter(|name| *name != "-");
            entry.provides = row[2].split(' ').filter(|name| *name != "-").collect();
        }
        for row in rows(REQUIRES) {
            all.entry(row[0]).or_default().requires = row[1].split(' ').collect();
        }
        for row in rows(LINKS) {
            all.entry(row[0]).or_default().links.push((row[1], row[2]));
        }
        Self {
            rows: all,
            ignored: rows(IGNORE).map(|row| row[0]).collect(),
        }
    }

    /// What becomes of a package. Debian 13 and Ubuntu 24.04 add `t64` to the names of libraries whose `time_t` became wider.
    pub fn of(&self, debian: &str) -> Row {
        let row = self
            .rows
            .get(debian)
            .or_else(|| self.rows.get(debian.strip_suffix("t64")?));
        row.cloned().unwrap_or_default()
    }

    /// Whether a package serves dpkg alone.
    pub fn ignores(&self, debian: &str) -> bool {
        self.ignored.contains(debian)
    }
}

/// Packages that a seed distribution is made of, by Debian's names, without what they need.
pub fn set(arch: Arch) -> Result<Vec<&'static str>> {
    let lines = sets(arch)?
        .into_iter()
        .flat_map(str::lines)
        .map(|line| line.split('#').next().unwrap_or_default());
    Ok(lines.flat_map(str::split_whitespace).collect())
}

fn sets(arch: Arch) -> Result<Vec<&'static str>> {
    Ok(if arch == Arch::native()? {
        vec![SET, SET_NATIVE]
    } else {
        vec![SET]
    })
}

/// The distribution's macros; `rpm` is the version of its rpm.
pub fn macros(suite: &Suite, triplet: &str, rpm: &str) -> String {
    let common = MACROS
        .replace("@DIST@", suite.dist)
        .replace("@EL@", suite.el)
        .replace("@TRIPLET@", triplet);
    let mut numbers = rpm
        .split(['.', '~', '-', '+'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (4, 20) {
        format!("{common}\n{MACROS_DEBUGINFO}")
    } else {
        common
    }
}

/// All that decides what comes out, in one text: another text asks for another seed distribution.
pub fn all_text(arch: Arch) -> Result<String> {
    Ok([
        NAMES,
        LINKS,
        REQUIRES,
        IGNORE,
        SUITES,
        MACROS,
        MACROS_DEBUGINFO,
    ]
    .concat()
        + &sets(arch)?.concat())
}

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_columns() {
        let widths = [
            (NAMES, 3),
            (LINKS, 3),
            (REQUIRES, 2),
            (IGNORE, 1),
            (SUITES, 7),
        ];
        for (table, width) in widths {
            for row in rows(table) {
                assert_eq!(row.len(), width, "{row:?}");
            }
        }
    }

    #[test]
    fn a_library_with_wide_time_goes_by_its_old_name() {
        assert_eq!(
            Tables::read().of("libssl3t64").renamed,
            Some("openssl-libs")
        );
        assert_eq!(Tables::read().of("zlib1g-dev").provides, ["zlib-static"]);
    }

    #[test]
    fn debuginfo_is_asked_for_where_rpm_does_not_make_it_by_itself() {
        let suite = Suite::named("bookworm").unwrap();
        let asked = |rpm| macros(&suite, "x86_64-linux-gnu", rpm).contains("%install ");
        assert_eq!(
            [asked("4.18.0+dfsg-1"), asked("4.20.1"), asked("6.0.0")],
            [true, false, false]
        );
    }

    #[test]
    fn no_placeholder_is_left_in_the_macros() {
        let text = macros(
            &Suite::named("trixie").unwrap(),
            "s390x-linux-gnu",
            "4.20.1",
        );
        assert!(
            text.contains(".ms10") && text.contains("%el10 ") && text.contains("s390x-linux-gnu")
        );
        assert_eq!(
            text.lines()
                .find(|line| !line.starts_with('#') && line.contains('@')),
            None
        );
    }

    #[test]
    fn an_unknown_suite_is_told_with_those_there_are() {
        let error = Suite::named("sarge").unwrap_err().to_string();
        assert!(error.contains("bookworm, trixie, noble"), "{error}");
    }
}

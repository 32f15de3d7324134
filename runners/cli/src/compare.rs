//! What differs between two packages that should be the same: in what they say of themselves, and in the files they bring.

use anyhow::{Context, Result};
use rpm::{FileEntry, IndexData, PackageMetadata};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// A file's path, or what of the package it is about.
    pub what: String,
    /// As it was the first time.
    pub first: String,
    /// As it was again.
    pub again: String,
}

/// What people call the tags that differ most often (rpm.org, "Tags"); others are reported by their number.
const NAMES: [(u32, &str); 26] = [
    (1000, "name"),
    (1001, "version"),
    (1002, "release"),
    (1003, "epoch"),
    (1004, "summary"),
    (1005, "description"),
    (1006, "build time"),
    (1007, "build host"),
    (1009, "size"),
    (1014, "license"),
    (1021, "os"),
    (1022, "arch"),
    (1023, "script before installation"),
    (1024, "script after installation"),
    (1025, "script before removal"),
    (1026, "script after removal"),
    (1044, "source package"),
    (1047, "provides"),
    (1049, "requires"),
    (1054, "conflicts"),
    (1064, "version of rpm"),
    (1080, "times of the changelog"),
    (1094, "build cookie"),
    (1122, "optimization flags"),
    (1132, "platform"),
    (5062, "encoding"),
];

/// Tags that follow from the payload, or from the file's place in the header: sizes and digests, and the header's own frame.
const FOLLOW: [u32; 8] = [63, 1009, 1046, 5009, 5092, 5097, 5112, 5113];

/// Tags with a value a file. They are reported file by file.
const OF_FILES: [u32; 24] = [
    1027, 1028, 1030, 1033, 1034, 1035, 1036, 1037, 1039, 1040, 1045, 1095, 1096, 1097, 1116, 1117,
    1118, 1140, 1141, 1142, 1143, 1144, 1145, 5008,
];

/// Longest value that is shown, in characters.
const SHOWN_MAX: usize = 120;

/// The differences of two packages, given the heads of their files, which must have been found sound before. A file that differs is
/// reported once, with all that differs of it.
pub(crate) fn packages(first: &[u8], again: &[u8]) -> Result<Vec<Difference>> {
    let read = |mut head: &[u8]| PackageMetadata::parse(&mut head).context("a package's header");
    let (first, again) = (read(first)?, read(again)?);
    let mut told = files(&first, &again)?;
    let (one, other) = (tags(&first)?, tags(&again)?);
    let differing = |tag: &u32| one.get(tag) != other.get(tag) && !FOLLOW.contains(tag);
    let all: BTreeSet<u32> = one
        .keys()
        .chain(other.keys())
        .copied()
        .filter(differing)
        .collect();
    let no_files = told.is_empty();
    for tag in all
        .into_iter()
        .filter(|tag| no_files || !OF_FILES.contains(tag))
    {
        let name = NAMES
            .iter()
            .find(|(known, _)| *known == tag)
            .map_or_else(|| format!("tag {tag}"), |(_, name)| (*name).to_owned());
        let (first, again) = (one.get(&tag), other.get(&tag));
        told.push(Difference {
            what: name,
            first: first.map_or_else(none, shown),
            again: again.map_or_else(none, shown),
        });
    }
    Ok(told)
}

fn none() -> String {
    "nothing".to_owned()
}

fn tags(package: &PackageMetadata) -> Result<BTreeMap<u32, IndexData>> {
    Ok(package.header.get_all_entries()?.into_iter().collect())
}

fn shown(data: &IndexData) -> String {
    let whole = match data {
        IndexData::StringTag(text) => text.clone(),
        IndexData::StringArray(texts) | IndexData::I18NString(texts) => texts.join(", "),
        other => format!("{other:?}"),
    };
    match whole.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{} …", &whole[..at]),
        None => whole,
    }
}

fn files(first: &PackageMetadata, again: &PackageMetadata) -> Result<Vec<Difference>> {
    let (first, again) = (first.get_file_entries()?, again.get_file_entries()?);
    let by_path = |files: &[FileEntry<'static>]| -> BTreeMap<String, FileEntry<'static>> {
        files
            .iter()
            .map(|file| (file.path().display().to_string(), file.clone()))
            .collect()
    };
    let owned = |files: Vec<FileEntry<'_>>| {
        files
            .into_iter()
            .map(FileEntry::into_owned)
            .collect::<Vec<_>>()
    };
    let (first, again) = (by_path(&owned(first)), by_path(&owned(again)));
    let paths: BTreeSet<&String> = first.keys().chain(again.keys()).collect();
    let mut told = Vec::new();
    for path in paths {
        let (one, other) = (first.get(path), again.get(path));
        if one == other {
            continue;
        }
        let (first, again) = match (one, other) {
            (Some(one), Some(other)) => words(one, other),
            (one, other) => (there(one), there(other)),
        };
        told.push(Difference {
            what: path.clone(),
            first,
            again,
        });
    }
    Ok(told)
}

fn there(file: Option<&FileEntry<'_>>) -> String {
    if file.is_some() {
        "there".to_owned()
    } else {
        "missing".to_owned()
    }
}

/// All that differs between two files of a path.
fn words(one: &FileEntry<'_>, other: &FileEntry<'_>) -> (String, String) {
    type Fact = (&'static str, fn(&FileEntry<'_>) -> String);
    const FACTS: [Fact; 7] = [
        ("", |file| {
            file.digest().map_or_else(
                || "no content".to_owned(),
                |digest| digest.as_hex().chars().take(16).collect(),
            )
        }),
        (" bytes", |file| file.size().to_string()),
        (" mode", |file| format!("{:o}", file.mode().raw_mode())),
        (" of", |file| format!("{}:{}", file.user(), file.group())),
        (" modified", |file| file.modified_at().0.to_string()),
        (" leads to", |file| {
            file.linkto().unwrap_or_default().to_owned()
        }),
        (" flags", |file| format!("{:?}", file.flags())),
    ];
    let told = |file: &FileEntry<'_>| {
        let differing = FACTS.iter().filter(|(_, fact)| fact(one) != fact(other));
        let all: Vec<String> = differing
            .map(|(name, fact)| format!("{} {}", name.trim(), fact(file)).trim().to_owned())
            .collect();
        all.join(", ")
    };
    (told(one), told(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpm::{BuildConfig, FileOptions, PackageBuilder};

    fn head(content: &str, host: &str, extra: Option<&str>) -> Vec<u8> {
        let config = BuildConfig::default().source_date(1_600_000_000);
        let mut builder = PackageBuilder::new("p", "1", "MIT", "noarch", "a package");
        builder.using_config(config).build_host(host);
        builder
            .with_file_contents(content, FileOptions::new("/usr/share/p/a"))
            .unwrap();
        if let Some(path) = extra {
            builder
                .with_file_contents("x", FileOptions::new(path))
                .unwrap();
        }
        let mut bytes = Vec::new();
        builder.build().unwrap().write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn packages_that_are_the_same_do_not_differ() {
        assert_eq!(
            packages(&head("a", "h", None), &head("a", "h", None)).unwrap(),
            []
        );
    }

    #[test]
    fn what_differs_is_told_by_file_and_by_tag() {
        let told = packages(
            &head("a", "one", None),
            &head("bb", "other", Some("/usr/share/p/b")),
        )
        .unwrap();
        let what: Vec<&str> = told
            .iter()
            .map(|difference| difference.what.as_str())
            .collect();
        assert_eq!(what, ["/usr/share/p/a", "/usr/share/p/b", "build host"]);
        assert!(
            told[0].first.ends_with("bytes 1") && told[0].again.ends_with("bytes 2"),
            "{:?}",
            told[0]
        );
        assert_eq!(
            (told[1].first.as_str(), told[1].again.as_str()),
            ("missing", "there")
        );
        assert_eq!(
            (told[2].first.as_str(), told[2].again.as_str()),
            ("one", "other")
        );
    }
}

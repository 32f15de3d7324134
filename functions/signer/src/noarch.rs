//! Whether noarch packages that several architectures made are the same package: then it does not matter which of them goes out, and what
//! was tried on one architecture is what goes out for all.

use crate::error::{FileProblem, SignError};
use millrace_core::build::Build;
use millrace_core::header::{Header, read_head, tag};
use millrace_core::order::OrderedFile;
use millrace_store::{BlobStore, package_head};
use std::collections::{BTreeMap, BTreeSet};

/// Most differences that a refusal tells of.
const TOLD_MAX: usize = 8;

/// Tags that say where, when and how a package was built, and of how it was packed, but not what is in it (RPM format, "Header tags").
const OF_THE_BUILD: [u32; 18] = [
    1006, // BUILDTIME
    1007, // BUILDHOST
    1009, // SIZE: of folders, which file systems disagree on
    1034, // FILEMTIMES
    1046, // ARCHIVESIZE
    1094, // COOKIE
    1095, // FILEDEVICES
    1096, // FILEINODES
    1122, // OPTFLAGS
    1132, // PLATFORM
    5009, // LONGSIZE
    5062, // ENCODING
    tag::PAYLOADDIGEST,
    tag::PAYLOADDIGESTALGO,
    5097, // PAYLOADDIGESTALT
    5112, // PAYLOADSIZE
    5113, // PAYLOADSIZEALT
    1064, // RPMVERSION
];

/// Digests of the files' contents.
const FILEDIGESTS: u32 = 1035;

/// Refuses a build of whose noarch packages several architectures made different ones.
pub(crate) async fn check_noarch(build: &Build, blobs: &impl BlobStore) -> Result<(), SignError> {
    for made in build.made_several_times() {
        let Some((first, others)) = made.split_first() else {
            continue;
        };
        let first_head = head(first, blobs).await?;
        for other in others {
            let other_head = head(other, blobs).await?;
            let differences = differences(&first_head, &other_head);
            if !differences.is_empty() {
                return Err(SignError::Noarch {
                    file: first.name.clone(),
                    differences: told(&differences),
                });
            }
        }
    }
    Ok(())
}

fn told(differences: &BTreeSet<String>) -> String {
    let mut told: Vec<&str> = differences
        .iter()
        .take(TOLD_MAX)
        .map(String::as_str)
        .collect();
    let more = differences.len() - told.len();
    let rest = format!("{more} more");
    if more > 0 {
        told.push(&rest);
    }
    told.join(", ")
}

/// What a package's header says, by tag.
struct Said {
    tags: BTreeMap<u32, Vec<u8>>,
    /// Path and digest of each file.
    files: BTreeMap<String, String>,
}

async fn head(file: &OrderedFile, blobs: &impl BlobStore) -> Result<Said, SignError> {
    let trouble = |source| SignError::Blob {
        file: file.name.clone(),
        source,
    };
    let bytes = package_head(blobs, &file.digest, file.size)
        .await
        .map_err(trouble)?;
    let head = read_head(&bytes).map_err(|error| SignError::File {
        file: file.name.clone(),
        problem: FileProblem::Header(error),
    })?;
    Ok(said(&head.header))
}

fn said(header: &Header<'_>) -> Said {
    let says_content = |tag: u32| !OF_THE_BUILD.contains(&tag) && tag != FILEDIGESTS;
    let tags = header
        .entries
        .iter()
        .filter(|entry| says_content(entry.tag))
        .map(|entry| (entry.tag, entry.data.to_vec()))
        .collect();
    let folders = header.lossy_texts(tag::DIRNAMES);
    let names = header
        .lossy_texts(tag::BASENAMES)
        .into_iter()
        .zip(header.numbers(tag::DIRINDEXES));
    let path = |(name, folder): (String, u32)| {
        let folder = folders.get(folder as usize).cloned().unwrap_or_default();
        format!("{folder}{name}")
    };
    let digests = header.lossy_texts(FILEDIGESTS);
    Said {
        tags,
        files: names.map(path).zip(digests).collect(),
    }
}

/// What differs, in words: files whose content does, and tags.
fn differences(one: &Said, other: &Said) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let paths: BTreeSet<&String> = one.files.keys().chain(other.files.keys()).collect();
    for path in paths {
        if one.files.get(path) != other.files.get(path) {
            found.insert(path.clone());
        }
    }
    let tags: BTreeSet<&u32> = one.tags.keys().chain(other.tags.keys()).collect();
    for tag in tags {
        if one.tags.get(tag) != other.tags.get(tag) && found.is_empty() {
            found.insert(format!("tag {tag} of the header"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::header::testing::{header, strings};
    use millrace_core::header::{Part, check_header, kind};

    fn package(host: &[u8], digest: &str, summary: &[u8]) -> Said {
        let (names, folders) = (strings(&["guide"]), strings(&["/usr/share/doc/"]));
        let digests = strings(&[digest]);
        let bytes = header(
            Part::Immutable,
            &[
                (tag::NAME, kind::STRING, 1, b"doc\0"),
                (1004, kind::STRING, 1, summary),
                (1007, kind::STRING, 1, host),
                (FILEDIGESTS, kind::STRINGS, 1, &digests),
                (tag::DIRINDEXES, kind::INT32, 1, &[0; 4]),
                (tag::BASENAMES, kind::STRINGS, 1, &names),
                (tag::DIRNAMES, kind::STRINGS, 1, &folders),
            ],
        );
        said(&check_header(&bytes, Part::Immutable).unwrap())
    }

    #[test]
    fn packages_of_two_hosts_are_equal_if_what_is_in_them_is() {
        let one = package(b"host-a\0", "aa", b"A guide\0");
        assert!(differences(&one, &package(b"host-b\0", "aa", b"A guide\0")).is_empty());
        let other_file = differences(&one, &package(b"host-b\0", "bb", b"A guide\0"));
        assert_eq!(told(&other_file), "/usr/share/doc/guide");
        let other_text = differences(&one, &package(b"host-b\0", "aa", b"Another\0"));
        assert_eq!(told(&other_text), "tag 1004 of the header");
    }

    #[test]
    fn many_differences_make_a_short_text() {
        let many = (0..100).map(|n| format!("/usr/share/{n:03}")).collect();
        assert!(told(&many).ends_with("/usr/share/007, 92 more"));
    }
}

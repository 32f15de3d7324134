//! A commit's tree as one tar archive, the same bytes for the same commit, and what the tree says about itself.

use crate::error::{FetchError, Refusal, Stop};
use git2::{ObjectType, Odb, Oid, Repository};
use millrace_core::PackageName;
use millrace_core::platform::PackageConfig;
use millrace_core::sources::{WantedSource, find_spec, is_inside, parse_metadata, parse_sources};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Most files and folders of a tree: the kernel has 95,000. It also ends trees that name themselves a billion times over.
const ENTRIES_MAX: usize = 200_000;

/// Largest `millrace.toml`, `sources` or `.<name>.metadata`, in bytes: a thousand sources take 200 KB.
const TEXT_BYTES_MAX: u64 = 256 * 1024;

/// Longest subject that is kept, in characters: pages show it in one line.
const SUBJECT_CHARS_MAX: usize = 200;

/// A commit that was taken apart.
pub(crate) struct Archive {
    /// Where the archive is.
    pub path: PathBuf,
    /// The committer's time, in seconds since 1970.
    pub committed_s: u64,
    /// The first line of its message.
    pub subject: String,
    /// Path of its spec file.
    pub spec: String,
    /// Its `millrace.toml`.
    pub config: String,
    /// The sources that it names.
    pub wanted: Vec<WantedSource>,
}

/// What a tree has in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    File { executable: bool },
    Link,
}

struct Entry {
    path: String,
    kind: EntryKind,
    blob: Oid,
    bytes: u64,
}

/// Reads what the package says about itself, then writes the archive.
pub(crate) fn archive(
    repository: &Repository,
    commit: Oid,
    package: &PackageName,
    bytes_max: u64,
    to: &Path,
) -> Result<Archive, Stop> {
    let commit = repository.find_commit(commit).map_err(unreadable)?;
    let odb = repository.odb().map_err(unreadable)?;
    let entries = list(repository, &odb, commit.tree_id(), bytes_max)?;
    let committed_s = date(commit.time().seconds())?;
    let subject = String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default())
        .chars()
        .take(SUBJECT_CHARS_MAX)
        .collect();
    let (spec, config, wanted) = describe(&odb, &entries, package)?;
    let paths = entries
        .iter()
        .map(|entry| entry.path.as_str())
        .chain(wanted.iter().map(|wanted| wanted.path.as_str()));
    if let Some(path) = collision(paths) {
        return Err(Refusal::Collision(path.to_owned()).into());
    }
    write(&odb, &entries, committed_s, to)?;
    Ok(Archive {
        path: to.to_owned(),
        committed_s,
        subject,
        spec,
        config,
        wanted,
    })
}

/// A date that every package can carry: RPM counts times in 32 bits (RPM V4 format, "Header"), and so does OpenPGP (RFC 9580,
/// 3.5). What was committed before 1970 is as old as can be.
fn date(committed_s: i64) -> Result<u64, Refusal> {
    u32::try_from(committed_s.max(0))
        .map(u64::from)
        .map_err(|_| Refusal::Date { committed_s })
}

/// What was just fetched cannot be read: the scratch folder is to blame.
fn unreadable(error: git2::Error) -> FetchError {
    FetchError::Scratch(std::io::Error::other(error))
}

/// All files and links of a tree by their paths, in the order of the paths' bytes.
fn list(
    repository: &Repository,
    odb: &Odb<'_>,
    root: Oid,
    bytes_max: u64,
) -> Result<Vec<Entry>, Stop> {
    let mut entries = Vec::new();
    let mut folders = vec![(String::new(), root)];
    let mut seen = 0_usize;
    let mut bytes = 0_u64;
    while let Some((prefix, folder)) = folders.pop() {
        let folder = repository.find_tree(folder).map_err(unreadable)?;
        for entry in &folder {
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(Refusal::TooLarge {
                    what: "tree",
                    max: format!("{ENTRIES_MAX} files"),
                }
                .into());
            }
            let path = path_of(&prefix, entry.name_bytes())?;
            let kind = match (entry.kind(), entry.filemode()) {
                (Some(ObjectType::Tree), _) => {
                    folders.push((format!("{path}/"), entry.id()));
                    continue;
                }
                (Some(ObjectType::Blob), 0o120000) => EntryKind::Link,
                (Some(ObjectType::Blob), mode) => EntryKind::File {
                    executable: mode & 0o100 != 0,
                },
                _ => return Err(Refusal::Submodule(path).into()),
            };
            let size = odb.read_header(entry.id()).map_err(unreadable)?.0 as u64;
            bytes = bytes.saturating_add(size);
            if bytes > bytes_max {
                return Err(Refusal::TooLarge {
                    what: "tree",
                    max: format!("{bytes_max} bytes"),
                }
                .into());
            }
            entries.push(Entry {
                path,
                kind,
                blob: entry.id(),
                bytes: size,
            });
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// A path that every root can unpack; `.git` would make git take the tree for a repository of its own.
fn path_of(prefix: &str, name: &[u8]) -> Result<String, Refusal> {
    let path = format!("{prefix}{}", String::from_utf8_lossy(name));
    let plain = std::str::from_utf8(name)
        .is_ok_and(|name| !name.contains('/') && !name.eq_ignore_ascii_case(".git"));
    if plain && is_inside(&path) {
        Ok(path)
    } else {
        Err(Refusal::Path(path.escape_debug().to_string()))
    }
}

/// The first path that stands in another's way: the same twice, or a file where another needs a folder.
fn collision<'a>(paths: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut taken = BTreeSet::new();
    for path in paths {
        if !taken.insert(path) {
            return Some(path);
        }
    }
    let folders = |path: &'a str| path.match_indices('/').map(move |(at, _)| &path[..at]);
    taken
        .iter()
        .flat_map(|path| folders(path))
        .find(|folder| taken.contains(folder))
}

/// The spec's path, `millrace.toml` and the sources that are named.
fn describe(
    odb: &Odb<'_>,
    entries: &[Entry],
    package: &PackageName,
) -> Result<(String, String, Vec<WantedSource>), Stop> {
    let files = entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
    let text = |path: &str| match files.clone().find(|entry| entry.path == path) {
        Some(entry) => read(odb, entry).map(Some),
        None => Ok(None),
    };
    let config = text("millrace.toml")?.unwrap_or_default();
    let named = PackageConfig::parse(&config)?.spec;
    let spec = find_spec(
        package.as_str(),
        named.as_deref(),
        files.clone().map(|entry| entry.path.as_str()),
    )?;
    let beside = spec
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut wanted = Vec::new();
    for file in BTreeSet::from([format!("{beside}sources"), "sources".to_owned()]) {
        let named = parse_sources(&file, &text(&file)?.unwrap_or_default())?;
        wanted.extend(named.into_iter().map(|wanted| WantedSource {
            path: format!("{beside}{}", wanted.path),
            ..wanted
        }));
    }
    let is_metadata =
        |path: &str| path.starts_with('.') && path.ends_with(".metadata") && !path.contains('/');
    for entry in files.clone().filter(|entry| is_metadata(&entry.path)) {
        wanted.extend(parse_metadata(&entry.path, &read(odb, entry)?)?);
    }
    Ok((spec, config, wanted))
}

fn read(odb: &Odb<'_>, entry: &Entry) -> Result<String, Stop> {
    if entry.bytes > TEXT_BYTES_MAX {
        return Err(Refusal::TooLarge {
            what: "text files",
            max: format!("{TEXT_BYTES_MAX} bytes ({})", entry.path),
        }
        .into());
    }
    let bytes = odb.read(entry.blob).map_err(unreadable)?.data().to_vec();
    Ok(String::from_utf8(bytes).map_err(|_| Refusal::NotText(entry.path.clone()))?)
}

/// Writes a tar archive (POSIX.1-1988 with GNU's long names) in which nothing depends on where and when it is written.
fn write(odb: &Odb<'_>, entries: &[Entry], committed_s: u64, to: &Path) -> Result<(), Stop> {
    let mut archive = tar::Builder::new(BufWriter::new(File::create_new(to)?));
    for entry in entries {
        let object = odb.read(entry.blob).map_err(unreadable)?;
        let mut header = tar::Header::new_gnu();
        header.set_mtime(committed_s);
        header.set_uid(0);
        header.set_gid(0);
        match entry.kind {
            EntryKind::File { executable } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(if executable { 0o755 } else { 0o644 });
                header.set_size(object.data().len() as u64);
                archive.append_data(&mut header, &entry.path, object.data())?;
            }
            EntryKind::Link => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                let target = target(&entry.path, object.data())?;
                archive.append_link(&mut header, &entry.path, target)?;
            }
        }
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn target<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a Path, Refusal> {
    if bytes.is_empty() || bytes.contains(&0) {
        Err(Refusal::Path(path.to_owned()))
    } else {
        Ok(Path::new(OsStr::from_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_things_in_one_place_are_found() {
        let found = |paths: &[&'static str]| collision(paths.iter().copied());
        assert_eq!(found(&["a", "b", "a-b", "c/d", "c/e"]), None);
        assert_eq!(found(&["a", "b", "a"]), Some("a"));
        assert_eq!(
            found(&["SOURCES", "x.spec", "SOURCES/x.tar"]),
            Some("SOURCES")
        );
    }

    #[test]
    fn dates_end_where_32_bits_do() {
        assert_eq!(date(-1).unwrap(), 0);
        assert_eq!(date(4_294_967_295).unwrap(), 4_294_967_295);
        assert!(matches!(
            date(4_294_967_296),
            Err(Refusal::Date {
                committed_s: 4_294_967_296
            })
        ));
    }

    #[test]
    fn a_name_that_climbs_hides_or_breaks_lines_is_refused() {
        assert_eq!(path_of("a/", b"b c.patch").unwrap(), "a/b c.patch");
        for name in [
            &b".."[..],
            b".",
            b"",
            b"a/b",
            b".git",
            b".GIT",
            b"a\nb",
            b"\xff",
        ] {
            assert!(
                matches!(path_of("a/", name), Err(Refusal::Path(_))),
                "{name:?}"
            );
        }
    }
}

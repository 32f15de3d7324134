//! What a package would have of its own, as its header says: names, files, capabilities, and whom it would replace.
//!
//! Sources: RPM format, "Header tags" (package tags, file tags, dependency tags).

use super::name::{OwnedName, canonical_path};
use crate::header::{Header, HeaderError, tag};
use std::collections::BTreeSet;

/// Most names that the packages of one build may have, files among them: TeX Live's largest packages together have some 200,000 files.
pub const NAMES_MAX: usize = 500_000;

/// File mode of a folder (stat(2), S_IFMT and S_IFDIR): packages share folders.
const MODE_TYPE: u16 = 0o170_000;
const MODE_FOLDER: u16 = 0o040_000;

/// Below such a folder lie links that are named by the content of what they point to. Packages that bundle the same bytes share them.
const BUILD_IDS: &str = "/.build-id/";

/// Capabilities that any number of packages provide, by what stands before the parenthesis: what they say is not who they are.
const SHARED_CAPABILITIES: [&str; 16] = [
    "app",
    "appdata",
    "application",
    "bundled",
    "config",
    "debuginfo",
    "elf",
    "font",
    "group",
    "kernel",
    "ksym",
    "locale",
    "metainfo",
    "mimehandler",
    "rpmlib",
    "user",
];

/// What a package would have of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackageFacts {
    /// Which package, for people.
    pub nevra: String,
    /// The file name of the source package that it was built from; none if it is one.
    pub source_rpm: Option<String>,
    /// Its own name, its source package's name, and its files.
    pub ships: BTreeSet<OwnedName>,
    /// Package names and files that it says it provides, but for its own name.
    pub provides: BTreeSet<OwnedName>,
    /// Package names that it would replace.
    pub obsoletes: BTreeSet<OwnedName>,
    /// Libraries and the like that it provides.
    pub capabilities: BTreeSet<OwnedName>,
}

impl PackageFacts {
    /// Reads them from a package's header.
    pub fn read(header: &Header<'_>) -> Result<Self, HeaderError> {
        let rpm = header.rpm()?;
        let mut facts = Self {
            nevra: rpm.to_string(),
            ..Self::default()
        };
        if rpm.is_source() {
            facts.ships.insert(OwnedName::Source(rpm.name));
            facts.check_names()?;
            return Ok(facts);
        }
        let of = header.text(tag::SOURCERPM).unwrap_or_default();
        let source = source_name(of).ok_or_else(|| {
            damaged(format_args!(
                "SOURCERPM `{of}` is no source package's file name"
            ))
        })?;
        facts.source_rpm = Some(of.to_owned());
        facts.ships.insert(OwnedName::Source(source.to_owned()));
        facts.ships.extend(files(header)?);
        for name in header.lossy_texts(tag::PROVIDENAME) {
            facts.provide(&name);
        }
        for name in header.lossy_texts(tag::OBSOLETENAME) {
            let name = package_of(&name).unwrap_or(&name).to_owned();
            facts.obsoletes.insert(OwnedName::Package(name));
        }
        let own = OwnedName::Package(rpm.name);
        facts.provides.remove(&own);
        facts.obsoletes.remove(&own);
        facts.ships.insert(own);
        facts.check_names()?;
        Ok(facts)
    }

    /// How many names it has in all.
    pub fn names(&self) -> usize {
        [
            &self.ships,
            &self.provides,
            &self.obsoletes,
            &self.capabilities,
        ]
        .map(BTreeSet::len)
        .iter()
        .sum()
    }

    fn provide(&mut self, name: &str) {
        if name.starts_with('/') {
            self.provides
                .extend(canonical_path(name).map(OwnedName::Path));
        } else if let Some(library) = library_of(name) {
            self.capabilities
                .insert(OwnedName::Capability(library.to_owned()));
        } else if let Some(package) = package_of(name) {
            self.provides.insert(OwnedName::Package(package.to_owned()));
        } else if is_identity(name) {
            self.capabilities
                .insert(OwnedName::Capability(name.to_owned()));
        }
    }

    /// Every name must be one that a record can have, and read back as what it is: `source:zlib` as the name of a package that is installed
    /// would be taken for that of a source package.
    fn check_names(&self) -> Result<(), HeaderError> {
        let sets = [
            &self.ships,
            &self.provides,
            &self.obsoletes,
            &self.capabilities,
        ];
        let is_odd = |name: &&OwnedName| name.to_string().parse().as_ref() != Ok(*name);
        match sets.into_iter().flatten().find(is_odd) {
            None => Ok(()),
            Some(name) => {
                let name: String = name.to_string().chars().take(80).collect();
                Err(damaged(format_args!(
                    "`{}` is no name",
                    name.escape_debug()
                )))
            }
        }
    }
}

fn damaged(what: impl std::fmt::Display) -> HeaderError {
    HeaderError::Damaged(format!("the header: {what}"))
}

/// The name of a source package, from its file name `NAME-VERSION-RELEASE.src.rpm`; none if it is no such.
pub fn source_name(file: &str) -> Option<&str> {
    let stem = file
        .strip_suffix(".src.rpm")
        .or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (rest, _release) = stem.rsplit_once('-')?;
    let (name, _version) = rest.rsplit_once('-')?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// The files of a package, folders and links of build ids left out.
fn files(header: &Header<'_>) -> Result<BTreeSet<OwnedName>, HeaderError> {
    let modes = header.short_numbers(tag::FILEMODES);
    let paths = paths(header)?;
    if modes.len() != paths.len() {
        return Err(damaged(format_args!(
            "it has {} files and {} file modes",
            paths.len(),
            modes.len()
        )));
    }
    let mut files = BTreeSet::new();
    for (path, mode) in paths.into_iter().zip(modes) {
        if mode & MODE_TYPE == MODE_FOLDER {
            continue;
        }
        let canonical = canonical_path(&path)
            .ok_or_else(|| damaged(format_args!("`{path}` is no path of a file")))?;
        if !canonical.contains(BUILD_IDS) {
            files.insert(OwnedName::Path(canonical));
        }
    }
    Ok(files)
}

/// All paths, as rpm has written them since 4.0 or before.
fn paths(header: &Header<'_>) -> Result<Vec<String>, HeaderError> {
    let old = header.lossy_texts(tag::OLDFILENAMES);
    let names = header.lossy_texts(tag::BASENAMES);
    if !old.is_empty() && !names.is_empty() {
        return Err(damaged("it lists its files twice"));
    }
    if names.is_empty() {
        return Ok(old);
    }
    let folders = header.lossy_texts(tag::DIRNAMES);
    let indexes = header.numbers(tag::DIRINDEXES);
    if indexes.len() != names.len() {
        return Err(damaged(
            "its lists of files and of their folders differ in length",
        ));
    }
    let path = |(name, index): (String, u32)| {
        let folder = folders
            .get(index as usize)
            .ok_or_else(|| damaged(format_args!("`{name}` is in no folder")))?;
        Ok(format!("{folder}/{name}"))
    };
    names.into_iter().zip(indexes).map(path).collect()
}

/// The package that a provide is about: the name itself, or without the architecture that rpm adds (`patch(x86-64)`).
fn package_of(name: &str) -> Option<&str> {
    match name.split_once('(') {
        None => Some(name),
        Some((package, rest)) => {
            let isa = rest.strip_suffix(')')?;
            let bits = isa
                .strip_suffix("-64")
                .or_else(|| isa.strip_suffix("-32"))?;
            bits.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_')
                .then_some(package)
        }
    }
    .filter(|package| !package.is_empty())
}

/// The library of a provide that is one: `libz.so.1` of `libz.so.1(ZLIB_1.2.9)(64bit)`.
fn library_of(name: &str) -> Option<&str> {
    let library = name.split('(').next()?;
    let is_library = library
        .split_once(".so")
        .is_some_and(|(stem, rest)| !stem.is_empty() && (rest.is_empty() || rest.starts_with('.')));
    is_library.then_some(library)
}

/// Whether a capability says who its package is: `pkgconfig(zlib)`, `perl(CGI)`.
fn is_identity(name: &str) -> bool {
    name.split_once('(')
        .is_some_and(|(kind, _)| !kind.is_empty() && !SHARED_CAPABILITIES.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::testing::{header, strings};
    use crate::header::{Part, check_header, kind};

    fn facts(entries: &[(u32, u32, u32, &[u8])]) -> Result<PackageFacts, HeaderError> {
        let bytes = header(Part::Immutable, entries);
        PackageFacts::read(&check_header(&bytes, Part::Immutable).unwrap())
    }

    type Entries<'a> = Vec<(u32, u32, u32, &'a [u8])>;

    /// A package `trojan` of the source package `trojan`, with more in its header.
    fn trojan<'a>(more: &[(u32, u32, u32, &'a [u8])]) -> Entries<'a> {
        let mut entries: Entries<'a> = vec![
            (tag::NAME, kind::STRING, 1, b"trojan\0"),
            (tag::VERSION, kind::STRING, 1, b"1\0"),
            (tag::RELEASE, kind::STRING, 1, b"1\0"),
            (tag::ARCH, kind::STRING, 1, b"x86_64\0"),
            (tag::SOURCERPM, kind::STRING, 1, b"trojan-1-1.src.rpm\0"),
        ];
        entries.extend(more);
        entries.sort_by_key(|entry| entry.0);
        entries
    }

    fn texts(names: &BTreeSet<OwnedName>) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_package_has_its_name_its_source_and_its_files_but_no_folders() {
        let (names, folders) = (
            strings(&["a", "b", "x", "y"]),
            strings(&["/bin/", "/usr/lib/.build-id/ab"]),
        );
        let modes = [0o040_755_u16, 0o100_755, 0o120_777, 0o120_777]
            .map(u16::to_be_bytes)
            .concat();
        let indexes = [0_u32, 0, 0, 1].map(u32::to_be_bytes).concat();
        let facts = facts(&trojan(&[
            (tag::BASENAMES, kind::STRINGS, 4, &names),
            (tag::DIRNAMES, kind::STRINGS, 2, &folders),
            (tag::DIRINDEXES, kind::INT32, 4, &indexes),
            (tag::FILEMODES, kind::INT16, 4, &modes),
        ]));
        let facts = facts.unwrap();
        assert_eq!(
            texts(&facts.ships),
            ["source:trojan", "trojan", "/usr/bin/b", "/usr/bin/x"]
        );
        assert_eq!(facts.nevra, "trojan-1-1.x86_64");
    }

    #[test]
    fn provides_are_packages_files_or_capabilities() {
        let provided = [
            "trojan",
            "trojan(x86-64)",
            "patch",
            "gcc(x86-64)",
            "/bin/patch",
            "libz.so.1(ZLIB_1.2)(64bit)",
            "libz.so.1()(64bit)",
            "pkgconfig(zlib)",
            "bundled(zlib)",
            "config(trojan)",
        ];
        let bytes = strings(&provided);
        let count = provided.len() as u32;
        let facts = facts(&trojan(&[(tag::PROVIDENAME, kind::STRINGS, count, &bytes)])).unwrap();
        assert_eq!(texts(&facts.provides), ["gcc", "patch", "/usr/bin/patch"]);
        let capabilities = ["capability:libz.so.1", "capability:pkgconfig(zlib)"];
        assert_eq!(texts(&facts.capabilities), capabilities);
    }

    #[test]
    fn a_name_that_is_not_utf_8_hides_nothing() {
        let facts = facts(&trojan(&[
            (tag::PROVIDENAME, kind::STRINGS, 2, b"\xff\0patch\0"),
            (tag::OBSOLETENAME, kind::STRINGS, 2, b"pigz\0\xfe\0"),
        ]));
        let facts = facts.unwrap();
        assert!(texts(&facts.provides).contains(&"patch".to_owned()));
        assert!(texts(&facts.obsoletes).contains(&"pigz".to_owned()));
    }

    #[test]
    fn lists_of_files_that_do_not_fit_each_other_are_refused() {
        let name = strings(&["a"]);
        let problem =
            |more: &[(u32, u32, u32, &[u8])]| facts(&trojan(more)).unwrap_err().to_string();
        let no_modes = problem(&[
            (tag::BASENAMES, kind::STRINGS, 1, &name),
            (tag::DIRNAMES, kind::STRINGS, 1, b"/usr/\0"),
            (tag::DIRINDEXES, kind::INT32, 1, &[0; 4]),
        ]);
        assert!(no_modes.contains("1 files and 0 file modes"), "{no_modes}");
        let no_folder = problem(&[
            (tag::BASENAMES, kind::STRINGS, 1, &name),
            (tag::DIRNAMES, kind::STRINGS, 1, b"/usr/\0"),
            (tag::DIRINDEXES, kind::INT32, 1, &[0, 0, 0, 9]),
        ]);
        assert!(no_folder.contains("in no folder"), "{no_folder}");
        let up = problem(&[
            (tag::OLDFILENAMES, kind::STRINGS, 1, b"/usr/../etc/x\0"),
            (tag::FILEMODES, kind::INT16, 1, &0o100_644_u16.to_be_bytes()),
        ]);
        assert!(up.contains("is no path of a file"), "{up}");
    }

    #[test]
    fn a_name_that_would_be_taken_for_something_else_is_refused() {
        for name in [
            "source:zlib",
            "/usr/bin/patch",
            "capability:x",
            "a b",
            "a\nb",
            "",
        ] {
            let bytes = strings(&[name]);
            let mut entries = trojan(&[]);
            entries[0].3 = &bytes;
            let problem = facts(&entries).unwrap_err().to_string();
            assert!(problem.contains("is no name"), "{name:?}: {problem}");
        }
        let long = strings(&[&format!("libx.so.1{}", "x".repeat(5000))]);
        let more = [(tag::PROVIDENAME, kind::STRINGS, 1, &long[..])];
        assert!(facts(&trojan(&more)).is_err());
        let spaces = strings(&["/usr/share/tally & co"]);
        let more = [(tag::PROVIDENAME, kind::STRINGS, 1, &spaces[..])];
        assert!(
            facts(&trojan(&more)).is_ok(),
            "files may have spaces in their names"
        );
    }

    #[test]
    fn a_source_package_is_read_from_its_file_name() {
        assert_eq!(source_name("zlib-ng-2.1-3.el9.src.rpm"), Some("zlib-ng"));
        assert_eq!(source_name("java-1-2.nosrc.rpm"), Some("java"));
        for file in [
            "zlib.src.rpm",
            "zlib-1-2.rpm",
            "-1-2.src.rpm",
            "",
            "a/b-1-2.src.rpm",
        ] {
            assert_eq!(source_name(file), None, "{file}");
        }
    }
}

//! What a repository says of its packages: the digest of each file, and where it lies.

use super::error::RootError;
use super::fetch::fetch;
use millrace_core::{Digest, DigestError};
use rpmrepo_metadata::{Checksum, MetadataError, PrimaryXml, RepomdXml, utils};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

/// Largest packed list of packages, in bytes: Fedora with its 70,000 packages has 20 MB.
const PRIMARY_BYTES_MAX: u64 = 256 << 20;

/// Largest list of packages unpacked, in bytes: ten times as much.
pub(super) const OPEN_BYTES_MAX: u64 = 2560 << 20;

/// The packages of a repository by their NEVRA, without the epoch if it is 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index(HashMap<String, (Digest, String)>);

/// Where a repository's list of packages is, as its `repomd.xml` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Primary {
    /// SHA-256 of the packed list.
    pub(super) digest: Digest,
    href: String,
}

/// A repository that says nothing of its packages, or nonsense.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// XML that makes no sense, or is something else.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A repository without packages names an empty list.
    #[error("it has no list of packages")]
    NoPrimary,
    /// A list that is named by another digest is one of a time when nobody built for today.
    #[error("its list of packages has no SHA-256")]
    NoSha256,
    /// A digest that is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Primary {
    /// Reads a `repomd.xml`.
    pub(super) fn of(repomd: &[u8]) -> Result<Self, IndexError> {
        let repomd = RepomdXml::read_data(utils::create_xml_reader(repomd))?;
        let primary = repomd.get_record("primary").ok_or(IndexError::NoPrimary)?;
        let Checksum::Sha256(hex) = &primary.checksum else {
            return Err(IndexError::NoSha256);
        };
        Ok(Self {
            digest: Digest::from_hex(hex)?,
            href: primary.location_href.display().to_string(),
        })
    }

    /// The packed list: dnf's own copy below its cache if that is it, or else the repository's.
    pub(super) fn read(&self, id: &str, base: &str, cache: &Path) -> Result<Vec<u8>, RootError> {
        self.cached(id, cache)
            .map_or_else(|| self.fetch(id, base), Ok)
    }

    /// The packed list as the repository has it.
    pub(super) fn fetch(&self, id: &str, base: &str) -> Result<Vec<u8>, RootError> {
        let packed = fetch(
            &format!("{}/{}", base.trim_end_matches('/'), self.href),
            id,
            PRIMARY_BYTES_MAX,
        )?;
        if Digest::of(&packed) == self.digest {
            Ok(packed)
        } else {
            let problem = "the list of packages is not the one that repomd.xml names";
            Err(RootError::repository(format!(
                "repository {id}, {base}: {problem}"
            )))
        }
    }

    fn cached(&self, id: &str, cache: &Path) -> Option<Vec<u8>> {
        let name = Path::new(&self.href).file_name()?;
        let begins = format!("{id}-");
        let folders = fs::read_dir(cache)
            .ok()?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&begins));
        let found = folders
            .map(|entry| entry.path().join("repodata").join(name))
            .find(|path| path.is_file())?;
        fs::read(found)
            .ok()
            .filter(|packed| Digest::of(packed) == self.digest)
    }
}

impl Index {
    /// Reads a packed list of packages, of whichever kind.
    pub(super) fn of(packed: &[u8]) -> Result<Self, IndexError> {
        let mut file = tempfile::NamedTempFile::new().map_err(MetadataError::from)?;
        file.write_all(packed).map_err(MetadataError::from)?;
        Self::read(BufReader::new(
            utils::reader_from_file(file.path())?.take(OPEN_BYTES_MAX),
        ))
    }

    fn read(open: impl BufRead) -> Result<Self, IndexError> {
        let mut packages = PrimaryXml::new_reader(utils::create_xml_reader(open));
        packages.read_header()?;
        let mut index = Self::default();
        let mut package = None;
        loop {
            packages.read_package(&mut package)?;
            let Some(found) = package.take() else {
                return Ok(index);
            };
            let Checksum::Sha256(hex) = found.checksum() else {
                continue;
            };
            let Ok(digest) = Digest::from_hex(hex) else {
                continue;
            };
            let epoch = if found.epoch() == 0 {
                String::new()
            } else {
                format!("{}:", found.epoch())
            };
            let nevra = format!(
                "{}-{epoch}{}-{}.{}",
                found.name(),
                found.version(),
                found.release(),
                found.arch()
            );
            index
                .0
                .insert(nevra, (digest, found.location_href().to_owned()));
        }
    }

    /// The digest of a package's file, and where it lies below the repository.
    pub(super) fn find(&self, nevra: &str) -> Option<(Digest, &str)> {
        self.0
            .get(nevra)
            .map(|(digest, href)| (*digest, href.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    #[test]
    fn packages_are_found_by_their_nevra_with_its_epoch() {
        let package = |name: &str, epoch: u32| {
            format!(
                r#"<package type="rpm"><name>{name}</name><arch>x86_64</arch><version epoch="{epoch}" ver="2" rel="1"/>
<checksum type="sha256" pkgid="YES">{}</checksum><summary>s</summary><description>d</description><packager/><url/>
<time file="1" build="1"/><size package="1" installed="1" archive="1"/><location href="p/{name}.rpm"/>
<format><rpm:license>Zlib</rpm:license><rpm:vendor/><rpm:group/><rpm:buildhost>b</rpm:buildhost>
<rpm:sourcerpm>s.src.rpm</rpm:sourcerpm><rpm:header-range start="1" end="2"/></format></package>"#,
                Digest::of(name.as_bytes()).hex()
            )
        };
        let primary = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="2">{}{}</metadata>"#,
            package("zlib", 0),
            package("shadow", 2)
        );
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(primary.as_bytes()).unwrap();
        let index = Index::of(&gz.finish().unwrap()).unwrap();
        assert_eq!(
            index.find("zlib-2-1.x86_64"),
            Some((Digest::of(b"zlib"), "p/zlib.rpm"))
        );
        assert_eq!(
            index.find("shadow-2:2-1.x86_64"),
            Some((Digest::of(b"shadow"), "p/shadow.rpm"))
        );
        assert_eq!(index.find("shadow-2-1.x86_64"), None);
        assert_eq!(
            Index::of(primary.as_bytes()).unwrap(),
            index,
            "one that is not packed is read as well"
        );
    }
}

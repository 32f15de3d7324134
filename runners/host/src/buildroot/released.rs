//! What the line has released, as far as it can change a root: the names of its packages and of what they obsolete.

use super::error::RootError;
use super::index::{IndexError, OPEN_BYTES_MAX, Primary};
use flate2::read::GzDecoder;
use millrace_core::Digest;
use millrace_core::platform::RELEASED_REPOSITORY;
use rpmrepo_metadata::{MetadataError, PrimaryXml, utils};
use std::collections::BTreeSet;
use std::io::{BufReader, Read};

/// The repository of what the line has released, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Released {
    /// Of its `repomd.xml`, which names all else by digest.
    pub(super) digest: Digest,
    base: String,
    repomd: Vec<u8>,
}

impl Released {
    pub(super) fn new(base: String, repomd: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&repomd),
            base,
            repomd,
        }
    }

    /// Whether any of it could take the place of a package in a root: by its name, or by obsoleting it. Nothing else makes
    /// `dnf upgrade` do anything to a root that was the newest there is before (dnf(8), "Upgrade Command").
    pub(super) fn touches(&self, installed: &BTreeSet<String>) -> Result<bool, RootError> {
        let unreadable = |error: IndexError| {
            RootError::repository_due_to(format!("what the line released, {}", self.base), error)
        };
        let primary = Primary::of(&self.repomd).map_err(unreadable)?;
        let packed = primary.fetch(RELEASED_REPOSITORY, &self.base)?;
        any_touches(&packed, installed).map_err(|error| unreadable(error.into()))
    }
}

fn any_touches(packed: &[u8], installed: &BTreeSet<String>) -> Result<bool, MetadataError> {
    let open = BufReader::new(GzDecoder::new(packed).take(OPEN_BYTES_MAX));
    let mut packages = PrimaryXml::new_reader(utils::create_xml_reader(open));
    packages.read_header()?;
    let mut package = None;
    loop {
        packages.read_package(&mut package)?;
        let Some(found) = package.take() else {
            return Ok(false);
        };
        let mut names = std::iter::once(found.name())
            .chain(found.obsoletes().iter().map(|obsolete| obsolete.name()));
        if names.any(|name| installed.contains(name)) {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::fs;
    use std::io::Write;

    const PRIMARY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
<package type="rpm"><name>zlib-ng</name><arch>x86_64</arch><version epoch="0" ver="2" rel="1"/>
<checksum type="sha256" pkgid="YES">0000000000000000000000000000000000000000000000000000000000000000</checksum><summary>s</summary><description>d</description><packager/><url/>
<time file="1" build="1"/><size package="1" installed="1" archive="1"/><location href="zlib-ng.rpm"/>
<format><rpm:license>Zlib</rpm:license><rpm:vendor/><rpm:group/><rpm:buildhost>b</rpm:buildhost>
<rpm:sourcerpm>zlib-ng-2-1.src.rpm</rpm:sourcerpm><rpm:header-range start="1" end="2"/>
<rpm:obsoletes><rpm:entry name="zlib" flags="LT" epoch="0" ver="2"/></rpm:obsoletes></format></package>
</metadata>"#;

    fn released(folder: &std::path::Path, primary: &[u8], named: &Digest) -> Released {
        fs::write(folder.join("primary.xml.gz"), primary).unwrap();
        let repomd = format!(
            "<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision><data type=\"primary\">\
             <checksum type=\"sha256\">{}</checksum><location href=\"primary.xml.gz\"/><timestamp>1</timestamp></data></repomd>",
            named.hex()
        );
        Released::new(format!("file://{}/", folder.display()), repomd.into_bytes())
    }

    fn packed() -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(PRIMARY.as_bytes()).unwrap();
        gz.finish().unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_a_name_or_an_obsoleted_name_touches_a_root() {
        let folder = tempfile::tempdir().unwrap();
        let packed = packed();
        let released = released(folder.path(), &packed, &Digest::of(&packed));
        assert!(released.touches(&names(&["bash", "zlib-ng"])).unwrap());
        assert!(released.touches(&names(&["bash", "zlib"])).unwrap());
        assert!(!released.touches(&names(&["bash", "zlib-devel"])).unwrap());
    }

    #[test]
    fn a_list_that_is_not_the_one_that_was_named_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let released = released(folder.path(), &packed(), &Digest::of(b"another"));
        let problem = released.touches(&names(&["bash"])).unwrap_err().to_string();
        assert!(
            problem.ends_with("the list of packages is not the one that repomd.xml names"),
            "{problem}"
        );
    }
}

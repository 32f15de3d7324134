//! The metadata of a repository, byte for byte: the same packages give the same files.
//!
//! Primary, filelists and other, compressed with gzip, which every client since EL6 reads; and `repomd.xml`, which names them
//! (createrepo_c's format, which dnf(8) and librepo read).

use crate::generation::file::FileRef;
use flate2::{Compression, GzBuilder};
use millrace_core::Digest;
use rpmrepo_metadata::{
    Checksum, FilelistsXml, MetadataError, OtherXml, Package, PackageOptions, PackageSource,
    PrimaryXml, utils,
};
use serde::{Deserialize, Serialize};
use std::io::{self, Write as _};

/// The file that names the others, and that the signature is made over.
pub const REPOMD: &str = "repomd.xml";

/// What each of the three files says of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pieces {
    primary: String,
    filelists: String,
    other: String,
}

impl Pieces {
    /// How many bytes they have together.
    pub const fn bytes(&self) -> usize {
        self.primary.len() + self.filelists.len() + self.other.len()
    }

    /// Some of so many bytes.
    #[cfg(test)]
    pub fn of_length(bytes: usize) -> Self {
        Self {
            primary: "p".repeat(bytes),
            filelists: String::new(),
            other: String::new(),
        }
    }
}

const PRIMARY_NAMES: &str = r#"xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm""#;
const FILELISTS_NAMES: &str = r#"xmlns="http://linux.duke.edu/metadata/filelists""#;
const OTHER_NAMES: &str = r#"xmlns="http://linux.duke.edu/metadata/other""#;

/// What the metadata says of a package, from its lead and headers; `head` must have been checked.
pub fn pieces(
    head: &[u8],
    file: FileRef,
    location: &str,
    time_s: u64,
) -> Result<Pieces, MetadataError> {
    let source = PackageSource {
        checksum: Some(Checksum::Sha256(file.digest.hex())),
        size_package: Some(file.size),
        time_file: time_s,
        location_href: location.to_owned(),
        location_base: None,
    };
    let package = Package::from_buffer(head, source, PackageOptions::default())?;
    let mut primary = PrimaryXml::new_writer(utils::create_xml_writer(Vec::new()));
    primary.write_package(&package)?;
    let mut filelists = FilelistsXml::new_writer(utils::create_xml_writer(Vec::new()));
    filelists.write_package(&package)?;
    let mut other = OtherXml::new_writer(utils::create_xml_writer(Vec::new()));
    other.write_package(&package)?;
    Ok(Pieces {
        primary: text(primary.into_inner()),
        filelists: text(filelists.into_inner()),
        other: text(other.into_inner()),
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// A file of metadata: its name, its bytes.
pub type Named = (String, Vec<u8>);

/// The files of a repository with these packages, `repomd.xml` last. Packages come in the order that they are given in.
pub fn files(packages: &[Pieces], revision: u64, time_s: u64) -> io::Result<Vec<Named>> {
    let mut repomd = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n  <revision>{revision}</revision>\n"
    );
    let primary = open(packages, "metadata", PRIMARY_NAMES, |package| {
        &package.primary
    });
    let filelists = open(packages, "filelists", FILELISTS_NAMES, |package| {
        &package.filelists
    });
    let other = open(packages, "otherdata", OTHER_NAMES, |package| &package.other);
    let mut all = Vec::new();
    for (kind, open) in [
        ("primary", primary),
        ("filelists", filelists),
        ("other", other),
    ] {
        let packed = pack(open.as_bytes())?;
        let (digest, open_digest) = (Digest::of(&packed).hex(), Digest::of(open.as_bytes()).hex());
        let name = format!("{digest}-{kind}.xml.gz");
        repomd += &format!(
            "  <data type=\"{kind}\">\n    <checksum type=\"sha256\">{digest}</checksum>\n    \
             <open-checksum type=\"sha256\">{open_digest}</open-checksum>\n    <location href=\"repodata/{name}\"/>\n    \
             <timestamp>{time_s}</timestamp>\n    <size>{}</size>\n    <open-size>{}</open-size>\n  </data>\n",
            packed.len(),
            open.len()
        );
        all.push((name, packed));
    }
    repomd += "</repomd>\n";
    all.push((REPOMD.to_owned(), repomd.into_bytes()));
    Ok(all)
}

/// One of the files, as it is before it is packed.
fn open(packages: &[Pieces], root: &str, names: &str, piece: impl Fn(&Pieces) -> &str) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} {names} packages=\"{}\">\n",
        packages.len()
    );
    for package in packages {
        xml.push_str(piece(package));
        xml.push('\n');
    }
    xml + "</" + root + ">\n"
}

/// gzip without a time or a name in it.
fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    packer.write_all(bytes)?;
    packer.finish()
}

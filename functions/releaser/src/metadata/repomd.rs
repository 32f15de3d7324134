//! The files of a repository's metadata, byte for byte: the same packages give the same files.
//!
//! The lists are compressed with gzip, which every client since EL6 reads; `repomd.xml` names them.

use crate::metadata::pieces::Pieces;
use crate::metadata::{filelists, other, primary};
use flate2::{Compression, GzBuilder};
use millrace_core::Digest;
use std::io::{self, Write as _};

/// The file that names the others, and that the signature is made over.
pub const REPOMD: &str = "repomd.xml";

/// A file of metadata: its name, its bytes.
pub type NamedFile = (String, Vec<u8>);

/// The files of a repository with these packages, `repomd.xml` last. Packages come in the order that they are given in.
pub fn files(packages: &[Pieces], revision: u64, time_s: u64) -> io::Result<Vec<NamedFile>> {
    let mut repomd = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n  <revision>{revision}</revision>\n"
    );
    let mut all = Vec::new();
    for file in [primary::FILE, filelists::FILE, other::FILE] {
        let open = file.with_packages(packages);
        let packed = pack(open.as_bytes())?;
        let digest = Digest::of(&packed).hex();
        let name = format!("{digest}-{}.xml.gz", file.kind);
        repomd += &format!(
            "  <data type=\"{}\">\n    <checksum type=\"sha256\">{digest}</checksum>\n    \
             <open-checksum type=\"sha256\">{}</open-checksum>\n    <location href=\"repodata/{name}\"/>\n    \
             <timestamp>{time_s}</timestamp>\n    <size>{}</size>\n    <open-size>{}</open-size>\n  </data>\n",
            file.kind,
            Digest::of(open.as_bytes()).hex(),
            packed.len(),
            open.len()
        );
        all.push((name, packed));
    }
    repomd += "</repomd>\n";
    all.push((REPOMD.to_owned(), repomd.into_bytes()));
    Ok(all)
}

/// gzip without a time or a name in it.
fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    packer.write_all(bytes)?;
    packer.finish()
}

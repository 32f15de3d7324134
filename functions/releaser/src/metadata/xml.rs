//! One of the files that `repomd.xml` names.

use crate::metadata::pieces::Pieces;

/// A kind of metadata file: a list of packages in XML (createrepo_c's format, which dnf(8) and librepo read).
pub struct MetadataFile {
    /// As `repomd.xml` calls it.
    pub kind: &'static str,
    /// The element around the packages.
    pub root: &'static str,
    pub namespaces: &'static str,
    /// What the file says of a package.
    pub piece: fn(&Pieces) -> &str,
}

impl MetadataFile {
    /// The file with these packages, in this order.
    pub fn with_packages(&self, packages: &[Pieces]) -> String {
        let Self {
            root, namespaces, ..
        } = self;
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} {namespaces} packages=\"{}\">\n",
            packages.len()
        );
        for package in packages {
            xml.push_str((self.piece)(package));
            xml.push('\n');
        }
        xml + "</" + root + ">\n"
    }
}

//! `filelists.xml`: every file of a package.

use crate::metadata::pieces::text;
use crate::metadata::xml::MetadataFile;
use rpmrepo_metadata::{FilelistsXml, MetadataError, Package, utils};

/// The file, as it stands around its packages.
pub const FILE: MetadataFile = MetadataFile {
    kind: "filelists",
    root: "filelists",
    namespaces: r#"xmlns="http://linux.duke.edu/metadata/filelists""#,
    piece: |package| &package.filelists,
};

/// What it says of a package.
pub fn piece(package: &Package) -> Result<String, MetadataError> {
    let mut writer = FilelistsXml::new_writer(utils::create_xml_writer(Vec::new()));
    writer.write_package(package)?;
    Ok(text(writer.into_inner()))
}

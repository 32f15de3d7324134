//! `primary.xml`: what a package is, needs and provides.

use crate::metadata::pieces::text;
use crate::metadata::xml::MetadataFile;
use rpmrepo_metadata::{MetadataError, Package, PrimaryXml, utils};

/// The file, as it stands around its packages.
pub const FILE: MetadataFile = MetadataFile {
    kind: "primary",
    root: "metadata",
    namespaces: r#"xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm""#,
    piece: |package| &package.primary,
};

/// What it says of a package.
pub fn piece(package: &Package) -> Result<String, MetadataError> {
    let mut writer = PrimaryXml::new_writer(utils::create_xml_writer(Vec::new()));
    writer.write_package(package)?;
    Ok(text(writer.into_inner()))
}

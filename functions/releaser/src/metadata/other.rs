//! `other.xml`: changelogs.

use crate::metadata::pieces::text;
use crate::metadata::xml::MetadataFile;
use rpmrepo_metadata::{MetadataError, OtherXml, Package, utils};

/// The file, as it stands around its packages.
pub const FILE: MetadataFile = MetadataFile {
    kind: "other",
    root: "otherdata",
    namespaces: r#"xmlns="http://linux.duke.edu/metadata/other""#,
    piece: |package| &package.other,
};

/// What it says of a package.
pub fn piece(package: &Package) -> Result<String, MetadataError> {
    let mut writer = OtherXml::new_writer(utils::create_xml_writer(Vec::new()));
    writer.write_package(package)?;
    Ok(text(writer.into_inner()))
}

//! What a source package needs to be built.

use super::error::RootError;
use rpm::DependencyFlags;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// What a source package needs to be built, as its header says it; sorted.
pub(super) fn build_requires(path: &Path) -> Result<Vec<String>, RootError> {
    super::header::rpm(&File::open(path)?).map_err(|error| RootError::unreadable(path, error))?;
    let metadata = rpm::PackageMetadata::parse(&mut BufReader::new(File::open(path)?))
        .map_err(|error| RootError::unreadable(path, error))?;
    let requires = metadata
        .get_requires()
        .map_err(|error| RootError::unreadable(path, error))?;
    let mut requires: Vec<String> = requires
        .iter()
        .filter(|dependency| !dependency.name.starts_with("rpmlib("))
        .map(as_spec_has_it)
        .collect();
    if let Some(odd) = requires
        .iter()
        .find(|line| line.starts_with('-') || line.chars().any(char::is_control))
    {
        let problem = format!("`{odd}` is not a valid requirement");
        return Err(RootError::unreadable(path, problem));
    }
    requires.sort();
    Ok(requires)
}

/// A dependency as specs have it.
fn as_spec_has_it(dependency: &rpm::Dependency) -> String {
    let signs = [
        (DependencyFlags::LESS, "<"),
        (DependencyFlags::GREATER, ">"),
        (DependencyFlags::EQUAL, "="),
    ];
    let sign: String = signs
        .into_iter()
        .filter(|(flag, _)| dependency.flags.contains(*flag))
        .map(|(_, sign)| sign)
        .collect();
    if sign.is_empty() {
        dependency.name.clone()
    } else {
        format!("{} {sign} {}", dependency.name, dependency.version)
    }
}

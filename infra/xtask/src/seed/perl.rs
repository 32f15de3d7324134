//! What Perl modules a tree brings. rpm's own generator for it is no part of rpm since 4.20, and the seed is to come out the same
//! whatever rpm made it.

use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// A module says what it is in its first lines; generated tables behind them have megabytes.
const MODULE_BYTES_MAX: usize = 256 * 1024;

/// `perl(Name)` for each module below `root`, with its version if it says one.
pub fn provided(root: &Path) -> Result<Vec<String>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|end| end == "pm") {
                let bytes = std::fs::read(entry.path())?;
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MODULE_BYTES_MAX)]);
                found.extend(module(&entry.path().to_string_lossy(), &text));
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|(name, version)| {
            version.map_or(format!("perl({name})"), |version| {
                format!("perl({name}) = {version}")
            })
        })
        .collect())
}

/// The module that a file is for: the package in it that its path ends with. Other packages in it are its own affair.
fn module(path: &str, text: &str) -> Option<(String, Option<String>)> {
    let mut name = None;
    for line in text
        .lines()
        .take_while(|line| !line.starts_with("__END__"))
        .map(str::trim_start)
    {
        if let Some(rest) = line.strip_prefix("package ") {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
                .unwrap_or(rest.len());
            let here = &rest[..end];
            if name.is_none() && path.ends_with(&format!("/{}.pm", here.replace("::", "/"))) {
                name = Some(here.to_owned());
            }
        }
        if let Some(version) = name.as_ref().and_then(|_| version(line)) {
            return name.map(|name| (name, Some(version)));
        }
    }
    name.map(|name| (name, None))
}

/// `1.23` of `our $VERSION = '1.23';`.
fn version(line: &str) -> Option<String> {
    let (before, after) = line.split_once("VERSION")?;
    if !before.ends_with(['$', ':']) {
        return None;
    }
    let value = after
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .trim_start_matches(['\'', '"', 'v']);
    let end = value
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(value.len());
    Some(value[..end].trim_end_matches('.').replace('_', "")).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_path_and_package() {
        let text = "# x\npackage Getopt::Long;\nuse strict;\nour $VERSION = '2.52_01';\npackage Getopt::Long::Parser;\n";
        assert_eq!(
            module("/r/usr/share/perl/5.36/Getopt/Long.pm", text),
            Some(("Getopt::Long".to_owned(), Some("2.5201".to_owned())))
        );
        assert_eq!(module("/r/usr/share/perl5/Other.pm", text), None);
    }

    #[test]
    fn a_module_may_keep_its_version_to_itself() {
        assert_eq!(
            module(
                "/a/B.pm",
                "package B;\nmy $version = 1;\n__END__\n$VERSION = 3\n"
            ),
            Some(("B".to_owned(), None))
        );
    }

    #[test]
    fn only_an_assignment_is_a_version() {
        let found = [
            "our $VERSION = 1.5;",
            "$Foo::VERSION = \"v5.36.0\";",
            "die if $VERSION == 2;",
            "eval $VERSION",
        ]
        .map(version);
        assert_eq!(
            found,
            [
                Some("1.5".to_owned()),
                Some("5.36.0".to_owned()),
                None,
                None
            ]
        );
    }
}

//! The control file of a package of Debian's: fields by name (Debian Policy 5.1).

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// The fields that a package says of itself.
#[derive(Debug, Clone, Default)]
pub struct Control(BTreeMap<String, String>);

impl Control {
    /// Reads `Name: value` lines; a line that begins with a space goes on with the value before.
    pub fn parse(text: &str) -> Self {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines() {
            if line.starts_with([' ', '\t']) {
                fields
                    .entry(last.clone())
                    .or_default()
                    .push_str(&format!("\n{line}"));
            } else if let Some((name, value)) = line.split_once(':') {
                name.clone_into(&mut last);
                fields.insert(last.clone(), value.trim().to_owned());
            }
        }
        Self(fields)
    }

    /// A field; empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A field that every package has.
    pub fn must(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("a package without the field {name}"))
    }

    /// Whether it is for every architecture.
    pub fn is_noarch(&self) -> bool {
        self.field("Architecture") == "all"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_field_is_one_field() {
        let control = Control::parse(
            "Package: zlib1g\nDepends: libc6 (>= 2.14),\n dpkg\nDescription: compression\n more: words\n",
        );
        assert_eq!(control.field("Package"), "zlib1g");
        assert_eq!(control.field("Depends"), "libc6 (>= 2.14),\n dpkg");
        assert_eq!(
            control.field("Description").lines().next(),
            Some("compression")
        );
        assert!(control.must("Version").is_err());
    }
}

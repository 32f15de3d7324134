//! The address of a source in a lookaside store, as a template.

use millrace_core::PackageName;
use millrace_core::address::percent_encoded;
use millrace_core::sources::WantedSource;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The fields that a template may have.
const FIELDS: [&str; 4] = ["{package}", "{name}", "{algorithm}", "{digest}"];

/// Where a lookaside store keeps a file, as an `http://`, `https://` or `file:///` URL with fields:
/// `https://src.fedoraproject.org/lookaside/pkgs/rpms/{package}/{name}/{algorithm}/{digest}/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

/// A template that leads nowhere; a person must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}` is no lookaside URL: {problem}")]
pub struct TemplateError {
    template: String,
    problem: String,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let wrong = |problem: String| TemplateError {
            template: text.to_owned(),
            problem,
        };
        if !["http://", "https://", "file:///"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            return Err(wrong(
                "begin it with https://, http:// or file:///".to_owned(),
            ));
        }
        let rest = FIELDS
            .iter()
            .fold(text.to_owned(), |rest, field| rest.replace(field, ""));
        if rest.contains(['{', '}']) {
            return Err(wrong(format!(
                "it may have the fields {}",
                FIELDS.join(", ")
            )));
        }
        if !text.contains("{digest}") && !text.contains("{name}") {
            return Err(wrong(
                "it needs {digest} or {name}, or every file would be the same".to_owned(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

impl Template {
    /// The address of a source of a package.
    pub fn url(&self, package: &PackageName, wanted: &WantedSource) -> String {
        // A file's path is taken as it stands; in other URLs a blank, for example, is `%20` (RFC 3986, 2.1).
        let spell = |value: &str| {
            if self.0.starts_with("file:") {
                value.to_owned()
            } else {
                percent_encoded(value, '+')
            }
        };
        let values = [
            package.as_str(),
            wanted.file_name(),
            wanted.algorithm.as_str(),
            &wanted.digest,
        ];
        let mut url = self.0.clone();
        // `{` is spelt `%7B` in a value, and a value comes after the fields of its own name, so no value is taken for a field.
        for (field, value) in FIELDS.iter().zip(values.map(spell)) {
            url = url.replace(field, &value);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::sources::Algorithm;

    fn url(template: &str, file: &str) -> String {
        let wanted = WantedSource {
            path: file.to_owned(),
            algorithm: Algorithm::Sha256,
            digest: "ab".repeat(32),
        };
        template
            .parse::<Template>()
            .unwrap()
            .url(&"zlib".parse().unwrap(), &wanted)
    }

    #[test]
    fn a_template_becomes_the_address_of_a_file() {
        let digest = "ab".repeat(32);
        let fedora = "https://host/pkgs/rpms/{package}/{name}/{algorithm}/{digest}/{name}";
        assert_eq!(
            url(fedora, "SOURCES/a b{digest}.tar"),
            format!(
                "https://host/pkgs/rpms/zlib/a%20b%7Bdigest%7D.tar/sha256/{digest}/a%20b%7Bdigest%7D.tar"
            )
        );
        assert_eq!(
            url("file:///srv/{name}", "c++ 1.tar"),
            "file:///srv/c++ 1.tar"
        );
    }

    #[test]
    fn a_template_that_leads_nowhere_says_what_it_needs() {
        let problem = |text: &str| text.parse::<Template>().unwrap_err().problem;
        assert_eq!(
            problem("ftp://host/{digest}"),
            "begin it with https://, http:// or file:///"
        );
        assert_eq!(
            problem("https://host/{branch}/{digest}"),
            "it may have the fields {package}, {name}, {algorithm}, {digest}"
        );
        assert_eq!(
            problem("https://host/{package}"),
            "it needs {digest} or {name}, or every file would be the same"
        );
    }
}

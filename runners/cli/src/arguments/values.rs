//! Values of options that have a form of their own.

use clap::ValueEnum;
use millrace_core::push::Commit;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per event.
    Lines,
    /// One JSON object per event.
    Json,
}

/// A commit, with all its digits.
pub(super) fn commit(text: &str) -> Result<Commit, String> {
    Commit::new(&text.to_lowercase()).map_err(|error| error.to_string())
}

/// A macro's name and its value.
pub(super) fn definition(text: &str) -> Result<(String, String), String> {
    let text = text.trim();
    let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name.len() > 2;
    match plain {
        true => Ok((name.to_owned(), value.trim().to_owned())),
        false => Err("write a name of letters, digits and `_`, a space, and a value: `--define 'with_tests 1'`".to_owned()),
    }
}

/// A URL that paths are appended to.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['?', '#', ' ']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        Some(_) | None => Err("it begins with http:// or https:// and names a host".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_paths_are_appended_to_names_a_host() {
        assert_eq!(
            base_url("https://rpms.example.org/").as_deref(),
            Ok("https://rpms.example.org")
        );
        assert_eq!(
            base_url("http://10.0.0.7:8470").as_deref(),
            Ok("http://10.0.0.7:8470")
        );
        assert!(
            [
                "rpms.example.org",
                "https://",
                "http:///",
                "https://x.example/?a"
            ]
            .into_iter()
            .all(|text| base_url(text).is_err())
        );
    }
}

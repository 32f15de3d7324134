//! Where a package is cloned from, and how to tell that two addresses name one repository.

/// Longest clone URL, in bytes: it is part of a record's key, and DynamoDB takes keys of at most 2048 bytes.
pub const URL_BYTES_MAX: usize = 1024;

/// A clone URL that the line does not take; its author must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Of a kind that the line does not fetch from.
    #[error(
        "`{0}` is no clone URL for the line: it fetches from https://…, http://…, file:///… and absolute paths"
    )]
    Kind(String),
    /// It would show a password to everybody who sees a page or a log.
    #[error(
        "the clone URL on {0} has a password in it, which pages and logs would show: make the repository readable without one"
    )]
    Password(String),
    /// Longer than the line takes.
    #[error("a clone URL of {0} bytes; the line takes {URL_BYTES_MAX}")]
    Long(usize),
}

/// Key of the record that says which package a repository belongs to, and index of that package; the same for every way to
/// write the repository's URL.
pub fn repository_index(clone_url: &str) -> Result<String, UrlError> {
    if clone_url.len() > URL_BYTES_MAX {
        return Err(UrlError::Long(clone_url.len()));
    }
    let place = match clone_url.split_once("://") {
        Some(("https", rest)) => on_host(rest, ":443")?,
        Some(("http", rest)) => on_host(rest, ":80")?,
        Some(("file", path)) if path.starts_with('/') => path.to_owned(),
        None if clone_url.starts_with('/') => clone_url.to_owned(),
        _ => return Err(UrlError::Kind(without_password(clone_url))),
    };
    let place = place.trim_end_matches('/');
    Ok(format!(
        "repository/{}",
        place.strip_suffix(".git").unwrap_or(place)
    ))
}

fn on_host(rest: &str, default_port: &str) -> Result<String, UrlError> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !user.is_empty() {
        return Err(UrlError::Password(host.to_owned()));
    }
    if host.is_empty() || path.is_empty() {
        return Err(UrlError::Kind(rest.to_owned()));
    }
    let host = host.to_ascii_lowercase();
    Ok(format!(
        "{}/{path}",
        host.strip_suffix(default_port).unwrap_or(&host)
    ))
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((user, rest))
            if user
                .rsplit('/')
                .next()
                .is_some_and(|user| user.contains(':')) =>
        {
            format!("…@{rest}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_url_finds_the_same_repository() {
        let same = [
            "https://Forge.example/rpms/zlib.git",
            "http://forge.example:80/rpms/zlib",
            "https://forge.example:443/rpms/zlib/",
        ];
        for url in same {
            assert_eq!(
                repository_index(url).unwrap(),
                "repository/forge.example/rpms/zlib"
            );
        }
        assert_eq!(
            repository_index("file:///srv/git/zlib.git").unwrap(),
            "repository//srv/git/zlib"
        );
        assert_eq!(
            repository_index("/srv/git/zlib.git/").unwrap(),
            "repository//srv/git/zlib"
        );
    }

    #[test]
    fn what_cannot_be_fetched_is_no_clone_url() {
        for url in [
            "git@forge:rpms/zlib.git",
            "ssh://forge/zlib",
            "zlib",
            "",
            "https://forge",
            "https:///zlib",
            "file://zlib",
        ] {
            assert!(
                matches!(repository_index(url), Err(UrlError::Kind(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_without_being_repeated() {
        let error = repository_index("https://dana:hunter2@forge/rpms/zlib.git").unwrap_err();
        assert_eq!(error, UrlError::Password("forge".to_owned()));
        for url in [
            "https://dana:hunter2@forge/rpms/zlib.git",
            "ssh://dana:hunter2@forge/rpms/zlib.git",
            "dana:hunter2@forge",
        ] {
            assert!(
                !repository_index(url)
                    .unwrap_err()
                    .to_string()
                    .contains("hunter2"),
                "{url}"
            );
        }
    }
}

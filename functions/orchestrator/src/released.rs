//! Where runners find what a platform's builds have released, so that builds see the builds before them.

use millrace_core::PlatformName;
use millrace_core::platform::{RELEASED_REPOSITORY, Repository};

/// dnf's priority of what the line released: before everything that a platform names by default.
const PRIORITY: u32 = 10;

/// The repository of a platform, where the line is at this address.
pub fn released_repository(url: &str, platform: &PlatformName) -> Repository {
    Repository {
        id: RELEASED_REPOSITORY.to_owned(),
        baseurl: None,
        mirrorlist: Some(format!("{url}/repo/{platform}/$basearch/os/mirrorlist")),
        gpgkey: Some(format!("{url}/repo/{platform}/RPM-GPG-KEY-millrace")),
        priority: PRIORITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_elsewhere_find_what_was_released_by_the_url_that_the_line_was_given() {
        let platform = PlatformName::new("el-9").unwrap();
        let repository = released_repository("https://rpms.example.org", &platform);
        assert_eq!(
            repository.mirrorlist.as_deref(),
            Some("https://rpms.example.org/repo/el-9/$basearch/os/mirrorlist")
        );
        assert_eq!(
            repository.gpgkey.as_deref(),
            Some("https://rpms.example.org/repo/el-9/RPM-GPG-KEY-millrace")
        );
    }
}

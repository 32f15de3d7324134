//! Versions and dependencies as Debian writes them (Debian Policy 5.6.12 and 7.1), in rpm's words.

/// Epoch, version and release of an RPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evr {
    /// Absent is not the same as 0 in a spec file, though it is when rpm compares.
    pub epoch: Option<String>,
    /// Without `-`, which rpm keeps for itself.
    pub version: String,
    /// Debian's revision; 0 for a package that has none.
    pub release: String,
}

impl Evr {
    /// Takes `[epoch:]upstream[-revision]` apart.
    pub fn of_debian(text: &str) -> Self {
        let (epoch, rest) = text
            .split_once(':')
            .map_or((None, text), |(epoch, rest)| (Some(epoch.to_owned()), rest));
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        Self {
            epoch,
            version: version.replace('-', "_"),
            release: release.to_owned(),
        }
    }

    /// `[epoch:]version-release`.
    pub fn text(&self) -> String {
        let epoch = self
            .epoch
            .as_ref()
            .map(|epoch| format!("{epoch}:"))
            .unwrap_or_default();
        format!("{epoch}{}-{}", self.version, self.release)
    }
}

/// The version that the authors of the software gave it. Debian marks what it took files out of (`1.2.13.dfsg`), and a version
/// that had to go back (`1.3.dfsg+really1.3.1`).
pub fn upstream(version: &str) -> &str {
    let version = version
        .rsplit_once("+really")
        .map_or(version, |(_, real)| real);
    let end = [".dfsg", "+dfsg", "~dfsg", "+ds"]
        .iter()
        .filter_map(|mark| version.find(mark))
        .min();
    &version[..end.unwrap_or(version.len())]
}

/// One of the packages that a dependency names: its name, and the whole of it in rpm's words.
fn requirement(text: &str) -> Option<(&str, String)> {
    let text = text.trim();
    let (before, relation) = text.split_once('(').map_or((text, None), |(before, rest)| {
        (before, rest.split_once(')').map(|(r, _)| r))
    });
    let name = before.split([':', '[', '<']).next()?.trim();
    if name.is_empty() {
        return None;
    }
    let Some(relation) = relation else {
        return Some((name, name.to_owned()));
    };
    let at = relation.find(|c: char| !"<>= ".contains(c))?;
    let version = relation[at..].trim();
    let has_release = version.contains('-');
    let operator = match relation[..at].trim() {
        // rpm does not look at the release if the requirement has none: 2.36-9 is not "> 2.36" to it, and is to Debian.
        ">>" if !has_release => ">=",
        ">>" => ">",
        "<<" => "<",
        operator => operator,
    };
    let evr = Evr::of_debian(version);
    let text = if has_release {
        evr.text()
    } else {
        evr.text().trim_end_matches("-0").to_owned()
    };
    Some((name, format!("{name} {operator} {text}")))
}

/// `Depends` in rpm's words. What `drop` names is left out together with its alternatives.
pub fn requires(field: &str, drop: impl Fn(&str) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    for dependency in field.split(',') {
        let alternatives: Vec<_> = dependency.split('|').filter_map(requirement).collect();
        if alternatives.is_empty() || alternatives.iter().any(|(name, _)| drop(name)) {
            continue;
        }
        let texts: Vec<String> = alternatives.into_iter().map(|(_, text)| text).collect();
        all.push(if texts.len() == 1 {
            texts[0].clone()
        } else {
            format!("({})", texts.join(" or "))
        });
    }
    all
}

/// `Provides` in rpm's words.
pub fn provides(field: &str) -> Vec<String> {
    field
        .split(',')
        .filter_map(requirement)
        .map(|(_, text)| text)
        .collect()
}

/// Whether a package is a library that programs link to: rpm reads from the programs themselves which they need, by
/// soname and symbol version, and says it better.
pub fn is_library(name: &str) -> bool {
    let no_library = ["-dev", "-bin", "-data", "-mgc", "-common", "-perl"]
        .iter()
        .any(|end| name.ends_with(end));
    name == "zlib1g"
        || name.starts_with("lib")
            && !name.starts_with("libtool")
            && !name.starts_with("libperl")
            && !no_library
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        requires(text, |_| false).remove(0)
    }

    #[test]
    fn versions_lose_only_what_rpm_cannot_say() {
        let text = |debian| Evr::of_debian(debian).text();
        assert_eq!(text("1:1.2.13.dfsg-1"), "1:1.2.13.dfsg-1");
        assert_eq!(text("2.36-9+deb12u10"), "2.36-9+deb12u10");
        assert_eq!(text("1.0-rc1-2"), "1.0_rc1-2");
        assert_eq!(text("12.4"), "12.4-0");
    }

    #[test]
    fn the_authors_version_is_found_in_debians() {
        let versions = ["1.3.dfsg+really1.3.1", "1.2.13.dfsg", "4.18.0+dfsg", "2.8"].map(upstream);
        assert_eq!(versions, ["1.3.1", "1.2.13", "4.18.0", "2.8"]);
    }

    #[test]
    fn relations_keep_their_meaning() {
        assert_eq!(one("libc6 (>= 2.34)"), "libc6 >= 2.34");
        assert_eq!(one("libc6 (>> 2.36)"), "libc6 >= 2.36");
        assert_eq!(one("libc6 (>> 2.36-9)"), "libc6 > 2.36-9");
        assert_eq!(one("libc6 (<< 2.37)"), "libc6 < 2.37");
        assert_eq!(one("gcc-12 (= 12.2.0-14)"), "gcc-12 = 12.2.0-14");
        assert_eq!(
            one("zlib1g (= 1:1.2.13.dfsg-1)"),
            "zlib1g = 1:1.2.13.dfsg-1"
        );
        assert_eq!(one("perl:any"), "perl");
    }

    #[test]
    fn alternatives_become_a_rich_dependency() {
        assert_eq!(
            one("libgdbm6 (>= 1.16) | gdbm"),
            "(libgdbm6 >= 1.16 or gdbm)"
        );
    }

    #[test]
    fn what_serves_dpkg_alone_is_not_required() {
        let drop = |name: &str| name == "debconf";
        assert_eq!(
            requires("debconf (>= 0.5) | debconf-2.0, tar, ", drop),
            ["tar"]
        );
    }

    #[test]
    fn libraries_are_told_from_their_headers_and_data() {
        let libraries = [
            "libc6",
            "libssl3",
            "zlib1g",
            "libstdc++6",
            "libreadline8t64",
        ];
        assert!(libraries.into_iter().all(is_library));
        let others = [
            "libc6-dev",
            "libc-bin",
            "libtool",
            "libperl5.36",
            "libmagic-mgc",
            "libtext-unidecode-perl",
            "zlib1g-dev",
            "perl",
        ];
        assert!(!others.into_iter().any(is_library));
    }
}

//! How dnf is asked, and what its answers mean: all that dnf 4 (4.14 to 4.23) and dnf 5 (5.4) have different names for.
//!
//! Both take options of a command after the command, and `--setopt` before it. `builddep` is another plugin in each, so that what a
//! source package needs is installed by name.

use super::super::error::RootError;

/// What says that all was as it should be already; the status is 0.
pub(super) const NOTHING: &str = "Nothing to do.";

/// What says that a package that shall go is not there; the status is 0.
const NOT_THERE: [&str; 2] = [
    "No match for argument",
    "No packages to remove for argument",
];

/// Failures of repositories, mirrors and signatures.
const PASSING: [&str; 16] = [
    "Failed to download",
    "Curl error",
    "Cannot download",
    "Error downloading packages",
    "Errors during downloading",
    "Cannot prepare internal mirrorlist",
    "No URLs in mirrorlist",
    "Usable URL not found",
    "repomd.xml GPG signature",
    "GPG check FAILED",
    "Signature verification failed",
    "OpenPGP check",
    "Cache-only enabled but no cache",
    "Librepo error",
    "Failed to load repository",
    "checksum doesn't match",
];

/// What says that packages are not there or do not go together.
const TELLING: [&str; 11] = [
    "No matching package",
    "No match for",
    "Unable to find a match",
    "nothing provides",
    "Problem:",
    "Problem ",
    "conflicts with",
    "but none of the providers",
    "cannot install",
    "is not available.",
    "does not belong to a distupgrade repository",
];

/// What a requirement of a package is called when dnf shall install what fulfils it: as a capability and nothing else, neither a
/// pattern nor a file nor an address.
pub(super) fn capability(requirement: &str) -> String {
    if requirement.starts_with('(') && requirement.contains(' ') {
        return requirement.to_owned(); // A rich one; both parse it themselves.
    }
    let plain: String = requirement
        .chars()
        .flat_map(|c| {
            if "*?[]\\".contains(c) {
                vec!['\\', c]
            } else {
                vec![c]
            }
        })
        .collect();
    // With a version, or as a path, it is no name already. In parentheses a name is a capability only.
    if plain.contains(' ') || plain.starts_with('/') {
        plain
    } else {
        format!("({plain})")
    }
}

/// Whether dnf, which says that it is done, did not find what shall be removed.
pub(super) fn misses(said: &str) -> bool {
    NOT_THERE.iter().any(|words| said.contains(words))
}

/// What a failure to resolve or download is due to, in dnf's own words without the noise. What it is not known to say of packages is
/// taken for trouble of repositories: nobody is told to correct a spec for it.
pub(super) fn unresolved(said: &str) -> RootError {
    if let Some(line) = passing(said) {
        return RootError::repository(line);
    }
    let telling = |line: &&str| TELLING.iter().any(|words| line.contains(words));
    let mut lines: Vec<String> = said
        .lines()
        .filter(telling)
        .map(|line| line.trim().to_owned())
        .collect();
    lines.dedup();
    if lines.is_empty() {
        RootError::repository(last_words(said))
    } else {
        RootError::Unresolved(lines)
    }
}

/// What a failure to install what was downloaded is due to: signatures, or packages and their scriptlets.
pub(super) fn not_installed(said: &str) -> RootError {
    match passing(said) {
        Some(_) => RootError::repository(last_words(said)),
        None => RootError::Transaction(last_words(said)),
    }
}

fn passing(said: &str) -> Option<String> {
    said.lines()
        .find(|line| PASSING.iter().any(|words| line.contains(words)))
        .map(|line| line.trim().to_owned())
}

/// Lines that were asked for, among warnings: they begin with `=`.
pub(super) fn marked(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter_map(|line| line.strip_prefix('='))
}

/// The last lines of what was said.
pub(in super::super) fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_blamed_for_what_either_dnf_says_of_packages() {
        for (said, expected) in [
            (
                "No match for argument: nosuch\nError: Unable to find a match: nosuch\n",
                2,
            ),
            (
                "Failed to resolve the transaction:\nNo match for argument: nosuch\nYou can try to add to command line:\n",
                1,
            ),
            (
                "Failed to resolve the transaction:\nProblem: nothing provides requested (nosuch and bash)\n",
                1,
            ),
            (
                "Error: \n Problem: package a-1-1.x86_64 requires b, but none of the providers can be installed\n",
                1,
            ),
            (
                "Module or Group 'nogroup' is not available.\nError: Nothing to do.\n",
                1,
            ),
        ] {
            let RootError::Unresolved(lines) = unresolved(said) else {
                panic!("{said}")
            };
            assert_eq!(lines.len(), expected, "{lines:?}");
        }
    }

    #[test]
    fn no_package_is_blamed_for_repositories_and_signatures() {
        for said in [
            "Error: Failed to download metadata for repo 'seed': Cannot prepare internal mirrorlist: No URLs in mirrorlist",
            ">>> Usable URL not found\nFailed to download metadata (baseurl: \"http://x\") for repository \"seed\": Usable URL not found",
            "Package make-4.3-4.1.x86_64.rpm is not signed\nError: GPG check FAILED",
            "usage: dnf [options] COMMAND\ndnf: error: unrecognized arguments: --bogus",
            "Unknown argument \"--downloadonly\" for command \"dnf5\". Add \"--help\" for more information about the arguments.",
            "Killed",
        ] {
            assert!(
                matches!(unresolved(said), RootError::Repository(_)),
                "{said}"
            );
        }
    }

    #[test]
    fn a_signature_that_does_not_hold_is_not_a_failed_scriptlet() {
        let failed = "Running transaction\nTransaction failed: Signature verification failed.\nOpenPGP check for package \"make\" has failed";
        assert!(matches!(not_installed(failed), RootError::Repository(_)));
        let failed = "error: %preinstall(bad-1-1.noarch) scriptlet failed, exit status 3\nError: Transaction failed";
        assert!(matches!(not_installed(failed), RootError::Transaction(_)));
    }

    #[test]
    fn a_requirement_is_asked_for_as_a_capability_only() {
        for (requirement, expected) in [
            ("gcc", "(gcc)"),
            ("tally-devel >= 2.5", "tally-devel >= 2.5"),
            ("/usr/bin/make", "/usr/bin/make"),
            ("python3dist(x[core])", "(python3dist(x\\[core\\]))"),
            ("(a or b)", "(a or b)"),
            ("http://example.org/a.rpm", "(http://example.org/a.rpm)"),
            ("@group", "(@group)"),
        ] {
            assert_eq!(capability(requirement), expected);
        }
    }
}

//! Packages that are put into a root by rpm alone: exactly these, and nothing that would be newer.

use super::super::error::RootError;
use super::super::locked::SignedFiles;
use super::super::session::RootSession;
use super::tool::{Dnf, Reach, RootCommand};
use super::words::{last_words, marked};
use crate::sandbox::Overlay;
use millrace_core::roots::RootPackage;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Files given to one `rpmkeys`: a command line has a bound, and a file's name takes some 120 bytes of it.
const KEYS_FILES_MAX: usize = 200;

/// Every package as NEVRA, without the epoch if it is 0 or none.
const NEVRAS: [&str; 4] = [
    "--query",
    "--all",
    "--queryformat",
    "=%{NAME}-%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}.%{ARCH}\\n",
];

impl Dnf {
    /// Puts files that a lock names into a root, after a look at their signatures, together with files of the task, which have none.
    pub(in super::super) fn put_exactly(
        &self,
        overlay: &Overlay,
        files: &SignedFiles,
        own: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        for (repository, files) in files {
            self.are_signed(overlay, repository, files, session)?;
        }
        let names = files
            .values()
            .flatten()
            .map(|file| file.display().to_string())
            .chain(own.iter().cloned());
        // More files than a command line takes; rpm reads their names from a file (rpm(8), "PACKAGE MANIFEST").
        let list = self.path("tmp").join("exactly");
        fs::write(&list, names.collect::<Vec<_>>().join("\n") + "\n")?;
        let argv = self.rpm(&[
            "--upgrade",
            "--oldpackage",
            "--excludedocs",
            &list.display().to_string(),
        ]);
        let output = self.run(overlay, RootCommand::quiet(argv, Reach::Root), session)?;
        if output.status != 0 {
            return Err(RootError::Transaction(last_words(&output.text)));
        }
        self.changed(overlay, session)
    }

    /// Whether a root has the packages of a lock and no others; in words what is too much or too little.
    pub(in super::super) fn has_exactly(
        &self,
        overlay: &Overlay,
        packages: &[RootPackage],
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let query = RootCommand::quiet(self.rpm(&NEVRAS), Reach::Root);
        let output = self.run(overlay, query, session)?;
        if output.status != 0 {
            return Err(RootError::Transaction(last_words(&output.text)));
        }
        let there: BTreeSet<&str> = marked(&output.text)
            .filter(|nevra| !nevra.starts_with("gpg-pubkey-"))
            .collect();
        let wanted = packages
            .iter()
            .filter(|package| !package.later)
            .map(|package| package.nevra.as_str())
            .collect();
        let differ: Vec<&str> = there.symmetric_difference(&wanted).copied().collect();
        match differ.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(RootError::Refused(format!(
                "the root differs from the lock: {} packages are only in one of them, {first} among them",
                differ.len()
            ))),
        }
    }

    /// Whether files are signed as their repository asks, if it asks (rpmkeys(8), "--checksig").
    fn are_signed(
        &self,
        overlay: &Overlay,
        repository: &str,
        files: &[PathBuf],
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let Some(key) = self.keys.get(repository) else {
            return Ok(());
        };
        let ring = tempfile::Builder::new()
            .prefix("keys-")
            .tempdir_in(self.path("tmp"))?
            .keep()
            .display()
            .to_string();
        let import = rpmkeys(&ring, "--import", &[key.display().to_string()]);
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let checks = names
            .chunks(KEYS_FILES_MAX)
            .map(|files| rpmkeys(&ring, "--checksig", files));
        for argv in std::iter::once(import).chain(checks) {
            let output = self.run(overlay, RootCommand::quiet(argv, Reach::Root), session)?;
            if output.status != 0 {
                return Err(RootError::Refused(format!(
                    "not signed by the key of repository `{repository}`:\n{}",
                    unsigned(&output.text)
                )));
            }
        }
        Ok(())
    }
}

/// A command line of rpmkeys with keys of its own.
fn rpmkeys(ring: &str, verb: &str, files: &[String]) -> Vec<String> {
    let level = "_pkgverify_level all";
    ["rpmkeys", "--dbpath", ring, "--define", level, verb]
        .into_iter()
        .map(str::to_owned)
        .chain(files.iter().cloned())
        .collect()
}

/// What rpmkeys says of files that are not signed as they should be.
fn unsigned(text: &str) -> String {
    let bad: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("NOT OK"))
        .take(5)
        .collect();
    if bad.is_empty() {
        last_words(text)
    } else {
        bad.join("\n")
    }
}

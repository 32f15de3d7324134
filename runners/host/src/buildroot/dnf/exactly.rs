//! Packages that are put into a root by rpm alone: exactly these, and nothing that would be newer.

use super::super::locked::Files;
use super::super::{RootError, Session};
use super::Dnf;
use super::words::{last_words, marked};
use crate::sandbox::{Overlay, Sandbox};
use millrace_core::roots::RootPackage;
use std::fs;
use std::path::PathBuf;

/// Files given to one `rpmkeys`: a command line has a bound, and a file's name takes some 120 bytes of it.
const KEYS_FILES_MAX: usize = 200;

/// Every package as NEVRA, without the epoch where it is 0 or none.
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
        sandbox: &Sandbox,
        overlay: &Overlay,
        files: &Files,
        own: &[String],
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        for (repository, files) in files {
            self.are_signed(sandbox, overlay, repository, files, session)?;
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
        let (status, said) = self.run_quietly(sandbox, overlay, argv, session)?;
        if status != 0 {
            return Err(RootError::Transaction(last_words(&said)));
        }
        self.changed(sandbox, overlay, session)
    }

    /// Whether a root has the packages of a lock and no others; in words what is too much or too little.
    pub(in super::super) fn has_exactly(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        packages: &[RootPackage],
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let (status, said) = self.run_quietly(sandbox, overlay, self.rpm(&NEVRAS), session)?;
        if status != 0 {
            return Err(RootError::Transaction(last_words(&said)));
        }
        let there: std::collections::BTreeSet<&str> = marked(&said)
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
                "the root is not as the lock has it: {} packages are in one of them only, {first} among them",
                differ.len()
            ))),
        }
    }

    /// Whether files are signed as their repository asks, if it asks (rpmkeys(8), "--checksig").
    fn are_signed(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        repository: &str,
        files: &[PathBuf],
        session: &mut Session<'_>,
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
        let rpmkeys = |arguments: &[&str], files: &[String]| {
            let common = [
                "rpmkeys",
                "--dbpath",
                &ring,
                "--define",
                "_pkgverify_level all",
            ];
            common
                .iter()
                .chain(arguments)
                .map(|text| (*text).to_owned())
                .chain(files.iter().cloned())
                .collect::<Vec<_>>()
        };
        let import = rpmkeys(&["--import"], &[key.display().to_string()]);
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let checks = names
            .chunks(KEYS_FILES_MAX)
            .map(|files| rpmkeys(&["--checksig"], files));
        for argv in std::iter::once(import).chain(checks) {
            let (status, said) = self.run_quietly(sandbox, overlay, argv, session)?;
            if status != 0 {
                let bad: Vec<&str> = said
                    .lines()
                    .filter(|line| line.contains("NOT OK"))
                    .take(5)
                    .collect();
                let words = if bad.is_empty() {
                    last_words(&said)
                } else {
                    bad.join("\n")
                };
                return Err(RootError::Refused(format!(
                    "not signed by the key of repository `{repository}`:\n{words}"
                )));
            }
        }
        Ok(())
    }
}

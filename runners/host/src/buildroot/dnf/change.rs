//! Changes of a root: packages are installed, upgraded and removed; and what is in it then.

use super::super::error::RootError;
use super::super::installed::InstalledPackage;
use super::super::session::RootSession;
use super::tool::{Dnf, Reach, RootCommand};
use super::words;
use crate::sandbox::Overlay;
use millrace_core::platform::RELEASED_REPOSITORY;

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ChangeResult {
    Changed,
    /// All was as it should be already.
    NothingToDo,
}

/// What dnf shall do to a root.
#[derive(Debug)]
pub(in super::super) struct PackageChange<'a> {
    /// `install` or `upgrade`.
    pub(in super::super) verb: &'a str,
    /// Names, groups, capabilities and paths of files.
    pub(in super::super) packages: Vec<String>,
    /// Whether what the line has released counts.
    pub(in super::super) with_released: bool,
    /// Whether repositories are to be asked what they have now.
    pub(in super::super) fresh: bool,
}

/// What dnf answers for each package: dnf 4 ends each line by itself, dnf 5 does not.
const INSTALLED: &str = "=%{name}\t%{epoch}\t%{version}-%{release}.%{arch}\t%{from_repo}\n";

impl Dnf {
    /// Lets dnf change a root: resolve and download first, and then install without the network.
    pub(in super::super) fn change(
        &self,
        overlay: &Overlay,
        change: &PackageChange<'_>,
        session: &mut RootSession<'_>,
    ) -> Result<ChangeResult, RootError> {
        let refresh: &[&str] = if change.fresh { &["--refresh"] } else { &[] };
        let download = self.change_argv(change, refresh, &["--downloadonly"]);
        let output = {
            let _turn = self.turn(session)?;
            self.run(
                overlay,
                RootCommand::aloud(download, Reach::Network),
                session,
            )?
        };
        if output.status != 0 {
            return Err(words::unresolved(&output.text));
        }
        if output.text.contains(words::NOTHING) {
            return Ok(ChangeResult::NothingToDo);
        }
        let install = self.change_argv(change, &["--cacheonly"], &[]);
        let output = self.run(overlay, RootCommand::aloud(install, Reach::Cache), session)?;
        if output.status != 0 {
            return Err(words::not_installed(&output.text));
        }
        self.changed(overlay, session)?;
        Ok(ChangeResult::Changed)
    }

    /// A command line of dnf's for a change, with options before and after its verb.
    fn change_argv(
        &self,
        change: &PackageChange<'_>,
        before: &[&str],
        after: &[&str],
    ) -> Vec<String> {
        let mut argv = self.dnf(&[]);
        if self.has_released && !change.with_released {
            argv.push(format!("--setopt={RELEASED_REPOSITORY}.enabled=0"));
        }
        let words = before.iter().chain([&change.verb]).chain(after);
        argv.extend(words.map(|word| (*word).to_owned()));
        argv.extend(change.packages.iter().cloned());
        argv
    }

    /// What follows every change.
    pub(super) fn changed(
        &self,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        if self.carries {
            self.carry(overlay, session)
        } else {
            Ok(())
        }
    }

    /// Whether rpm alone could install these files: it can if nothing more is needed.
    pub(in super::super) fn rpm_installs(
        &self,
        overlay: &Overlay,
        files: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<bool, RootError> {
        let mut argv = self.rpm(&["--upgrade", "--excludedocs"]);
        argv.extend(files.iter().cloned());
        let output = self.run(overlay, RootCommand::quiet(argv, Reach::Root), session)?;
        if output.status != 0 {
            return Ok(false);
        }
        self.changed(overlay, session)?;
        Ok(true)
    }

    /// Removes packages by name, and what needs them.
    pub(in super::super) fn remove(
        &self,
        overlay: &Overlay,
        names: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let mut argv = self.rpm(&["--erase"]);
        argv.extend(names.iter().cloned());
        let output = self.run(overlay, RootCommand::quiet(argv, Reach::Root), session)?;
        if output.status == 0 {
            return self.changed(overlay, session);
        }
        let mut argv = self.dnf(&[
            "--cacheonly",
            "--setopt=clean_requirements_on_remove=0",
            "remove",
        ]);
        argv.extend(names.iter().cloned());
        let output = self.run(overlay, RootCommand::aloud(argv, Reach::Cache), session)?;
        if output.status != 0 || words::misses(&output.text) {
            return Err(RootError::Transaction(words::last_words(&output.text)));
        }
        self.changed(overlay, session)
    }

    /// What is in a root.
    pub(in super::super) fn installed(
        &self,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<Vec<InstalledPackage>, RootError> {
        let argv = self.dnf(&[
            "--cacheonly",
            "--quiet",
            "repoquery",
            "--installed",
            "--queryformat",
            INSTALLED,
        ]);
        let output = self.run(overlay, RootCommand::quiet(argv, Reach::Cache), session)?;
        if output.status != 0 {
            return Err(words::not_installed(&output.text));
        }
        let mut all: Vec<InstalledPackage> = words::marked(&output.text)
            .filter_map(InstalledPackage::read)
            .collect();
        all.sort();
        Ok(all)
    }
}

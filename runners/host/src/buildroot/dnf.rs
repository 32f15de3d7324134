//! dnf and rpm of this machine, working on a root from outside (dnf(8)).
//!
//! Scriptlets run where dnf runs, and what they leave must not reach another task: what all tasks share is never writable while one may
//! run, and what dnf is told to do lies in a folder that only the host writes to.

mod configuration;
mod database;
mod exactly;
mod words;

pub(super) use words::last_words;

use super::recipe::{Fingerprints, Recipe};
use super::store::Store;
use super::{Installed, RootError, Session};
use crate::sandbox::{Command, Ended, Overlay, Sandbox, Shown, View};
use millrace_core::platform::RELEASED_REPOSITORY;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where dnf and rpm of this machine keep a root's database. Distributions differ, and so does the machine's own rpm.
const DATABASE: &str = "/var/lib/rpm";

/// Where a root sees metadata and packages while dnf works on it: in a file system that is new with every command, so that nothing of it
/// stays in the root.
const CACHE: &str = "/dev/dnf";

/// Output of dnf that is kept to be read, in bytes.
const SAID_BYTES_MAX: usize = 4 << 20;

/// How soon somebody who waits for the cache looks again.
const LOOK: Duration = Duration::from_millis(50);

/// Set up for one root.
#[derive(Debug)]
pub(super) struct Dnf {
    /// A folder beside the task's: `conf`, which is only read; `tmp`; and what dnf writes over the cache.
    own: TempDir,
    /// Metadata and packages, shared by all tasks. Written to only while no scriptlet can run.
    cache: PathBuf,
    /// Folders of this machine that are read: repositories, and what a lock names.
    local: Vec<PathBuf>,
    /// Files with the keys of repositories, by their id.
    keys: BTreeMap<String, PathBuf>,
    /// Whether the line's own repository is among them.
    released: bool,
    /// Whether each change of the root must be handed over to its own rpm.
    pub(super) carries: bool,
    common: Vec<String>,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It was made.
    Changed,
    /// All was as it should be already.
    Nothing,
}

/// What dnf shall do to a root.
#[derive(Debug)]
pub(super) struct Change<'a> {
    /// `install` or `upgrade`.
    pub(super) verb: &'a str,
    /// Names, groups, capabilities and paths of files.
    pub(super) packages: Vec<String>,
    /// Whether what the line has released counts.
    pub(super) with_released: bool,
    /// Whether repositories are to be asked what they have now.
    pub(super) fresh: bool,
}

/// What a command may see and reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The root alone.
    Root,
    /// The cache too; what is written to it is dropped.
    Cache,
    /// The network, and the cache for good. No scriptlet runs.
    Network,
}

impl Dnf {
    pub(super) fn new(
        store: &Store,
        recipe: &Recipe,
        now: &Fingerprints,
        work: &Path,
    ) -> Result<Self, RootError> {
        let own = tempfile::Builder::new()
            .prefix(".dnf-")
            .tempdir_in(work.parent().unwrap_or(work))?;
        let cache = store.folder().join("dnf").join(recipe.arch.as_str());
        let conf = own.path().join("conf");
        for folder in [&cache, &conf, &own.path().join("tmp")] {
            fs::create_dir_all(folder)?;
        }
        let keys = configuration::write(&conf, store, recipe, now)?;
        let options = [
            ("--config", conf.join("dnf.conf").display().to_string()),
            (
                "--installroot",
                own.path().join("root").display().to_string(),
            ),
            ("--releasever", recipe.releasever.clone()),
            ("--forcearch", recipe.arch.to_string()),
        ];
        let common = options
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .chain(["--assumeyes".to_owned()])
            .collect();
        let released = recipe
            .repositories
            .iter()
            .any(|repository| repository.id == RELEASED_REPOSITORY);
        let local = local(recipe).into_iter().chain([store.locked()?]).collect();
        Ok(Self {
            own,
            cache,
            local,
            keys,
            released,
            carries: false,
            common,
        })
    }

    /// Where dnf keeps what it has fetched.
    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    /// What dnf shall install for what a source package needs.
    pub(super) fn capability(requirement: &str) -> String {
        words::capability(requirement)
    }

    /// Lets dnf change a root: resolve and download first, and then install without the network.
    pub(super) fn change(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        change: &Change<'_>,
        session: &mut Session<'_>,
    ) -> Result<Said, RootError> {
        let line = |before: &[&str], after: &[&str]| {
            let without = (self.released && !change.with_released)
                .then(|| format!("--setopt={RELEASED_REPOSITORY}.enabled=0"));
            let words = |words: &[&str]| {
                words
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<Vec<_>>()
            };
            let mut argv = self.dnf(&[]);
            argv.extend(without.into_iter().chain(words(before)));
            argv.extend(std::iter::once(change.verb.to_owned()).chain(words(after)));
            argv.extend(change.packages.iter().cloned());
            argv
        };
        let refresh: &[&str] = if change.fresh { &["--refresh"] } else { &[] };
        let (status, said) = {
            let _turn = self.turn(session)?;
            self.run(
                sandbox,
                overlay,
                line(refresh, &["--downloadonly"]),
                Reach::Network,
                session,
            )?
        };
        if status != 0 {
            return Err(words::unresolved(&said));
        }
        if said.contains(words::NOTHING) {
            return Ok(Said::Nothing);
        }
        match self.run(
            sandbox,
            overlay,
            line(&["--cacheonly"], &[]),
            Reach::Cache,
            session,
        )? {
            (0, _) => self
                .changed(sandbox, overlay, session)
                .map(|()| Said::Changed),
            (_, said) => Err(words::not_installed(&said)),
        }
    }

    /// What follows every change.
    fn changed(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        if self.carries {
            self.carry(sandbox, overlay, session)
        } else {
            Ok(())
        }
    }

    /// Whether rpm alone could install these files: it can where nothing more is needed.
    pub(super) fn rpm_installs(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        files: &[String],
        session: &mut Session<'_>,
    ) -> Result<bool, RootError> {
        let argv = self
            .rpm(&["--upgrade", "--excludedocs"])
            .into_iter()
            .chain(files.iter().cloned())
            .collect();
        let done = self.run_quietly(sandbox, overlay, argv, session)?.0 == 0;
        if done {
            self.changed(sandbox, overlay, session)?;
        }
        Ok(done)
    }

    /// Removes packages by name, and what needs them.
    pub(super) fn remove(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        names: &[String],
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let argv = self
            .rpm(&["--erase"])
            .into_iter()
            .chain(names.iter().cloned())
            .collect();
        if self.run_quietly(sandbox, overlay, argv, session)?.0 == 0 {
            return self.changed(sandbox, overlay, session);
        }
        let mut argv = self.dnf(&[
            "--cacheonly",
            "--setopt=clean_requirements_on_remove=0",
            "remove",
        ]);
        argv.extend(names.iter().cloned());
        match self.run(sandbox, overlay, argv, Reach::Cache, session)? {
            (0, said) if !words::misses(&said) => self.changed(sandbox, overlay, session),
            (_, said) => Err(RootError::Transaction(words::last_words(&said))),
        }
    }

    /// What is in a root.
    pub(super) fn installed(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        session: &mut Session<'_>,
    ) -> Result<Vec<Installed>, RootError> {
        // dnf 4 ends each line by itself, dnf 5 does not.
        let format = "=%{name}\t%{epoch}\t%{version}-%{release}.%{arch}\t%{from_repo}\n";
        let argv = self.dnf(&[
            "--cacheonly",
            "--quiet",
            "repoquery",
            "--installed",
            "--queryformat",
            format,
        ]);
        let (status, said) =
            self.run_heard(sandbox, overlay, argv, Reach::Cache, false, session)?;
        if status != 0 {
            return Err(words::not_installed(&said));
        }
        let mut all: Vec<Installed> = words::marked(&said).filter_map(installed).collect();
        all.sort();
        Ok(all)
    }

    fn dnf(&self, arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(|text| (*text).to_owned());
        std::iter::once("dnf".to_owned())
            .chain(self.common.iter().cloned())
            .chain(arguments)
            .collect()
    }

    /// The machine's rpm on the root. Signatures were dnf's to check; these files are the task's own.
    fn rpm(&self, arguments: &[&str]) -> Vec<String> {
        let root = self.path("root").display().to_string();
        ["rpm", "--root", &root, "--nosignature"]
            .iter()
            .chain(arguments)
            .map(|text| (*text).to_owned())
            .collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }

    /// Waits until nobody else writes to the cache: dnf's own locks go by process ids, which mean nothing from one sandbox to another.
    fn turn(&self, session: &Session<'_>) -> Result<File, RootError> {
        let (turn, began) = (
            File::create(self.cache.with_extension("lock"))?,
            Instant::now(),
        );
        loop {
            match turn.try_lock() {
                Ok(()) => return Ok(turn),
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(error)) => return Err(error.into()),
            }
            if session.cancelled.load(Ordering::SeqCst) || began.elapsed() >= session.time_left {
                return Err(RootError::Stopped);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn run(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        argv: Vec<String>,
        reach: Reach,
        session: &mut Session<'_>,
    ) -> Result<(u8, String), RootError> {
        self.run_heard(sandbox, overlay, argv, reach, true, session)
    }

    fn run_quietly(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        argv: Vec<String>,
        session: &mut Session<'_>,
    ) -> Result<(u8, String), RootError> {
        self.run_heard(sandbox, overlay, argv, Reach::Root, false, session)
    }

    fn run_heard(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        argv: Vec<String>,
        reach: Reach,
        aloud: bool,
        session: &mut Session<'_>,
    ) -> Result<(u8, String), RootError> {
        let over = tempfile::Builder::new()
            .prefix("over-")
            .tempdir_in(self.own.path())?;
        let at = self.path("root").join(CACHE.trim_start_matches('/'));
        let elsewhere = match reach {
            Reach::Root => Vec::new(),
            Reach::Cache => vec![(Shown::Under(self.over_cache(over.path())), at)],
            Reach::Network => vec![(Shown::Itself(self.cache.clone()), at)],
        };
        let own = [session.work.to_owned(), self.path("conf")];
        let readable = self.local.iter().cloned().chain(own).collect();
        let root = Some((overlay.clone(), self.path("root")));
        let view = View::Host {
            readable,
            writable: vec![self.path("tmp")],
            root,
            elsewhere,
        };
        let mut command = self.command(view, argv, session);
        if reach == Reach::Network {
            command.options.network = true;
            command.env.extend(configuration::proxies(std::env::vars()));
        }
        let output = &mut session.output;
        self.heard(sandbox, &command, session.cancelled, &mut |bytes| {
            if aloud {
                output(bytes);
            }
        })
    }

    fn over_cache(&self, over: &Path) -> Overlay {
        Overlay {
            lowers: vec![self.cache.clone()],
            upper: over.join("upper"),
            scratch: over.join("scratch"),
        }
    }

    fn command<'a>(&self, view: View, argv: Vec<String>, session: &Session<'a>) -> Command<'a> {
        let tmp = self.path("tmp").display().to_string();
        let env = vec![
            ("HOME".to_owned(), self.path("conf").display().to_string()),
            ("TMPDIR".to_owned(), tmp.clone()),
            ("COLUMNS".to_owned(), "200".to_owned()),
        ];
        Command {
            env,
            cwd: tmp,
            ..session.command(view, argv)
        }
    }

    /// Runs a command to its end; its status, and what it said.
    fn heard(
        &self,
        sandbox: &Sandbox,
        command: &Command<'_>,
        cancelled: &AtomicBool,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<(u8, String), RootError> {
        let mut said = Vec::new();
        let ended = sandbox.run(command, cancelled, &mut |bytes: &[u8]| {
            if said.len() < SAID_BYTES_MAX {
                said.extend_from_slice(bytes);
            }
            output(bytes);
        })?;
        let said = String::from_utf8_lossy(&said).into_owned();
        match ended {
            Ended::Exited { status, .. } => Ok((status, said)),
            Ended::TimedOut | Ended::Cancelled => Err(RootError::Stopped),
            Ended::OutOfMemory => Err(RootError::Transaction(
                "installing packages needs more memory than the step may use".to_owned(),
            )),
            Ended::OutOfSpace => Err(RootError::Transaction(
                "the packages do not fit into the disk that the step may use".to_owned(),
            )),
            Ended::OutputLimit => Err(RootError::Transaction(
                "installing packages prints more than the step's log may have".to_owned(),
            )),
        }
    }
}

/// Folders of this machine that are repositories.
fn local(recipe: &Recipe) -> Vec<PathBuf> {
    let urls = recipe
        .repositories
        .iter()
        .filter_map(|repository| repository.baseurl.as_deref());
    urls.filter_map(|url| {
        recipe
            .filled(url)
            .strip_prefix("file://")
            .map(PathBuf::from)
    })
    .collect()
}

fn installed(line: &str) -> Option<Installed> {
    let mut fields = line.split('\t');
    let (name, epoch, vra, repository) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next().unwrap_or_default(),
    );
    let epoch = if epoch == "0" {
        String::new()
    } else {
        format!("{epoch}:")
    };
    let nevra = format!("{name}-{epoch}{vra}");
    let repository = if repository.starts_with('@') {
        ""
    } else {
        repository
    };
    Some(Installed {
        nevra,
        name: name.to_owned(),
        repository: repository.to_owned(),
    })
}

//! dnf set up for one root, and the one way in which it and other programs run on that.

use super::super::error::RootError;
use super::super::fingerprints::Fingerprints;
use super::super::recipe::Recipe;
use super::super::repository_cache::RepositoryCache;
use super::super::session::RootSession;
use super::super::store::LayerStore;
use super::configuration::{self, CACHE};
use super::words;
use crate::sandbox::{Command, CommandEnd, Overlay, Sandbox, Shown, View};
use millrace_core::platform::RELEASED_REPOSITORY;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Output that is kept to be read, in bytes.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// How soon somebody who waits for the cache looks again.
const LOOK: Duration = Duration::from_millis(50);

/// Set up for one root.
#[derive(Debug)]
pub(in super::super) struct Dnf {
    sandbox: Sandbox,
    /// A folder beside the task's: `conf`, which is only read; `tmp`; and what dnf writes over the cache.
    own: TempDir,
    /// Metadata and packages, shared by all tasks. Written to only while no scriptlet can run.
    cache: PathBuf,
    /// Folders of this machine that are read: repositories, and what a lock names.
    local: Vec<PathBuf>,
    /// Files with the keys of repositories, by their id.
    pub(super) keys: BTreeMap<String, PathBuf>,
    /// Whether the line's own repository is among them.
    pub(super) has_released: bool,
    /// Whether each change of the root must be handed over to its own rpm.
    pub(in super::super) carries: bool,
    common: Vec<String>,
}

/// What a command may see and reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is a program of the root, and runs inside of it.
    Inside,
    /// The root alone, from outside.
    Root,
    /// The cache too; what is written to it is dropped.
    Cache,
    /// The network, and the cache for good. No scriptlet runs.
    Network,
}

/// A command on a root.
#[derive(Debug)]
pub(super) struct RootCommand {
    argv: Vec<String>,
    reach: Reach,
    /// Whether the task's log has what it prints.
    aloud: bool,
}

impl RootCommand {
    /// One that people shall see in the task's log.
    pub(super) const fn aloud(argv: Vec<String>, reach: Reach) -> Self {
        Self {
            argv,
            reach,
            aloud: true,
        }
    }

    /// One whose output is for this program alone.
    pub(super) const fn quiet(argv: Vec<String>, reach: Reach) -> Self {
        Self {
            argv,
            reach,
            aloud: false,
        }
    }
}

/// How a command on a root ended.
#[derive(Debug)]
pub(super) struct CommandOutput {
    pub(super) status: u8,
    /// What it printed, both of its streams.
    pub(super) text: String,
}

impl Dnf {
    pub(in super::super) fn new(
        store: &LayerStore,
        repositories: &RepositoryCache,
        sandbox: Sandbox,
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
        let keys = configuration::write(&conf, repositories, recipe, now)?;
        let root = own.path().join("root");
        let common = vec![
            format!("--config={}", conf.join("dnf.conf").display()),
            format!("--installroot={}", root.display()),
            format!("--releasever={}", recipe.releasever),
            format!("--forcearch={}", recipe.arch),
            "--assumeyes".to_owned(),
        ];
        let has_released = recipe
            .repositories
            .iter()
            .any(|repository| repository.id == RELEASED_REPOSITORY);
        let local = local_folders(recipe)
            .into_iter()
            .chain([store.locked()?])
            .collect();
        Ok(Self {
            sandbox,
            own,
            cache,
            local,
            keys,
            has_released,
            carries: false,
            common,
        })
    }

    /// Where dnf keeps what it has fetched.
    pub(in super::super) fn cache(&self) -> &Path {
        &self.cache
    }

    /// What dnf shall install for what a source package needs.
    pub(in super::super) fn capability(requirement: &str) -> String {
        words::capability(requirement)
    }

    /// A command line of dnf on the root.
    pub(super) fn dnf(&self, arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(|text| (*text).to_owned());
        std::iter::once("dnf".to_owned())
            .chain(self.common.iter().cloned())
            .chain(arguments)
            .collect()
    }

    /// A command line of the machine's rpm on the root. Signatures were dnf's to check; these files are the task's own.
    pub(super) fn rpm(&self, arguments: &[&str]) -> Vec<String> {
        let root = self.path("root").display().to_string();
        ["rpm", "--root", &root, "--nosignature"]
            .iter()
            .chain(arguments)
            .map(|text| (*text).to_owned())
            .collect()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }

    /// Waits until nobody else writes to the cache: dnf's own locks go by process ids, which mean nothing from one sandbox to another.
    pub(super) fn turn(&self, session: &RootSession<'_>) -> Result<File, RootError> {
        let turn = File::create(self.cache.with_extension("lock"))?;
        let began = Instant::now();
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

    /// Runs a command on a root to its end.
    pub(super) fn run(
        &self,
        overlay: &Overlay,
        command: RootCommand,
        session: &mut RootSession<'_>,
    ) -> Result<CommandOutput, RootError> {
        let RootCommand { argv, reach, aloud } = command;
        // What a command writes over the cache goes with this.
        let over = tempfile::Builder::new()
            .prefix("over-")
            .tempdir_in(self.own.path())?;
        let command = match reach {
            Reach::Inside => session.command(View::Root(overlay.clone()), argv),
            Reach::Root | Reach::Cache | Reach::Network => {
                self.outside(overlay, argv, reach, over.path(), session)
            }
        };
        let mut text = Vec::new();
        let output = &mut session.output;
        let ended = self
            .sandbox
            .run(&command, session.cancelled, &mut |bytes: &[u8]| {
                if text.len() < OUTPUT_BYTES_MAX {
                    text.extend_from_slice(bytes);
                }
                if aloud {
                    output(bytes);
                }
            })?;
        Ok(CommandOutput {
            status: status_of(ended)?,
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    /// A command of this machine, which sees the root in a folder.
    fn outside<'a>(
        &self,
        overlay: &Overlay,
        argv: Vec<String>,
        reach: Reach,
        over: &Path,
        session: &RootSession<'a>,
    ) -> Command<'a> {
        let tmp = self.path("tmp");
        let cache_at = self.path("root").join(CACHE.trim_start_matches('/'));
        let elsewhere = match reach {
            Reach::Inside | Reach::Root => Vec::new(),
            Reach::Cache => vec![(Shown::Under(self.over_cache(over)), cache_at)],
            Reach::Network => vec![(Shown::Itself(self.cache.clone()), cache_at)],
        };
        let own = [session.work.to_owned(), self.path("conf")];
        let view = View::Host {
            readable: self.local.iter().cloned().chain(own).collect(),
            writable: vec![tmp.clone()],
            root: Some((overlay.clone(), self.path("root"))),
            elsewhere,
        };
        let mut command = session.command(view, argv);
        command.cwd = tmp.display().to_string();
        command.env = vec![
            ("HOME".to_owned(), self.path("conf").display().to_string()),
            ("TMPDIR".to_owned(), tmp.display().to_string()),
            ("COLUMNS".to_owned(), "200".to_owned()),
        ];
        if reach == Reach::Network {
            command.options.network = true;
            command.env.extend(configuration::proxies(std::env::vars()));
        }
        command
    }

    fn over_cache(&self, over: &Path) -> Overlay {
        Overlay {
            lowers: vec![self.cache.clone()],
            upper: over.join("upper"),
            scratch: over.join("scratch"),
        }
    }
}

/// The status of a command that ended by itself.
fn status_of(ended: CommandEnd) -> Result<u8, RootError> {
    let too_much = match ended {
        CommandEnd::Exited { status, .. } => return Ok(status),
        CommandEnd::TimedOut | CommandEnd::Cancelled => return Err(RootError::Stopped),
        CommandEnd::OutOfMemory => "installing packages needs more memory than the step may use",
        CommandEnd::OutOfSpace => "the packages do not fit into the disk that the step may use",
        CommandEnd::OutputLimit => "installing packages prints more than the step's log may have",
    };
    Err(RootError::Transaction(too_much.to_owned()))
}

/// Folders of this machine that are repositories.
fn local_folders(recipe: &Recipe) -> Vec<PathBuf> {
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

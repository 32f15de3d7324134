//! A sandbox, roots and a folder for a task, without a line around them.

use crate::up::{TestSetup, platform};
use millrace_core::platform::{Limits, Platform, SandboxOptions};
use millrace_host::buildroot::{Buildroots, Recipe, Root, RootError, RootKind, RootSession};
use millrace_host::sandbox::{Command, CommandEnd, Sandbox, SandboxError, View};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const LIMITS: Limits = Limits {
    memory_bytes: 200_000_000,
    disk_bytes: 100_000_000,
    processes: 50,
    time_s: 60,
    silence_s: 60,
    log_bytes: 1_000_000,
};

/// Longer than any of these takes; what must be stopped sooner says so itself.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What making a root may put on the disk, in bytes: the small one that these are made from takes a tenth of it.
pub const ROOT_BYTES_MAX: u64 = 2 << 30;

/// What starts commands and makes roots, and a folder for a task.
pub struct SandboxFixture {
    /// Around the task's folder.
    pub folder: tempfile::TempDir,
    pub sandbox: Sandbox,
    pub roots: Buildroots,
}

impl SandboxFixture {
    /// With the roots of all tests of this machine.
    #[allow(clippy::new_without_default, reason = "it makes folders")]
    pub fn new() -> Self {
        Self::over(&TestSetup::here().work)
    }

    /// With roots of its own below a folder, in layers of at most [`ROOT_BYTES_MAX`].
    pub fn apart(shared: &Path) -> Self {
        let Self {
            folder,
            sandbox,
            roots,
        } = Self::over(shared);
        Self {
            folder,
            sandbox,
            roots: roots.with_layers_of(ROOT_BYTES_MAX),
        }
    }

    /// With another program in the place of `mock`.
    pub fn with_mock(self, mock: PathBuf) -> Self {
        Self {
            roots: self.roots.with_mock(mock),
            ..self
        }
    }

    fn over(shared: &Path) -> Self {
        Self::with_program(TestSetup::here().program, shared)
    }

    /// With commands started by a program that becomes the launcher, and roots below a folder.
    pub fn with_program(program: PathBuf, shared: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("task/work");
        fs::create_dir_all(&work).unwrap();
        fs::set_permissions(&work, fs::Permissions::from_mode(0o777)).unwrap();
        let sandbox = Sandbox::new(program);
        let roots = Buildroots::new(&shared.join("roots"), sandbox.clone()).unwrap();
        Self {
            folder,
            sandbox,
            roots,
        }
    }

    /// The task's folder.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("task/work")
    }

    /// Makes a root with packages; the answer, and what was said.
    pub fn try_root(&self, packages: &[&str]) -> (Result<Root, RootError>, String) {
        self.try_recipe(&recipe(), packages)
    }

    /// The same of another recipe.
    pub fn try_recipe(
        &self,
        recipe: &Recipe,
        packages: &[&str],
    ) -> (Result<Root, RootError>, String) {
        let packages = owned(packages);
        self.with_session(|session| {
            self.roots
                .create(recipe, RootKind::Minimal, &packages, session)
        })
    }

    /// Installs into a root; the answer, and what was said.
    pub fn install(&self, root: &mut Root, packages: &[&str]) -> (Result<(), RootError>, String) {
        self.with_session(|session| root.install(&owned(packages), session))
    }

    /// Does something to roots; the answer, and what was said.
    pub fn with_session<T>(
        &self,
        work: impl FnOnce(&mut RootSession<'_>) -> Result<T, RootError>,
    ) -> (Result<T, RootError>, String) {
        let (folder, never, mut said) = (self.work(), AtomicBool::new(false), String::new());
        let mut output = |bytes: &[u8]| said.push_str(&String::from_utf8_lossy(bytes));
        let limits = Limits {
            memory_bytes: 4 << 30,
            disk_bytes: ROOT_BYTES_MAX,
            processes: 500,
            log_bytes: 16 << 20,
            ..LIMITS
        };
        let mut session = RootSession {
            work: &folder,
            limits,
            time_left: Duration::from_secs(300),
            cancelled: &never,
            output: &mut output,
        };
        let done = work(&mut session);
        (done, said)
    }

    /// A root of nothing but what every root has.
    pub fn root(&self) -> Root {
        let (root, said) = self.try_root(&[]);
        root.unwrap_or_else(|error| panic!("{error}\n{said}"))
    }

    /// Runs a script as the ordinary user; how it ended, and what it printed.
    pub fn bash(&self, script: &str) -> (CommandEnd, String) {
        self.run(&["/bin/bash", "-c", script], PATIENCE, false)
    }

    /// Runs a command in a new root; how it ended, and what it printed.
    pub fn run(&self, argv: &[&str], timeout: Duration, as_root: bool) -> (CommandEnd, String) {
        self.run_until(argv, timeout, as_root, &AtomicBool::new(false))
    }

    /// The same until it is cancelled.
    pub fn run_until(
        &self,
        argv: &[&str],
        timeout: Duration,
        as_root: bool,
        cancelled: &AtomicBool,
    ) -> (CommandEnd, String) {
        let root = self.root();
        self.run_in(root.view(), argv, timeout, as_root, cancelled)
    }

    /// The same in a root that is there.
    pub fn run_in(
        &self,
        view: View,
        argv: &[&str],
        timeout: Duration,
        as_root: bool,
        cancelled: &AtomicBool,
    ) -> (CommandEnd, String) {
        let mut said = String::new();
        let heard = &mut |bytes: &[u8]| said.push_str(&String::from_utf8_lossy(bytes));
        let ended = self.hear(view, argv, timeout, as_root, cancelled, heard);
        (ended.unwrap(), said)
    }

    /// The same, heard as it comes.
    pub fn hear(
        &self,
        view: View,
        argv: &[&str],
        timeout: Duration,
        as_root: bool,
        cancelled: &AtomicBool,
        heard: &mut dyn FnMut(&[u8]),
    ) -> Result<CommandEnd, SandboxError> {
        let work = self.work();
        let command = Command {
            view,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            stdin: Vec::new(),
            timeout,
            as_root,
            options: SandboxOptions {
                limits: LIMITS,
                ..SandboxOptions::default()
            },
            work: &work,
            capture_bytes_max: 0,
        };
        self.sandbox.run(&command, cancelled, heard)
    }

    /// Starts a script, and does something as soon as it is heard of.
    pub fn when_heard(
        &self,
        script: &str,
        act: &mut dyn FnMut(&AtomicBool),
    ) -> Result<CommandEnd, SandboxError> {
        let (root, cancelled) = (self.root(), AtomicBool::new(false));
        self.hear(
            root.view(),
            &["/bin/bash", "-c", script],
            PATIENCE,
            false,
            &cancelled,
            &mut |_| act(&cancelled),
        )
    }
}

/// What the tests' platform is made from, without what the line releases.
pub fn recipe() -> Recipe {
    let platform =
        Platform::parse("platform.toml", &platform(&TestSetup::here().platform, "")).unwrap();
    Recipe {
        arch: std::env::consts::ARCH.parse().unwrap(),
        releasever: platform.releasever,
        module_platform: platform.module_platform,
        repositories: platform.repositories,
        buildroot: platform.buildroot,
        locked: None,
    }
}

/// The status of what ended by itself.
pub fn status(ended: &CommandEnd) -> Option<u8> {
    match ended {
        CommandEnd::Exited { status, .. } => Some(*status),
        _ => None,
    }
}

fn owned(packages: &[&str]) -> Vec<String> {
    packages
        .iter()
        .map(|package| (*package).to_owned())
        .collect()
}

//! Roots of a platform: made by dnf from its repositories and from what the line has released, kept by what is in them.
//!
//! Three layers, each read-only once it is made: the base (what every root of the kind has), what the line has released of that
//! since, and the build dependencies of one source package. Each is named by the digest of what it was made from, so that the
//! same question is never asked of dnf twice. What a task changes lands in a fourth layer, which goes with the task.
//!
//! Scriptlets of packages are foreign code: dnf resolves and downloads with the network and without running any; it installs in the
//! sandbox without the network.

mod dnf;
mod recipe;
mod released;
mod store;

pub use recipe::Recipe;

use crate::sandbox::{Overlay, Sandbox, SandboxError, View};
use dnf::{Dnf, Said};
use millrace_core::platform::Limits;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use store::Store;

/// Beside a base layer: the names of the packages in it, a line each.
const NAMES: &str = "names";

/// Where the task's folder is seen in a sandbox.
const WORK: &str = "/work/";

/// What a root starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What every spec may take for granted.
    Build,
    /// As little as a user may have.
    Minimal,
}

/// A package in a root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// `name-[epoch:]version-release.arch`
    pub nevra: String,
    /// The name alone.
    pub name: String,
    /// The repository it came from; empty for a file of the task's folder.
    pub repository: String,
}

/// A root that was not made, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing provides these, or they contradict each other; in dnf's words.
    #[error("{}", .0.join("\n"))]
    Unresolved(Vec<String>),
    /// A repository does not answer, or answers nonsense. A retry may help.
    #[error("{0}")]
    Repository(String),
    /// A scriptlet failed, or something is not there to be removed.
    #[error("{0}")]
    Transaction(String),
    /// What was asked for is no package, or not in the task's folder.
    #[error("{0}")]
    Refused(String),
    /// It took longer than the task may take, or the task was given up.
    #[error("making the root was stopped")]
    Stopped,
    /// The sandbox does not work.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Files, folders.
    #[error("the root: {0}")]
    Io(#[from] io::Error),
}

/// What making and changing roots may use up, and who hears of it.
pub struct Session<'a> {
    /// The task's folder, as `/work` in the sandbox.
    pub work: &'a Path,
    /// Bounds of the task.
    pub limits: Limits,
    /// How long the task may still take.
    pub time_left: Duration,
    /// Whether the task was given up.
    pub cancelled: &'a AtomicBool,
    /// The task's log.
    pub output: &'a mut dyn FnMut(&[u8]),
}

/// Makes roots, and keeps them below one folder.
#[derive(Debug, Clone)]
pub struct Buildroots {
    store: Store,
    sandbox: Sandbox,
}

/// A root of one task.
#[derive(Debug)]
pub struct Root {
    overlay: Overlay,
    dnf: Dnf,
    sandbox: Sandbox,
}

impl Buildroots {
    /// Roots below a folder, which may be shared by several runners and removed while none runs.
    pub fn new(folder: &Path, sandbox: Sandbox) -> io::Result<Self> {
        Sandbox::sweep();
        Ok(Self { store: Store::open(folder)?, sandbox })
    }

    /// The sandbox that commands run in.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Makes a root of a kind with packages on top: names, capabilities, or paths of RPMs below `/work`; the path of one source
    /// package stands for what it BuildRequires.
    pub fn create(&self, recipe: &Recipe, kind: Kind, packages: &[String], session: &mut Session<'_>) -> Result<Root, RootError> {
        let dnf = Dnf::new(&self.store, recipe, session.work)?;
        let repositories = self.store.fingerprints(recipe)?;
        let base = self.base(recipe, kind, &repositories, &dnf, session)?;
        let newer = self.released_since(&base, &repositories, &dnf, session)?;
        let mut lowers: Vec<PathBuf> = newer.into_iter().chain([base]).collect();
        let (files, names): (Vec<_>, Vec<_>) =
            packages.iter().cloned().partition(|package| package.starts_with(WORK) || package.ends_with(".rpm"));
        match files.as_slice() {
            [source] if source.ends_with(".src.rpm") && names.is_empty() => {
                let path = inside(session.work, source)?;
                let requires = recipe::build_requires(&path)?;
                if let Some(layer) =
                    self.layer(&lowers, &requires, &repositories, &dnf, &["builddep", &path.display().to_string()], session)?
                {
                    lowers.insert(0, layer);
                }
                return self.root(lowers, dnf, session);
            }
            _ => {}
        }
        let mut root = self.root(lowers, dnf, session)?;
        if !packages.is_empty() {
            root.install(packages, session)?;
        }
        Ok(root)
    }

    fn root(&self, lowers: Vec<PathBuf>, dnf: Dnf, session: &Session<'_>) -> Result<Root, RootError> {
        let own = tempfile::Builder::new().prefix(".root-").tempdir_in(session.work.parent().unwrap_or(session.work))?.keep();
        let overlay = Overlay { lowers, upper: own.join("upper"), scratch: own.join("scratch") };
        Ok(Root { overlay, dnf, sandbox: self.sandbox.clone() })
    }

    /// What every root of the kind has, from the platform's own repositories.
    fn base(
        &self,
        recipe: &Recipe,
        kind: Kind,
        repositories: &recipe::Fingerprints,
        dnf: &Dnf,
        session: &mut Session<'_>,
    ) -> Result<PathBuf, RootError> {
        let packages = match kind {
            Kind::Build => &recipe.buildroot.packages,
            Kind::Minimal => &recipe.buildroot.minimal,
        };
        let key = Store::key(&("base with names", recipe.arch, &recipe.releasever, packages, &repositories.platform));
        self.store
            .once(&key, |new| {
                (session.output)(format!("making a {} root with {}\n", recipe.arch, packages.join(" ")).as_bytes());
                let empty = new.join("empty");
                fs::create_dir_all(&empty)?;
                let overlay = Overlay { lowers: vec![empty], upper: new.join("layer"), scratch: new.join("scratch") };
                let install: Vec<&str> = ["install", "--disablerepo", millrace_core::platform::RELEASED_REPOSITORY]
                    .into_iter()
                    .chain(packages.iter().map(String::as_str))
                    .collect();
                dnf.change(&self.sandbox, &overlay, &install, session)?;
                fs::write(new.join(NAMES), dnf.names(&self.sandbox, &overlay, session)?)?;
                add_user(&overlay.upper)?;
                Ok(true)
            })?
            .ok_or_else(|| RootError::Refused("a root of no packages: name some under `buildroot` in the platform".to_owned()))
    }

    /// What the line has released since of what is in the base. dnf is only asked where there can be something: most releases
    /// touch no root.
    fn released_since(
        &self,
        base: &Path,
        repositories: &recipe::Fingerprints,
        dnf: &Dnf,
        session: &mut Session<'_>,
    ) -> Result<Option<PathBuf>, RootError> {
        let Some(released) = &repositories.released else { return Ok(None) };
        let key = Store::key(&("released", base, &released.digest));
        self.store.once(&key, |new| {
            let names = fs::read_to_string(base.with_file_name(NAMES))?.lines().map(str::to_owned).collect();
            Ok(released.touches(&names)? && self.fill(new, &[base.to_owned()], dnf, &["upgrade"], session)?)
        })
    }

    /// A layer with what a source package needs.
    fn layer(
        &self,
        lowers: &[PathBuf],
        requires: &[String],
        repositories: &recipe::Fingerprints,
        dnf: &Dnf,
        arguments: &[&str],
        session: &mut Session<'_>,
    ) -> Result<Option<PathBuf>, RootError> {
        if requires.is_empty() {
            return Ok(None);
        }
        let released = repositories.released.as_ref().map(|released| &released.digest);
        let key = Store::key(&("layer", lowers, requires, released));
        self.store.once(&key, |new| self.fill(new, lowers, dnf, arguments, session))
    }

    /// Lets dnf change a new layer over others; false where there was nothing to change.
    fn fill(
        &self,
        new: &Path,
        lowers: &[PathBuf],
        dnf: &Dnf,
        arguments: &[&str],
        session: &mut Session<'_>,
    ) -> Result<bool, RootError> {
        let overlay = Overlay { lowers: lowers.to_vec(), upper: new.join("layer"), scratch: new.join("scratch") };
        Ok(dnf.change(&self.sandbox, &overlay, arguments, session)? == Said::Changed)
    }
}

impl Root {
    /// Installs names, capabilities, or RPMs below `/work`.
    pub fn install(&mut self, packages: &[String], session: &mut Session<'_>) -> Result<(), RootError> {
        let mut files = Vec::new();
        for package in packages.iter().filter(|package| package.ends_with(".rpm")) {
            files.push(inside(session.work, package)?.display().to_string());
        }
        // Where files alone are asked for and the root has all that they need, rpm does it in a tenth of dnf's time.
        if files.len() == packages.len() && self.dnf.rpm_installs(&self.sandbox, &self.overlay, &files, session)? {
            return Ok(());
        }
        let names = packages.iter().filter(|package| !package.ends_with(".rpm")).map(String::as_str);
        let arguments: Vec<&str> = std::iter::once("install").chain(names).chain(files.iter().map(String::as_str)).collect();
        self.dnf.change(&self.sandbox, &self.overlay, &arguments, session).map(drop)
    }

    /// Removes packages by name, and what needs them.
    pub fn remove(&mut self, packages: &[String], session: &mut Session<'_>) -> Result<(), RootError> {
        self.dnf.remove(&self.sandbox, &self.overlay, packages, session)
    }

    /// Every package in it, sorted.
    pub fn contents(&self, session: &mut Session<'_>) -> Result<Vec<Installed>, RootError> {
        self.dnf.installed(&self.sandbox, &self.overlay, session)
    }

    /// How commands see it.
    pub fn view(&self) -> View {
        View::Root(self.overlay.clone())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Some(own) = self.overlay.upper.parent() {
            let _ = crate::removal::remove_folder(own);
        }
    }
}

/// The file of the task's folder that a path below `/work`, or relative to it, means.
fn inside(work: &Path, path: &str) -> Result<PathBuf, RootError> {
    let relative = path.strip_prefix(WORK).unwrap_or(path);
    if !millrace_core::sources::is_inside(relative) {
        return Err(RootError::Refused(format!("`{path}` is no path in the task's folder")));
    }
    let found = work.join(relative);
    // Whatever a command has put there, a link must not lead out.
    let real = found.canonicalize().map_err(|_| RootError::Refused(format!("there is no `{path}`")))?;
    if real.starts_with(work.canonicalize()?) {
        Ok(real)
    } else {
        Err(RootError::Refused(format!("`{path}` leads out of the task's folder")))
    }
}

/// Gives the sandbox's ordinary user a name, as mock does, where the root has none for it.
fn add_user(root: &Path) -> io::Result<()> {
    let lines =
        [("etc/passwd", "mockbuild:x:1000:1000::/builddir:/bin/bash\n", ":1000:"), ("etc/group", "mockbuild:x:1000:\n", ":1000:")];
    for (file, line, id) in lines {
        let path = root.join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !text.contains(id) {
            fs::create_dir_all(root.join("etc"))?;
            fs::write(path, text + line)?;
        }
    }
    Ok(())
}

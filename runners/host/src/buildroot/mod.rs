//! Roots of a platform: made by dnf from its repositories and from what the line has released, kept by what is in them.
//!
//! Three layers, each read-only once it is made: the base (what every root of the kind has), what the line has released of that
//! since, and the build dependencies of one source package. Each is named by the digest of what it was made from, so that the
//! same question is never asked of dnf twice, and given up when nobody has used it for long. What a task changes lands in a fourth layer, which goes with the task.
//!
//! Scriptlets of packages are foreign code: dnf resolves and downloads with the network and without running any; it installs in the
//! sandbox without the network.

mod dnf;
mod recipe;
mod released;
mod store;

pub use recipe::Recipe;

use crate::sandbox::{Overlay, Sandbox, SandboxError, View};
use dnf::{Change, Dnf, Said};
use millrace_core::platform::Limits;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use store::{Layer, Store};

/// Beside a base layer: the names of the packages in it, a line each.
const NAMES: &str = "names";

/// Beside a base layer whose own rpm must be handed every change.
const CARRIED: &str = "carried";

/// What one layer may put on the disk, in bytes. It is made for all tasks that will ask for the same, so that the bound of the one that
/// happens to ask first does not count; the build dependencies of a whole desktop come to 6 GB.
const LAYER_BYTES_MAX: u64 = 16 << 30;

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
    layer_bytes_max: u64,
}

/// A root of one task.
#[derive(Debug)]
pub struct Root {
    overlay: Overlay,
    dnf: Dnf,
    sandbox: Sandbox,
    /// Not given up while a task uses them.
    _layers: Vec<Layer>,
}

impl Buildroots {
    /// Roots below a folder, which may be shared by several runners and removed while none runs.
    pub fn new(folder: &Path, sandbox: Sandbox) -> io::Result<Self> {
        Sandbox::sweep();
        Ok(Self { store: Store::open(folder)?, sandbox, layer_bytes_max: LAYER_BYTES_MAX })
    }

    /// The same with another bound on a layer, in bytes.
    pub fn with_layers_of(self, layer_bytes_max: u64) -> Self {
        Self { layer_bytes_max, ..self }
    }

    /// The sandbox that commands run in.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Makes a root of a kind with packages on top: names, capabilities, or paths of RPMs below `/work`; the path of a source
    /// package stands for what it BuildRequires.
    pub fn create(&self, recipe: &Recipe, kind: Kind, packages: &[String], session: &mut Session<'_>) -> Result<Root, RootError> {
        let repositories = self.store.fingerprints(recipe)?;
        let mut dnf = Dnf::new(&self.store, recipe, &repositories, session.work)?;
        let base = self.base(recipe, kind, &repositories, &dnf, session)?;
        dnf.carries = base.path.with_file_name(CARRIED).exists();
        let newer = self.released_since(&base, &repositories, &dnf, session)?;
        let mut lowers: Vec<Layer> = newer.into_iter().chain([base]).collect();
        if let [source] = packages
            && is_source(source)
        {
            let requires = recipe::build_requires(&inside(session.work, source)?)?;
            if let Some(layer) = self.layer(&lowers, &requires, &repositories, &dnf, session)? {
                lowers.insert(0, layer);
            }
            return self.root(lowers, dnf, session);
        }
        let mut root = self.root(lowers, dnf, session)?;
        if !packages.is_empty() {
            root.install(packages, session)?;
        }
        Ok(root)
    }

    fn root(&self, layers: Vec<Layer>, dnf: Dnf, session: &Session<'_>) -> Result<Root, RootError> {
        Store::used(&layers)?;
        let own = tempfile::Builder::new().prefix(".root-").tempdir_in(session.work.parent().unwrap_or(session.work))?.keep();
        let overlay = Overlay { lowers: paths(&layers), upper: own.join("upper"), scratch: own.join("scratch") };
        Ok(Root { overlay, dnf, sandbox: self.sandbox.clone(), _layers: layers })
    }

    /// What every root of the kind has, from the platform's own repositories. What is wrong with it is the platform's business.
    fn base(
        &self,
        recipe: &Recipe,
        kind: Kind,
        repositories: &recipe::Fingerprints,
        dnf: &Dnf,
        session: &mut Session<'_>,
    ) -> Result<Layer, RootError> {
        let (packages, list) = match kind {
            Kind::Build => (&recipe.buildroot.packages, "packages"),
            Kind::Minimal => (&recipe.buildroot.minimal, "minimal"),
        };
        let key = Store::key_of(&("base with its rpm in step", recipe.arch, &recipe.releasever, packages, &repositories.platform));
        let install = Change { verb: "install", packages: packages.clone(), with_released: false, fresh: true };
        self.store
            .once(&key, |new| {
                (session.output)(format!("making a {} root with {}\n", recipe.arch, packages.join(" ")).as_bytes());
                let empty = new.join("empty");
                fs::create_dir_all(&empty)?;
                let overlay = Overlay { lowers: vec![empty], upper: new.join("layer"), scratch: new.join("scratch") };
                dnf.change(&self.sandbox, &overlay, &install, &mut self.for_all(session))
                    .map_err(|error| error.of_platform(&format!("`{list}` under `buildroot` in the platform's file")))?;
                let settled = dnf.settle(&self.sandbox, &overlay, session)?;
                fs::write(new.join(NAMES), settled.names.join("\n") + "\n")?;
                if settled.carried {
                    fs::write(new.join(CARRIED), "")?;
                }
                add_user(&overlay.upper)?;
                Ok(true)
            })?
            .ok_or_else(|| RootError::Refused("a root of no packages: name some under `buildroot` in the platform".to_owned()))
    }

    /// What the line has released since of what is in the base. dnf is only asked where there can be something: most releases
    /// touch no root.
    fn released_since(
        &self,
        base: &Layer,
        repositories: &recipe::Fingerprints,
        dnf: &Dnf,
        session: &mut Session<'_>,
    ) -> Result<Option<Layer>, RootError> {
        let Some(released) = &repositories.released else { return Ok(None) };
        let key = Store::key_of(&("released", &base.path, &released.digest));
        let upgrade = Change { verb: "upgrade", packages: Vec::new(), with_released: true, fresh: true };
        self.store.once(&key, |new| {
            let names = fs::read_to_string(base.path.with_file_name(NAMES))?.lines().map(str::to_owned).collect();
            let lowers = [base.path.clone()];
            let changed = released.touches(&names)?
                && self.fill(new, &lowers, dnf, &upgrade, session).map_err(|error| {
                    error.of_platform("what the line has released, which goes over the platform's own packages in every root")
                })?;
            Ok(changed)
        })
    }

    /// A layer with what a source package needs.
    fn layer(
        &self,
        lowers: &[Layer],
        requires: &[String],
        repositories: &recipe::Fingerprints,
        dnf: &Dnf,
        session: &mut Session<'_>,
    ) -> Result<Option<Layer>, RootError> {
        if requires.is_empty() {
            return Ok(None);
        }
        let released = repositories.released.as_ref().map(|released| &released.digest);
        let lowers = paths(lowers);
        let key = Store::key_of(&("layer by names", &lowers, requires, released));
        let packages = requires.iter().map(|requirement| Dnf::capability(requirement)).collect();
        let install = Change { verb: "install", packages, with_released: true, fresh: true };
        self.store.once(&key, |new| self.fill(new, &lowers, dnf, &install, session))
    }

    /// Lets dnf change a new layer over others; false where there was nothing to change.
    fn fill(
        &self,
        new: &Path,
        lowers: &[PathBuf],
        dnf: &Dnf,
        change: &Change<'_>,
        session: &mut Session<'_>,
    ) -> Result<bool, RootError> {
        let overlay = Overlay { lowers: lowers.to_vec(), upper: new.join("layer"), scratch: new.join("scratch") };
        Ok(dnf.change(&self.sandbox, &overlay, change, &mut self.for_all(session))? == Said::Changed)
    }

    /// The session of a task, in which something is made that is not the task's alone.
    fn for_all<'a>(&self, session: &'a mut Session<'_>) -> Session<'a> {
        let limits = Limits { disk_bytes: self.layer_bytes_max, ..session.limits };
        Session {
            work: session.work,
            limits,
            time_left: session.time_left,
            cancelled: session.cancelled,
            output: &mut *session.output,
        }
    }
}

impl RootError {
    /// The same, where no package of a task had a part in it: whoever keeps the platform must act.
    fn of_platform(self, what: &str) -> Self {
        match self {
            Self::Unresolved(problems) => Self::Refused(format!("{what}: {}", problems.join("\n"))),
            Self::Transaction(problem) => Self::Refused(format!("{what}: {problem}")),
            other => other,
        }
    }
}

impl Root {
    /// Installs names, capabilities, RPMs below `/work`, or what source packages there BuildRequire.
    pub fn install(&mut self, packages: &[String], session: &mut Session<'_>) -> Result<(), RootError> {
        let (mut wanted, mut files) = (Vec::new(), Vec::new());
        for package in packages {
            if is_source(package) {
                let requires = recipe::build_requires(&inside(session.work, package)?)?;
                wanted.extend(requires.iter().map(|requirement| Dnf::capability(requirement)));
            } else if package.ends_with(".rpm") {
                files.push(inside(session.work, package)?.display().to_string());
            } else {
                wanted.push(package.clone());
            }
        }
        // Where files alone are asked for and the root has all that they need, rpm does it in a tenth of dnf's time.
        if wanted.is_empty() && (files.is_empty() || self.dnf.rpm_installs(&self.sandbox, &self.overlay, &files, session)?) {
            return Ok(());
        }
        wanted.extend(files);
        let install = Change { verb: "install", packages: wanted, with_released: true, fresh: false };
        self.dnf.change(&self.sandbox, &self.overlay, &install, session).map(drop)
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

/// Whether a path is that of a source package; rpmbuild writes `nosrc` where the sources are not in it.
fn is_source(package: &str) -> bool {
    package.ends_with(".src.rpm") || package.ends_with(".nosrc.rpm")
}

fn paths(layers: &[Layer]) -> Vec<PathBuf> {
    layers.iter().map(|layer| layer.path.clone()).collect()
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
        // A link that a package has put there leads anywhere on this machine.
        if path.is_symlink() || root.join("etc").is_symlink() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !text.contains(id) {
            fs::create_dir_all(root.join("etc"))?;
            fs::write(path, text + line)?;
        }
    }
    Ok(())
}

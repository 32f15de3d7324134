//! Roots of a platform: made by dnf from its repositories and from what the line has released, kept by what is in them.
//!
//! Three layers, each read-only once it is made: the base (what every root of the kind has), what the line has released of that
//! since, and the build dependencies of one source package. Each is named by the digest of what it was made from, so that the
//! same question is never asked of dnf twice, and given up when nobody has used it for long. What a task changes lands in a fourth layer, which goes with the task.
//!
//! What the base is made by is the platform's choice: dnf, an archive or image that somebody has made, mock, or nothing at all, where the
//! machine itself is the root. Everything that is in a root is written down, and a root can be made again from that.
//!
//! Scriptlets of packages are foreign code: dnf resolves and downloads with the network and without running any; it installs in the
//! sandbox without the network.

mod dnf;
mod fetch;
pub(crate) mod header;
mod host;
mod image;
mod index;
mod locked;
mod mock;
mod recipe;
mod record;
mod released;
mod root;
mod rootfs;
mod store;

pub use millrace_core::roots::RootKind as Kind;
pub use recipe::Recipe;
pub use root::Root;

use crate::sandbox::{Command, Overlay, Sandbox, SandboxError, View};
use dnf::{Change, Dnf, Said};
use millrace_core::platform::{Limits, Provider, SandboxOptions};
use millrace_core::roots;
use root::{Ground, Layers};
use std::collections::BTreeMap;
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

impl<'a> Session<'a> {
    /// A command as root of a sandbox, at the top of what it sees, without a network.
    fn command(&self, view: View, argv: Vec<String>) -> Command<'a> {
        Command {
            view,
            argv,
            env: Vec::new(),
            cwd: "/".to_owned(),
            stdin: Vec::new(),
            timeout: self.time_left,
            as_root: true,
            options: SandboxOptions {
                limits: self.limits,
                ..SandboxOptions::default()
            },
            work: self.work,
            capture_bytes_max: 0,
        }
    }
}

/// Makes roots, and keeps them below one folder.
#[derive(Debug, Clone)]
pub struct Buildroots {
    store: Store,
    sandbox: Sandbox,
    layer_bytes_max: u64,
    /// mock, where a platform wants it.
    mock: PathBuf,
}

impl Buildroots {
    /// Roots below a folder, which may be shared by several runners and removed while none runs.
    pub fn new(folder: &Path, sandbox: Sandbox) -> io::Result<Self> {
        Sandbox::sweep();
        Ok(Self {
            store: Store::open(folder)?,
            sandbox,
            layer_bytes_max: LAYER_BYTES_MAX,
            mock: mock::MOCK.into(),
        })
    }

    /// The same with another bound on a layer, in bytes.
    pub fn with_layers_of(self, layer_bytes_max: u64) -> Self {
        Self {
            layer_bytes_max,
            ..self
        }
    }

    /// The same with another program in the place of `mock`.
    pub fn with_mock(self, mock: PathBuf) -> Self {
        Self { mock, ..self }
    }

    /// The sandbox that commands run in.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Makes a root of a kind with packages on top: names, capabilities, or paths of RPMs below `/work`; the path of a source
    /// package stands for what it BuildRequires. Where the recipe has a lock, the root is as that says.
    pub fn create(
        &self,
        recipe: &Recipe,
        kind: Kind,
        packages: &[String],
        session: &mut Session<'_>,
    ) -> Result<Root, RootError> {
        match (&recipe.locked, recipe.buildroot.provider) {
            (None, Provider::Host) => Ok(host::root(kind)),
            (Some(_), provider @ (Provider::Host | Provider::Mock)) => {
                Err(RootError::Refused(format!(
                    "a root of the provider `{}` is as its machine makes it, and cannot be made again by a lock",
                    provider.as_str()
                )))
            }
            (Some(locked), Provider::Dnf | Provider::Rootfs) => {
                self.exactly(recipe, kind, locked, packages, session)
            }
            (None, Provider::Dnf | Provider::Rootfs | Provider::Mock) => {
                self.newest(recipe, kind, packages, session)
            }
        }
    }

    /// A root with what the repositories have now.
    fn newest(
        &self,
        recipe: &Recipe,
        kind: Kind,
        packages: &[String],
        session: &mut Session<'_>,
    ) -> Result<Root, RootError> {
        let repositories = self.store.fingerprints(recipe)?;
        let mut maker = Maker::new(self, recipe, &repositories, session)?;
        let mut lowers = self.base(&mut maker, kind, &repositories, session)?;
        maker.dnf.carries = carries(&lowers);
        if let Some(newer) = self.released_since(&lowers, &repositories, &maker, session)? {
            lowers.insert(0, newer);
        }
        let source = match packages {
            [source] if is_source(source) => Some(source),
            _ => None,
        };
        if let Some(source) = source {
            let requires = recipe::build_requires(&inside(session.work, source)?)?;
            if let Some(layer) = self.layer(&lowers, &requires, &repositories, &maker, session)? {
                lowers.insert(0, layer);
            }
        }
        let from = self.origin(recipe);
        let mut root = self.root(lowers, maker, kind, from, session)?;
        if source.is_none() && !packages.is_empty() {
            root.install(packages, session)?;
            // What a root is made with is there from its beginning.
            root.record
                .packages
                .iter_mut()
                .for_each(|package| package.later = false);
        }
        Ok(root)
    }

    /// A root with what a lock has, which must be all that the task asks for.
    fn exactly(
        &self,
        recipe: &Recipe,
        kind: Kind,
        locked: &roots::Root,
        packages: &[String],
        session: &mut Session<'_>,
    ) -> Result<Root, RootError> {
        let from = self.origin(recipe);
        if from != locked.from {
            let word = |from: &Option<String>| {
                from.clone()
                    .unwrap_or_else(|| "the platform's repositories".to_owned())
            };
            let (then, now) = (word(&locked.from), word(&from));
            return Err(RootError::Refused(format!(
                "the lock's root was made from {then}, and the platform's are made from {now}"
            )));
        }
        let mut maker = Maker::new(self, recipe, &recipe::Fingerprints::default(), session)?;
        let below = match recipe.buildroot.provider {
            Provider::Rootfs => Some(self.archive(&mut maker, session)?),
            Provider::Dnf | Provider::Mock | Provider::Host => None,
        };
        let layer = self.locked_layer(below.as_ref(), locked, &maker, session)?;
        let layers: Vec<Layer> = layer.into_iter().chain(below).collect();
        maker.dnf.carries = carries(&layers);
        let mut root = self.root(layers, maker, kind, from, session)?;
        root.record.packages = locked
            .packages
            .iter()
            .filter(|package| !package.later)
            .cloned()
            .collect();
        let own: Vec<String> = packages
            .iter()
            .filter(|package| package.ends_with(".rpm") && !is_source(package))
            .cloned()
            .collect();
        if !own.is_empty() {
            root.install(&own, session)?;
        }
        Ok(root)
    }

    fn root(
        &self,
        layers: Vec<Layer>,
        maker: Maker,
        kind: Kind,
        from: Option<String>,
        session: &Session<'_>,
    ) -> Result<Root, RootError> {
        Store::used(&layers)?;
        let packages = layers
            .first()
            .map(|layer| record::read(&layer.path))
            .transpose()?
            .unwrap_or_default();
        let own = tempfile::Builder::new()
            .prefix(".root-")
            .tempdir_in(session.work.parent().unwrap_or(session.work))?
            .keep();
        let overlay = Overlay {
            lowers: paths(&layers),
            upper: own.join("upper"),
            scratch: own.join("scratch"),
        };
        let Maker { dnf, files, recipe } = maker;
        let (sandbox, store) = (self.sandbox.clone(), self.store.clone());
        let ground = Ground::Layers(Box::new(Layers {
            overlay,
            dnf,
            sandbox,
            store,
            recipe,
            files,
            _held: layers,
        }));
        Ok(Root {
            ground,
            record: roots::Root {
                kind,
                from,
                packages,
            },
        })
    }

    /// What roots are made from where that is no repository.
    fn origin(&self, recipe: &Recipe) -> Option<String> {
        match recipe.buildroot.provider {
            Provider::Dnf => None,
            Provider::Rootfs => Some(rootfs::name(recipe)),
            Provider::Mock => Some(format!("mock {}", mock::config(recipe))),
            Provider::Host => Some(host::name()),
        }
    }

    /// What every root of the kind has, from the platform's own repositories. What is wrong with it is the platform's business.
    fn base(
        &self,
        maker: &mut Maker,
        kind: Kind,
        repositories: &recipe::Fingerprints,
        session: &mut Session<'_>,
    ) -> Result<Vec<Layer>, RootError> {
        let recipe = maker.recipe.clone();
        let (packages, list) = match kind {
            Kind::Build => (&recipe.buildroot.packages, "packages"),
            Kind::Minimal => (&recipe.buildroot.minimal, "minimal"),
        };
        let told = format!("`{list}` under `buildroot` in the platform's file");
        match recipe.buildroot.provider {
            Provider::Dnf | Provider::Host => {}
            Provider::Rootfs => {
                let archive = self.archive(maker, session)?;
                return self
                    .on_top(archive, packages, repositories, maker, session)
                    .map_err(|error| error.of_platform(&told));
            }
            Provider::Mock => {
                return self
                    .of_mock(maker, packages, repositories, session)
                    .map(|layer| vec![layer]);
            }
        }
        let key = Store::key_of(&(
            "base",
            recipe.arch,
            &recipe.releasever,
            packages,
            &repositories.platform,
        ));
        let install = Change {
            verb: "install",
            packages: packages.clone(),
            with_released: false,
            fresh: true,
        };
        let base = self
            .store
            .once(&key, |new| {
                (session.output)(
                    format!(
                        "making a {} root with {}\n",
                        recipe.arch,
                        packages.join(" ")
                    )
                    .as_bytes(),
                );
                let overlay = from_nothing(new)?;
                let changed = maker.dnf.change(
                    &self.sandbox,
                    &overlay,
                    &install,
                    &mut self.for_all(session),
                );
                changed.map_err(|error| error.of_platform(&told))?;
                self.settle(new, &overlay, maker, session)?;
                Ok(true)
            })?
            .ok_or_else(|| {
                RootError::Refused(
                    "a root of no packages: name some under `buildroot` in the platform".to_owned(),
                )
            })?;
        Ok(vec![base])
    }

    /// What a new base needs to be one: a database that all rpms read, an ordinary user, and its contents written down.
    fn settle(
        &self,
        new: &Path,
        overlay: &Overlay,
        maker: &Maker,
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let settled = maker.dnf.settle(&self.sandbox, overlay, session)?;
        fs::write(new.join(NAMES), settled.names.join("\n") + "\n")?;
        if settled.carried {
            fs::write(new.join(CARRIED), "")?;
        }
        add_user(&overlay.upper)?;
        self.write_down(new, overlay, maker, session)
    }

    /// Writes down what is in a new layer and those below it: of what an image was made of there is no more to be said than its name.
    fn write_down(
        &self,
        new: &Path,
        overlay: &Overlay,
        maker: &Maker,
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let installed = maker.dnf.installed(&self.sandbox, overlay, session)?;
        let below = overlay
            .lowers
            .first()
            .filter(|lower| !lower.starts_with(new));
        let packages = match below {
            Some(below) => maker
                .files
                .of(installed, &record::read(below)?, &BTreeMap::new())?,
            None if maker.recipe.buildroot.provider.is_dnf() => {
                maker.files.of(installed, &[], &BTreeMap::new())?
            }
            None => record::of_image(installed),
        };
        record::write(new, &packages)
    }

    /// A layer with exactly what a lock has; none where what lies below has it all.
    fn locked_layer(
        &self,
        below: Option<&Layer>,
        locked: &roots::Root,
        maker: &Maker,
        session: &mut Session<'_>,
    ) -> Result<Option<Layer>, RootError> {
        // What somebody has made is there by its digest; the lock's repositories bring the rest.
        let has = below
            .map(|layer| record::read(&layer.path))
            .transpose()?
            .unwrap_or_default();
        let comes =
            |package: &&roots::RootPackage| !has.iter().any(|other| other.nevra == package.nevra);
        let packages: Vec<&roots::RootPackage> = locked::of_repositories(locked, false)
            .filter(comes)
            .collect();
        let key = Store::key_of(&(
            "exactly",
            maker.recipe.arch,
            below.map(|layer| &layer.path),
            &packages,
        ));
        self.store.once(&key, |new| {
            (session.output)(
                format!(
                    "making a {} root with {} packages of the lock\n",
                    maker.recipe.arch,
                    packages.len()
                )
                .as_bytes(),
            );
            let files = locked::fetch(
                &self.store,
                &maker.recipe,
                packages.iter().copied(),
                session,
            )?;
            let overlay = match below {
                Some(layer) => Overlay {
                    lowers: vec![layer.path.clone()],
                    ..from_nothing(new)?
                },
                None => from_nothing(new)?,
            };
            if !files.is_empty() {
                maker.dnf.put_exactly(
                    &self.sandbox,
                    &overlay,
                    &files,
                    &[],
                    &mut self.for_all(session),
                )?;
            }
            if below.is_none() {
                let settled = maker.dnf.settle(&self.sandbox, &overlay, session)?;
                if settled.carried {
                    fs::write(new.join(CARRIED), "")?;
                }
                add_user(&overlay.upper)?;
            }
            maker
                .dnf
                .has_exactly(&self.sandbox, &overlay, &locked.packages, session)?;
            record::write(new, &locked.packages)?;
            Ok(true)
        })
    }

    /// What the line has released since of what is in the base. dnf is only asked where there can be something: most releases
    /// touch no root.
    fn released_since(
        &self,
        base: &[Layer],
        repositories: &recipe::Fingerprints,
        maker: &Maker,
        session: &mut Session<'_>,
    ) -> Result<Option<Layer>, RootError> {
        let Some(released) = &repositories.released else {
            return Ok(None);
        };
        let (Some(top), lowers) = (base.first(), paths(base)) else {
            return Ok(None);
        };
        let key = Store::key_of(&("released, written down", &lowers, &released.digest));
        let upgrade = Change {
            verb: "upgrade",
            packages: Vec::new(),
            with_released: true,
            fresh: true,
        };
        self.store.once(&key, |new| {
            let names = fs::read_to_string(top.path.with_file_name(NAMES))?.lines().map(str::to_owned).collect();
            let changed = released.touches(&names)?
                && self.fill(new, &lowers, maker, &upgrade, session).map_err(|error| {
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
        maker: &Maker,
        session: &mut Session<'_>,
    ) -> Result<Option<Layer>, RootError> {
        if requires.is_empty() {
            return Ok(None);
        }
        let released = repositories
            .released
            .as_ref()
            .map(|released| &released.digest);
        let lowers = paths(lowers);
        let key = Store::key_of(&("layer, written down", &lowers, requires, released));
        let packages = requires
            .iter()
            .map(|requirement| Dnf::capability(requirement))
            .collect();
        let install = Change {
            verb: "install",
            packages,
            with_released: true,
            fresh: true,
        };
        self.store.once(&key, |new| {
            self.fill(new, &lowers, maker, &install, session)
        })
    }

    /// Lets dnf change a new layer over others; false where there was nothing to change.
    fn fill(
        &self,
        new: &Path,
        lowers: &[PathBuf],
        maker: &Maker,
        change: &Change<'_>,
        session: &mut Session<'_>,
    ) -> Result<bool, RootError> {
        let overlay = Overlay {
            lowers: lowers.to_vec(),
            upper: new.join("layer"),
            scratch: new.join("scratch"),
        };
        if maker
            .dnf
            .change(&self.sandbox, &overlay, change, &mut self.for_all(session))?
            == Said::Nothing
        {
            return Ok(false);
        }
        self.write_down(new, &overlay, maker, session)?;
        Ok(true)
    }

    /// The session of a task, in which something is made that is not the task's alone.
    fn for_all<'a>(&self, session: &'a mut Session<'_>) -> Session<'a> {
        let limits = Limits {
            disk_bytes: self.layer_bytes_max,
            ..session.limits
        };
        Session {
            work: session.work,
            limits,
            time_left: session.time_left,
            cancelled: session.cancelled,
            output: &mut *session.output,
        }
    }
}

/// What roots of one recipe are made with.
struct Maker {
    dnf: Dnf,
    files: record::Files,
    recipe: Recipe,
}

impl Maker {
    fn new(
        roots: &Buildroots,
        recipe: &Recipe,
        now: &recipe::Fingerprints,
        session: &Session<'_>,
    ) -> Result<Self, RootError> {
        let dnf = Dnf::new(&roots.store, recipe, now, session.work)?;
        let files = record::Files::new(&roots.store, now, dnf.cache());
        Ok(Self {
            dnf,
            files,
            recipe: recipe.clone(),
        })
    }
}

/// Whether the rpm of a root of these layers must be handed every change.
fn carries(layers: &[Layer]) -> bool {
    layers
        .iter()
        .any(|layer| layer.path.with_file_name(CARRIED).exists())
}

/// A new layer on nothing.
fn from_nothing(new: &Path) -> io::Result<Overlay> {
    let empty = new.join("empty");
    fs::create_dir_all(&empty)?;
    Ok(Overlay {
        lowers: vec![empty],
        upper: new.join("layer"),
        scratch: new.join("scratch"),
    })
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

/// Whether a path is that of a source package; rpmbuild writes `nosrc` where the sources are not in it.
fn is_source(package: &str) -> bool {
    package.ends_with(".src.rpm") || package.ends_with(".nosrc.rpm")
}

fn paths(layers: &[Layer]) -> Vec<PathBuf> {
    layers.iter().map(|layer| layer.path.clone()).collect()
}

/// The file of the task's folder that a path below `/work`, or relative to it, means.
fn inside(work: &Path, path: &str) -> Result<PathBuf, RootError> {
    let relative = path.strip_prefix(WORK).unwrap_or(path);
    if !millrace_core::sources::is_inside(relative) {
        return Err(RootError::Refused(format!(
            "`{path}` is no path in the task's folder"
        )));
    }
    let found = work.join(relative);
    // Whatever a command has put there, a link must not lead out.
    let real = found
        .canonicalize()
        .map_err(|_| RootError::Refused(format!("there is no `{path}`")))?;
    if real.starts_with(work.canonicalize()?) {
        Ok(real)
    } else {
        Err(RootError::Refused(format!(
            "`{path}` leads out of the task's folder"
        )))
    }
}

/// Gives the sandbox's ordinary user a name, as mock does, where the root has none for it.
fn add_user(root: &Path) -> io::Result<()> {
    let lines = [
        (
            "etc/passwd",
            "mockbuild:x:1000:1000::/builddir:/bin/bash\n",
            ":1000:",
        ),
        ("etc/group", "mockbuild:x:1000:\n", ":1000:"),
    ];
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

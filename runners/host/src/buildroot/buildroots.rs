//! Makes roots, and keeps them below one folder.

use super::dnf::Dnf;
use super::error::RootError;
use super::fingerprints::Fingerprints;
use super::layer::{carries, paths};
use super::maker::LayerMaker;
use super::origin::origin;
use super::recipe::Recipe;
use super::record::{self, PackageFiles};

use super::repository_cache::RepositoryCache;
use super::requires::build_requires;
use super::root::{LayeredRoot, Root, RootBase};
use super::session::RootSession;
use super::store::{Layer, LayerStore};
use super::task_files::{inside, is_source};
use super::{host, mock};
use crate::sandbox::{Overlay, Sandbox};
use millrace_core::platform::Provider;
use millrace_core::roots::{self, RootKind};
use std::io;
use std::path::{Path, PathBuf};

/// What one layer may put on the disk, in bytes. It is made for all tasks that will ask for the same, so that the bound of the one that
/// happens to ask first does not count. The build dependencies of a whole desktop take 6 GB.
const LAYER_BYTES_MAX: u64 = 16 << 30;

/// Makes roots, and keeps them below one folder.
#[derive(Debug, Clone)]
pub struct Buildroots {
    store: LayerStore,
    repositories: RepositoryCache,
    sandbox: Sandbox,
    layer_bytes_max: u64,
    /// The program `mock`, for platforms that want it.
    mock: PathBuf,
}

impl Buildroots {
    /// Roots below a folder, which may be shared by several runners and removed while none runs.
    pub fn new(folder: &Path, sandbox: Sandbox) -> io::Result<Self> {
        Sandbox::sweep();
        Ok(Self {
            store: LayerStore::open(folder)?,
            repositories: RepositoryCache::default(),
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
    /// package stands for what it BuildRequires. If the recipe has a lock, the root is as that says.
    pub fn create(
        &self,
        recipe: &Recipe,
        kind: RootKind,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<Root, RootError> {
        match (&recipe.locked, recipe.buildroot.provider) {
            (None, Provider::Host) => Ok(host::root(kind)),
            (Some(_), provider @ (Provider::Host | Provider::Mock)) => {
                Err(RootError::Refused(format!(
                    "a root of the provider `{}` depends on its machine, and cannot be made again by a lock",
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
        kind: RootKind,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<Root, RootError> {
        let repositories = self.repositories.fingerprints(recipe)?;
        let mut maker = self.maker(recipe, repositories, session)?;
        let mut layers = maker.base(kind, session)?;
        maker.dnf.carries = carries(&layers);
        if let Some(newer) = maker.released_since(&layers, session)? {
            layers.insert(0, newer);
        }
        let source = match packages {
            [source] if is_source(source) => Some(source),
            _ => None,
        };
        if let Some(source) = source {
            let requires = build_requires(&inside(session.work, source)?)?;
            if let Some(layer) = maker.dependencies(&layers, &requires, session)? {
                layers.insert(0, layer);
            }
        }
        let mut root = root_of(maker, layers, kind, session)?;
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
        kind: RootKind,
        locked: &roots::Root,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<Root, RootError> {
        let from = origin(recipe);
        if from != locked.from {
            return Err(RootError::Refused(format!(
                "the lock's root was made from {}, and the platform's are made from {}",
                source_words(locked.from.as_deref()),
                source_words(from.as_deref())
            )));
        }
        let mut maker = self.maker(recipe, Fingerprints::default(), session)?;
        let below = match recipe.buildroot.provider {
            Provider::Rootfs => Some(maker.archive(session)?),
            Provider::Dnf | Provider::Mock | Provider::Host => None,
        };
        let layer = maker.locked(below.as_ref(), locked, session)?;
        let layers: Vec<Layer> = layer.into_iter().chain(below).collect();
        maker.dnf.carries = carries(&layers);
        let mut root = root_of(maker, layers, kind, session)?;
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

    fn maker(
        &self,
        recipe: &Recipe,
        repositories: Fingerprints,
        session: &RootSession<'_>,
    ) -> Result<LayerMaker, RootError> {
        let dnf = Dnf::new(
            &self.store,
            &self.repositories,
            self.sandbox.clone(),
            recipe,
            &repositories,
            session.work,
        )?;
        let files = PackageFiles::new(&self.repositories, &repositories, dnf.cache());
        Ok(LayerMaker {
            store: self.store.clone(),
            sandbox: self.sandbox.clone(),
            dnf,
            files,
            recipe: recipe.clone(),
            repositories,
            mock: self.mock.clone(),
            layer_bytes_max: self.layer_bytes_max,
        })
    }
}

/// A task's own root over layers.
fn root_of(
    maker: LayerMaker,
    layers: Vec<Layer>,
    kind: RootKind,
    session: &RootSession<'_>,
) -> Result<Root, RootError> {
    LayerStore::used(&layers)?;
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
    let from = origin(&maker.recipe);
    let layered = LayeredRoot {
        overlay,
        dnf: maker.dnf,
        store: maker.store,
        recipe: maker.recipe,
        files: maker.files,
        _held: layers,
    };
    Ok(Root {
        base: RootBase::Layers(Box::new(layered)),
        record: roots::Root {
            kind,
            from,
            packages,
        },
    })
}

/// What a root was made from, in words.
fn source_words(from: Option<&str>) -> &str {
    from.unwrap_or("the platform's repositories")
}

//! The manifest of a generation: what a platform has released, as one document, and how the next one follows from it.

use crate::generation::file::FileRef;
use millrace_core::order::{OrderId, OrderedFile, ReleaseOrder};
use millrace_core::{BuildId, Digest, KeyName, PlatformName};
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Orders that a generation remembers. An order is delivered again for some hours at most, and only to a build that still waits
/// for it; this many releases take longer than that.
const ORDERS_MAX: usize = 1000;

/// A package in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageEntry {
    /// Which, with its epoch.
    pub nevra: String,
    pub file: FileRef,
    /// The build that released it.
    pub build: BuildId,
    /// The blob with what the metadata says of it, among others: three pieces of XML.
    pub metadata: Digest,
}

/// One repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Repository {
    /// By file name: the NEVRA without its epoch, so that two packages that differ in the epoch alone cannot both be here.
    pub packages: BTreeMap<String, PackageEntry>,
    /// `repomd.xml`, its signature, and what it names, by file name.
    pub repodata: BTreeMap<String, FileRef>,
}

/// Everything that a platform has released, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub platform: PlatformName,
    /// Grows by one with every change, a rollback among them.
    pub number: u64,
    pub previous: Option<Digest>,
    /// When it was made, in seconds since 1970; never earlier than the one before.
    pub released_s: u64,
    /// Which key signs the metadata.
    pub key: KeyName,
    /// That key's public certificate, armored, as it was when the platform was given the key.
    pub key_certificate: Digest,
    /// The same and those of the keys that other packages are signed with, each once: what clients must trust.
    pub certificate: FileRef,
    /// By their path: `x86_64/os`, `source`.
    pub repositories: BTreeMap<String, Repository>,
    /// Orders that were carried out, so that none is carried out twice, and the number of the generation that did.
    pub orders: BTreeMap<OrderId, u64>,
}

/// A package whose file name another one has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct FileNameTaken {
    /// The package that cannot be released.
    pub nevra: String,
    /// The package that has the name.
    pub existing: String,
    /// The build that released that one.
    pub build: BuildId,
}

impl FileNameTaken {
    fn words(&self) -> String {
        let Self {
            nevra,
            existing,
            build,
        } = self;
        if nevra == existing {
            return format!(
                "{nevra} was released before, by build {build}, with other content: raise Release in the spec and push again"
            );
        }
        format!(
            "{nevra} would have the file name of {existing}, released by build {build}: raise Release in the spec and push again"
        )
    }
}

/// A generation in the making.
#[derive(Debug)]
pub struct NextGeneration {
    pub generation: Generation,
    /// Repositories whose metadata must be written again.
    pub stale: BTreeSet<String>,
}

impl Generation {
    /// Before a platform's first: no repositories.
    pub fn none(platform: &PlatformName, key: &KeyName, key_certificate: FileRef) -> Self {
        Self {
            platform: platform.clone(),
            number: 0,
            previous: None,
            released_s: 0,
            key: key.clone(),
            key_certificate: key_certificate.digest,
            certificate: key_certificate,
            repositories: BTreeMap::new(),
            orders: BTreeMap::new(),
        }
    }

    /// Whether this key signs its metadata, with this certificate.
    pub fn has_key(&self, key: &KeyName, certificate: &[u8]) -> bool {
        self.key == *key && self.key_certificate == Digest::of(certificate)
    }

    /// With these repositories besides those that it has.
    pub fn with_repositories(mut self, names: impl IntoIterator<Item = String>) -> NextGeneration {
        let mut stale = BTreeSet::new();
        for name in names {
            if let Entry::Vacant(place) = self.repositories.entry(name.clone()) {
                place.insert(Repository::default());
                stale.insert(name);
            }
        }
        NextGeneration {
            generation: self,
            stale,
        }
    }

    /// With an order's packages in their places; older versions stay. `metadata` says in which blob a package's pieces of XML are.
    pub fn with_order(
        self,
        order: &ReleaseOrder,
        metadata: &BTreeMap<Digest, Digest>,
    ) -> Result<NextGeneration, FileNameTaken> {
        let names = order.repositories.iter().map(ToString::to_string);
        let mut next = self.with_repositories(names);
        for (name, file) in placements(order) {
            let Some(metadata) = metadata.get(&file.digest) else {
                continue;
            };
            let repository = next.generation.repositories.entry(name.clone());
            let is_new = repository.or_default().add(file, &order.build, *metadata)?;
            if is_new {
                next.stale.insert(name);
            }
        }
        next.generation.remember(order.id);
        Ok(next)
    }

    /// With the packages of an earlier generation. Orders stay carried out: one that is delivered late must not bring back what
    /// somebody took away.
    pub fn with_packages_of(mut self, earlier: &Self) -> NextGeneration {
        let mut stale = BTreeSet::new();
        for (name, repository) in &mut self.repositories {
            let packages = earlier
                .repositories
                .get(name)
                .map(|then| then.packages.clone())
                .unwrap_or_default();
            if repository.packages != packages {
                repository.packages = packages;
                stale.insert(name.clone());
            }
        }
        NextGeneration {
            generation: self,
            stale,
        }
    }

    /// Without some packages.
    pub fn without(mut self, is_out: impl Fn(&PackageEntry) -> bool) -> NextGeneration {
        let mut stale = BTreeSet::new();
        for (name, repository) in &mut self.repositories {
            let before = repository.packages.len();
            repository.packages.retain(|_, entry| !is_out(entry));
            if repository.packages.len() < before {
                stale.insert(name.clone());
            }
        }
        NextGeneration {
            generation: self,
            stale,
        }
    }

    fn remember(&mut self, order: OrderId) {
        self.orders.insert(order, self.number + 1);
        if self.orders.len() > ORDERS_MAX
            && let Some(oldest) = self
                .orders
                .iter()
                .min_by_key(|(_, number)| **number)
                .map(|(order, _)| *order)
        {
            self.orders.remove(&oldest);
        }
    }

    /// The file at a path of the platform: `x86_64/os/repodata/repomd.xml`.
    pub fn file(&self, path: &str) -> Option<FileRef> {
        let below =
            |(name, repository)| Some((path.strip_prefix(name)?.strip_prefix('/')?, repository));
        let (rest, repository) = self
            .repositories
            .iter()
            .map(|(name, repository)| (name.as_str(), repository))
            .find_map(below)?;
        if let Some(name) = rest.strip_prefix("repodata/") {
            return repository.repodata.get(name).copied();
        }
        let (_, name) = rest.rsplit_once('/')?;
        repository
            .packages
            .get(name)
            .filter(|_| location(name) == rest)
            .map(|entry| entry.file)
    }

    /// All packages, by repository and file name.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, PackageEntry>)> {
        self.repositories
            .iter()
            .map(|(name, repository)| (name.as_str(), &repository.packages))
    }

    /// Builds that have released something that is here.
    pub fn builds(&self) -> impl Iterator<Item = &BuildId> {
        self.repositories
            .values()
            .flat_map(|repository| repository.packages.values())
            .map(|entry| &entry.build)
    }
}

impl Repository {
    /// Adds a package; false if it is here already.
    fn add(
        &mut self,
        file: &OrderedFile,
        build: &BuildId,
        metadata: Digest,
    ) -> Result<bool, FileNameTaken> {
        let nevra = file.rpm.to_string();
        match self.packages.entry(file.name.clone()) {
            Entry::Occupied(entry) if entry.get().file.digest == file.digest => Ok(false),
            Entry::Occupied(entry) => Err(FileNameTaken {
                nevra,
                existing: entry.get().nevra.clone(),
                build: entry.get().build.clone(),
            }),
            Entry::Vacant(place) => {
                place.insert(PackageEntry {
                    nevra,
                    file: FileRef {
                        digest: file.digest,
                        size: file.size,
                    },
                    build: build.clone(),
                    metadata,
                });
                Ok(true)
            }
        }
    }
}

fn placements(order: &ReleaseOrder) -> impl Iterator<Item = (String, &OrderedFile)> {
    order.placements.iter().flat_map(|placement| {
        placement
            .into
            .iter()
            .map(|repository| (repository.to_string(), &placement.file))
    })
}

/// Where a package lies in its repository, as distributions have it: by the first letter.
pub fn location(name: &str) -> String {
    let first = name
        .chars()
        .next()
        .map_or('_', |letter| letter.to_ascii_lowercase());
    format!("Packages/{first}/{name}")
}

//! What a platform has released, as one document, and the rules of how the next one follows from it.

use crate::generation::file::FileRef;
use millrace_core::order::{OrderId, OrderedFile, ReleaseOrder};
use millrace_core::{BuildId, Digest, KeyName, PlatformName};
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};

/// Orders that a generation remembers. An order is delivered again for some hours at most, and only to a build that still waits
/// for it; this many releases take longer than that.
const ORDERS_MAX: usize = 1000;

/// A package in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which, with its epoch.
    pub nevra: String,
    /// The signed file.
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
    pub packages: BTreeMap<String, Entry>,
    /// `repomd.xml`, its signature, and what it names, by file name.
    pub repodata: BTreeMap<String, FileRef>,
}

/// Everything that a platform has released, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Whose.
    pub platform: PlatformName,
    /// Grows by one with every change, a rollback among them.
    pub number: u64,
    /// The one before.
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

/// A package that cannot go where it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct Taken {
    /// Which.
    pub nevra: String,
    /// What has its place.
    pub there: String,
    /// By which build.
    pub build: BuildId,
}

impl Taken {
    fn words(&self) -> String {
        let Self {
            nevra,
            there,
            build,
        } = self;
        if nevra == there {
            return format!(
                "{nevra} was released before, by build {build}, with other content: raise Release in the spec and push again"
            );
        }
        format!(
            "{nevra} would have the file name of {there}, released by build {build}: raise Release in the spec and push again"
        )
    }
}

/// A generation in the making, and the names of its repositories whose metadata must be written anew.
pub type Next = (Generation, BTreeSet<String>);

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

    /// With these repositories, and whatever it had. Answers those that are new.
    pub fn with_repositories(mut self, names: impl IntoIterator<Item = String>) -> Next {
        let mut new = BTreeSet::new();
        for name in names {
            if let Place::Vacant(place) = self.repositories.entry(name.clone()) {
                place.insert(Repository::default());
                new.insert(name);
            }
        }
        (self, new)
    }

    /// With an order's packages in their places; older versions stay. `metadata` says in which blob a package's pieces of XML are.
    pub fn with_order(
        self,
        order: &ReleaseOrder,
        metadata: &BTreeMap<Digest, Digest>,
    ) -> Result<Next, Taken> {
        let (mut next, mut changed) =
            self.with_repositories(order.repositories.iter().map(ToString::to_string));
        for (name, file) in placements(order) {
            let Some(metadata) = metadata.get(&file.digest) else {
                continue;
            };
            let (nevra, build) = (file.rpm.to_string(), order.build.clone());
            let packages = &mut next.repositories.entry(name.clone()).or_default().packages;
            match packages.entry(file.name.clone()) {
                Place::Occupied(there) if there.get().file.digest == file.digest => {}
                Place::Occupied(there) => {
                    let Entry {
                        nevra: there,
                        build,
                        ..
                    } = there.get().clone();
                    return Err(Taken {
                        nevra,
                        there,
                        build,
                    });
                }
                Place::Vacant(place) => {
                    place.insert(Entry {
                        nevra,
                        file: FileRef {
                            digest: file.digest,
                            size: file.size,
                        },
                        build,
                        metadata: *metadata,
                    });
                    changed.insert(name);
                }
            }
        }
        next.remember(order.id);
        Ok((next, changed))
    }

    /// With the packages of an earlier generation. Orders stay carried out: one that is delivered late must not bring back what
    /// somebody took away.
    pub fn with_packages_of(mut self, earlier: &Self) -> Next {
        let mut changed = BTreeSet::new();
        for (name, repository) in &mut self.repositories {
            let packages = earlier
                .repositories
                .get(name)
                .map(|then| then.packages.clone())
                .unwrap_or_default();
            if repository.packages != packages {
                repository.packages = packages;
                changed.insert(name.clone());
            }
        }
        (self, changed)
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
    pub fn packages(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, Entry>)> {
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

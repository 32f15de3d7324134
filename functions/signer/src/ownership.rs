//! Whether an order's packages have names of their own alone, as the signer reads them from the packages' headers; and claims those
//! that nobody had.

use crate::error::{FileProblem, SignError};
use millrace_core::build::Build;
use millrace_core::header::read_head;
use millrace_core::order::{OrderedFile, SignOrder};
use millrace_core::ownership::{
    Holder, Judged, NAMES_MAX, OwnedName, PackageFacts, ReleaseTarget, Standing, judge,
};
use millrace_core::platform::Platform;
use millrace_core::push::Package;
use millrace_core::{PackageName, Timestamp};
use millrace_store::ownership::{Claimant, claim, claims, gone_owners, is_inventory_whole};
use millrace_store::records::get;
use millrace_store::repository_names::repository_names;
use millrace_store::{BlobError, BlobStore, StateStore, Table, package_head};
use std::collections::{BTreeMap, BTreeSet};

/// The names of an order's packages, before its build may release them.
pub(crate) struct Names {
    holder: Holder,
    target: ReleaseTarget,
    /// As it is now: its repositories may have changed since the build was planned.
    platform: Platform,
    packages: Vec<PackageFacts>,
}

/// What was decided about them.
pub(crate) struct Decision {
    pub judged: Judged,
    /// Owners that are no packages of the line any more.
    gone: BTreeSet<PackageName>,
}

impl Names {
    /// Reads them from the packages' headers.
    pub async fn read(
        order: &SignOrder,
        build: &Build,
        state: &impl StateStore,
        blobs: &impl BlobStore,
    ) -> Result<Self, SignError> {
        let package = &build.push.announced.package;
        let registered = registered(package, state).await?;
        let source_name = registered
            .source_name
            .unwrap_or_else(|| package.to_string());
        let platform: Option<(Platform, _)> =
            get(state, Table::Platform, build.platform.name.as_str()).await?;
        let mut packages = Vec::with_capacity(order.files.len());
        let mut names = 0;
        for file in &order.files {
            let facts = read_facts(file, blobs).await?;
            names += facts.names();
            if names > NAMES_MAX {
                return Err(SignError::Names(format!(
                    "its packages have more than {NAMES_MAX} files and other names: split the package"
                )));
            }
            check_source(&facts, build)?;
            packages.push(facts);
        }
        Ok(Self {
            holder: Holder {
                package: package.clone(),
                source_name,
            },
            target: ReleaseTarget::of_platform(&build.platform.name),
            platform: platform.map_or_else(|| build.platform.clone(), |(platform, _)| platform),
            packages,
        })
    }

    /// Decides about all of them by what is known now. What nobody had is claimed with [`Names::claim`] once everything is signed.
    pub async fn judge(
        &self,
        state: &impl StateStore,
        blobs: &impl BlobStore,
        now: Timestamp,
    ) -> Result<Decision, SignError> {
        if !is_inventory_whole(state, &self.target, now).await? {
            return Err(SignError::NoInventory(self.target.platform.clone()));
        }
        let all = self.all();
        let mut claims = claims(state, &self.target, all.clone()).await?;
        let gone = gone_owners(state, claims.values()).await?;
        claims
            .values_mut()
            .for_each(|claim| claim.forget_owner_of(&gone));
        let distributed = repository_names(&self.platform, &all, state, blobs, now).await?;
        let standing = |name: OwnedName| {
            let standing = Standing {
                claim: claims.remove(&name),
                sources: distributed.sources(&name).cloned().unwrap_or_default(),
            };
            (name, standing)
        };
        let known: BTreeMap<OwnedName, Standing> = all.into_iter().map(standing).collect();
        let judged = judge(&self.holder, &self.packages, &known);
        match judged.refusal(&self.holder, &self.target) {
            Some(reason) => Err(SignError::Names(reason)),
            None => Ok(Decision { judged, gone }),
        }
    }

    /// Claims what nobody had when it was judged. If somebody else was faster, all is judged again.
    pub async fn claim(
        &self,
        order: &SignOrder,
        decision: Decision,
        state: &impl StateStore,
        blobs: &impl BlobStore,
        now: Timestamp,
    ) -> Result<(), SignError> {
        let claimant = Claimant {
            target: &self.target,
            package: &self.holder.package,
            build: &order.build,
            gone: &decision.gone,
        };
        let taken = claim(state, claimant, &decision.judged.to_claim, now).await?;
        if !taken.is_empty() {
            self.judge(state, blobs, now).await?;
        }
        Ok(())
    }

    fn all(&self) -> BTreeSet<OwnedName> {
        let sets = |package: &PackageFacts| {
            [
                package.ships.clone(),
                package.provides.clone(),
                package.obsoletes.clone(),
                package.capabilities.clone(),
            ]
        };
        self.packages.iter().flat_map(sets).flatten().collect()
    }
}

/// A package must come from the build's own source package, which is released beside it.
fn check_source(facts: &PackageFacts, build: &Build) -> Result<(), SignError> {
    let (Some(from), Some(source)) = (&facts.source_rpm, build.source_package()) else {
        return Ok(());
    };
    if source.is_source_of(from) {
        return Ok(());
    }
    Err(SignError::Names(format!(
        "{} says that it was built from {from}, and the source package of this build is {source}: Version and Release must be the same \
         whenever the spec is read, so set them from nothing that changes, such as the clock",
        facts.nevra
    )))
}

/// The package whose names these would be: one of the line, and not suspended.
async fn registered(package: &PackageName, state: &impl StateStore) -> Result<Package, SignError> {
    let registered: Option<(Package, _)> = get(state, Table::Package, package.as_str()).await?;
    let Some((registered, _)) = registered else {
        return Err(SignError::Package(format!(
            "package {package} is not registered any more: `millrace package add {package} URL` registers it"
        )));
    };
    match &registered.suspended {
        Some(suspension) => Err(SignError::Package(suspension.words(package))),
        None => Ok(registered),
    }
}

async fn read_facts(file: &OrderedFile, blobs: &impl BlobStore) -> Result<PackageFacts, SignError> {
    let trouble = |source| SignError::Blob {
        file: file.name.clone(),
        source,
    };
    let wrong = |problem: FileProblem| SignError::File {
        file: file.name.clone(),
        problem,
    };
    let size = blobs
        .size(&file.digest)
        .await
        .map_err(trouble)?
        .ok_or(BlobError::Missing(file.digest))
        .map_err(trouble)?;
    let bytes = package_head(blobs, &file.digest, size)
        .await
        .map_err(trouble)?;
    let head = read_head(&bytes).map_err(|error| wrong(error.into()))?;
    PackageFacts::read(&head.header).map_err(|error| wrong(error.into()))
}

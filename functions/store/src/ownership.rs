//! Whose names are whose on a target: one record per name, and one that says whether those of earlier releases are among them.

use crate::index::names_index;
use crate::records::{Stored, get, parse};
use crate::state::{
    Commit, Expect, IndexEntry, Key, SaveError, StateError, StateStore, Table, Version, Write,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use millrace_core::order::Effect;
use millrace_core::ownership::{Claim, Grant, OwnedName, ReleaseTarget};
use millrace_core::{BuildId, Digest, PackageName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Names that are looked up at once: a store in the cloud answers each in some milliseconds, and takes many questions.
const LOADS_AT_ONCE: usize = 32;

/// Names that one commit claims: a record and an index entry each, of the [`crate::state::COMMIT_WRITES_MAX`] that a commit may have.
const CLAIMS_AT_ONCE: usize = 40;

/// Times that one piece of claims is tried again because somebody else wrote one of its names first. Each time that name is decided.
const CONFLICTS_MAX: usize = CLAIMS_AT_ONCE + 1;

impl Stored for Claim {
    const TABLE: Table = Table::Claim;

    fn id(&self) -> String {
        self.name.id(&self.target)
    }

    /// Names of packages are found by their owner; files and capabilities are too many for that. What was granted is always found.
    fn index_entries(&self) -> Vec<IndexEntry> {
        let owner = match (&self.name, &self.owner) {
            (OwnedName::Source(_) | OwnedName::Package(_), Some(owned)) => Some(&owned.package),
            (OwnedName::Path(_) | OwnedName::Capability(_), _) | (_, None) => None,
        };
        let found_by: BTreeSet<&PackageName> =
            owner.into_iter().chain(self.grants.keys()).collect();
        let entry = |package: &PackageName| IndexEntry {
            index: names_index(package),
            sort: self.id(),
        };
        found_by.into_iter().map(entry).collect()
    }
}

/// What is known of these names on a target. Names that nobody ever had are left out.
pub async fn claims<S: StateStore>(
    state: &S,
    target: &ReleaseTarget,
    names: impl IntoIterator<Item = OwnedName>,
) -> Result<BTreeMap<OwnedName, Claim>, StateError> {
    let load = |name: OwnedName| {
        let id = name.id(target);
        async move {
            let claim = get::<Claim>(state, Table::Claim, &id).await?;
            Ok(claim.map(|(claim, _)| (name, claim)))
        }
    };
    let names: Vec<OwnedName> = names.into_iter().collect();
    stream::iter(names.into_iter().map(load))
        .buffer_unordered(LOADS_AT_ONCE)
        .try_filter_map(|known| std::future::ready(Ok(known)))
        .try_collect()
        .await
}

/// Who gets names.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    pub target: &'a ReleaseTarget,
    pub package: &'a PackageName,
    /// The build that releases them.
    pub build: &'a BuildId,
    /// Owners that are no packages of the line any more: what was theirs is nobody's.
    pub gone: &'a BTreeSet<PackageName>,
}

/// Gives names to a package: those that nobody has. Answers those that somebody else has by now, with whose they are; the others are the
/// package's. Each piece of them is written whole, so doing it again after a stop goes on where it was.
pub async fn claim(
    state: &impl StateStore,
    claimant: Claimant<'_>,
    names: &BTreeSet<OwnedName>,
    now: Timestamp,
) -> Result<Vec<Claim>, SaveError> {
    let names: Vec<&OwnedName> = names.iter().collect();
    let mut taken = Vec::new();
    for piece in names.chunks(CLAIMS_AT_ONCE) {
        taken.extend(claim_piece(state, claimant, piece, now).await?);
    }
    Ok(taken)
}

async fn claim_piece(
    state: &impl StateStore,
    claimant: Claimant<'_>,
    names: &[&OwnedName],
    now: Timestamp,
) -> Result<Vec<Claim>, SaveError> {
    let mut tries = 0;
    loop {
        let mut writes = Vec::new();
        let mut taken = Vec::new();
        for name in names {
            let (mut claim, expect) = load(state, claimant.target, name).await?;
            claim.forget_owner_of(claimant.gone);
            if claim.take(claimant.package, claimant.build, now) {
                writes.push(claim.write(expect)?);
            } else if !claim.is_of(claimant.package) {
                taken.push(claim);
            }
        }
        if writes.is_empty() {
            return Ok(taken);
        }
        match state.save(commit(writes)).await {
            Ok(()) => return Ok(taken),
            Err(SaveError::Conflict(_)) if tries < CONFLICTS_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// How far the names of what a target released before names belonged to anybody have got their owners. Until all have, nobody can say
/// whether a name is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub target: ReleaseTarget,
    /// Whether all have.
    pub is_whole: bool,
    /// When somebody was last asked to go on with it.
    pub asked: Timestamp,
    /// The generation that is gone through; none if that has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Digest>,
    /// How many of its packages are done, in the order of their builds.
    #[serde(default)]
    pub packages_done: usize,
}

impl Inventory {
    /// Of a target that has released nothing.
    pub const fn of_new(target: ReleaseTarget, now: Timestamp) -> Self {
        Self {
            target,
            is_whole: true,
            asked: now,
            generation: None,
            packages_done: 0,
        }
    }

    /// Of a target of before.
    pub fn begun(target: ReleaseTarget, now: Timestamp) -> Self {
        Self {
            is_whole: false,
            ..Self::of_new(target, now)
        }
    }
}

impl Stored for Inventory {
    const TABLE: Table = Table::Setting;

    fn id(&self) -> String {
        inventory_id(&self.target)
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        Vec::new()
    }
}

fn inventory_id(target: &ReleaseTarget) -> String {
    format!("inventory/{target}")
}

/// The inventory of a target; none if nobody has asked for one.
pub async fn inventory(
    state: &impl StateStore,
    target: &ReleaseTarget,
) -> Result<Option<(Inventory, Version)>, StateError> {
    get(state, Table::Setting, &inventory_id(target)).await
}

/// How long after somebody was asked to go on with an inventory they may be asked again, in milliseconds: by then a message has come, and
/// an inventory in progress says so more often.
pub const ASK_AGAIN_MS: u64 = 60_000;

/// Whether a target's names are known; if not, sees to it that somebody takes its inventory.
pub async fn is_inventory_whole(
    state: &impl StateStore,
    target: &ReleaseTarget,
    now: Timestamp,
) -> Result<bool, SaveError> {
    let found = inventory(state, target).await?;
    let (inventory, expect) = match found {
        Some((inventory, _)) if inventory.is_whole => return Ok(true),
        Some((inventory, _)) if now.since_ms(inventory.asked) < ASK_AGAIN_MS => return Ok(false),
        Some((inventory, version)) => (
            Inventory {
                asked: now,
                ..inventory
            },
            Expect::Version(version),
        ),
        None => (Inventory::begun(target.clone(), now), Expect::Absent),
    };
    let commit = Commit {
        writes: vec![inventory.write(expect)?],
        effects: vec![Effect::ClaimReleased {
            platform: target.platform.clone(),
        }],
    };
    match state.save(commit).await {
        Ok(()) | Err(SaveError::Conflict(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets a package use a name, whoever has it. Doing it twice does no harm; the first word stays.
pub async fn grant(
    state: &impl StateStore,
    target: &ReleaseTarget,
    name: &OwnedName,
    package: &PackageName,
    grant: Grant,
) -> Result<Claim, SaveError> {
    change(state, target, name, |claim| {
        claim
            .grants
            .entry(package.clone())
            .or_insert_with(|| grant.clone());
    })
    .await
}

/// Takes a grant back; what was released by it stays released. None if there was none.
pub async fn revoke(
    state: &impl StateStore,
    target: &ReleaseTarget,
    name: &OwnedName,
    package: &PackageName,
) -> Result<Option<Claim>, SaveError> {
    let (claim, _) = load(state, target, name).await?;
    if !claim.grants.contains_key(package) {
        return Ok(None);
    }
    let claim = change(state, target, name, |claim| {
        claim.grants.remove(package);
    });
    claim.await.map(Some)
}

/// Changes what is known of a name. One of which nothing is known any more has no record.
async fn change(
    state: &impl StateStore,
    target: &ReleaseTarget,
    name: &OwnedName,
    change: impl Fn(&mut Claim),
) -> Result<Claim, SaveError> {
    loop {
        let (before, expect) = load(state, target, name).await?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(after);
        }
        let write = match expect {
            Expect::Version(version) if after.is_empty() => {
                Write::removal(Key::new(Table::Claim, after.id()), version)
            }
            Expect::Absent | Expect::Version(_) => after.write(expect)?,
        };
        match state.save(write.into()).await {
            Ok(()) => return Ok(after),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
    }
}

/// What is known of a name, and what a write of it must expect.
async fn load(
    state: &impl StateStore,
    target: &ReleaseTarget,
    name: &OwnedName,
) -> Result<(Claim, Expect), StateError> {
    let found: Option<(Claim, Version)> = get(state, Table::Claim, &name.id(target)).await?;
    Ok(match found {
        Some((claim, version)) => (claim, Expect::Version(version)),
        None => (Claim::free(target.clone(), name.clone()), Expect::Absent),
    })
}

/// Owners of names that are no packages of the line any more.
pub async fn gone_owners(
    state: &impl StateStore,
    claims: impl IntoIterator<Item = &Claim>,
) -> Result<BTreeSet<PackageName>, StateError> {
    let owner = |claim: &Claim| Some(claim.owner.as_ref()?.package.clone());
    let owners: BTreeSet<PackageName> = claims.into_iter().filter_map(owner).collect();
    let mut gone = BTreeSet::new();
    for owner in owners {
        let key = Key::new(Table::Package, owner.as_str());
        if state.load(&key).await?.is_none() {
            gone.insert(owner);
        }
    }
    Ok(gone)
}

/// Makes nobody's what was a package's own, and takes back what was granted to it, as far as names are found by their package. Its files and
/// capabilities are nobody's once there is no such package: see [`gone_owners`].
pub(crate) async fn release_all(
    state: &impl StateStore,
    package: &PackageName,
) -> Result<(), SaveError> {
    for found in names_of(state, package).await? {
        change(state, &found.target, &found.name, |claim| {
            claim.forget_owner_of(&BTreeSet::from([package.clone()]));
            claim.grants.remove(package);
        })
        .await?;
    }
    Ok(())
}

/// The names of packages that are a package's own or were granted to it, on all targets, in the order of targets and names. Files and
/// capabilities are among them only where they were granted.
pub async fn names_of(
    state: &impl StateStore,
    package: &PackageName,
) -> Result<Vec<Claim>, StateError> {
    const PAGE: usize = 200;
    let index = names_index(package);
    let mut claims = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let hits = state.index_entries(&index, after.as_deref(), PAGE).await?;
        for hit in &hits {
            if let Some(record) = state.load(&hit.key).await? {
                claims.push(parse(&record)?);
            }
        }
        match hits.last() {
            Some(last) if hits.len() == PAGE => after = Some(last.sort.clone()),
            _ => return Ok(claims),
        }
    }
}

fn commit(writes: Vec<Write>) -> Commit {
    Commit {
        writes,
        effects: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use millrace_core::PushId;
    use millrace_core::access::Actor;

    const NOW: Timestamp = Timestamp(1_000);

    fn target() -> ReleaseTarget {
        ReleaseTarget::of_platform(&"el-9".parse().unwrap())
    }

    fn build() -> BuildId {
        BuildId::of_push(&PushId::new("push").unwrap(), &"el-9".parse().unwrap())
    }

    fn package(name: &str) -> PackageName {
        name.parse().unwrap()
    }

    fn names(texts: &[&str]) -> BTreeSet<OwnedName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    async fn claimed(store: &MemoryStore, by: &str, texts: &[&str]) -> Vec<String> {
        let claimant = Claimant {
            target: &target(),
            package: &package(by),
            build: &build(),
            gone: &BTreeSet::new(),
        };
        let taken = claim(store, claimant, &names(texts), NOW).await.unwrap();
        taken.iter().map(|claim| claim.name.to_string()).collect()
    }

    async fn listed(store: &MemoryStore, package_name: &str) -> Vec<String> {
        let names = names_of(store, &package(package_name)).await.unwrap();
        names.iter().map(|claim| claim.name.to_string()).collect()
    }

    #[tokio::test]
    async fn who_comes_first_has_a_name_and_who_comes_again_keeps_it() {
        let store = MemoryStore::new();
        let all = ["source:zlib", "zlib", "/usr/lib64/libz.so.1"];
        assert_eq!(claimed(&store, "zlib", &all).await, [""; 0]);
        assert_eq!(claimed(&store, "zlib", &all).await, [""; 0]);
        assert_eq!(
            claimed(&store, "trojan", &["zlib", "trojan"]).await,
            ["zlib"]
        );
        assert_eq!(listed(&store, "zlib").await, ["zlib", "source:zlib"]);
        assert_eq!(listed(&store, "trojan").await, ["trojan"]);
    }

    #[tokio::test]
    async fn thousands_of_files_are_claimed_in_pieces() {
        let store = MemoryStore::new();
        let paths: Vec<String> = (0..1000).map(|n| format!("/usr/share/tex/{n}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(claimed(&store, "texlive", &paths).await, [""; 0]);
        let known = claims(&store, &target(), names(&paths)).await.unwrap();
        assert_eq!(known.len(), 1000);
        assert!(known.values().all(|claim| claim.is_of(&package("texlive"))));
        assert_eq!(listed(&store, "texlive").await, [""; 0]);
    }

    #[tokio::test]
    async fn of_two_that_claim_a_name_at_once_one_has_it() {
        let store = MemoryStore::with_yields();
        let (left, right) = tokio::join!(
            claimed(&store, "left", &["left", "common"]),
            claimed(&store, "right", &["common", "right"])
        );
        assert_eq!([left, right].concat(), ["common"]);
        let known = claims(&store, &target(), names(&["left", "common", "right"]))
            .await
            .unwrap();
        assert!(known.values().all(|claim| claim.owner.is_some()));
    }

    #[tokio::test]
    async fn a_target_of_before_is_looked_through_once_and_asked_about_again_if_nobody_does() {
        let store = MemoryStore::new();
        let asks = async |at: u64| {
            let now = Timestamp(at);
            let is_whole = is_inventory_whole(&store, &target(), now).await.unwrap();
            assert!(!is_whole);
            store.unsettled(10).await.unwrap().len()
        };
        assert_eq!([asks(0).await, asks(ASK_AGAIN_MS - 1).await], [1, 1]);
        assert_eq!(asks(ASK_AGAIN_MS).await, 2);
        let (mut inventory, version) = inventory(&store, &target()).await.unwrap().unwrap();
        inventory.is_whole = true;
        let write = inventory.write(Expect::Version(version)).unwrap();
        store.save(write.into()).await.unwrap();
        assert!(is_inventory_whole(&store, &target(), NOW).await.unwrap());
    }

    #[tokio::test]
    async fn a_grant_is_found_by_its_package_and_goes_without_a_trace() {
        let store = MemoryStore::new();
        let (trojan, patch) = (package("trojan"), "patch".parse().unwrap());
        let word = Grant {
            by: Actor::Local("op".to_owned()),
            at: NOW,
        };
        let granted = grant(&store, &target(), &patch, &trojan, word.clone())
            .await
            .unwrap();
        assert!(granted.admits(&trojan));
        assert_eq!(listed(&store, "trojan").await, ["patch"]);
        assert_eq!(claimed(&store, "patch", &["patch"]).await, [""; 0]);
        let revoked = revoke(&store, &target(), &patch, &trojan).await.unwrap();
        assert!(revoked.is_some_and(|claim| claim.is_of(&package("patch"))));
        assert_eq!(
            revoke(&store, &target(), &patch, &trojan).await.unwrap(),
            None
        );

        let free = "free".parse().unwrap();
        grant(&store, &target(), &free, &trojan, word)
            .await
            .unwrap();
        revoke(&store, &target(), &free, &trojan).await.unwrap();
        assert_eq!(
            claims(&store, &target(), [free]).await.unwrap(),
            BTreeMap::new()
        );
        assert_eq!(listed(&store, "trojan").await, [""; 0]);
    }
}

//! Stories of the releaser, with packages that rpmbuild made.

mod dnf;
mod history;
mod http;
mod interruptions;
mod inventory;
mod keys;
mod metadata;
mod removal;
mod rpms;
mod stories;

use crate::{Generation, Seal, SealError, current};
use millrace_core::build::{Build, Stage};
use millrace_core::order::{OrderedFile, ReleaseOrder};
use millrace_core::platform::Platform;
use millrace_core::testing;
use millrace_core::{BuildId, Digest, KeyName, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::memory::MemoryStore;
use millrace_store::{BlobStore, Expect, Table, records};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

const COMMITTED_S: u64 = 1_700_000_000;

fn platform() -> Platform {
    testing::platform(r#""x86_64", "aarch64""#)
}

/// "Signs" by naming the key and what was signed.
struct NamedSeal;

impl Seal for NamedSeal {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        Ok(format!("{key} at {signed_s} signs {}", Digest::of(repomd)).into_bytes())
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        Ok(format!("key {key}").into_bytes())
    }
}

/// An order of a build for these packages, whose files are kept.
async fn order(store: &MemoryStore, build: &str, packages: &[&rpms::Package]) -> ReleaseOrder {
    let mut files = Vec::new();
    for package in packages {
        store.put(package.bytes.clone()).await.unwrap();
        files.push(package.ordered());
    }
    order_of(build, files)
}

fn order_of(build: &str, files: Vec<OrderedFile>) -> ReleaseOrder {
    order_on(&platform(), build, files)
}

fn order_on(platform: &Platform, build: &str, files: Vec<OrderedFile>) -> ReleaseOrder {
    ReleaseOrder::new(
        BuildId::new(build).unwrap(),
        "tally".parse().unwrap(),
        platform,
        COMMITTED_S,
        files,
    )
}

/// The platform with another key.
fn with_key(key: &str) -> Platform {
    Platform {
        key: key.parse().unwrap(),
        ..platform()
    }
}

/// Keeps a build that waits for this order to be carried out.
async fn keep_build(store: &MemoryStore, order: &ReleaseOrder) {
    let build = Build {
        id: order.build.clone(),
        push: testing::push(order.package.as_str(), 1),
        platform: platform(),
        plugins: BTreeMap::new(),
        tasks: vec![],
        stage: Stage::Releasing { order: order.id },
        created: NOW,
        ended: None,
        rank: Default::default(),
        waits: None,
        order_retries: 0,
    };
    records::put(
        store,
        Table::Build,
        build.id.as_str(),
        Expect::Absent,
        &build,
        vec![],
    )
    .await
    .unwrap();
}

async fn stage(store: &MemoryStore, order: &ReleaseOrder) -> Stage {
    load_build(store, &order.build)
        .await
        .unwrap()
        .unwrap()
        .0
        .stage
}

async fn released(store: &MemoryStore) -> Generation {
    current(&platform().name, store).await.unwrap().unwrap().0
}

/// What lies where: `x86_64/os: a.rpm b.rpm`, a repository a line.
fn listing(generation: &Generation) -> String {
    let line = |(name, packages): (&str, &BTreeMap<String, crate::PackageEntry>)| {
        let files: Vec<&str> = packages.keys().map(String::as_str).collect();
        format!("{name}: {}\n", files.join(" "))
    };
    generation.packages().map(line).collect()
}

//! Builds over a store: every event ends in a record that can be kept, and orders are kept with the builds that gave them.

use millrace_core::build::{Build, Event, Stage};
use millrace_core::order::SignedFile;
use millrace_core::plan::plan;
use millrace_core::platform::{PackageConfig, Platform};
use millrace_core::push::{Push, PushRecord, PushState};
use millrace_core::rpm::Rpm;
use millrace_core::task::{ARTIFACTS_MAX, Artifact, Outcome, RunnerProfile};
use millrace_core::testing;
use millrace_core::{Arch, BuildId, Digest, Timestamp};
use millrace_store::builds::{create_builds, load_build, load_push};
use millrace_store::index::{LEASED, ready_index};
use millrace_store::memory::MemoryStore;
use millrace_store::orders::{Order, load_order};
use millrace_store::records::put;
use millrace_store::{Expect, StateStore, Table, advance};

const NOW: Timestamp = Timestamp(1_000);

fn platform(name: &str, architectures: &str) -> Platform {
    let mut platform = testing::platform(architectures);
    platform.name = name.parse().unwrap();
    platform.steps.retain(|step| step.name.as_str() != "check");
    platform
}

fn push() -> Push {
    testing::push("glibc", 1)
}

fn planned(platform: &Platform) -> Build {
    let config = PackageConfig::default();
    plan(&push(), &config, platform, &testing::plugins(), NOW).unwrap()
}

/// A store with a push and its builds on these platforms.
async fn line(platforms: &[Platform]) -> (MemoryStore, Vec<BuildId>) {
    let store = MemoryStore::new();
    let record = PushRecord {
        announced: push().announced,
        state: PushState::Fetching,
    };
    put(
        &store,
        Table::Push,
        record.announced.id.as_str(),
        Expect::Absent,
        &record,
        Vec::new(),
    )
    .await
    .unwrap();
    let (mut record, version) = load_push(&store, &record.announced.id)
        .await
        .unwrap()
        .unwrap();
    let builds: Vec<Build> = platforms.iter().map(planned).collect();
    let ids: Vec<BuildId> = builds.iter().map(|build| build.id.clone()).collect();
    record.state = PushState::Planned {
        builds: ids.clone(),
    };
    create_builds(&store, (&record, version), &builds)
        .await
        .unwrap();
    (store, ids)
}

async fn passes(
    store: &MemoryStore,
    build: &BuildId,
    task: &str,
    artifacts: Vec<Artifact>,
) -> Build {
    let task: millrace_core::task::TaskId = task.parse().unwrap();
    let machine = RunnerProfile::of(Arch::X86_64);
    let take = Event::Take {
        task: task.clone(),
        runner: "r1".parse().unwrap(),
        machine,
    };
    let took = advance::<Build>(store, build, take, NOW).await.unwrap();
    let lease = took.task(&task).unwrap().lease().unwrap().number;
    let outcome = Outcome::Passed {
        summary: String::new(),
        artifacts,
    };
    advance::<Build>(
        store,
        build,
        Event::Report {
            task,
            lease,
            outcome,
            roots: None,
        },
        NOW,
    )
    .await
    .unwrap()
}

fn package(number: usize, arch: &str) -> Artifact {
    let rpm = Rpm {
        name: format!("glibc-langpack-of-a-rather-long-name-{number}"),
        epoch: 0,
        version: "2.41".to_owned(),
        release: "1.el9".to_owned(),
        arch: arch.to_owned(),
        exclusive_arch: Vec::new(),
        exclude_arch: Vec::new(),
        build_arch: Vec::new(),
    };
    Artifact {
        name: format!("{rpm}.rpm"),
        digest: Digest::of(rpm.to_string().as_bytes()),
        size: 1,
        rpm: Some(rpm),
    }
}

fn source() -> Vec<Artifact> {
    vec![package(0, "src")]
}

#[tokio::test]
async fn a_build_that_no_store_would_take_ends_with_words_and_nothing_of_it_stays_behind() {
    let (store, ids) = line(&[platform(
        "el-9",
        r#""x86_64", "aarch64", "ppc64le", "s390x""#,
    )])
    .await;
    passes(&store, &ids[0], "source", source()).await;
    let mut last = None;
    for arch in ["x86_64", "aarch64", "ppc64le", "s390x"] {
        let packages = (0..ARTIFACTS_MAX)
            .map(|number| package(number, arch))
            .collect();
        let build = passes(&store, &ids[0], &format!("rpm@{arch}"), packages).await;
        let ended = build.is_ended();
        last = Some(build);
        if ended {
            break;
        }
    }
    let build = last.unwrap();
    assert_eq!(build.word(), "failed");
    assert!(
        build
            .reason()
            .unwrap()
            .contains("do not fit one build; split the package"),
        "{:?}",
        build.reason()
    );
    assert_eq!(load_build(&store, &ids[0]).await.unwrap().unwrap().0, build);
    for index in [
        LEASED.to_owned(),
        ready_index(None),
        ready_index(Some(millrace_core::Arch::S390x)),
    ] {
        assert_eq!(
            store.index_entries(&index, None, 1).await.unwrap(),
            [],
            "{index}"
        );
    }
}

#[tokio::test]
async fn as_many_packages_as_glibc_has_on_four_architectures_fit() {
    let (store, ids) = line(&[platform(
        "el-9",
        r#""x86_64", "aarch64", "ppc64le", "s390x""#,
    )])
    .await;
    passes(&store, &ids[0], "source", source()).await;
    let mut build = None;
    for arch in ["x86_64", "aarch64", "ppc64le", "s390x"] {
        let packages = (0..220).map(|number| package(number, arch)).collect();
        build = Some(passes(&store, &ids[0], &format!("rpm@{arch}"), packages).await);
    }
    let build = build.unwrap();
    assert_eq!((build.word(), build.reason()), ("signing", None));
}

#[tokio::test]
async fn orders_are_kept_as_they_were_given() {
    let (store, ids) = line(&[platform("el-9", r#""x86_64""#)]).await;
    passes(&store, &ids[0], "source", source()).await;
    let build = passes(&store, &ids[0], "rpm@x86_64", vec![package(1, "x86_64")]).await;
    let Stage::Signing { order: signing } = build.stage else {
        panic!("{}", build.word())
    };
    let made = |file: millrace_core::order::OrderedFile| SignedFile {
        unsigned: file.digest,
        signed: Digest::of(b"s"),
        size: 2,
    };
    let files = build.releasable().into_iter().map(made).collect();
    let build = advance::<Build>(
        &store,
        &ids[0],
        Event::Signed {
            order: signing,
            files,
        },
        NOW,
    )
    .await
    .unwrap();
    let Stage::Releasing { order: releasing } = build.stage else {
        panic!("{}", build.word())
    };
    let released = Event::Released {
        order: releasing,
        generation: Digest::of(b"g"),
        number: 1,
    };
    advance::<Build>(&store, &ids[0], released, NOW)
        .await
        .unwrap();
    let Some(Order::Sign(kept)) = load_order(&store, &signing).await.unwrap() else {
        panic!("the order to the signer is gone")
    };
    assert!(kept.id == signing && kept.is_as_named() && kept.files == build.releasable());
    let Some(Order::Release(kept)) = load_order(&store, &releasing).await.unwrap() else {
        panic!("the order to the releaser is gone")
    };
    assert!(kept.id == releasing && kept.is_as_named() && kept.placements.len() == 2);
}

#[tokio::test]
async fn a_push_may_be_built_on_more_platforms_than_one_commit_takes() {
    let platforms: Vec<Platform> = (0..30)
        .map(|number| platform(&format!("p{number:02}"), r#""x86_64""#))
        .collect();
    let (store, ids) = line(&platforms).await;
    for id in &ids {
        assert!(load_build(&store, id).await.unwrap().is_some(), "{id}");
    }
    let record = load_push(&store, &push().announced.id)
        .await
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(record.state, PushState::Planned { builds: ids });
}

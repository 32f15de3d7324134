//! Builds that somebody asks for, cancels and repeats.

use millrace_control::build::{
    BuildRequest, RetryRequest, build, cancel, clone, find, push_id, retry,
};
use millrace_control::package::{self, PackageRequest};
use millrace_control::{ControlError, NotFound, hold, lock};
use millrace_core::Timestamp;
use millrace_core::access::Actor;
use millrace_core::build::{Build, End, Stage};
use millrace_core::order::Effect;
use millrace_core::plan::plan;
use millrace_core::platform::PackageConfig;
use millrace_core::testing;
use millrace_store::StateStore;
use millrace_store::memory::MemoryStore;
use millrace_store::records::create;

const NOW: Timestamp = Timestamp(1_763_930_000_000);

fn dana() -> Actor {
    Actor::Local("dana".to_owned())
}

/// A build of zlib, kept in a store.
async fn planned(store: &MemoryStore) -> Build {
    let mut platform = testing::platform(r#""x86_64""#);
    platform.steps.retain(|step| step.name.as_str() == "rpm");
    platform.steps[0].needs.clear();
    let push = testing::push("zlib", 1);
    let config = PackageConfig::default();
    let build = plan(&push, &config, &platform, &testing::plugins(), NOW).unwrap();
    assert!(create(store, &build).await.unwrap());
    build
}

/// What the line is to fetch, in the order in which it was asked for.
async fn fetched(store: &MemoryStore) -> Vec<Effect> {
    let messages = store.unsettled(10).await.unwrap();
    messages.into_iter().map(|message| message.effect).collect()
}

fn request(package: &str) -> BuildRequest {
    BuildRequest {
        id: push_id([7; 8]),
        package: package.parse().unwrap(),
        reference: "refs/heads/main".to_owned(),
        commit: "1".repeat(40).try_into().unwrap(),
        options: Default::default(),
    }
}

#[tokio::test]
async fn a_build_of_a_registered_package_is_fetched_like_a_push() {
    let store = MemoryStore::new();
    let missing = build(&dana(), request("zlib"), &store, NOW).await;
    let missing = missing.unwrap_err();
    assert_eq!(
        missing.to_string(),
        "no package `zlib`: `millrace package add zlib URL` registers it"
    );
    assert!(matches!(
        missing,
        ControlError::NotFound(NotFound::Package(_))
    ));

    let url = "https://forge.example/rpms/zlib.git";
    let zlib = PackageRequest {
        name: "zlib".parse().unwrap(),
        clone_url: url.to_owned(),
        source_name: None,
        platforms: Vec::new(),
        project: None,
        priority: None,
    };
    package::add(&dana(), zlib, &store, NOW).await.unwrap();
    let announced = build(&dana(), request("zlib"), &store, NOW).await.unwrap();
    assert_eq!(
        (announced.clone_url.as_str(), announced.pusher.as_str()),
        (url, "dana")
    );
    assert_eq!(fetched(&store).await, [Effect::Fetch(announced)]);
}

#[tokio::test]
async fn a_clone_is_of_the_same_commit_on_the_same_platform() {
    let store = MemoryStore::new();
    let first = planned(&store).await;
    let id = push_id([1; 8]);
    let options = Default::default();
    let again = clone(&dana(), &first, id.clone(), options, &store, NOW)
        .await
        .unwrap();
    assert_eq!(
        (&again.id, &again.commit, again.pusher.as_str()),
        (&id, &first.push.announced.commit, "dana")
    );
    assert_eq!(fetched(&store).await, [Effect::Fetch(again)]);
}

#[tokio::test]
async fn a_build_keeps_who_cancelled_and_who_repeated_it() {
    let store = MemoryStore::new();
    let build = planned(&store).await;
    let cancelled = cancel(&dana(), &build.id, &store, NOW).await.unwrap();
    assert_eq!(
        cancelled.stage,
        Stage::Ended {
            end: End::Cancelled { by: dana() }
        }
    );
    let all = RetryRequest::default();
    let again = retry(&dana(), &cancelled, all, &store, NOW).await.unwrap();
    assert_eq!(again.stage, Stage::Running);

    let missing = RetryRequest {
        task: Some("check@x86_64".parse().unwrap()),
        hold_s: None,
    };
    let refused = retry(&dana(), &again, missing, &store, NOW).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("build {} has no task check@x86_64", build.id)
    );
    let nothing_failed = RetryRequest::default();
    let refused = retry(&dana(), &again, nothing_failed, &store, NOW).await;
    assert!(matches!(refused, Err(ControlError::Refused(_))));
}

#[tokio::test]
async fn a_build_is_found_by_enough_of_its_first_digits() {
    let store = MemoryStore::new();
    let build = planned(&store).await;
    let id = build.id.as_str();
    assert_eq!(find(id, &store).await.unwrap(), build);
    assert_eq!(find(&id[..4], &store).await.unwrap(), build);
    for missing in ["zz", "000000000000"] {
        let missing = find(missing, &store).await.unwrap_err();
        assert!(matches!(
            missing,
            ControlError::NotFound(NotFound::Build(_))
        ));
    }
}

#[tokio::test]
async fn what_a_build_does_not_have_is_said_with_what_helps() {
    let store = MemoryStore::new();
    let build = planned(&store).await;
    let held = hold::find(&build, None, &store, NOW).await.unwrap_err();
    assert_eq!(
        held.to_string(),
        format!(
            "no sandbox of build {0} is held; `millrace retry {0} --hold 30m` does again what failed, and holds it",
            build.id
        )
    );
    assert!(matches!(held, ControlError::NotFound(NotFound::Hold(_))));
    let unlocked = lock::show(&build, &store).await.unwrap_err();
    assert!(matches!(unlocked, ControlError::Invalid(_)), "{unlocked}");
    let id = push_id([2; 8]);
    let verified = lock::verify(&dana(), &build, id, false, &store, NOW).await;
    assert!(matches!(verified, Err(ControlError::Invalid(_))));
    assert_eq!(fetched(&store).await, []);
}

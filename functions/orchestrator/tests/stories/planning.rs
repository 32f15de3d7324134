//! What becomes of a push.

use crate::world::{BEGIN, platform, push};
use millrace_core::Digest;
use millrace_core::platform::Platform;
use millrace_core::plugin::Plugin;
use millrace_core::push::{Package, Push, PushRecord, PushState};
use millrace_orchestrator::plan;
use millrace_store::builds::{load_build, load_push};
use millrace_store::memory::MemoryStore;
use millrace_store::records::replace;
use millrace_store::{Expect, StateStore, Stored, Table};

/// A line with platforms of these names, each with the branches that it builds.
async fn line(platforms: &[(&str, &[&str])]) -> MemoryStore {
    let store = MemoryStore::new();
    for (name, branches) in platforms {
        let branches = branches.iter().map(|branch| (*branch).to_owned()).collect();
        let platform = Platform {
            name: name.parse().unwrap(),
            branches,
            ..platform()
        };
        replace(&store, Table::Platform, name, &platform)
            .await
            .unwrap();
    }
    for name in ["source", "rpm"] {
        register_plugin(&store, name).await;
    }
    store
}

async fn register_plugin(store: &MemoryStore, name: &str) {
    let plugin = Plugin {
        name: name.parse().unwrap(),
        digest: Digest::of(name.as_bytes()),
        size: 1,
    };
    replace(store, Table::Plugin, name, &plugin).await.unwrap();
}

async fn register_package(store: &MemoryStore, platforms: &[&str]) {
    let platforms = platforms.iter().map(|name| name.parse().unwrap()).collect();
    let clone_url = "https://forge.example/rpms/zlib.git".to_owned();
    let package = Package::new("zlib".parse().unwrap(), clone_url, platforms, BEGIN);
    replace(store, Table::Package, "zlib", &package)
        .await
        .unwrap();
}

/// Announces a push that was not heard of before.
async fn announce(store: &MemoryStore, push: &Push) {
    let record = PushRecord {
        announced: push.announced.clone(),
        state: PushState::Fetching,
    };
    let kept = record.write(Expect::Absent).unwrap();
    store.save(kept.into()).await.unwrap();
}

/// What has become of it: the platforms that it is built on, or why it is not.
async fn outcome(store: &MemoryStore, push: &Push) -> Result<Vec<String>, String> {
    match load_push(store, &push.announced.id)
        .await
        .unwrap()
        .unwrap()
        .0
        .state
    {
        PushState::Planned { builds } => {
            let mut platforms = Vec::new();
            for id in builds {
                platforms.push(
                    load_build(store, &id)
                        .await
                        .unwrap()
                        .unwrap()
                        .0
                        .platform
                        .name
                        .to_string(),
                );
            }
            Ok(platforms)
        }
        PushState::Refused { reason } => Err(reason),
        state => panic!("nothing has become of it: {state:?}"),
    }
}

async fn planned(store: &MemoryStore, push: &Push) -> Result<Vec<String>, String> {
    announce(store, push).await;
    plan(push, store, BEGIN).await.unwrap();
    outcome(store, push).await
}

fn names(names: &[&str]) -> Result<Vec<String>, String> {
    Ok(names.iter().map(|name| (*name).to_owned()).collect())
}

const THREE: &[(&str, &[&str])] = &[("el10", &[]), ("el8", &["c8*"]), ("el9", &[])];

#[tokio::test]
async fn a_push_is_built_on_every_platform_that_builds_its_branch() {
    let store = line(THREE).await;
    register_package(&store, &[]).await;
    assert_eq!(
        planned(&store, &push("zlib", "")).await,
        names(&["el10", "el9"])
    );
    let mut branch = push("pigz", "");
    branch.announced.reference = "refs/heads/c8s".to_owned();
    assert_eq!(
        planned(&store, &branch).await,
        names(&["el10", "el8", "el9"])
    );
}

#[tokio::test]
async fn a_package_is_built_where_it_is_registered_for() {
    let store = line(THREE).await;
    register_package(&store, &["el8", "el9"]).await;
    assert_eq!(planned(&store, &push("zlib", "")).await, names(&["el9"]));
}

#[tokio::test]
async fn a_package_says_in_its_millrace_toml_where_it_is_built() {
    let store = line(THREE).await;
    register_package(&store, &["el9", "el10"]).await;
    assert_eq!(
        planned(&store, &push("zlib", "platforms = [\"el10\"]")).await,
        names(&["el10"])
    );
}

#[tokio::test]
async fn a_package_is_not_built_where_whoever_runs_the_line_did_not_register_it() {
    let store = line(THREE).await;
    register_package(&store, &["el9"]).await;
    let refused = planned(&store, &push("zlib", "platforms = [\"el10\"]")).await;
    assert!(
        refused
            .as_ref()
            .is_err_and(|reason| reason.contains("`el10`; the package is registered for el9")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_platform_that_the_line_does_not_have_is_named() {
    let store = line(THREE).await;
    let refused = planned(&store, &push("zlib", "platforms = [\"el9\", \"el7\"]")).await;
    assert!(
        refused
            .as_ref()
            .is_err_and(|reason| reason.contains("`el7`, which the line does not have")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_push_that_no_platform_builds_is_told_where_to_look() {
    let store = line(&[("el8", &["c8*"])]).await;
    let refused = planned(&store, &push("zlib", "")).await;
    assert!(
        refused
            .as_ref()
            .is_err_and(|reason| reason.starts_with("no platform builds refs/heads/main")),
        "{refused:?}"
    );
    let refused = planned(&line(&[]).await, &push("zlib", "")).await;
    assert!(
        refused
            .as_ref()
            .is_err_and(|reason| reason.starts_with("the line has no platform")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_plugin_that_nobody_registered_is_named_with_the_step_that_wants_it() {
    let store = line(&[("el9", &[])]).await;
    let step = "[[steps]]\nname = \"lint\"\nplugin = \"lint\"\non = \"once\"\n";
    let refused = planned(&store, &push("zlib", step)).await;
    let words = "step `lint` of platform el9 wants the plugin `lint`, which is not registered: `millrace plugin add lint FILE`";
    assert_eq!(refused, Err(words.to_owned()));
    register_plugin(&store, "lint").await;
    assert_eq!(planned(&store, &push("pigz", step)).await, names(&["el9"]));
}

#[tokio::test]
async fn a_refused_push_stays_refused_when_it_is_delivered_again() {
    let store = line(&[("el9", &[])]).await;
    let step = "[[steps]]\nname = \"lint\"\nplugin = \"lint\"\non = \"once\"\n";
    let push = push("zlib", step);
    let refused = planned(&store, &push).await;
    assert!(refused.is_err());
    register_plugin(&store, "lint").await;
    plan(&push, &store, BEGIN).await.unwrap();
    assert_eq!(
        outcome(&store, &push).await,
        refused,
        "what was said to its author stands"
    );
    assert!(store.list(Table::Build, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_push_that_is_delivered_twice_comes_to_the_same_builds() {
    let store = line(THREE).await;
    let push = push("zlib", "");
    let first = planned(&store, &push).await;
    let messages = store.messages();
    plan(&push, &store, BEGIN.plus_ms(5000)).await.unwrap();
    assert_eq!(outcome(&store, &push).await, first);
    assert_eq!(
        (
            store.list(Table::Build, None, 10).await.unwrap().len(),
            store.messages()
        ),
        (2, messages)
    );
}

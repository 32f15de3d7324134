//! Whose names a build signs: its own, those that nobody has, and those that were granted.

use super::build_id;
use super::orders::{NOW, handed_over, keep_build, platform};
use super::rpms::{packages, place_of, with_header};
use super::{Desk, desk};
use crate::{SignError, SignOutcome, sign};
use millrace_core::access::Actor;
use millrace_core::build::Build;
use millrace_core::header::{read_head, tag};
use millrace_core::order::{Effect, SignOrder};
use millrace_core::ownership::{Claim, Grant, OwnedName, ReleaseTarget, RepositoryNames};
use millrace_core::platform::Platform;
use millrace_core::push::{Package, Suspension};
use millrace_core::{BuildId, PackageName};
use millrace_store::ownership::{
    ASK_AGAIN_MS, Claimant, claim, claims, grant, inventory, names_of,
};
use millrace_store::packages::{change, register, remove};
use millrace_store::records::{self, replace};
use millrace_store::repository_names::keep;
use millrace_store::{StateStore as _, Table, Write};
use std::collections::BTreeSet;

fn target() -> ReleaseTarget {
    ReleaseTarget::of_platform(&platform().name)
}

fn name(text: &str) -> OwnedName {
    text.parse().unwrap()
}

fn package(name: &str) -> PackageName {
    name.parse().unwrap()
}

impl Desk {
    /// An order of the build of package `hello`, for its binary packages and its source package.
    async fn hello(&self) -> SignOrder {
        let files: [&[u8]; 3] = [&packages().hello, &packages().source, &packages().long];
        let order = self.order("release", &files).await;
        keep_build(self, &order).await;
        order
    }

    async fn give(&self, owner: &str, text: &str) {
        let url = format!("http://forge/rpms/{owner}.git");
        let other = Package::new(package(owner), url, Vec::new(), NOW);
        register(&self.store, other).await.unwrap();
        let build = BuildId::new("an-older-build").unwrap();
        let claimant = Claimant {
            target: &target(),
            package: &package(owner),
            build: &build,
            gone: &BTreeSet::new(),
        };
        let names = BTreeSet::from([name(text)]);
        let taken = claim(&self.store, claimant, &names, NOW).await.unwrap();
        assert_eq!(taken, []);
    }

    async fn owner(&self, text: &str) -> Option<String> {
        let known = claims(&self.store, &target(), [name(text)]).await.unwrap();
        let owned = known.into_values().next()?.owner?;
        Some(owned.package.to_string())
    }

    async fn signs(&self, order: &SignOrder) -> SignOutcome {
        sign(order, &self.keys, &self.store, &self.store, NOW)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn what_a_build_signs_first_is_its_packages_own_from_then_on() {
    let desk = desk().await;
    let order = desk.hello().await;
    assert_eq!(desk.signs(&order).await, SignOutcome::Signed);
    for text in [
        "source:hello",
        "hello",
        "hello-long",
        "/usr/share/hello/greeting",
    ] {
        assert_eq!(desk.owner(text).await.as_deref(), Some("hello"), "{text}");
    }
    let listed = names_of(&desk.store, &package("hello")).await.unwrap();
    let listed: Vec<String> = listed
        .iter()
        .map(|claim: &Claim| claim.name.to_string())
        .collect();
    assert_eq!(listed, ["hello", "hello-long", "source:hello"]);
}

#[tokio::test]
async fn a_name_or_a_file_of_another_package_is_not_signed_and_the_author_is_told_whose_it_is() {
    for text in ["hello-long", "/usr/share/hello/greeting", "source:hello"] {
        let desk = desk().await;
        desk.give("other", text).await;
        let order = desk.hello().await;
        let SignOutcome::Refused(reason) = desk.signs(&order).await else {
            panic!("{text} was signed")
        };
        assert!(
            reason.contains("which belongs to package other"),
            "{reason}"
        );
        let advice = format!("`millrace package grant hello '{text}' --platform test`");
        assert!(reason.contains(&advice), "{reason}");
        assert_eq!(
            desk.owner("hello").await,
            None,
            "a refused build gets no names"
        );
        desk.assert_signed_nothing_of(&order).await;
    }
}

#[tokio::test]
async fn what_an_operator_granted_is_signed_and_stays_whose_it_is() {
    let desk = desk().await;
    desk.give("other", "hello-long").await;
    let word = Grant {
        by: Actor::Local("operator".to_owned()),
        at: NOW,
    };
    let long = name("hello-long");
    grant(&desk.store, &target(), &long, &package("hello"), word)
        .await
        .unwrap();
    let order = desk.hello().await;
    assert_eq!(desk.signs(&order).await, SignOutcome::Signed);
    assert_eq!(desk.owner("hello-long").await.as_deref(), Some("other"));
    assert_eq!(desk.owner("hello").await.as_deref(), Some("hello"));
}

#[tokio::test]
async fn until_earlier_releases_have_their_owners_nothing_is_signed_and_they_are_asked_for() {
    let desk = desk().await;
    let (whole, version) = inventory(&desk.store, &target()).await.unwrap().unwrap();
    let forget = Write::removal(
        millrace_store::Stored::write(&whole, millrace_store::Expect::Absent)
            .unwrap()
            .key,
        version,
    );
    desk.store.save(forget.into()).await.unwrap();
    let order = desk.hello().await;
    for _ in 0..2 {
        let error = sign(&order, &desk.keys, &desk.store, &desk.store, NOW)
            .await
            .unwrap_err();
        assert!(matches!(error, SignError::NoInventory(_)), "{error}");
        assert!(!error.is_refusal());
    }
    desk.assert_signed_nothing_of(&order).await;
    let hidden_until = NOW.plus_ms(ASK_AGAIN_MS);
    let asked = desk.store.take(10, NOW, hidden_until).await.unwrap();
    let asked: Vec<&Effect> = asked.iter().map(|message| &message.effect).collect();
    let platform = platform().name;
    assert_eq!(asked, [&Effect::ClaimReleased { platform }]);
}

#[tokio::test]
async fn a_name_of_the_platforms_repositories_is_not_signed_for_another_source() {
    let desk = desk().await;
    let mut names = RepositoryNames::default();
    for name in ["hello", "hello-long"] {
        names.add(&name.parse().unwrap(), "hello").unwrap();
    }
    keep(&platform(), &names, &desk.store, &desk.store, NOW)
        .await
        .unwrap();
    let order = desk.hello().await;
    assert_eq!(
        desk.signs(&order).await,
        SignOutcome::Signed,
        "its own source may"
    );

    let desk = super::desk().await;
    let mut names = RepositoryNames::default();
    names
        .add(&"/usr/share/hello/long".parse().unwrap(), "greetings")
        .unwrap();
    keep(&platform(), &names, &desk.store, &desk.store, NOW)
        .await
        .unwrap();
    let order = desk.hello().await;
    let SignOutcome::Refused(reason) = desk.signs(&order).await else {
        panic!("it was signed")
    };
    let whose = "which the platform's repositories have from the source package greetings";
    assert!(reason.contains(whose), "{reason}");
}

#[tokio::test]
async fn until_the_names_of_the_platforms_repositories_are_known_nothing_is_signed() {
    let desk = desk().await;
    let changed = Platform {
        releasever: "10".to_owned(),
        ..platform()
    };
    replace(
        &desk.store,
        Table::Platform,
        changed.name.as_str(),
        &changed,
    )
    .await
    .unwrap();
    let order = desk.hello().await;
    let error = sign(&order, &desk.keys, &desk.store, &desk.store, NOW)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("signing waits for them"),
        "{error}"
    );
    assert!(!error.is_refusal());
    desk.assert_signed_nothing_of(&order).await;
}

#[tokio::test]
async fn what_a_removed_package_had_is_free_for_others() {
    for text in ["hello-long", "/usr/share/hello/greeting"] {
        let desk = desk().await;
        desk.give("other", text).await;
        remove(&desk.store, &package("other")).await.unwrap();
        let order = desk.hello().await;
        assert_eq!(desk.signs(&order).await, SignOutcome::Signed, "{text}");
        assert_eq!(desk.owner(text).await.as_deref(), Some("hello"));
    }
}

#[tokio::test]
async fn nothing_is_signed_of_a_package_that_is_suspended_or_was_removed() {
    let desk = desk().await;
    let order = desk.hello().await;
    let suspension = Suspension {
        by: Actor::Local("operator".to_owned()),
        at: NOW,
        reason: "its maintainer's account was taken over".to_owned(),
    };
    change(&desk.store, &package("hello"), |package| {
        package.suspended = Some(suspension.clone());
    })
    .await
    .unwrap();
    assert_eq!(
        desk.signs(&order).await,
        SignOutcome::Refused(
            "package hello is suspended by operator since 2026-11-18T11:06:40Z (its maintainer's account was taken over): \
             `millrace package resume hello` ends that"
                .to_owned()
        )
    );
    desk.assert_signed_nothing_of(&order).await;

    let desk = super::desk().await;
    let order = desk.hello().await;
    remove(&desk.store, &package("hello")).await.unwrap();
    let SignOutcome::Refused(reason) = desk.signs(&order).await else {
        panic!("it was signed")
    };
    assert!(reason.contains("is not registered any more"), "{reason}");
}

#[tokio::test]
async fn a_package_of_another_source_package_than_the_builds_own_is_not_signed() {
    let desk = desk().await;
    let head = read_head(&packages().hello).unwrap();
    let at = place_of(&head.header, tag::SOURCERPM);
    let release = at + "hello-1.0-".len();
    let other = with_header(&packages().hello, |header| header[release] = b'2');
    let order = desk.order("release", &[&other, &packages().source]).await;
    keep_build(&desk, &order).await;
    let SignOutcome::Refused(reason) = desk.signs(&order).await else {
        panic!("it was signed")
    };
    assert!(
        reason.contains("was built from hello-1.0-2.src.rpm, and the source package of this build is hello-1.0-1.src"),
        "{reason}"
    );
    assert!(reason.contains("such as the clock"), "{reason}");
    desk.assert_signed_nothing_of(&order).await;
}

#[tokio::test]
async fn noarch_packages_that_differ_between_architectures_are_not_signed() {
    // Both were built from one spec file, with a file of random bytes.
    let (one, other) = (&packages().hello, &packages().tight);
    for noarch_from in [None, Some("x86_64".parse().unwrap())] {
        let desk = desk().await;
        let order = desk.order("release", &[one]).await;
        keep_build(&desk, &order).await;
        let file = desk.file(other, other).await;
        let mut second = handed_over(&desk.order("release", &[other]).await);
        second.id = "rpm@aarch64".parse().unwrap();
        let id = build_id();
        let changed = records::change::<Build, _>(&desk.store, id.as_str(), |build| {
            build.tasks.push(second.clone());
            build.platform.noarch_from = noarch_from;
        });
        assert!(changed.await.unwrap().is_some());
        assert_ne!(file.digest, order.files[0].digest);
        match (noarch_from, desk.signs(&order).await) {
            (None, SignOutcome::Refused(reason)) => {
                let words = "hello-1.0-1.noarch.rpm differs between the architectures that made it (/usr/share/hello/greeting)";
                assert!(reason.starts_with(words), "{reason}");
            }
            (Some(_), SignOutcome::Signed) => {}
            (_, other) => panic!("{noarch_from:?}: {other:?}"),
        }
    }
}

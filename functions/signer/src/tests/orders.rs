//! Orders of builds: delivered once or often, forged, cut short, refused.

use super::rpms::{packages, rpmkeys};
use super::{
    COMMITTED_S, CREATED_S, Desk, FaultyKeys, begin, build_id, desk, is_well_signed, key, key_id,
};
use crate::keys::{Algorithm, Keys as _};
use crate::{SignError, SignOutcome, sign, sign_files};
use millrace_core::build::{Build, End, Stage};
use millrace_core::order::{Effect, OrderedFile, ReleaseOrder, SignOrder};
use millrace_core::platform::Platform;
use millrace_core::push::Push;
use millrace_core::task::{Artifact, Task, TaskState};
use millrace_core::testing;
use millrace_core::{Digest, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::memory::MemoryStore;
use millrace_store::orders::{Order, load_order};
use millrace_store::state::{Expect, Table};
use millrace_store::{BlobStore as _, StateStore as _, records};
use std::collections::BTreeMap;
use std::task::Poll;

pub(super) const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// The platform `test`, whose packages the key `release` signs.
pub(super) fn platform() -> Platform {
    Platform {
        name: "test".parse().unwrap(),
        key: key("release"),
        ..testing::platform(r#""x86_64""#)
    }
}

/// A build whose tasks are done and which has ordered this.
pub(super) async fn keep_build(desk: &Desk, order: &SignOrder) {
    let push = Push {
        committed_s: COMMITTED_S,
        ..testing::push("hello", 1)
    };
    let build = Build {
        id: build_id(),
        push,
        platform: platform(),
        plugins: BTreeMap::new(),
        tasks: vec![handed_over(order)],
        stage: Stage::Signing { order: order.id },
        created: NOW,
        ended: None,
        rank: Default::default(),
        waits: None,
        order_retries: 0,
    };
    records::put(
        &desk.store,
        Table::Build,
        build.id.as_str(),
        Expect::Absent,
        &build,
        vec![],
    )
    .await
    .unwrap();
}

/// The task whose packages an order is about.
pub(super) fn handed_over(order: &SignOrder) -> Task {
    let artifact = |file: &OrderedFile| Artifact {
        name: file.name.clone(),
        digest: file.digest,
        size: file.size,
        rpm: Some(file.rpm.clone()),
    };
    let artifacts = order.files.iter().map(artifact).collect();
    Task {
        state: TaskState::Passed {
            summary: String::new(),
            artifacts,
        },
        ..Task::new("rpm@x86_64".parse().unwrap())
    }
}

impl Desk {
    async fn stage(&self) -> Stage {
        load_build(&self.store, &build_id())
            .await
            .unwrap()
            .unwrap()
            .0
            .stage
    }

    /// The order that the build has given to the releaser.
    async fn release_order(&self) -> ReleaseOrder {
        let Stage::Releasing { order } = self.stage().await else {
            panic!("{:?}", self.stage().await)
        };
        match load_order(&self.store, &order).await.unwrap() {
            Some(Order::Release(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn deliver(&self, order: &SignOrder) -> Result<SignOutcome, SignError> {
        sign(order, &self.keys, &self.store, &self.store, NOW).await
    }
}

#[tokio::test]
async fn an_order_moves_its_build_on_once_however_often_it_is_delivered() {
    let desk = desk().await;
    let order = desk
        .order("release", &[&packages().hello, &packages().source])
        .await;
    keep_build(&desk, &order).await;
    assert_eq!(desk.deliver(&order).await.unwrap(), SignOutcome::Signed);
    let stage = desk.stage().await;
    let released = desk.release_order().await;
    let certificate = desk.keys.public(&key("release")).unwrap();
    for placement in &released.placements {
        let bytes = desk
            .store
            .read_all(&placement.file.digest, u64::MAX)
            .await
            .unwrap();
        assert!(
            is_well_signed(
                &rpmkeys(&certificate, &bytes),
                "EdDSA",
                &key_id(&desk.keys, "release")
            ),
            "{}",
            placement.file.name
        );
    }
    assert!(matches!(
        desk.deliver(&order).await.unwrap(),
        SignOutcome::NotWanted(_)
    ));
    assert_eq!(desk.stage().await, stage);
    let messages = desk.store.take(10, NOW, NOW.plus_ms(1)).await.unwrap();
    let effects: Vec<&Effect> = messages.iter().map(|message| &message.effect).collect();
    assert_eq!(effects, [&Effect::Release(released.clone())]);
}

impl Desk {
    /// Another store with the files of an order, to find out there what the signer makes of them.
    async fn copy_of(&self, order: &SignOrder) -> MemoryStore {
        let copy = MemoryStore::new();
        for file in &order.files {
            copy.put(self.store.read_all(&file.digest, u64::MAX).await.unwrap())
                .await
                .unwrap();
        }
        copy
    }

    /// Asserts that no file of an order was signed.
    pub(super) async fn assert_signed_nothing_of(&self, order: &SignOrder) {
        for signed in sign_files(order, &self.keys, &self.copy_of(order).await)
            .await
            .unwrap()
        {
            assert_eq!(
                self.store.size(&signed.signed).await.unwrap(),
                None,
                "a file was signed with the key {}",
                order.key
            );
        }
    }
}

#[tokio::test]
async fn an_order_that_no_build_gave_signs_nothing() {
    let desk = desk().await;
    let order = desk.order("release", &[&packages().hello]).await;
    assert!(matches!(
        desk.deliver(&order).await.unwrap_err(),
        SignError::UnknownBuild(_)
    ));
    desk.assert_signed_nothing_of(&order).await;
}

#[tokio::test]
async fn a_forged_order_is_refused_for_not_being_the_builds_before_anything_is_signed() {
    let desk = desk().await;
    let order = desk.order("release", &[&packages().hello]).await;
    keep_build(&desk, &order).await;
    let other = desk.order("other", &[&packages().hello]).await;
    let more = desk
        .order("release", &[&packages().hello, &packages().long])
        .await;
    let swapped = SignOrder {
        files: desk.order("release", &[&packages().long]).await.files,
        ..order.clone()
    };
    let rekeyed = SignOrder {
        key: key("other"),
        ..order.clone()
    };
    for forged in [other, more, swapped, rekeyed] {
        // Who compares ids alone, or leaves the comparison to the build's answer, has other words for it.
        let refusal = format!(
            "build {} ordered {}, and not what {} says",
            build_id(),
            order.id,
            forged.id
        );
        assert_eq!(
            desk.deliver(&forged).await.unwrap(),
            SignOutcome::NotWanted(refusal)
        );
        desk.assert_signed_nothing_of(&forged).await;
        assert_eq!(desk.stage().await, Stage::Signing { order: order.id });
    }
}

/// Runs a future for this many of its pauses; its result if it ended.
async fn run_for<T>(steps: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = steps;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_signer_that_dies_anywhere_signs_again_to_the_same_bytes_and_its_build_hears_it_once() {
    let Desk { keys, _folder, .. } = desk().await;
    let (mut steps, mut written_and_not_told) = (0, 0);
    loop {
        let desk = Desk {
            _folder: tempfile::tempdir().unwrap(),
            keys: keys.clone(),
            store: MemoryStore::with_yields(),
        };
        begin(&desk.store).await;
        let order = desk
            .order("release", &[&packages().hello, &packages().source])
            .await;
        keep_build(&desk, &order).await;
        let finished = run_for(steps, desk.deliver(&order)).await.is_some();

        let expected = sign_files(&order, &keys, &desk.copy_of(&order).await)
            .await
            .unwrap();
        let all_written = desk
            .store
            .size(&expected[1].signed)
            .await
            .unwrap()
            .is_some();
        written_and_not_told +=
            usize::from(all_written && matches!(desk.stage().await, Stage::Signing { .. }));
        assert!(
            all_written || matches!(desk.stage().await, Stage::Signing { .. }),
            "after {steps} steps"
        );

        let answer = desk.deliver(&order).await.unwrap();
        assert!(
            matches!(answer, SignOutcome::Signed | SignOutcome::NotWanted(_)),
            "after {steps} steps: {answer:?}"
        );
        let released = desk.release_order().await;
        let digests: Vec<Digest> = released
            .placements
            .iter()
            .map(|placement| placement.file.digest)
            .collect();
        assert_eq!(
            digests,
            expected.iter().map(|file| file.signed).collect::<Vec<_>>(),
            "after {steps} steps"
        );
        assert_eq!(
            sign_files(&order, &keys, &desk.store).await.unwrap(),
            expected,
            "after {steps} steps"
        );
        let messages = desk.store.take(10, NOW, NOW.plus_ms(1)).await.unwrap();
        let effects: Vec<Effect> = messages.into_iter().map(|message| message.effect).collect();
        assert_eq!(effects, [Effect::Release(released)], "after {steps} steps");
        if finished {
            break;
        }
        steps += 1;
    }
    // How many steps there are depends on whether the thread that signs is done when it is asked first; those at the store do not.
    assert!(
        written_and_not_told > 3,
        "{steps} steps, {written_and_not_told} of them between signing and telling"
    );
}

#[tokio::test]
async fn a_refusal_ends_the_build_with_a_reason_for_its_author() {
    let desk = desk().await;
    let mut altered = packages().hello.clone();
    *altered.last_mut().unwrap() ^= 1;
    let order = desk.order("release", &[&packages().source, &altered]).await;
    keep_build(&desk, &order).await;
    assert!(matches!(
        desk.deliver(&order).await.unwrap(),
        SignOutcome::Refused(_)
    ));
    let Stage::Ended {
        end: End::Failed { reason },
    } = desk.stage().await
    else {
        panic!("{:?}", desk.stage().await)
    };
    assert!(
        reason.contains("hello-1.0-1.noarch.rpm: its payload was altered"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_key_that_is_missing_is_waited_for_and_the_build_says_so() {
    let desk = desk().await;
    let order = desk.order("late", &[&packages().hello]).await;
    keep_build(&desk, &order).await;
    for minutes in 0..3 {
        let later = NOW.plus_ms(minutes * 60_000);
        let error = sign(&order, &desk.keys, &desk.store, &desk.store, later)
            .await
            .unwrap_err();
        assert!(!error.is_refusal(), "{error}");
        assert_eq!(desk.stage().await, Stage::Signing { order: order.id });
        let (build, _) = load_build(&desk.store, &build_id()).await.unwrap().unwrap();
        let waits = build.waits.as_ref().unwrap();
        assert!(
            waits.reason.contains("millrace key create late"),
            "{}",
            waits.reason
        );
        assert_eq!(waits.since, NOW, "since the first try");
        assert_eq!(build.reason(), Some(waits.reason.as_str()));
    }
    desk.keys
        .create(
            &key("late"),
            "Late <late@example.org>",
            Algorithm::Ed25519,
            CREATED_S,
        )
        .unwrap();
    assert_eq!(desk.deliver(&order).await.unwrap(), SignOutcome::Signed);
    let (build, _) = load_build(&desk.store, &build_id()).await.unwrap().unwrap();
    assert_eq!((build.word(), build.waits), ("releasing", None));
}

#[tokio::test]
async fn a_key_service_that_does_not_answer_leaves_the_build_as_it_was() {
    let desk = desk().await;
    let order = desk.order("release", &[&packages().hello]).await;
    keep_build(&desk, &order).await;
    let silent = FaultyKeys::Silent(desk.keys.clone());
    let error = sign(&order, &silent, &desk.store, &desk.store, NOW)
        .await
        .unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    assert_eq!(desk.stage().await, Stage::Signing { order: order.id });
    assert_eq!(desk.deliver(&order).await.unwrap(), SignOutcome::Signed);
}

//! What counts as an answer.

use crate::world::{Runner, World, passed, source, under};
use millrace_core::task::{Artifact, LEASE_MS, LeaseId, Outcome};
use millrace_core::{Arch, Digest};
use millrace_orchestrator::tick;

async fn holder(world: &World) -> (Runner, LeaseId) {
    world.build("zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let lease = runner.leases().await;
    (runner, lease)
}

async fn word(world: &World, lease: &LeaseId) -> &'static str {
    let (build, _) = millrace_store::builds::load_build(&world.store, &lease.build)
        .await
        .unwrap()
        .unwrap();
    build.task(&source()).unwrap().word()
}

#[tokio::test]
async fn an_answer_that_names_a_file_that_did_not_come_is_refused() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let words = "bad-request: zlib.src.rpm was not uploaded".to_owned();
    assert_eq!(
        runner
            .report(&lease, passed("zlib.src.rpm", b"package"))
            .await
            .told(),
        (400, words)
    );
    runner
        .upload(&lease, &Digest::of(b"package"), b"package")
        .await;
    let larger = Artifact {
        name: "zlib.src.rpm".to_owned(),
        digest: Digest::of(b"package"),
        size: 8,
        rpm: None,
    };
    let outcome = Outcome::Passed {
        summary: String::new(),
        artifacts: vec![larger],
    };
    let words = "bad-request: zlib.src.rpm has 7 bytes, and 8 were announced".to_owned();
    assert_eq!(runner.report(&lease, outcome).await.told(), (400, words));
    assert_eq!(word(&world, &lease).await, "running");
    assert_eq!(
        runner
            .report(&lease, passed("zlib.src.rpm", b"package"))
            .await
            .status,
        200
    );
    assert_eq!(word(&world, &lease).await, "passed");
}

#[tokio::test]
async fn an_answer_told_twice_is_heard_twice_and_counts_once() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    runner
        .upload(&lease, &Digest::of(b"package"), b"package")
        .await;
    assert_eq!(
        runner.report(&lease, passed("a", b"package")).await.status,
        200
    );
    let messages = world.store.messages();
    assert_eq!(
        runner.report(&lease, passed("a", b"package")).await.status,
        200
    );
    assert_eq!(world.store.messages(), messages, "nothing follows twice");
}

#[tokio::test]
async fn another_runners_answer_under_the_right_number_is_refused() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let other = world.runner("intel-2", Arch::X86_64).await;
    runner
        .upload(&lease, &Digest::of(b"package"), b"package")
        .await;
    let over = (
        409,
        format!(
            "stale-lease: lease 1 of task source of build {} is over",
            lease.build
        ),
    );
    assert_eq!(
        other.report(&lease, passed("a", b"package")).await.told(),
        over
    );
    assert_eq!(word(&world, &lease).await, "running");
    assert_eq!(
        runner.report(&lease, passed("a", b"package")).await.status,
        200
    );
    assert_eq!(
        other.report(&lease, passed("a", b"package")).await.told(),
        over,
        "nor is it told that it was heard"
    );
}

#[tokio::test]
async fn an_answer_under_an_old_number_is_refused_whatever_it_says() {
    let world = World::new();
    let (late, first) = holder(&world).await;
    world.pass_ms(LEASE_MS);
    tick(&world.store, world.now()).await.unwrap();
    let runner = world.runner("intel-2", Arch::X86_64).await;
    let second = runner.leases().await;
    // It names a file that never came; still it is the lease that its runner hears of.
    for lease in [first.clone(), under(&first, 2), under(&first, 3)] {
        assert_eq!(
            late.report(&lease, passed("a", b"package")).await.status,
            409,
            "{}",
            lease.number
        );
    }
    runner
        .upload(&second, &Digest::of(b"package"), b"package")
        .await;
    assert_eq!(
        runner.report(&second, passed("a", b"package")).await.status,
        200
    );
    assert_eq!(
        late.report(&first, passed("a", b"package")).await.status,
        409
    );
}

#[tokio::test]
async fn an_answer_to_what_the_line_does_not_have_is_refused() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let elsewhere = LeaseId {
        build: "nothing".parse().unwrap(),
        ..lease.clone()
    };
    let nowhere = LeaseId {
        task: "check@x86_64".parse().unwrap(),
        ..lease
    };
    for lease in [elsewhere, nowhere] {
        assert_eq!(
            runner.report(&lease, passed("a", b"")).await.status,
            409,
            "{}",
            lease.task
        );
    }
}

//! The line from webhook to repository, as stories.

use axum::http::StatusCode;
use insta::assert_snapshot;
use millrace_cli::pump::carry_out;
use millrace_core::Arch;
use millrace_core::order::Effect;
use millrace_core::task::LEASE_MS;
use millrace_store::memory::Fare;
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{BlobStore, Message, StateStore, chain};
use millrace_tests::flight::Progress;
use millrace_tests::packages::package;
use millrace_tests::runner::Script;
use millrace_tests::world::{OUT_MS, World};

const ONE: &str = r#""x86_64""#;
const TWO: &str = r#""x86_64", "aarch64""#;

#[test]
fn a_push_becomes_a_release() {
    let mut world = World::new(ONE);
    let delivery = world.commit("zlib", "main", "");
    assert_snapshot!(world.deliver(&delivery), @r#"{"status":"accepted","push":"e5bb014e75df","message":"zlib: branch main at 7d497edb134f is being fetched"}"#);
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: released
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 2
      source: zlib-1-1.el9.src.rpm
      x86_64/os: zlib-1-1.el9.x86_64.rpm zlib-devel-1-1.el9.x86_64.rpm zlib-doc-1-1.el9.noarch.rpm
    ");
}

#[test]
fn the_second_package_is_released_beside_the_first_and_an_update_beside_both() {
    let mut world = World::new(ONE);
    for package in ["zlib", "pigz", "zlib"] {
        world.push(package);
        world.pass_ms(1_000);
        world.work();
    }
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    push of pigz to refs/heads/main: builds planned: 1
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: released
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    build of pigz: released
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    build of zlib: released
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 4
      source: pigz-1-2.el9.src.rpm zlib-1-1.el9.src.rpm zlib-1-3.el9.src.rpm
      x86_64/os: pigz-1-2.el9.x86_64.rpm pigz-devel-1-2.el9.x86_64.rpm pigz-doc-1-2.el9.noarch.rpm zlib-1-1.el9.x86_64.rpm zlib-1-3.el9.x86_64.rpm zlib-devel-1-1.el9.x86_64.rpm zlib-devel-1-3.el9.x86_64.rpm zlib-doc-1-1.el9.noarch.rpm zlib-doc-1-3.el9.noarch.rpm
    ");
}

#[test]
fn a_delivery_that_comes_again_starts_nothing_and_is_answered_as_before() {
    let mut world = World::new(ONE);
    let delivery = world.commit("zlib", "main", "");
    let first = world.deliver(&delivery);
    assert_eq!(world.deliver(&delivery), first);
    world.work();
    assert_eq!(world.deliver(&delivery), first, "long after, too");
    assert_eq!(world.store.messages(), 0);
    assert_eq!(
        (
            world.pushes().len(),
            world.builds().len(),
            world.generation().orders.len()
        ),
        (1, 1, 1)
    );
}

#[test]
fn a_push_to_a_branch_that_no_platform_builds_is_refused() {
    let mut world = World::new(ONE);
    let delivery = world.commit("zlib", "wip", "");
    world.deliver(&delivery);
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/wip: refused: no platform builds refs/heads/wip: `millrace platform show NAME` tells which branches one builds
    generation 1
    ");
}

#[test]
fn a_commit_that_is_gone_when_it_is_fetched_is_refused() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.forge.remove("zlib");
    world.pass_ms(1_000);
    world.push("zlib");
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: refused: commit 7d497edb134f9a6bbc50193767ab2f531f8ae401 is gone: refs/heads/main no longer leads to it; push again if it shall be built
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: released
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 2
      source: zlib-1-2.el9.src.rpm
      x86_64/os: zlib-1-2.el9.x86_64.rpm zlib-devel-1-2.el9.x86_64.rpm zlib-doc-1-2.el9.noarch.rpm
    ");
}

#[test]
fn a_tree_with_two_specs_is_refused() {
    let mut world = World::new(ONE);
    let files = ["one.spec", "two.spec"].map(|name| (name.to_owned(), "Name: zlib\n".to_owned()));
    let delivery = world.commit_files("zlib", "main", &files);
    world.deliver(&delivery);
    world.work();
    assert_snapshot!(world.told(), @r#"
    push of zlib to refs/heads/main: refused: 2 spec files (one.spec, two.spec): keep one, or name it in millrace.toml as `spec = "…"`
    generation 1
    "#);
}

#[test]
fn a_task_that_fails_fails_its_build_and_the_next_push_is_released() {
    let mut world = World::new(ONE);
    world.script(
        "zlib",
        "rpm@x86_64",
        Script::Fails("%check: 1 of 12 tests failed"),
    );
    world.push("zlib");
    world.work();
    assert_eq!(
        world.generation().orders.len(),
        0,
        "nothing of it is released"
    );
    world.pass_ms(1_000);
    world.script("zlib", "rpm@x86_64", Script::Passes);
    world.push("zlib");
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: failed: rpm@x86_64: %check: 1 of 12 tests failed
      source passed: 1 packages
      rpm@x86_64 failed: %check: 1 of 12 tests failed
      check@x86_64 dropped
    build of zlib: released
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 2
      source: zlib-1-2.el9.src.rpm
      x86_64/os: zlib-1-2.el9.x86_64.rpm zlib-devel-1-2.el9.x86_64.rpm zlib-doc-1-2.el9.noarch.rpm
    ");
}

#[test]
fn a_task_whose_runner_falls_silent_is_done_by_another_and_the_late_answer_is_refused() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
    let lost = world.take("x86_64-1").unwrap();
    let late = world.answer("x86_64-1", &lost);
    world.add_runner("x86_64-2", Arch::X86_64);
    world.falls_silent("x86_64-1");
    world.pass_ms(LEASE_MS);
    world.tick();
    let again = world.take("x86_64-2").unwrap();
    assert_eq!(
        (&again.work.task, again.lease.number.0),
        (&lost.work.task, lost.lease.number.0 + 1)
    );
    assert_eq!(world.hand_over("x86_64-1", &late), StatusCode::CONFLICT);
    assert_eq!(
        world.hand_over("x86_64-2", &world.answer("x86_64-2", &again)),
        StatusCode::OK
    );
    assert_eq!(
        world.hand_over("x86_64-1", &late),
        StatusCode::CONFLICT,
        "and later, too"
    );
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: released
      source passed: 1 packages (x86_64-1 fell silent, x86_64-2 answered)
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 2
      source: zlib-1-1.el9.src.rpm
      x86_64/os: zlib-1-1.el9.x86_64.rpm zlib-devel-1-1.el9.x86_64.rpm zlib-doc-1-1.el9.noarch.rpm
    ");
}

#[test]
fn a_runner_that_never_comes_back_is_missed_by_the_clock_alone() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
    world.take("x86_64-1").unwrap();
    world.falls_silent("x86_64-1");
    world.add_runner("x86_64-2", Arch::X86_64);
    world.pass_ms(LEASE_MS - 1);
    world.tick();
    assert!(
        world.take("x86_64-2").is_none(),
        "the lease is not over yet"
    );
    world.pass_ms(1);
    world.tick();
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: released
      source passed: 1 packages (x86_64-1 fell silent, x86_64-2 answered)
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 2
      source: zlib-1-1.el9.src.rpm
      x86_64/os: zlib-1-1.el9.x86_64.rpm zlib-devel-1-1.el9.x86_64.rpm zlib-doc-1-1.el9.noarch.rpm
    ");
}

#[test]
fn a_runner_that_lost_the_answer_to_its_asking_asks_again_and_what_it_says_of_the_old_lease_is_refused()
 {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
    let old = world.take("x86_64-1").unwrap();
    let late = world.answer("x86_64-1", &old);
    let new = world.take("x86_64-1").unwrap();
    assert_eq!((&new.work.task, new.lease.number.0), (&old.work.task, 2));
    assert_eq!(
        world.hand_over("x86_64-1", &late),
        StatusCode::CONFLICT,
        "it is the same runner under another lease"
    );
    assert_eq!(
        world.hand_over("x86_64-1", &world.answer("x86_64-1", &new)),
        StatusCode::OK
    );
    world.work();
}

#[test]
fn a_noarch_package_is_built_once_and_released_for_every_architecture() {
    let mut world = World::new(TWO);
    world.push_with("lcov", "BuildArch: noarch");
    world.work();
    assert_snapshot!(world.told(), @"
    push of lcov to refs/heads/main: builds planned: 1
    build of lcov: released
      source passed: 1 packages
      rpm@x86_64 passed: 1 packages
      rpm@aarch64 excluded: noarch: built once, on x86_64
      check@x86_64 passed: 1 packages
      check@aarch64 passed: 1 packages
    generation 2
      aarch64/os: lcov-1-1.el9.noarch.rpm
      source: lcov-1-1.el9.src.rpm
      x86_64/os: lcov-1-1.el9.noarch.rpm
    ");
}

#[test]
fn exclusive_arch_is_heeded() {
    let mut world = World::new(TWO);
    world.push_with("grub2", "ExclusiveArch: x86_64");
    world.work();
    world.pass_ms(1_000);
    world.push_with("s390utils", "ExclusiveArch: s390x");
    world.work();
    assert_snapshot!(world.told(), @"
    push of grub2 to refs/heads/main: builds planned: 1
    push of s390utils to refs/heads/main: builds planned: 1
    build of grub2: released
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      rpm@aarch64 excluded: ExclusiveArch: x86_64
      check@x86_64 passed: 1 packages
      check@aarch64 excluded: ExclusiveArch: x86_64
    build of s390utils: excluded: no architecture of platform el-9 builds it (ExclusiveArch: s390x)
      source passed: 1 packages
      rpm@x86_64 excluded: ExclusiveArch: s390x
      rpm@aarch64 excluded: ExclusiveArch: s390x
      check@x86_64 excluded: rpm had nothing to do
      check@aarch64 excluded: rpm had nothing to do
    generation 2
      aarch64/os: grub2-doc-1-1.el9.noarch.rpm
      source: grub2-1-1.el9.src.rpm
      x86_64/os: grub2-1-1.el9.x86_64.rpm grub2-devel-1-1.el9.x86_64.rpm grub2-doc-1-1.el9.noarch.rpm
    ");
}

#[test]
fn a_build_that_is_cancelled_takes_no_answer_and_releases_nothing() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
    let offer = world.take("x86_64-1").unwrap();
    world.cancel("zlib").unwrap();
    assert_eq!(
        world.hand_over("x86_64-1", &world.answer("x86_64-1", &offer)),
        StatusCode::CONFLICT
    );
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: cancelled: dana
      source dropped
      rpm@x86_64 dropped
      check@x86_64 dropped
    generation 1
    ");
}

#[test]
fn a_package_that_was_altered_after_its_task_handed_it_over_is_refused_by_the_signer() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
    for task in ["source", "rpm@x86_64", "check@x86_64"] {
        let offer = world.take("x86_64-1").unwrap();
        assert_eq!(offer.work.task.to_string(), task);
        assert_eq!(
            world.hand_over("x86_64-1", &world.answer("x86_64-1", &offer)),
            StatusCode::OK
        );
    }
    let artifact = world
        .build("zlib")
        .task(&"rpm@x86_64".parse().unwrap())
        .unwrap()
        .artifacts()[0]
        .clone();
    let mut bytes = world
        .run(world.store.read_all(&artifact.digest, 1 << 20))
        .unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    world.store.alter(&artifact.digest, bytes);
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: failed: signing: zlib-1-1.el9.x86_64.rpm: its bytes were altered: sha256 is SHA256, ordered was SHA256
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 1
    ");
}

#[test]
fn a_fetch_that_is_given_up_is_told_in_the_push() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.forge.remove("zlib");
    for delivery in 1..DELIVERIES_MAX {
        world.carry();
        assert_eq!(
            world.problems.len(),
            delivery as usize,
            "it is passing trouble so far"
        );
        world.pass_ms(OUT_MS);
    }
    world.work();
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: refused: not fetched after 10 tries; push again when this is over: FORGE/zlib.git: unsupported URL protocol; class=Net (12) (given up after 10 deliveries)
    generation 1
    ");
}

#[test]
fn two_runners_that_answer_at_the_same_moment_are_both_heard() {
    let mut world = World::new(TWO);
    world.push("zlib");
    world.carry();
    let source = world.take("x86_64-1").unwrap();
    world.hand_over("x86_64-1", &world.answer("x86_64-1", &source));
    let [one, other] = ["x86_64-1", "aarch64-1"].map(|runner| world.take(runner).unwrap());
    let runner = world.runner("x86_64-1");
    let answer = world.answer("x86_64-1", &one);
    let mut first = world.start(|store| {
        let desk = world.desk(store);
        async move { runner.answer(desk, &answer).await }
    });
    let mut progress = world.drive(&mut first);
    while progress != Progress::At("save") {
        progress = world.drive_past(&mut first, Fare::Pass);
    }
    assert_eq!(
        world.hand_over("aarch64-1", &world.answer("aarch64-1", &other)),
        StatusCode::OK
    );
    while !matches!(progress, Progress::Done(_)) {
        progress = world.drive_past(&mut first, Fare::Pass);
    }
    assert_eq!(progress, Progress::Done(StatusCode::OK));
    for task in ["rpm@x86_64", "rpm@aarch64"] {
        assert_eq!(
            world
                .build("zlib")
                .task(&task.parse().unwrap())
                .unwrap()
                .word(),
            "passed",
            "{task}"
        );
    }
    world.work();
}

#[test]
fn an_order_that_its_build_did_not_make_is_not_signed() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
    for _ in ["source", "rpm@x86_64", "check@x86_64"] {
        let offer = world.take("x86_64-1").unwrap();
        world.hand_over("x86_64-1", &world.answer("x86_64-1", &offer));
    }
    let signs = |message: &Message| matches!(message.effect, Effect::Sign(_));
    let mut message = world.messages().into_iter().find(signs).unwrap();
    let Effect::Sign(order) = &mut message.effect else {
        panic!("it is one")
    };
    let (forged, bytes) = package("backdoor", 1, "x86_64");
    world.run(world.store.put(bytes)).unwrap();
    order.files[0].digest = forged.digest;
    let mut signer = world.start(|store| {
        let line = world.line(store);
        async move {
            carry_out(&line, &message)
                .await
                .map_err(|error| chain(&error))
        }
    });
    assert_eq!(
        world.drive(&mut signer),
        Progress::At("load"),
        "it asks the build first"
    );
    assert_eq!(
        world.drive_past(&mut signer, Fare::Pass),
        Progress::At("settle"),
        "and touches no file"
    );
    drop(signer);
    world.pass_ms(OUT_MS);
    world.work();
    assert_eq!(
        world.build("zlib").word(),
        "released",
        "by the order that it made"
    );
}

#[test]
#[should_panic(expected = "the world ends with something left over")]
fn the_world_refuses_to_end_with_a_message_left_over() {
    World::new(ONE).push("zlib");
}

#[test]
#[should_panic(expected = "a lease of source of zlib")]
fn the_world_refuses_to_end_with_a_lease_left_over() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
    world.take("x86_64-1").unwrap();
}

#[test]
#[should_panic(expected = "index entries in ready/any")]
fn the_world_refuses_to_end_with_a_task_that_nobody_takes() {
    let mut world = World::new(ONE);
    world.push("zlib");
    world.carry();
}

#[test]
#[should_panic(expected = "a message: fetch")]
fn the_world_refuses_to_end_with_a_dead_letter() {
    let mut world = World::new(ONE);
    world.push("zlib");
    for _ in 0..=DELIVERIES_MAX {
        world.messages();
        world.pass_ms(OUT_MS);
    }
    assert_eq!(world.run(world.store.dead_letters(10)).unwrap().len(), 1);
}

//! How messages are carried: through restarts, past forges that are down, and to those who wait when they are given up.

use insta::assert_snapshot;
use millrace_cli::pump::{carry_out, run};
use millrace_core::order::Effect;
use millrace_store::Message;
use millrace_store::memory::{Fare, MemoryStore, Turnstile};
use millrace_store::state::DELIVERIES_MAX;
use millrace_tests::world::{OUT_MS, World};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that anything here is waited for: far beyond what it takes on a busy machine, far below the pump's pauses together.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// Runs the pump over a store until something is so, and ends it like a power cut does.
fn pump_until(world: &World, store: MemoryStore, is_so: impl Fn() -> bool) {
    let line = Arc::new(world.line(store));
    let pump = world.spawn(run(line));
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WAIT_MAX, "the pump does not come to it");
        world.run(async { tokio::time::sleep(Duration::from_millis(2)).await });
    }
    pump.abort();
}

/// A build of zlib whose last task is done, and whose order for the signer is in the outbox.
fn about_to_be_signed(world: &mut World) {
    world.push("zlib");
    world.carry();
    for _ in ["source", "rpm@x86_64", "check@x86_64"] {
        let offer = world.take("x86_64-1").unwrap();
        world.hand_over("x86_64-1", &world.answer("x86_64-1", &offer));
    }
}

fn the_message_of(world: &World, wanted: impl Fn(&Effect) -> bool) -> Message {
    world
        .messages()
        .into_iter()
        .find(|message| wanted(&message.effect))
        .unwrap()
}

#[test]
fn what_was_out_when_the_line_died_is_taken_up_at_once_however_often_it_dies() {
    let mut world = World::new(r#""x86_64""#);
    world.push("zlib");
    for _ in 0..4 {
        // Each dies as soon as it has taken what was out, and has looked for dead letters.
        let turnstile = Turnstile::new();
        [Fare::Pass; 2]
            .into_iter()
            .for_each(|fare| turnstile.admit(fare));
        pump_until(&world, world.store.through(&turnstile), || {
            turnstile.waits().is_some()
        });
        world.pass_ms(1_000);
    }
    pump_until(&world, world.store.clone(), || {
        world.told().contains("builds planned: 1")
    });
    world.work();
}

#[test]
fn forges_that_are_down_keep_no_signer_waiting() {
    let mut world = World::new(r#""x86_64""#);
    for number in 0..40 {
        let package = format!("lost-{number}");
        world.push(&package);
        world.forge.remove(&package);
    }
    about_to_be_signed(&mut world);
    pump_until(&world, world.store.clone(), || {
        world.told().contains("build of zlib: released")
    });
    world.ends_early("the forge would have to come back");
}

#[test]
fn a_build_whose_signer_dies_again_and_again_is_told_so() {
    let mut world = World::new(r#""x86_64""#);
    about_to_be_signed(&mut world);
    for _ in 0..DELIVERIES_MAX {
        assert!(
            !world.messages().is_empty(),
            "it is delivered, and the process that has it dies"
        );
        world.pass_ms(OUT_MS);
    }
    pump_until(&world, world.store.clone(), || world.store.messages() == 0);
    assert_snapshot!(world.told(), @"
    push of zlib to refs/heads/main: builds planned: 1
    build of zlib: failed: signing: it was acted on as often as a message may be, and never to its end (given up after 10 deliveries)
      source passed: 1 packages
      rpm@x86_64 passed: 3 packages
      check@x86_64 passed: 1 packages
    generation 1
    ");
}

#[test]
fn a_release_that_is_out_is_never_given_up_whoever_died_before_telling() {
    let mut world = World::new(r#""x86_64""#);
    about_to_be_signed(&mut world);
    let sign = the_message_of(&world, |effect| matches!(effect, Effect::Sign(_)));
    world
        .run(carry_out(&world.line(world.store.clone()), &sign))
        .unwrap();
    for delivery in 1..=DELIVERIES_MAX {
        let release = the_message_of(&world, |effect| matches!(effect, Effect::Release(_)));
        assert_eq!(release.deliveries, delivery);
        world.kill_before("save", |store| {
            let line = world.line(store);
            async move { carry_out(&line, &release).await }
        });
        world.pass_ms(OUT_MS);
    }
    assert_eq!(
        world.build("zlib").word(),
        "releasing",
        "nobody could tell it"
    );
    pump_until(&world, world.store.clone(), || world.store.messages() == 0);
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

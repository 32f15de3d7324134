//! A line's clock that was ahead for a while, and was set back.

use axum::http::StatusCode;
use millrace_core::task::{LEASE_MS, PAUSES_MS};
use millrace_tests::runner::{Script, past};
use millrace_tests::world::World;

const ONE: &str = r#""x86_64""#;

/// How far it was ahead.
const AHEAD_MS: u64 = 4 * 3600 * 1000;

/// A world with two runners whose clock is ahead, and a push in it.
fn ahead() -> World {
    let mut world = World::new(ONE);
    world.add_runner("x86_64-2", "x86_64".parse().unwrap());
    world.pass_ms(AHEAD_MS);
    world.push("zlib");
    world.carry();
    world
}

#[test]
fn a_runner_that_died_while_the_clock_was_ahead_is_missed_a_minute_after_it_was_set_back() {
    let mut world = ahead();
    let offer = world.take("x86_64-1").unwrap();
    world.pass_ms(20_000);
    let renewed = world.run(world.runner("x86_64-1").renew_after(
        world.desk(world.store.clone()),
        &offer,
        None,
    ));
    assert_eq!(renewed, StatusCode::OK);
    world.falls_silent("x86_64-1");
    world.set_back_ms(AHEAD_MS);
    world.pass_ms(LEASE_MS - 1);
    world.tick();
    assert!(world.take("x86_64-2").is_none(), "its lease was cut short");
    world.pass_ms(1);
    world.tick();
    assert_eq!(past(&world.build("zlib"), "source"), "x86_64-1 fell silent");
    world.work();
    assert_eq!(world.build("zlib").word(), "released");
}

#[test]
fn a_runner_that_goes_on_while_the_clock_is_set_back_keeps_its_lease() {
    let mut world = ahead();
    let offer = world.take("x86_64-1").unwrap();
    let renew = |world: &World| {
        world.run(world.runner("x86_64-1").renew_after(
            world.desk(world.store.clone()),
            &offer,
            None,
        ))
    };
    assert_eq!(renew(&world), StatusCode::OK);
    world.set_back_ms(AHEAD_MS);
    for _ in 0..6 {
        world.pass_ms(LEASE_MS / 3);
        assert_eq!(renew(&world), StatusCode::OK);
        world.tick();
    }
    let answer = world.answer("x86_64-1", &offer);
    assert_eq!(world.hand_over("x86_64-1", &answer), StatusCode::OK);
    world.work();
    assert_eq!(past(&world.build("zlib"), "source"), "x86_64-1 answered");
    assert_eq!(world.build("zlib").word(), "released");
}

#[test]
fn a_task_that_pauses_by_a_clock_that_was_ahead_waits_no_longer_than_it_would_have() {
    let mut world = ahead();
    world.script("zlib", "source", Script::Troubled("a mirror restarts"));
    let offer = world.take("x86_64-1").unwrap();
    let answer = world.answer("x86_64-1", &offer);
    assert_eq!(world.hand_over("x86_64-1", &answer), StatusCode::OK);
    world.script("zlib", "source", Script::Passes);
    assert_eq!(
        world.build("zlib").task(&offer.work.task).unwrap().word(),
        "paused"
    );
    world.set_back_ms(AHEAD_MS);
    world.pass_ms(PAUSES_MS[0] - 1);
    world.tick();
    assert_eq!(
        world.build("zlib").task(&offer.work.task).unwrap().word(),
        "paused"
    );
    world.pass_ms(1);
    world.tick();
    world.work();
    assert_eq!(world.build("zlib").word(), "released");
}

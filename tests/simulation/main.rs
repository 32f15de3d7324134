//! The whole line in one thread, with trouble from a seed: webhooks and effects delivered twice, late and shuffled, functions
//! interleaved and killed between any two operations on the store, a store that does not answer, runners lost. The invariants are
//! checked after every function that ends or dies, and at the end nothing may be left over.
//!
//! A seed that breaks an invariant is printed with the command that replays it, and with what happened last.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod counts;
mod simulation;
mod workload;

use counts::Counts;
use simulation::Simulation;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds tried in one run: a minute or two on two cores. More with `MILLRACE_SEEDS`.
const SEEDS: u64 = 1_000;

/// Lines of a broken seed's history that are printed.
const HISTORY_LINES: usize = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn live(seed: u64) -> Counts {
    let mut simulation = Simulation::new(seed);
    let lived = catch_unwind(AssertUnwindSafe(|| simulation.live()));
    if let Err(broken) = lived {
        let from = simulation.history.len().saturating_sub(HISTORY_LINES);
        eprintln!("{}", simulation.history[from..].join("\n"));
        eprintln!(
            "seed {seed} breaks an invariant. Replay it: MILLRACE_SEED={seed} cargo test -p millrace-tests --test simulation"
        );
        simulation.world.ends_early("an invariant was broken");
        resume_unwind(broken);
    }
    simulation.counts
}

#[test]
fn whatever_happens_every_build_ends_and_nothing_is_released_twice() {
    if let Some(seed) = number("MILLRACE_SEED") {
        println!("{}", live(seed));
        return;
    }
    let (next, seeds) = (AtomicU64::new(0), number("MILLRACE_SEEDS").unwrap_or(SEEDS));
    let some_seeds = || {
        let mut counts = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return counts;
            }
            counts.add(live(seed));
        }
    };
    let mut counts = Counts::default();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let lives: Vec<_> = (0..threads).map(|_| scope.spawn(some_seeds)).collect();
        for life in lives {
            counts.add(life.join().unwrap_or_else(|broken| resume_unwind(broken)));
        }
    });
    println!("{counts}");
    counts.check(seeds);
}

#[test]
fn a_seed_comes_out_the_same_each_time() {
    let history = |seed| {
        let mut simulation = Simulation::new(seed);
        simulation.live();
        std::mem::take(&mut simulation.history)
    };
    for seed in [3, 77] {
        assert_eq!(history(seed), history(seed), "seed {seed}");
    }
}

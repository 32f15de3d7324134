//! What a round is: what is pushed, and what goes wrong meanwhile. All of it follows from a seed and the round's number.

use crate::packages::Kind;
use fastrand::Rng;
use std::fmt;
use std::ops::Range;

/// Runners of a line.
pub const RUNNERS: usize = 3;

/// When a round's last push is made, in milliseconds after its beginning.
const PUSHED_MS: Range<u64> = 0..3_000;

/// When troubles begin: builds take five to fifteen seconds, so most of them meet a task at work.
const BEGINS_MS: Range<u64> = 500..8_000;

/// When sandboxes are killed that are to be found.
const SANDBOXES_MS: Range<u64> = 500..5_000;

/// Troubles of a round, at most.
const TROUBLES_MAX: usize = 3;

/// Longer than a lease and the second in which the line notices that it is over.
const LONGER_THAN_A_LEASE_MS: Range<u64> = 66_000..80_000;

/// As long as nobody loses a lease by it.
const SHORT_MS: Range<u64> = 2_000..15_000;

/// How soon a service manager starts again what has ended.
const STARTED_AGAIN_MS: Range<u64> = 200..3_000;

/// How far a clock jumps, in hours.
const HOURS: Range<i64> = 1..12;

/// Of troubles that end a lease by being long, one in so many.
const LONG_ONE_IN: u8 = 3;

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub pushes: Vec<Push>,
    pub troubles: Vec<Trouble>,
}

/// A push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Milliseconds after the round's beginning.
    pub at_ms: u64,
    pub kind: Kind,
    /// How long its `%build` sleeps, in seconds.
    pub sleeps_s: u64,
    /// Whether the forge delivers its webhook twice.
    pub twice: bool,
}

/// A trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// When it begins, in milliseconds after the round's beginning.
    pub at_ms: u64,
    pub what: Fault,
    /// When it is over, in milliseconds after it began.
    pub lasts_ms: u64,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of a runner, which a service manager starts again when it is over.
    KillRunner(RunnerChoice),
    /// `kill -9` of a sandbox: its launcher, or the first process in it.
    KillSandbox(RunnerChoice, SandboxProcess),
    /// `kill -9` of the line, which is started again when it is over.
    KillLine,
    /// A runner's link is down.
    Cut(RunnerChoice),
    /// What runners and line say to each other is delayed, overtaken, broken off, lost, or said twice.
    Muddle,
    /// SIGSTOP of a runner, and SIGCONT when it is over.
    Freeze(RunnerChoice),
    /// A runner's disk is full.
    FillRunner(RunnerChoice),
    /// The line's disk is full.
    FillLine,
    /// A runner's clock is wrong by so many hours.
    JumpRunner(RunnerChoice, i64),
    /// The line's clock is.
    JumpLine(i64),
}

/// Which process of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxProcess {
    /// The one that the runner started.
    Launcher,
    /// The first in its namespace of processes.
    First,
}

/// Which runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerChoice {
    /// One that works on a task, if there is one then.
    pub at_work: bool,
    pub number: usize,
}

impl Plan {
    /// The plan of a round; `short` if no trouble may be so long that somebody waits a minute for the end of a lease or a pause.
    pub fn of(seed: u64, round: u64, short: bool) -> Self {
        // Neighbouring numbers give unlike rounds (the constant is Weyl's of splitmix64).
        let mut chance =
            Rng::with_seed(seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let first = Kind::ALL[usize::try_from(round).unwrap_or(0) % Kind::ALL.len()];
        let second = (chance.u8(0..3) < 2)
            .then(|| Kind::ALL[chance.usize(0..Kind::ALL.len())])
            .filter(|kind| *kind != first);
        let mut pushes: Vec<Push> = [Some(first), second]
            .into_iter()
            .flatten()
            .map(|kind| push(kind, &mut chance))
            .collect();
        pushes.sort_by_key(|push| push.at_ms);
        let mut troubles: Vec<Trouble> = (0..chance.usize(1..=TROUBLES_MAX))
            .map(|_| trouble(&mut chance, short))
            .collect();
        troubles.sort_by_key(|trouble| trouble.at_ms);
        // One machine has one trouble of a kind at a time: the end of the first would be that of the second.
        let mut kinds = Vec::new();
        troubles.retain(|trouble| {
            let kind = (
                trouble.what.name(),
                trouble.what.whom().map(|whom| whom.number),
            );
            let is_new = !kinds.contains(&kind);
            kinds.push(kind);
            is_new
        });
        Self { pushes, troubles }
    }
}

fn push(kind: Kind, chance: &mut Rng) -> Push {
    Push {
        at_ms: chance.u64(PUSHED_MS),
        kind,
        sleeps_s: chance.u64(2..9),
        twice: chance.u8(0..3) == 0,
    }
}

fn trouble(chance: &mut Rng, short: bool) -> Trouble {
    let whom = RunnerChoice {
        at_work: chance.u8(0..4) != 0,
        number: chance.usize(0..RUNNERS),
    };
    let is_long = !short && chance.u8(0..LONG_ONE_IN) == 0;
    let hours = if chance.bool() {
        chance.i64(HOURS)
    } else {
        -chance.i64(HOURS)
    };
    let within = if chance.bool() {
        SandboxProcess::Launcher
    } else {
        SandboxProcess::First
    };
    let long_or = |usual: Range<u64>, chance: &mut Rng| {
        chance.u64(if is_long {
            LONGER_THAN_A_LEASE_MS
        } else {
            usual
        })
    };
    let (what, lasts_ms) = match chance.u8(0..20) {
        0..5 => (Fault::KillRunner(whom), long_or(STARTED_AGAIN_MS, chance)),
        5..8 if !short => (Fault::KillSandbox(whom, within), 0),
        5..10 => (Fault::KillLine, chance.u64(0..6_000)),
        10 | 11 => (Fault::Cut(whom), long_or(SHORT_MS, chance)),
        12 | 13 => (Fault::Muddle, chance.u64(3_000..12_000)),
        14 => (Fault::Freeze(whom), long_or(SHORT_MS, chance)),
        // A task that finds the disk full is tried again half a minute later; a disk that is full for longer keeps its machine from work.
        15 if !short => (Fault::FillRunner(whom), chance.u64(SHORT_MS)),
        15 | 16 => (Fault::FillLine, chance.u64(SHORT_MS)),
        17 => (Fault::JumpRunner(whom, hours), chance.u64(SHORT_MS)),
        _ => (Fault::JumpLine(hours), chance.u64(SHORT_MS)),
    };
    let begins_ms = if matches!(what, Fault::KillSandbox(..)) {
        SANDBOXES_MS
    } else {
        BEGINS_MS
    };
    Trouble {
        at_ms: chance.u64(begins_ms),
        what,
        lasts_ms,
    }
}

impl Fault {
    /// What it is called in a list of counts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillRunner(_) => "kill -9 of a runner",
            Self::KillSandbox(_, SandboxProcess::Launcher) => "kill -9 of a sandbox's launcher",
            Self::KillSandbox(_, SandboxProcess::First) => "kill -9 of a sandbox's first process",
            Self::KillLine => "kill -9 of the line",
            Self::Cut(_) => "a runner's link cut",
            Self::Muddle => "delay, reorder, breaks, repeats between runners and desk",
            Self::Freeze(_) => "a runner frozen (SIGSTOP)",
            Self::FillRunner(_) => "a runner's disk full",
            Self::FillLine => "the line's disk full",
            Self::JumpRunner(..) => "a runner's clock jumps",
            Self::JumpLine(_) => "the line's clock jumps",
        }
    }

    /// Which runner it is about.
    pub const fn whom(self) -> Option<RunnerChoice> {
        match self {
            Self::KillRunner(whom)
            | Self::KillSandbox(whom, _)
            | Self::Cut(whom)
            | Self::Freeze(whom)
            | Self::FillRunner(whom)
            | Self::JumpRunner(whom, _) => Some(whom),
            Self::KillLine | Self::Muddle | Self::FillLine | Self::JumpLine(_) => None,
        }
    }

    /// A few words for a round's line; `runner` is the one that it has met.
    pub fn words(self, runner: Option<usize>) -> String {
        let who = runner.map_or_else(String::new, |number| format!(" r{}", number + 1));
        match self {
            Self::KillRunner(_) => format!("kill{who}"),
            Self::KillSandbox(_, SandboxProcess::Launcher) => format!("kill launcher on{who}"),
            Self::KillSandbox(_, SandboxProcess::First) => format!("kill sandbox on{who}"),
            Self::KillLine => "kill line".to_owned(),
            Self::Cut(_) => format!("cut{who}"),
            Self::Muddle => "muddle".to_owned(),
            Self::Freeze(_) => format!("freeze{who}"),
            Self::FillRunner(_) => format!("fill{who}"),
            Self::FillLine => "fill line".to_owned(),
            Self::JumpRunner(_, hours) => format!("clock{who} {hours:+} h"),
            Self::JumpLine(hours) => format!("clock line {hours:+} h"),
        }
    }
}

impl fmt::Display for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.1} s", self.kind.name(), seconds(self.at_ms))
    }
}

/// Milliseconds as seconds, for people.
pub fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_round_comes_out_the_same_from_the_same_seed_and_otherwise_from_another() {
        assert_eq!(Plan::of(7, 3, false), Plan::of(7, 3, false));
        assert_ne!(Plan::of(7, 3, false), Plan::of(7, 4, false));
        assert_ne!(Plan::of(7, 3, false), Plan::of(8, 3, false));
    }

    #[test]
    fn fifty_rounds_have_every_trouble_and_every_package() {
        let plans: Vec<Plan> = (0..50).map(|round| Plan::of(1, round, false)).collect();
        let troubles: BTreeSet<&str> = plans
            .iter()
            .flat_map(|plan| &plan.troubles)
            .map(|trouble| trouble.what.name())
            .collect();
        assert_eq!(troubles.len(), 11, "{troubles:?}");
        let kinds: BTreeSet<&str> = plans
            .iter()
            .flat_map(|plan| &plan.pushes)
            .map(|push| push.kind.name())
            .collect();
        assert_eq!(kinds.len(), Kind::ALL.len(), "{kinds:?}");
        assert!(
            plans
                .iter()
                .all(|plan| (1..=TROUBLES_MAX).contains(&plan.troubles.len()))
        );
    }

    #[test]
    fn the_rounds_that_the_tests_of_the_line_play_have_every_trouble_that_is_short() {
        let troubles = (0..3).flat_map(|round| Plan::of(2590, round, true).troubles);
        let names: BTreeSet<&str> = troubles.map(|trouble| trouble.what.name()).collect();
        assert_eq!(
            names.len(),
            8,
            "look for another seed, and tell tests/line/chaos.rs: {names:?}"
        );
    }

    #[test]
    fn in_short_rounds_nobody_waits_for_the_end_of_a_lease() {
        let plans = (0..200).map(|round| Plan::of(1, round, true));
        let long = plans.flat_map(|plan| plan.troubles).find(|trouble| {
            let waits = matches!(trouble.what, Fault::KillSandbox(..) | Fault::FillRunner(_));
            waits || trouble.lasts_ms >= LONGER_THAN_A_LEASE_MS.start
        });
        assert_eq!(long, None);
    }
}

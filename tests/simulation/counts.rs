//! What happened over all seeds: a simulation in which nothing happens breaks no invariant.

use std::collections::BTreeMap;
use std::fmt;

/// Releases that a seed must have on average, at least: of some six pushes each, most of which meet trouble.
const RELEASES_A_SEED: u64 = 2;

/// Where functions must have been killed: between what they did and what they said of it, and between that and being done.
const KILLS: [(&str, &str); 15] = [
    ("hear", "save"),
    ("fetch", "save"),
    ("fetch", "settle"),
    ("plan", "save"),
    ("plan", "settle"),
    ("ready", "settle"),
    ("sign", "save"),
    ("sign", "settle"),
    ("release", "save"),
    ("release", "settle"),
    ("ended", "settle"),
    ("ask", "save"),
    ("answer", "save"),
    ("tick", "save"),
    ("retry", "save"),
];

/// What must have happened besides.
const HAPPENED: [&str; 18] = [
    "build released",
    "build failed",
    "build excluded",
    "build cancelled",
    "push to no platform's branch refused",
    "fetching given up",
    "planning given up",
    "task quarantined",
    "task excluded by its runner",
    "signing given up",
    "release given up",
    "release out, given up and told",
    "late answer refused",
    "delivery repeated",
    "build done again",
    "task done again",
    "build released, after something was done again",
    "clock set back",
];

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    happened: BTreeMap<String, u64>,
    killed: BTreeMap<(&'static str, &'static str), u64>,
}

impl Counts {
    /// It happened once more.
    pub fn happened(&mut self, what: impl Into<String>) {
        *self.happened.entry(what.into()).or_default() += 1;
    }

    /// A function was killed before an operation.
    pub fn killed(&mut self, function: &'static str, before: &'static str) {
        *self.killed.entry((function, before)).or_default() += 1;
    }

    /// Adds another seed's.
    pub fn add(&mut self, other: Self) {
        for (what, count) in other.happened {
            *self.happened.entry(what).or_default() += count;
        }
        for (what, count) in other.killed {
            *self.killed.entry(what).or_default() += count;
        }
    }

    /// Makes sure that what the invariants speak of has happened.
    pub fn check(&self, seeds: u64) {
        let of = |what: &str| self.happened.get(what).copied().unwrap_or_default();
        assert!(
            of("build released") >= seeds * RELEASES_A_SEED,
            "too few releases"
        );
        for what in HAPPENED {
            assert!(of(what) > 0, "it never came to: {what}");
        }
        for place in KILLS {
            assert!(
                self.killed.contains_key(&place),
                "{} was never killed before its `{}`",
                place.0,
                place.1
            );
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.happened {
            writeln!(f, "{count:6} {what}")?;
        }
        for ((function, before), count) in &self.killed {
            writeln!(f, "{count:6} {function} killed before `{before}`")?;
        }
        Ok(())
    }
}

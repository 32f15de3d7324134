//! A runner that may ask for work: its record, and its token, of which the line keeps only the digest.

use crate::queue::Reservation;
use crate::{Arch, Digest, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most machines under one token that are remembered as draining: past that, those that were told first are most likely gone.
const DRAINING_MAX: usize = 100;

/// A runner that may ask for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    pub name: RunnerName,
    /// The architecture that its token is good for.
    pub arch: Arch,
    /// Digest of its token: who reads the store cannot speak in its name.
    pub token: Digest,
    /// When it was added.
    pub added: Timestamp,
    /// Whether its token is good for any number of machines, as hosts that come and go have one between them: each calls itself by
    /// this name, a dot, and something of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What it is reserved for.
    #[serde(default, skip_serializing_if = "Reservation::is_nothing")]
    pub reserved: Reservation,
    /// Those with its token that are draining.
    #[serde(rename = "leaving", default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<Draining>,
    /// Architectures that it may build for besides, by emulation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emulates: Vec<Arch>,
}

/// A runner that gets no more tasks and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Its name; the name of a shared token means all runners with it.
    pub name: RunnerName,
    /// Whether it hands back what it works on; else it finishes that first.
    pub hand_back: bool,
}

impl Runner {
    /// A runner with this token, which builds for its own architecture alone.
    pub fn new(name: &RunnerName, arch: Arch, token: &Token, added: Timestamp) -> Self {
        Self {
            name: name.clone(),
            arch,
            token: token.digest(),
            added,
            shared: false,
            reserved: Reservation::default(),
            draining: Vec::new(),
            emulates: Vec::new(),
        }
    }

    /// Whether a runner with this token may call itself so.
    pub fn is(&self, name: &RunnerName) -> bool {
        if !self.shared {
            return self.name == *name;
        }
        let own = name
            .as_str()
            .strip_prefix(self.name.as_str())
            .and_then(|rest| rest.strip_prefix('.'));
        own.is_some_and(|own| !own.is_empty())
    }

    /// Whether the runner of this name is draining, and how.
    pub fn draining(&self, name: &RunnerName) -> Option<&Draining> {
        self.draining
            .iter()
            .find(|draining| draining.name == *name || (self.shared && draining.name == self.name))
    }

    /// Drains a runner: it gets no more tasks, and is told so when it asks; if it shall hand back what it works on, at its next
    /// renewal. It may be told again; the last word counts.
    pub fn drain(&mut self, name: &RunnerName, hand_back: bool) {
        self.draining.retain(|draining| draining.name != *name);
        self.draining.push(Draining {
            name: name.clone(),
            hand_back,
        });
        let too_many = self.draining.len().saturating_sub(DRAINING_MAX);
        self.draining.drain(..too_many);
    }

    /// Gives a draining runner tasks again; by the name of a shared token all that have it.
    pub fn resume(&mut self, name: &RunnerName) {
        let is_all = self.name == *name;
        self.draining
            .retain(|draining| draining.name != *name && !is_all);
    }
}

/// A runner's secret. Never shown but once, when it is made.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token of 256 random bits.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(format!("mrt_{}", Digest::from_bytes(bytes).hex()))
    }

    /// What a runner presented.
    pub fn presented(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// For the one place where it is told.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the line keeps of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

//! Who may ask for work: runners, each with a token of which the line keeps only the digest.

use millrace_core::queue::Reserved;
use millrace_core::{Arch, Digest, RunnerName, Timestamp};
use millrace_store::records::{self, all, create, get, remove};
use millrace_store::{IndexEntry, Key, SaveError, StateError, StateStore, Stored, Table};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A runner that may ask for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// Its name.
    pub name: RunnerName,
    /// The architecture that its token is good for.
    pub arch: Arch,
    /// Digest of its token: whoever reads the store cannot speak in its name.
    pub token: Digest,
    /// When it was added.
    pub added: Timestamp,
    /// Whether its token is good for any number of machines, as hosts that come and go have one between them: each calls itself by
    /// this name, a dot, and something of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What it is kept for.
    #[serde(default, skip_serializing_if = "Reserved::is_nothing")]
    pub reserved: Reserved,
    /// Who of those that have its token is to leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Leaving>,
    /// Architectures that it may build for besides, by emulation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emulates: Vec<Arch>,
}

/// Most machines under one token that are remembered as leaving: past that, those that were told first are most likely gone.
const LEAVING_MAX: usize = 100;

/// A runner that is to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Its name; of a shared token the token's own name means all.
    pub name: RunnerName,
    /// Whether it hands back what it works on; else it finishes that first.
    pub hand_back: bool,
}

impl Runner {
    /// A runner with this token, which builds for its own architecture alone.
    pub fn new(name: &RunnerName, arch: Arch, token: &Token, added: Timestamp) -> Self {
        let (reserved, leaving, emulates) = (Reserved::default(), Vec::new(), Vec::new());
        Self {
            name: name.clone(),
            arch,
            token: token.digest(),
            added,
            shared: false,
            reserved,
            leaving,
            emulates,
        }
    }

    /// Whether whoever has the token may call itself so.
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

    /// Whether whoever calls itself so is to leave, and how.
    pub(crate) fn leaving(&self, name: &RunnerName) -> Option<&Leaving> {
        self.leaving
            .iter()
            .find(|leaving| leaving.name == *name || (self.shared && leaving.name == self.name))
    }
}

/// A runner's secret. Never shown but once, by whoever makes it.
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

    fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A runner that was not added.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The name is taken.
    #[error("there is a runner `{0}` already: remove it first, or take another name")]
    Taken(RunnerName),
    /// The store's trouble.
    #[error(transparent)]
    Save(#[from] SaveError),
}

fn by_token(digest: &Digest) -> String {
    format!("runner-token/{}", digest.hex())
}

/// Adds a runner with this token.
pub async fn add_runner(
    state: &impl StateStore,
    name: &RunnerName,
    arch: Arch,
    token: &Token,
    now: Timestamp,
) -> Result<(), RunnerError> {
    let_in(state, Runner::new(name, arch, token, now)).await
}

/// Adds any number of runners that share this token, and call themselves by this name, a dot, and something of their own.
pub async fn add_shared_runner(
    state: &impl StateStore,
    name: &RunnerName,
    arch: Arch,
    token: &Token,
    now: Timestamp,
) -> Result<(), RunnerError> {
    let_in(
        state,
        Runner {
            shared: true,
            ..Runner::new(name, arch, token, now)
        },
    )
    .await
}

/// Adds a runner as it is described.
pub async fn let_in(state: &impl StateStore, runner: Runner) -> Result<(), RunnerError> {
    if create(state, &runner).await? {
        Ok(())
    } else {
        Err(RunnerError::Taken(runner.name))
    }
}

impl Stored for Runner {
    const TABLE: Table = Table::Runner;

    fn id(&self) -> String {
        self.name.to_string()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        vec![IndexEntry {
            index: by_token(&self.token),
            sort: self.name.to_string(),
        }]
    }
}

/// Changes the record of the runner that goes by a name, or whose token it shares; false where there is none.
async fn change(
    state: &impl StateStore,
    name: &RunnerName,
    change: impl Fn(&mut Runner),
) -> Result<bool, SaveError> {
    loop {
        let all: Vec<Runner> = all(state, Table::Runner).await?;
        let Some(runner) = all
            .into_iter()
            .find(|runner| runner.name == *name || runner.is(name))
        else {
            return Ok(false);
        };
        // It may have been removed since, and another one may go by the name.
        if let Some(()) = records::change(state, runner.name.as_str(), &change).await? {
            return Ok(true);
        }
    }
}

/// Lets a runner leave: it is given no more work, and is told so when it asks; where it shall hand back what it works on, at its next
/// renewal. It may be told again; the last word counts. False where nobody is known by this name.
pub async fn drain_runner(
    state: &impl StateStore,
    name: &RunnerName,
    hand_back: bool,
) -> Result<bool, SaveError> {
    change(state, name, |runner| {
        runner.leaving.retain(|leaving| leaving.name != *name);
        runner.leaving.push(Leaving {
            name: name.clone(),
            hand_back,
        });
        let too_many = runner.leaving.len().saturating_sub(LEAVING_MAX);
        runner.leaving.drain(..too_many);
    })
    .await
}

/// Lets a runner that was to leave stay, or come back. False where nobody is known by this name.
pub async fn resume_runner(state: &impl StateStore, name: &RunnerName) -> Result<bool, SaveError> {
    change(state, name, |runner| {
        runner
            .leaving
            .retain(|leaving| leaving.name != *name && runner.name != *name)
    })
    .await
}

/// Says what a runner is kept for from its next question on. False where nobody is known by this name.
pub async fn reserve_runner(
    state: &impl StateStore,
    name: &RunnerName,
    reserved: &Reserved,
) -> Result<bool, SaveError> {
    change(state, name, |runner| runner.reserved = reserved.clone()).await
}

/// Takes a runner's token back; true where there was one. What it has leased ends with the lease.
pub async fn remove_runner(state: &impl StateStore, name: &RunnerName) -> Result<bool, SaveError> {
    remove(state, &Key::new(Table::Runner, name.as_str())).await
}

/// The runner that a token belongs to. The token is looked up by its digest, so that the time this takes tells nothing of it.
pub(crate) async fn runner_of(
    state: &impl StateStore,
    token: &Token,
) -> Result<Option<Runner>, StateError> {
    let found = state
        .index_entries(&by_token(&token.digest()), None, 1)
        .await?;
    let Some(hit) = found.first() else {
        return Ok(None);
    };
    let runner: Option<(Runner, _)> = get(state, Table::Runner, &hit.key.id).await?;
    // An index entry may be a moment old, and it is the record that counts.
    Ok(runner
        .map(|(runner, _)| runner)
        .filter(|runner| runner.token == token.digest()))
}

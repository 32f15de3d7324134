//! Where runners lie: under their names, and found by the digests of their tokens.

use crate::records::{self, Stored, all, get, remove};
use crate::state::{IndexEntry, Key, SaveError, StateError, StateStore, Table};
use millrace_core::runner::{Runner, Token};
use millrace_core::{Digest, RunnerName};

fn token_index(digest: &Digest) -> String {
    format!("runner-token/{}", digest.hex())
}

impl Stored for Runner {
    const TABLE: Table = Table::Runner;

    fn id(&self) -> String {
        self.name.to_string()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        vec![IndexEntry {
            index: token_index(&self.token),
            sort: self.name.to_string(),
        }]
    }
}

/// Changes the record of the runner of this name, or of the token that it shares; false if there is none.
pub async fn change_runner(
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

/// Takes a runner's token back; true if there was one. What it has leased ends with the lease.
pub async fn delete_runner(state: &impl StateStore, name: &RunnerName) -> Result<bool, SaveError> {
    remove(state, &Key::new(Table::Runner, name.as_str())).await
}

/// The runner that a token belongs to. The token is looked up by its digest, so that the time this takes tells nothing of it.
pub async fn runner_of_token(
    state: &impl StateStore,
    token: &Token,
) -> Result<Option<Runner>, StateError> {
    let found = state
        .index_entries(&token_index(&token.digest()), None, 1)
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

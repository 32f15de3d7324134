//! Runners: let in, drained, reserved, removed.

use crate::{ControlError, NotFound};
use millrace_core::access::Actor;
use millrace_core::queue::Reservation;
use millrace_core::runner::{Runner, Token};
use millrace_core::{Arch, RunnerName, Timestamp};
use millrace_store::records::{self, all, get};
use millrace_store::runners::{change_runner, delete_runner};
use millrace_store::{StateStore, Table};
use tracing::{info, instrument};

/// A runner that somebody lets in.
#[derive(Debug, Clone)]
pub struct RunnerRequest {
    pub name: RunnerName,
    pub arch: Arch,
    /// Architectures that it may build for besides, by emulation.
    pub emulates: Vec<Arch>,
    /// Whether any number of machines have its token.
    pub shared: bool,
}

impl RunnerRequest {
    /// A runner that builds for its own architecture alone.
    pub const fn new(name: RunnerName, arch: Arch) -> Self {
        Self {
            name,
            arch,
            emulates: Vec::new(),
            shared: false,
        }
    }

    fn with(self, token: &Token, reserved: Reservation, now: Timestamp) -> Runner {
        Runner {
            emulates: self.emulates,
            shared: self.shared,
            reserved,
            ..Runner::new(&self.name, self.arch, token, now)
        }
    }
}

/// Lets a runner in that presents this token.
#[instrument(skip_all, fields(actor = actor.record(), runner = %request.name))]
pub async fn add(
    actor: &Actor,
    request: RunnerRequest,
    token: &Token,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), ControlError> {
    info!("asked to add a runner");
    create(request.with(token, Reservation::default(), now), state).await
}

/// Gives a runner a new token, in place of the one that it may have; what it is reserved for stays.
#[instrument(skip_all, fields(actor = actor.record(), runner = %request.name))]
pub async fn renew(
    actor: &Actor,
    request: RunnerRequest,
    token: &Token,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), ControlError> {
    info!("asked to give a runner a new token");
    let before: Option<(Runner, _)> = get(state, Table::Runner, request.name.as_str()).await?;
    delete_runner(state, &request.name).await?;
    let reserved = before
        .map(|(runner, _)| runner.reserved)
        .unwrap_or_default();
    create(request.with(token, reserved, now), state).await
}

async fn create(runner: Runner, state: &impl StateStore) -> Result<(), ControlError> {
    match records::create(state, &runner).await? {
        true => Ok(()),
        false => Err(ControlError::RunnerTaken(runner.name)),
    }
}

/// All runners that are let in.
pub async fn list(state: &impl StateStore) -> Result<Vec<Runner>, ControlError> {
    Ok(all(state, Table::Runner).await?)
}

/// Drains a runner: it gets no more tasks, finishes or hands back what it works on, and ends.
#[instrument(skip_all, fields(actor = actor.record(), runner = %name))]
pub async fn drain(
    actor: &Actor,
    name: &RunnerName,
    hand_back: bool,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to drain a runner");
    let is_known = change_runner(state, name, |runner| runner.drain(name, hand_back)).await?;
    known(is_known, name)
}

/// Gives a draining runner tasks again.
#[instrument(skip_all, fields(actor = actor.record(), runner = %name))]
pub async fn resume(
    actor: &Actor,
    name: &RunnerName,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to resume a runner");
    let is_known = change_runner(state, name, |runner| runner.resume(name)).await?;
    known(is_known, name)
}

/// Reserves a runner for some tasks from its next one on, or for none.
#[instrument(skip_all, fields(actor = actor.record(), runner = %name))]
pub async fn reserve(
    actor: &Actor,
    name: &RunnerName,
    reserved: &Reservation,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to reserve a runner");
    let is_known = change_runner(state, name, |runner| runner.reserved = reserved.clone()).await?;
    known(is_known, name)
}

/// Takes a runner's token back. What it has leased ends with the lease.
#[instrument(skip_all, fields(actor = actor.record(), runner = %name))]
pub async fn remove(
    actor: &Actor,
    name: &RunnerName,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to remove a runner");
    known(delete_runner(state, name).await?, name)
}

fn known(is_known: bool, name: &RunnerName) -> Result<(), ControlError> {
    match is_known {
        true => Ok(()),
        false => Err(NotFound::Runner(name.clone()).into()),
    }
}

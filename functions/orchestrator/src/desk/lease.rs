//! A runner asks for work, and waits on the line until there is some.

use super::Desk;
use super::denied::Denied;
use super::offer::offer;
use super::speaker::speaker;
use crate::tick;
use crate::trouble::pass_over;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_core::build::{Build, Event};
use millrace_core::protocol::{Ask, Offer, WAIT_S_MAX};
use millrace_core::queue::{QueuedTask, sort_queue};
use millrace_core::runner::Runner;
use millrace_core::task::{RunnerProfile, Task, TaskId};
use millrace_core::{BuildId, RunnerName, Timestamp};
use millrace_store::index::{held_index, ready_index};
use millrace_store::queue::{heads, running};
use millrace_store::runner_status::{LastAsk, record_ask};
use millrace_store::{BlobStore, StateStore, advance};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tracing::{info, instrument};

/// Ready tasks of each project looked at for one runner at first: others take from the front at the same time.
const CANDIDATES: usize = 16;

/// Ready tasks of each project looked at if none of the first will do: more than a distribution has packages for an architecture.
const DEEP: usize = CANDIDATES * 8 * 8 * 8;

/// How long a waiting runner sleeps before it looks without having been rung for: what another process wrote rings no bell
/// here, and a task must reach a waiting runner within a second.
const LOOK: Duration = Duration::from_millis(500);

#[instrument(skip_all, fields(runner = %ask.runner))]
pub(super) async fn lease<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(ask): Json<Ask>,
) -> Result<Response, Denied> {
    let known = speaker(&desk, &headers).await?;
    is_good_for(&known, &ask)?;
    let is_draining = known.draining(&ask.runner).is_some();
    let runner = as_asked(known, &ask);
    forget_what_it_had(&desk, &runner).await?;
    if is_draining {
        return Err(Denied::Draining(runner.name));
    }
    record_ask(&desk.state, &last_ask(&runner, &ask, (desk.clock)())).await?;
    match desk.paces {
        Some(paces) => look_once(&desk, &runner, &ask, paces.ask_again_s).await,
        None => wait(&desk, &headers, &runner, &ask).await,
    }
}

/// Whether the token of a runner is good for what it asks for.
fn is_good_for(runner: &Runner, ask: &Ask) -> Result<(), Denied> {
    let name = &runner.name;
    let arch = runner.arch;
    if !runner.is(&ask.runner) || arch != ask.arch {
        let whom = if runner.shared {
            format!("runners {name}.SOMETHING")
        } else {
            format!("runner {name}")
        };
        return Err(Denied::Bad(format!(
            "the token is for {whom} on {arch}, not for {} on {}",
            ask.runner, ask.arch
        )));
    }
    let other = ask
        .emulates
        .iter()
        .find(|arch| !runner.emulates.contains(arch));
    match other {
        None => Ok(()),
        Some(other) => Err(Denied::Bad(format!(
            "the token of {name} is not for {other} by emulation: remove it, and make one with \
             `millrace runner add {name} --arch {arch} --emulate {other}`"
        ))),
    }
}

/// The one machine that asks, whatever others have its token.
fn as_asked(known: Runner, ask: &Ask) -> Runner {
    Runner {
        name: ask.runner.clone(),
        emulates: ask.emulates.clone(),
        ..known
    }
}

fn last_ask(runner: &Runner, ask: &Ask, at: Timestamp) -> LastAsk {
    let arches = std::iter::once(runner.arch)
        .chain(runner.emulates.iter().copied())
        .collect();
    LastAsk {
        name: runner.name.clone(),
        arches,
        capacity: ask.capacity.clone(),
        reserved: runner.reserved.clone(),
        at,
    }
}

/// Looks for a task now, and tells a runner that gets none when to ask again. Nothing else runs here every second: the runner that
/// asks is the clock.
async fn look_once<S: StateStore, B: BlobStore>(
    desk: &Desk<S, B>,
    runner: &Runner,
    ask: &Ask,
    ask_again_s: u32,
) -> Result<Response, Denied> {
    tick(&desk.state, (desk.clock)()).await?;
    Ok(match take_one(desk, runner, ask).await? {
        Some(offer) => Json(offer).into_response(),
        None => {
            let ask_again = [(header::RETRY_AFTER, ask_again_s.to_string())];
            (StatusCode::NO_CONTENT, ask_again).into_response()
        }
    })
}

/// Keeps a runner on the line until there is a task, as long as it wants to wait.
async fn wait<S: StateStore, B: BlobStore>(
    desk: &Desk<S, B>,
    headers: &HeaderMap,
    runner: &Runner,
    ask: &Ask,
) -> Result<Response, Denied> {
    let until = Instant::now() + Duration::from_secs(u64::from(ask.wait_s.min(WAIT_S_MAX)));
    loop {
        // Asked for before looking, so that a ring in between is not missed.
        let rung = desk.ready.notified();
        // What somebody says of the runner while it waits holds for the next task already.
        let known = speaker(desk, headers).await?;
        if known.draining(&runner.name).is_some() {
            return Err(Denied::Draining(runner.name.clone()));
        }
        if let Some(offer) = take_one(desk, &as_asked(known, ask), ask).await? {
            return Ok(Json(offer).into_response());
        }
        if Instant::now() >= until {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let _ = timeout_at(until.min(Instant::now() + LOOK), rung).await;
    }
}

/// A runner that asks has nothing: what it had leased goes back at once, not when the lease runs out.
async fn forget_what_it_had<S: StateStore, B>(
    desk: &Desk<S, B>,
    runner: &Runner,
) -> Result<(), Denied> {
    for hit in desk
        .state
        .index_entries(&held_index(&runner.name), None, CANDIDATES)
        .await?
    {
        let Ok(build) = hit.key.id.parse() else {
            continue;
        };
        if let Err(error) = advance::<Build>(
            &desk.state,
            &build,
            Event::Return {
                runner: runner.name.clone(),
            },
            (desk.clock)(),
        )
        .await
        {
            pass_over(&build, error)?;
        }
    }
    Ok(())
}

/// Leases the task that is next of those that this runner may do; one that it would have to emulate only if there is no other.
async fn take_one<S: StateStore, B: BlobStore>(
    desk: &Desk<S, B>,
    runner: &Runner,
    ask: &Ask,
) -> Result<Option<Offer>, Denied> {
    let native = [ready_index(Some(runner.arch)), ready_index(None)];
    if let Some(offer) = take_from(desk, runner, ask, &native).await? {
        return Ok(Some(offer));
    }
    let emulated: Vec<String> = runner
        .emulates
        .iter()
        .map(|arch| ready_index(Some(*arch)))
        .collect();
    take_from(desk, runner, ask, &emulated).await
}

/// Leases the task that is next of those in these indexes. A build that cannot be read or saved is passed over.
async fn take_from<S: StateStore, B: BlobStore>(
    desk: &Desk<S, B>,
    runner: &Runner,
    ask: &Ask,
    indexes: &[String],
) -> Result<Option<Offer>, Denied> {
    let machine = RunnerProfile {
        arch: runner.arch,
        emulates: runner.emulates.clone(),
    };
    let mut each = CANDIDATES;
    loop {
        let (mut queued, more) = heads(&desk.state, indexes, each).await?;
        let fits = |queued: &QueuedTask| {
            runner
                .reserved
                .admits(runner.arch, queued.task.arch, &queued.rank)
                && ask.capacity.lacks(&queued.requires).is_none()
                && queued.not_by.as_ref() != Some(&runner.name)
        };
        queued.retain(fits);
        if is_mixed(&queued) {
            sort_queue(&mut queued, &running(&desk.state).await?);
        } else {
            sort_queue(&mut queued, &BTreeMap::new());
        }
        for QueuedTask { build, task, .. } in queued {
            let now = (desk.clock)();
            if let Some(build) = take(desk, &runner.name, &machine, (&build, &task), now).await? {
                return Ok(offer(desk, &build, &task, &machine, now));
            }
        }
        // Those in trouble, and those that want another machine, come first the next time too, so what is behind them is looked at now.
        if !more || each >= DEEP {
            return Ok(None);
        }
        each *= 8;
    }
}

/// Leases one task, and answers its build; none if somebody else was faster, or its build is in trouble.
async fn take<S: StateStore, B: BlobStore>(
    desk: &Desk<S, B>,
    runner: &RunnerName,
    machine: &RunnerProfile,
    (build, task): (&BuildId, &TaskId),
    now: Timestamp,
) -> Result<Option<Build>, Denied> {
    let take = Event::Take {
        task: task.clone(),
        runner: runner.clone(),
        machine: machine.clone(),
    };
    match advance::<Build>(&desk.state, build, take, now).await {
        Ok(leased) => {
            let lease = leased.task(task).and_then(Task::lease);
            let lease = lease.map(|lease| tracing::field::display(lease.number));
            info!(%build, %task, lease, "a task is leased");
            Ok(Some(leased))
        }
        Err(error) => {
            pass_over(build, error)?;
            Ok(None)
        }
    }
}

/// Whether tasks are of more than one project, so that it matters what each has running.
fn is_mixed(queued: &[QueuedTask]) -> bool {
    queued
        .iter()
        .any(|other| other.rank.project != queued[0].rank.project)
}

//! A runner asks for work, and waits on the line until there is some.

use super::{Denied, Desk, Paces, speaker};
use crate::runners::Runner;
use crate::tick;
use crate::trouble::pass_over;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_core::build::{Build, Event};
use millrace_core::protocol::{Ask, Offer, WAIT_S_MAX, Work};
use millrace_core::task::TaskId;
use millrace_core::{Arch, Timestamp};
use millrace_store::builds::{held_index, ready_index, ready_task};
use millrace_store::{BlobStore, StateError, StateStore, advance};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Ready tasks looked at for one runner before it waits: others take from the front at the same time.
const CANDIDATES: usize = 16;

/// How long a waiting runner sleeps before it looks without having been rung for: what another process wrote rings no bell
/// here, and a task must reach a waiting runner within a second.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn lease<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(ask): Json<Ask>,
) -> Result<Response, Denied> {
    let runner = speaker(&desk, &headers).await?;
    if !runner.is(&ask.runner) || runner.arch != ask.arch {
        let (name, arch) = (&runner.name, runner.arch);
        let whom = if runner.shared { format!("runners {name}.SOMETHING") } else { format!("runner {name}") };
        return Err(Denied::Bad(format!("the token is for {whom} on {arch}, not for {} on {}", ask.runner, ask.arch)));
    }
    // From here on it is the one machine that speaks, whoever else has the token.
    let runner = Runner { name: ask.runner, ..runner };
    forget_what_it_had(&desk, &runner).await?;
    if let Some(Paces { ask_again_s, .. }) = desk.paces {
        // Nothing else runs here every second: whoever asks is the clock.
        tick(&desk.state, (desk.clock)()).await?;
        return Ok(match take_one(&desk, &runner).await? {
            Some(offer) => Json(offer).into_response(),
            None => (StatusCode::NO_CONTENT, [(header::RETRY_AFTER, ask_again_s.to_string())]).into_response(),
        });
    }
    let until = Instant::now() + Duration::from_secs(u64::from(ask.wait_s.min(WAIT_S_MAX)));
    loop {
        // Asked for before looking, so that a ring in between is not missed.
        let rung = desk.ready.notified();
        if let Some(offer) = take_one(&desk, &runner).await? {
            return Ok(Json(offer).into_response());
        }
        if Instant::now() >= until {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let _ = timeout_at(until.min(Instant::now() + LOOK), rung).await;
    }
}

/// A runner that asks has nothing: what it had leased goes back at once, not when the lease runs out.
async fn forget_what_it_had<S: StateStore, B>(desk: &Desk<S, B>, runner: &Runner) -> Result<(), Denied> {
    for marked in desk.state.marked(&held_index(&runner.name), None, CANDIDATES).await? {
        let Ok(build) = marked.key.id.parse() else { continue };
        if let Err(error) = advance(&desk.state, &build, Event::Return { runner: runner.name.clone() }, (desk.clock)()).await {
            pass_over(&build, error)?;
        }
    }
    Ok(())
}

/// Leases the oldest task that this runner may do. A build that cannot be read or saved is passed over.
async fn take_one<S: StateStore, B: BlobStore>(desk: &Desk<S, B>, runner: &Runner) -> Result<Option<Offer>, Denied> {
    let mut after: Option<String> = None;
    loop {
        let places = ready_places(&desk.state, runner.arch, after.as_deref()).await?;
        let mut troubled = false;
        for (build, task) in places.iter().filter_map(|place| ready_task(place)) {
            let now = (desk.clock)();
            match advance(&desk.state, &build, Event::Take { task: task.clone(), runner: runner.name.clone() }, now).await {
                Ok(build) => return Ok(offer(desk, &build, &task, runner, now)),
                Err(error) => troubled |= pass_over(&build, error)?,
            }
        }
        // Those in trouble come first the next time too, so what is behind them is looked at now.
        match places.last() {
            Some(last) if troubled && places.len() == CANDIDATES => after = Some(last.clone()),
            _ => return Ok(None),
        }
    }
}

/// Where ready tasks stand that a runner of this architecture may do, the oldest first.
async fn ready_places(state: &impl StateStore, arch: Arch, after: Option<&str>) -> Result<Vec<String>, StateError> {
    let mut places = Vec::new();
    for index in [ready_index(Some(arch)), ready_index(None)] {
        places.extend(state.marked(&index, after, CANDIDATES).await?.into_iter().map(|marked| marked.sort));
    }
    places.sort();
    places.truncate(CANDIDATES);
    Ok(places)
}

fn offer<S, B>(desk: &Desk<S, B>, build: &Build, id: &TaskId, runner: &Runner, now: Timestamp) -> Option<Offer> {
    let lease = build.task(id)?.lease()?.clone();
    let step = build.step_of(id)?;
    let (platform, push) = (&build.platform, &build.push);
    let mut repositories = vec![(desk.released)(&platform.name)];
    repositories.extend(platform.repositories.iter().cloned());
    let work = Work {
        build: build.id.clone(),
        task: id.clone(),
        package: push.announced.package.clone(),
        commit: push.announced.commit.clone(),
        arch: id.arch.or(Some(runner.arch)),
        platform: platform.name.clone(),
        releasever: platform.releasever.clone(),
        module_platform: platform.module_platform.clone(),
        macros: platform.macros.clone(),
        source_date_epoch_s: push.committed_s,
        spec: push.spec.clone(),
        repositories,
        buildroot: platform.buildroot.clone(),
        limits: build.limits_of(id),
        network: step.network,
        plugin: *build.plugins.get(&step.plugin)?,
        plugin_name: step.plugin.to_string(),
        inputs: build.inputs(id),
        config: step.config.clone(),
    };
    Some(Offer { lease, now, work })
}

//! A runner asks for work, and waits on the line until there is some.

use super::{Denied, Desk, Paces, RENEW_S, speaker};
use crate::tick;
use crate::trouble::pass_over;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_core::Timestamp;
use millrace_core::build::{Build, Event};
use millrace_core::platform::SandboxOptions;
use millrace_core::protocol::{Ask, Offer, WAIT_S_MAX, Work};
use millrace_core::queue::{QueuedTask, sort_queue};
use millrace_core::runner::Runner;
use millrace_core::task::{RunnerProfile, TaskId};
use millrace_store::index::{held_index, ready_index};
use millrace_store::queue::{Seen, heads, running, see};
use millrace_store::{BlobStore, StateStore, advance};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Ready tasks of each project looked at for one runner at first: others take from the front at the same time.
const CANDIDATES: usize = 16;

/// Ready tasks of each project looked at where none of the first will do: more than a distribution has packages for an architecture.
const DEEP: usize = CANDIDATES * 8 * 8 * 8;

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
    let is_draining = runner.draining(&ask.runner).is_some();
    if let Some(other) = ask
        .emulates
        .iter()
        .find(|arch| !runner.emulates.contains(arch))
    {
        let (name, arch) = (&runner.name, runner.arch);
        return Err(Denied::Bad(format!(
            "the token of {name} is not for {other} by emulation: remove it, and make one with \
             `millrace runner add {name} --arch {arch} --emulate {other}`"
        )));
    }
    // From here on it is the one machine that speaks, whoever else has the token.
    let runner = Runner {
        name: ask.runner.clone(),
        emulates: ask.emulates.clone(),
        ..runner
    };
    forget_what_it_had(&desk, &runner).await?;
    if is_draining {
        return Err(Denied::Draining(runner.name));
    }
    let (name, reserved) = (runner.name.clone(), runner.reserved.clone());
    let arches = std::iter::once(runner.arch)
        .chain(runner.emulates.iter().copied())
        .collect();
    see(
        &desk.state,
        &Seen {
            name,
            arches,
            capacity: ask.capacity.clone(),
            reserved,
            at: (desk.clock)(),
        },
    )
    .await?;
    if let Some(Paces { ask_again_s, .. }) = desk.paces {
        // Nothing else runs here every second: whoever asks is the clock.
        tick(&desk.state, (desk.clock)()).await?;
        return Ok(match take_one(&desk, &runner, &ask).await? {
            Some(offer) => Json(offer).into_response(),
            None => (
                StatusCode::NO_CONTENT,
                [(header::RETRY_AFTER, ask_again_s.to_string())],
            )
                .into_response(),
        });
    }
    let until = Instant::now() + Duration::from_secs(u64::from(ask.wait_s.min(WAIT_S_MAX)));
    loop {
        // Asked for before looking, so that a ring in between is not missed.
        let rung = desk.ready.notified();
        // Whatever somebody says of it while it waits holds for the next task already.
        let known = speaker(&desk, &headers).await?;
        if known.draining(&runner.name).is_some() {
            return Err(Denied::Draining(runner.name));
        }
        let runner = Runner {
            name: runner.name.clone(),
            emulates: runner.emulates.clone(),
            ..known
        };
        if let Some(offer) = take_one(&desk, &runner, &ask).await? {
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

/// Leases the task that is next of those that this runner may do; one that it would have to emulate only where there is no other.
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
            let machine = RunnerProfile {
                arch: runner.arch,
                emulates: runner.emulates.clone(),
            };
            let take = Event::Take {
                task: task.clone(),
                runner: runner.name.clone(),
                machine: machine.clone(),
            };
            match advance::<Build>(&desk.state, &build, take, now).await {
                Ok(build) => return Ok(offer(desk, &build, &task, &machine, now)),
                Err(error) => pass_over(&build, error)?,
            };
        }
        // Those in trouble, and those that want another machine, come first the next time too, so what is behind them is looked at now.
        if !more || each >= DEEP {
            return Ok(None);
        }
        each *= 8;
    }
}

/// Whether tasks are of more than one project, so that it matters what each has running.
fn is_mixed(queued: &[QueuedTask]) -> bool {
    queued
        .iter()
        .any(|other| other.rank.project != queued[0].rank.project)
}

fn offer<S, B>(
    desk: &Desk<S, B>,
    build: &Build,
    id: &TaskId,
    machine: &RunnerProfile,
    now: Timestamp,
) -> Option<Offer> {
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
        arch: Some(machine.root_arch(id.arch, &platform.architectures)),
        platform: platform.name.clone(),
        releasever: platform.releasever.clone(),
        module_platform: platform.module_platform.clone(),
        macros: platform.macros.clone(),
        source_date_epoch_s: push.committed_s,
        spec: push.spec.clone(),
        repositories,
        buildroot: platform.buildroot.clone(),
        sandbox: SandboxOptions {
            limits: build.limits_of(id),
            network: step.network,
            disk_order: step.disk_order,
        },
        lock: push.announced.options.lock,
        plugin: *build.plugins.get(&step.plugin)?,
        plugin_name: step.plugin.to_string(),
        inputs: build.inputs(id),
        config: step.config.clone(),
        hold_s: push.announced.options.hold_s,
    };
    let renew_s = Some(desk.paces.map_or(RENEW_S, |paces| paces.renew_s));
    Some(Offer {
        lease,
        now,
        work,
        renew_s,
    })
}

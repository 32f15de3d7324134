//! Commands on runners: let them in, list them, drain them, be one.

use crate::actor;
use crate::arguments::Runner;
use crate::here::{emulated, own_arch, told_to_stop, worker_config};
use crate::output::Output;
use crate::state::{Folder, now, random};
use crate::store::Store;
use anyhow::{Context, Result};
use millrace_control::runner::{self, RunnerRequest};
use millrace_core::queue::Reservation;
use millrace_core::runner::{Draining, Runner as RunnerRecord, Token};
use millrace_core::{Arch, RunnerName};
use millrace_host::worker::WorkerConfig;
use millrace_store::runner_status::runner_statuses;
use millrace_view::{RunnerView, bytes};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::info_span;

pub(super) async fn runner(folder: &Folder, output: Output, command: Runner) -> Result<()> {
    match command {
        Runner::Add {
            name,
            arch,
            url,
            shared,
            emulate,
        } => {
            let request = RunnerRequest {
                name: match name {
                    Some(name) => name,
                    None => name_for(arch)?,
                },
                arch,
                emulates: emulated(emulate, arch),
                shared,
            };
            add(&folder.store().await?, output, request, &url).await
        }
        Runner::List => list(&folder.store().await?, output).await,
        Runner::Remove { name } => remove(&folder.store().await?, output, &name).await,
        Runner::Drain { name, hand_back } => {
            drain(&folder.store().await?, output, &name, hand_back).await
        }
        Runner::Resume { name } => resume(&folder.store().await?, output, &name).await,
        Runner::Reserve {
            name,
            own_arch,
            projects,
            at_least,
        } => {
            let reserved = Reservation {
                own_arch,
                projects,
                at_least,
            };
            reserve(&folder.store().await?, output, &name, &reserved).await
        }
        Runner::Run {
            name,
            url,
            token_file,
            spot,
            manner,
        } => {
            let token = token(&token_file)?;
            let work = folder.folder("runner")?;
            let config = worker_config(&url, &token, name, own_arch()?, manner, &work)?;
            be_a_runner(config, spot).await
        }
        // It needs no line: the dispatch has done it.
        Runner::Doctor { .. } => Ok(()),
    }
}

async fn add(store: &Store, output: Output, request: RunnerRequest, url: &str) -> Result<()> {
    let token = Token::from_random(random()?);
    runner::add(&actor::local(), request.clone(), &token, store, now()).await?;
    let RunnerRequest {
        name, arch, shared, ..
    } = &request;
    let line = line_for(&request, &token, url);
    let where_to = if *shared {
        format!("each {arch} machine")
    } else {
        format!("the {arch} machine")
    };
    output.one(
        &json!({"runner": name, "arch": arch, "token": token.reveal(), "line": line}),
        |_| format!("Run once on {where_to} (the token is not shown again):\n\n  {line}"),
    )
}

/// What to run on the runner's machine.
fn line_for(request: &RunnerRequest, token: &Token, url: &str) -> String {
    let as_itself = if request.shared {
        format!("{}.$(uname -n)", request.name)
    } else {
        request.name.to_string()
    };
    let emulating: String = request
        .emulates
        .iter()
        .map(|other| format!(" --emulate {other}"))
        .collect();
    format!(
        "printf %s {} | sudo millrace runner run {as_itself} --url {url} --token-file -{emulating}",
        token.reveal()
    )
}

async fn remove(store: &Store, output: Output, name: &RunnerName) -> Result<()> {
    runner::remove(&actor::local(), name, store).await?;
    output.one(&json!({"removed": name}), |_| {
        format!("runner {name} is removed")
    })
}

async fn drain(store: &Store, output: Output, name: &RunnerName, hand_back: bool) -> Result<()> {
    runner::drain(&actor::local(), name, hand_back, store).await?;
    let first = if hand_back {
        "hands back what it works on"
    } else {
        "finishes what it works on"
    };
    output.one(&json!({"draining": name, "hand_back": hand_back}), |_| {
        format!("runner {name} is draining: it {first}, and ends; `millrace runner resume {name}` cancels that")
    })
}

async fn resume(store: &Store, output: Output, name: &RunnerName) -> Result<()> {
    runner::resume(&actor::local(), name, store).await?;
    output.one(&json!({"resumed": name}), |_| {
        format!("runner {name} gets tasks again")
    })
}

async fn reserve(
    store: &Store,
    output: Output,
    name: &RunnerName,
    reserved: &Reservation,
) -> Result<()> {
    runner::reserve(&actor::local(), name, reserved, store).await?;
    let value = json!({"runner": name, "reserved": reserved});
    output.one(&value, |_| match reserved.words() {
        Some(words) => format!("runner {name} is reserved for {words}"),
        None => format!("runner {name} takes all tasks that it can do"),
    })
}

/// A name for a runner that nobody has named.
fn name_for(arch: Arch) -> Result<RunnerName> {
    let [first, second, ..] = random()?;
    let number = u16::from_be_bytes([first, second]);
    Ok(RunnerName::new(&format!("{arch}-{number:04x}"))?)
}

/// A runner that may ask for work, and the machines that do so in its name.
#[derive(Serialize)]
struct Listed {
    runner: RunnerName,
    arch: Arch,
    emulates: Vec<Arch>,
    added: String,
    shared: bool,
    reserved: Option<String>,
    #[serde(rename = "leaving")]
    draining: Vec<Draining>,
    machines: Vec<RunnerView>,
}

async fn list(store: &Store, output: Output) -> Result<()> {
    let runners = runner::list(store).await?;
    let mut machines: Vec<RunnerView> = runner_statuses(store, now())
        .await?
        .into_iter()
        .map(RunnerView::of)
        .collect();
    let listed = runners.into_iter().map(|runner| {
        let own = machines
            .extract_if(.., |machine| runner.is(&machine.runner))
            .collect();
        let added = runner.added.rfc3339();
        let RunnerRecord {
            name: runner_name,
            arch,
            emulates,
            shared,
            draining,
            reserved,
            ..
        } = runner;
        Listed {
            runner: runner_name,
            arch,
            emulates,
            added,
            shared,
            reserved: reserved.words(),
            draining,
            machines: own,
        }
    });
    let listed: Vec<Listed> = listed.collect();
    output.list(
        &listed,
        "no runners yet: `millrace up` starts one, `millrace runner add` lets others in",
        |runner| {
            let emulates: String = runner
                .emulates
                .iter()
                .map(|other| format!(", emulates {other}"))
                .collect();
            let mut lines = vec![format!(
                "{:<24} {:<8} since {}{emulates}",
                runner.runner, runner.arch, runner.added
            )];
            lines.extend(
                runner
                    .reserved
                    .iter()
                    .map(|reserved| format!("  reserved for {reserved}")),
            );
            lines.extend(
                runner
                    .draining
                    .iter()
                    .map(|draining| format!("  {} is draining", draining.name)),
            );
            lines.extend(runner.machines.iter().map(of_machine));
            lines.join("\n")
        },
    )
}

fn of_machine(machine: &RunnerView) -> String {
    let at = match (&machine.build, &machine.task) {
        (Some(build), Some(task)) => format!(" on {task} of build {build}"),
        _ => String::new(),
    };
    let (memory, disk) = (bytes(machine.memory_bytes), bytes(machine.disk_bytes));
    let features: Vec<&str> = machine
        .features
        .iter()
        .map(|feature| feature.as_str())
        .collect();
    let has = if features.is_empty() {
        String::new()
    } else {
        format!(", {}", features.join(", "))
    };
    format!(
        "  {} {}{at}; {memory} of memory, {disk} of disk free{has}; asked {}",
        machine.runner,
        machine.state,
        machine.asked.rfc3339()
    )
}

fn token(file: &Path) -> Result<String> {
    let token = match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin())?,
        _ => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
    };
    Ok(token.trim().to_owned())
}

async fn be_a_runner(config: WorkerConfig, spot: bool) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    tokio::spawn(async move {
        told_to_stop().await;
        told.store(true, Ordering::Relaxed);
    });
    if spot {
        let noticed = Arc::clone(&stop);
        let span = info_span!("runner", runner = %config.runner);
        tokio::task::spawn_blocking(move || {
            span.in_scope(|| millrace_host::worker::notice::watch(&noticed))
        });
    }
    tokio::task::spawn_blocking(move || millrace_host::worker::run(config, stop)).await??;
    Ok(())
}

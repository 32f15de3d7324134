//! Follows builds: one line whenever a task moves on, and the end of the log of a task that fails.

use crate::ending::NotFound;
use crate::output::{Output, span};
use crate::state::now;
use crate::store::Store;
use anyhow::{Context, Result};
use millrace_core::build::Build;
use millrace_core::log::LogIndex;
use millrace_core::push::PushState;
use millrace_core::task::{Task, TaskState};
use millrace_core::{BuildId, PushId};
use millrace_store::builds::{load_build, load_push};
use millrace_store::holds::holds_of_build;
use millrace_store::records::get;
use millrace_store::{BlobStore, Table};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often to look: what people see lags less than they notice.
const LOOK: Duration = Duration::from_millis(200);

/// Lines of a failed task's log that are shown.
const TAIL_LINES: usize = 30;

/// Bytes read for them.
const TAIL_BYTES: u64 = 64 * 1024;

/// Follows a push until its builds have ended; true if all were released or had nothing to release.
pub async fn push(store: &Store, output: Output, id: &PushId) -> Result<bool> {
    let (record, _) = load_push(store, id)
        .await?
        .ok_or_else(|| NotFound(format!("no push {id}: `millrace watch` names pushes")))?;
    let mut waiting = Waiting::default();
    output.say(&format!(
        "push {id}  {} at {}  {}",
        record.announced.package,
        record.announced.commit.short(),
        record.announced.reference
    ))?;
    loop {
        let (record, _) = load_push(store, id)
            .await?
            .with_context(|| format!("no push {id}"))?;
        match record.state {
            PushState::Fetching | PushState::Fetched => waiting.wait(store, LOOK).await,
            PushState::Refused { reason } => {
                output.one(
                    &serde_json::json!({"push": id, "state": "refused", "reason": reason}),
                    |_| format!("refused: {reason}"),
                )?;
                return Ok(false);
            }
            PushState::Planned { builds } => {
                let mut all = true;
                for build_id in builds {
                    all &= build(store, output, &build_id).await?;
                }
                return Ok(all);
            }
        }
    }
}

/// Follows a build until it has ended; true if it was released or had nothing to release.
pub async fn build(store: &Store, output: Output, id: &BuildId) -> Result<bool> {
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let (mut began, mut waiting) = (false, Waiting::default());
    loop {
        let (build, _) = load_build(store, id)
            .await?
            .with_context(|| format!("no build {id}"))?;
        if !began {
            began = true;
            let announced = &build.push.announced;
            output.say(&format!(
                "build {id}  {} at {} on {}",
                announced.package,
                announced.commit.short(),
                build.platform.name
            ))?;
        }
        for task in &build.tasks {
            show(store, output, &build, task, &mut shown).await?;
        }
        show_stage(output, &build, &mut shown)?;
        if build.is_ended() {
            let good = matches!(build.word(), "released" | "passed");
            let took = span(build.ended.unwrap_or_else(now).since_ms(build.created));
            let value =
                serde_json::json!({"build": id, "state": build.word(), "reason": build.reason()});
            output.one(&value, |_| {
                let why = build
                    .reason()
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default();
                format!("  build {id} {} after {took}{why}", build.word())
            })?;
            return Ok(good);
        }
        waiting.wait(store, LOOK).await;
    }
}

/// Waits for what a line does; if none works over this state, it says so once and waits all the same.
#[derive(Debug, Default)]
pub struct Waiting {
    looked: bool,
}

impl Waiting {
    /// Until it is time to look again.
    pub async fn wait(&mut self, store: &Store, time: Duration) {
        if !std::mem::replace(&mut self.looked, true) && !store.is_worked_on() {
            eprintln!("millrace: no `millrace up` runs over this state: waiting until one does");
        }
        tokio::time::sleep(time).await;
    }
}

async fn show(
    store: &Store,
    output: Output,
    build: &Build,
    task: &Task,
    shown: &mut BTreeMap<String, String>,
) -> Result<()> {
    let attempt = task.latest_number().map_or(0, |number| number.0);
    let state = format!("{} {attempt}", task.word());
    let fresh = shown
        .insert(task.id.to_string(), state.clone())
        .is_none_or(|before| before != state);
    if !fresh || matches!(task.state, TaskState::Waiting) && task.attempts.is_empty() {
        return Ok(());
    }
    let (word, name) = (task.word(), task.id.to_string());
    let took = task
        .times()
        .and_then(|(began, ended)| Some(span(ended?.since_ms(began))))
        .unwrap_or_default();
    let value = serde_json::json!({"build": build.id, "task": name, "state": word, "attempt": attempt, "reason": task.reason()});
    output.one(&value, |_| {
        let who = task
            .lease()
            .map(|lease| format!("on {}", lease.runner))
            .unwrap_or_default();
        let rest = task
            .reason()
            .and_then(|reason| reason.lines().next())
            .unwrap_or(&who);
        format!("  {name:<16} {word:<11} {took:>11}  {rest}")
            .trim_end()
            .to_owned()
    })?;
    if matches!(
        task.state,
        TaskState::Failed { .. } | TaskState::Quarantined { .. }
    ) {
        for line in tail(store, build, task).await?.lines() {
            output.say(&format!("      | {line}"))?;
        }
        show_hold(store, output, build, task).await?;
    }
    Ok(())
}

/// If its sandbox is held, how to get into it.
async fn show_hold(store: &Store, output: Output, build: &Build, task: &Task) -> Result<()> {
    let held = holds_of_build(store, build)
        .await?
        .into_iter()
        .find(|hold| hold.lease_id.task == task.id);
    let Some(hold) = held.filter(|hold| hold.over(now()).is_none()) else {
        return Ok(());
    };
    let command = format!("millrace shell {} {}", build.id, task.id);
    let until = hold.until.rfc3339();
    let value = serde_json::json!({
        "build": build.id, "task": task.id, "held_until": until, "runner": hold.runner, "command": command,
    });
    output.one(&value, |_| {
        format!("      its sandbox is held until {until}: `{command}` gives a terminal in it")
    })
}

/// Signing and releasing may each be over before anybody looks: what was passed is printed all the same.
fn show_stage(output: Output, build: &Build, shown: &mut BTreeMap<String, String>) -> Result<()> {
    let passed: &[&str] = match build.word() {
        "signing" => &["signing"],
        "releasing" | "released" => &["signing", "releasing"],
        _ => &[],
    };
    for word in passed {
        if shown.insert((*word).to_owned(), String::new()).is_none() {
            let value = serde_json::json!({"build": build.id, "state": word});
            output.one(&value, |_| format!("  {word}"))?;
        }
    }
    Ok(())
}

/// The last lines of a task's latest log.
async fn tail(store: &Store, build: &Build, task: &Task) -> Result<String> {
    let Some(number) = task.latest_number() else {
        return Ok(String::new());
    };
    let index = log_index(store, build, task, number.0)
        .await?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(
        &read_from(store, &index, index.size().saturating_sub(TAIL_BYTES)).await?,
    )
    .into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

/// The index of an attempt's log.
pub async fn log_index(
    store: &Store,
    build: &Build,
    task: &Task,
    attempt: u32,
) -> Result<Option<LogIndex>> {
    let id = format!("{}/{}/{attempt}", build.id, task.id);
    Ok(get(store, Table::Log, &id).await?.map(|(index, _)| index))
}

/// A log's bytes from an offset on.
pub async fn read_from(store: &Store, index: &LogIndex, from: u64) -> Result<Vec<u8>> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    for chunk in &index.chunks {
        let skip = from.saturating_sub(at).min(chunk.size);
        if skip < chunk.size {
            bytes.extend(store.read(&chunk.digest, skip..chunk.size).await?);
        }
        at += chunk.size;
    }
    Ok(bytes)
}

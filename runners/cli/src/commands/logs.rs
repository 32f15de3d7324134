//! Prints what a task has logged.

use crate::arguments::Logs;
use crate::ending::NotFound;
use crate::output::{Output, whole_lines};
use crate::state::Folder;
use crate::watch;
use anyhow::Result;
use millrace_control::build::find;
use millrace_core::build::Build;
use millrace_core::task::{Task, TaskId};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::time::Duration;

pub(super) async fn logs(folder: &Folder, output: Output, options: &Logs) -> Result<()> {
    let store = folder.store().await?;
    let id = find(&options.build, &store).await?.id;
    let mut printed = 0;
    let mut unfinished = Vec::new();
    let mut waiting = watch::Waiting::default();
    loop {
        let build = find(id.as_str(), &store).await?;
        let task = task_of(&build, &options.task)?;
        let attempt = attempt_of(&build, task, options.attempt)?;
        let index = match attempt {
            Some(attempt) => watch::log_index(&store, &build, task, attempt).await?,
            None => None,
        };
        let ended = index.as_ref().is_some_and(|index| index.ended) || task.is_settled();
        let last = ended || !options.follow;
        if let Some(index) = index {
            let bytes = watch::read_from(&store, &index, printed).await?;
            printed = index.size();
            // Into a file or a pipe goes what the task has printed, byte by byte; a terminal gets lines that do nothing to it.
            if output.is_json() || std::io::stdout().is_terminal() {
                unfinished.extend(bytes);
                for line in whole_lines(&mut unfinished, last) {
                    let value = json!({"build": id, "task": options.task, "attempt": attempt, "line": line});
                    output.one(&value, |_| line.clone())?;
                }
            } else {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())?;
            }
        }
        if last {
            return Ok(());
        }
        waiting.wait(&store, Duration::from_millis(300)).await;
    }
}

fn task_of<'a>(build: &'a Build, id: &TaskId) -> Result<&'a Task, NotFound> {
    build.task(id).ok_or_else(|| {
        let tasks: Vec<String> = build.tasks.iter().map(|task| task.id.to_string()).collect();
        NotFound(format!(
            "build {} has no task {id}; it has {}",
            build.id,
            tasks.join(", ")
        ))
    })
}

/// The attempt that was asked for, or the last; none if there was none yet.
fn attempt_of(build: &Build, task: &Task, wanted: Option<u32>) -> Result<Option<u32>, NotFound> {
    let latest = task.latest_number().map_or(0, |number| number.0);
    match wanted {
        None => Ok((latest > 0).then_some(latest)),
        Some(number @ 1..) if number <= latest => Ok(Some(number)),
        Some(number) => Err(NotFound(format!(
            "task {} of build {} has no attempt {number}; it has had {latest}",
            task.id, build.id
        ))),
    }
}

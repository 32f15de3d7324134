//! Prints what a task has logged.

use crate::arguments::Logs;
use crate::ending::NotFound;
use crate::output::{Output, whole_lines};
use crate::state::Folder;
use crate::watch;
use anyhow::{Result, bail};
use millrace_control::build::find;
use std::io::{IsTerminal, Write};
use std::time::Duration;

pub(super) async fn logs(folder: &Folder, output: Output, options: &Logs) -> Result<()> {
    let store = folder.store().await?;
    let id = find(&options.build, &store).await?.id;
    let (mut printed, mut unfinished, mut waiting) = (0, Vec::new(), watch::Waiting::default());
    loop {
        let build = find(id.as_str(), &store).await?;
        let tasks = || {
            build
                .tasks
                .iter()
                .map(|task| task.id.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let task = build.task(&options.task).ok_or_else(|| {
            NotFound(format!(
                "build {id} has no task {}; it has {}",
                options.task,
                tasks()
            ))
        })?;
        let latest = task.latest_number().map_or(0, |number| number.0);
        if let Some(wanted) = options
            .attempt
            .filter(|wanted| *wanted == 0 || *wanted > latest)
        {
            bail!(NotFound(format!(
                "task {} of build {id} has no attempt {wanted}; it has had {latest}",
                options.task
            )));
        }
        let attempt = options.attempt.or((latest > 0).then_some(latest));
        let index = match attempt {
            Some(attempt) => watch::log_index(&store, &build, task, attempt).await?,
            None => None,
        };
        let ended = index.as_ref().is_some_and(|index| index.ended) || task.is_settled();
        if let Some(index) = index {
            let bytes = watch::read_from(&store, &index, printed).await?;
            printed = index.size();
            // Into a file or a pipe goes what the task has printed, byte by byte; a terminal gets lines that do nothing to it.
            if output.is_json() || std::io::stdout().is_terminal() {
                unfinished.extend(bytes);
                let last = ended || !options.follow;
                for line in whole_lines(&mut unfinished, last) {
                    output
                        .one(&serde_json::json!({"build": id, "task": options.task, "attempt": attempt, "line": line}), |_| {
                            line.clone()
                        })?;
                }
            } else {
                std::io::stdout().lock().write_all(&bytes)?;
                std::io::stdout().lock().flush()?;
            }
        }
        if ended || !options.follow {
            return Ok(());
        }
        waiting.wait(&store, Duration::from_millis(300)).await;
    }
}

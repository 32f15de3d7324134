//! What waits for a runner.

use crate::output::Output;
use crate::state::{Folder, now};
use anyhow::Result;
use millrace_store::queue::outlook;
use millrace_view::WaitingView;

pub(super) async fn queue(folder: &Folder, output: Output, limit: usize) -> Result<()> {
    let store = folder.store().await?;
    let waiting: Vec<WaitingView> = outlook(&store, limit, now())
        .await?
        .into_iter()
        .map(WaitingView::of)
        .collect();
    output.list(&waiting, "no task waits for a runner", |task| {
        let whose = format!("{} ({})", task.project, task.priority);
        format!(
            "{}  {:<16} {:<24} {:<14} {whose:<20} {}",
            task.build,
            task.task.to_string(),
            task.package,
            task.platform,
            task.words
        )
    })
}

//! `millrace plugin`: with which plugins the line works.

use crate::actor;
use crate::arguments::Plugin;
use crate::output::Output;
use crate::state::Folder;
use anyhow::Result;
use millrace_control::plugin;

pub(super) async fn plugin(folder: &Folder, output: Output, command: Plugin) -> Result<()> {
    let store = folder.store().await?;
    match command {
        Plugin::Add { name, file } => {
            let actor = actor::local();
            let registered = plugin::add(&actor, &name, &file, &store, &store).await?;
            output.one(&registered, |plugin| {
                format!(
                    "plugin {}: {} ({} bytes)",
                    plugin.name, plugin.digest, plugin.size
                )
            })
        }
        Plugin::List => {
            let plugins = plugin::list(&store).await?;
            output.list(
                &plugins,
                "no plugins yet: `millrace plugin add NAME FILE`",
                |plugin| format!("{:<16} {}", plugin.name, plugin.digest),
            )
        }
    }
}

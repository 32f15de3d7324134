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
        Plugin::Show { name } => {
            let plugin = plugin::show(&name, &store).await?;
            output.one(&plugin, |plugin| {
                serde_json::to_string_pretty(plugin).unwrap_or_default()
            })
        }
        Plugin::Remove { name } => {
            plugin::remove(&actor::local(), &name, &store).await?;
            output.one(&serde_json::json!({"plugin": name}), |_| {
                format!("plugin {name} is removed; builds that are planned keep it")
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

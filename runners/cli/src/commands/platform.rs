//! `millrace platform`: for which platforms the line builds.

use crate::actor;
use crate::arguments::Platform;
use crate::output::Output;
use crate::state::{Folder, now};
use anyhow::{Context, Result};
use millrace_control::platform;
use millrace_core::platform::Platform as PlatformData;
use millrace_releaser::Seal as _;
use serde_json::json;

pub(super) async fn platform(folder: &Folder, output: Output, command: Platform) -> Result<()> {
    let store = folder.store().await?;
    match command {
        Platform::Add { file } => {
            let text =
                std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let platform = PlatformData::parse(&file.display().to_string(), &text)?;
            let seal = folder.seal().await?;
            seal.public_key(&platform.key).await.with_context(|| {
                format!(
                    "platform {} signs with the key `{}`, which cannot be read",
                    platform.name, platform.key
                )
            })?;
            millrace_releaser::prepare(&platform, &seal, &store, now()).await?;
            platform::add(&actor::local(), &platform, &store, now()).await?;
            output.one(
                &json!({"platform": platform.name, "architectures": platform.architectures}),
                |_| {
                    let steps = platform
                        .steps
                        .iter()
                        .map(|step| step.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ");
                    format!("platform {} is added; its steps are {steps}", platform.name)
                },
            )
        }
        Platform::Remove { name } => {
            platform::remove(&actor::local(), &name, &store).await?;
            output.one(&json!({"platform": name}), |_| {
                format!("nothing is built for {name} any more; what is released stays")
            })
        }
        Platform::List => {
            let platforms = platform::list(&store).await?;
            output.list(
                &platforms,
                "no platforms yet: `millrace platform add FILE`",
                |platform| format!("{:<24} {}", platform.name, platform.title),
            )
        }
        Platform::Show { name } => {
            let platform = platform::show(&name, &store).await?;
            output.one(&platform, |platform| {
                serde_json::to_string_pretty(platform).unwrap_or_default()
            })
        }
    }
}

//! Commands that tell the line what to build, for which platforms and with which plugins.

use crate::actor;
use crate::arguments::{Package, Platform, Plugin};
use crate::output::Output;
use crate::state::{Folder, now};
use anyhow::{Context, Result};
use millrace_control::package::{self, PackageRequest};
use millrace_control::{platform, plugin};
use millrace_core::platform::Platform as PlatformData;
use millrace_releaser::Seal as _;
use serde_json::json;

pub(super) async fn package(folder: &Folder, output: Output, command: Package) -> Result<()> {
    let store = folder.store().await?;
    match command {
        Package::Add {
            name,
            clone_url,
            platforms,
            project,
            priority,
        } => {
            let request = PackageRequest {
                name,
                clone_url,
                platforms,
                project,
                priority,
            };
            let package = package::add(&actor::local(), request, &store, now()).await?;
            output.one(&package, |package| {
                format!(
                    "from now on, {} is built from {}",
                    package.name, package.clone_url
                )
            })
        }
        Package::List => {
            let packages = package::list(&store).await?;
            output.list(
                &packages,
                "no packages yet: `millrace package add NAME URL`",
                |package| format!("{:<32} {}", package.name, package.clone_url),
            )
        }
        Package::Upload { files } => {
            for file in files {
                let offered = millrace_source::upload_source(&file, &store, &store)
                    .await
                    .with_context(|| file.display().to_string())?;
                let name = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let value = json!({"file": file, "sha256": offered.sha256, "sha512": offered.sha512, "size": offered.size});
                // As the line of a `sources` file has it.
                output.one(&value, |_| format!("SHA512 ({name}) = {}", offered.sha512))?;
            }
            Ok(())
        }
    }
}

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
            platform::add(&actor::local(), &platform, &store).await?;
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

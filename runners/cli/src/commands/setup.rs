//! Commands that tell the line what to build, where and by whom.

use super::NotThere;
use crate::arguments::{Package, Platform, Plugin};
use crate::output::Output;
use crate::state::{Folder, now};
use crate::store::Store;
use anyhow::{Context, Result, bail};
use millrace_core::PluginName;
use millrace_core::platform::Platform as PlatformData;
use millrace_core::push::Package as PackageData;
use millrace_orchestrator::Registered;
use millrace_releaser::Seal as _;
use millrace_store::records::{all, get, replace};
use millrace_store::{BlobStore, Table};
use serde_json::json;
use std::path::Path;

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
            let package = PackageData {
                project,
                priority,
                ..PackageData::new(name, clone_url, platforms, now())
            };
            millrace_listener::register(&store, package.clone()).await?;
            output.one(&package, |package| {
                format!(
                    "{} is built from {} from now on",
                    package.name, package.clone_url
                )
            })
        }
        Package::List => {
            let packages: Vec<PackageData> = all(&store, Table::Package).await?;
            output.list(
                &packages,
                "no packages yet: `millrace package add NAME URL`",
                |package| format!("{:<32} {}", package.name, package.clone_url),
            )
        }
        Package::Upload { files } => {
            for file in files {
                let offered = millrace_listener::offer_source(&file, &store, &store)
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
                    "platform {} signs with the key `{}`, which cannot be had",
                    platform.name, platform.key
                )
            })?;
            millrace_releaser::prepare(&platform, &seal, &store, now()).await?;
            replace(&store, Table::Platform, platform.name.as_str(), &platform).await?;
            output.one(
                &json!({"platform": platform.name, "architectures": platform.architectures}),
                |_| {
                    let steps = platform
                        .steps
                        .iter()
                        .map(|step| step.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ");
                    format!("platform {} is there; its steps are {steps}", platform.name)
                },
            )
        }
        Platform::List => {
            let platforms: Vec<PlatformData> = all(&store, Table::Platform).await?;
            output.list(
                &platforms,
                "no platforms yet: `millrace platform add FILE`",
                |platform| format!("{:<24} {}", platform.name, platform.title),
            )
        }
        Platform::Show { name } => {
            let found: Option<(PlatformData, _)> =
                get(&store, Table::Platform, name.as_str()).await?;
            let (platform, _) = found.ok_or_else(|| {
                NotThere(format!("no platform `{name}`: `millrace platform list`"))
            })?;
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
            let registered = register_plugin(&store, &name, &file).await?;
            output.one(&registered, |plugin| {
                format!(
                    "plugin {}: {} ({} bytes)",
                    plugin.name, plugin.digest, plugin.size
                )
            })
        }
        Plugin::List => {
            let plugins: Vec<Registered> = all(&store, Table::Plugin).await?;
            output.list(
                &plugins,
                "no plugins yet: `millrace plugin add NAME FILE`",
                |plugin| format!("{:<16} {}", plugin.name, plugin.digest),
            )
        }
    }
}

/// Keeps a component and lets steps find it by a name.
pub(crate) async fn register_plugin(
    store: &Store,
    name: &PluginName,
    file: &Path,
) -> Result<Registered> {
    let head = std::fs::read(file).with_context(|| file.display().to_string())?;
    // The preamble of a component (WebAssembly component model, Binary.md): magic, version 13, layer 1.
    if !head.starts_with(b"\0asm\x0d\0\x01\0") {
        bail!(
            "{} is no WebAssembly component: build it for wasm32-wasip2, or run `wasm-tools component new` on it",
            file.display()
        );
    }
    let (digest, size) = store.put_file(file).await?;
    let registered = Registered {
        name: name.clone(),
        digest,
        size,
    };
    replace(store, Table::Plugin, name.as_str(), &registered).await?;
    Ok(registered)
}

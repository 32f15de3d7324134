//! `millrace package`: what the line builds, and sources that are uploaded for it.

use crate::actor;
use crate::arguments::Package;
use crate::output::Output;
use crate::state::{Folder, now};
use anyhow::{Context, Result};
use millrace_control::package::{self, PackageRequest};
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

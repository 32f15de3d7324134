//! `millrace package`: what the line builds, and sources that are uploaded for it.

use crate::actor;
use crate::arguments::{NameOfPackage, Package};
use crate::output::Output;
use crate::state::{Folder, now};
use anyhow::{Context, Result};
use millrace_control::name::{self, NameRequest};
use millrace_control::package::{self, PackageEdit, PackageRequest};
use millrace_core::PackageName;
use millrace_core::ownership::Claim;
use serde_json::json;

pub(super) async fn package(folder: &Folder, output: Output, command: Package) -> Result<()> {
    let store = folder.store().await?;
    match command {
        Package::Add {
            name,
            clone_url,
            platforms,
            source_name,
            project,
            priority,
        } => {
            let request = PackageRequest {
                name,
                clone_url,
                platforms,
                source_name,
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
                |package| {
                    let suspended = if package.suspended.is_some() {
                        "  (suspended)"
                    } else {
                        ""
                    };
                    format!("{:<32} {}{suspended}", package.name, package.clone_url)
                },
            )
        }
        Package::Grant(name) => {
            let request = request(name);
            let claim = name::grant(&actor::local(), request.clone(), &store, now()).await?;
            let NameRequest {
                package,
                name,
                platform,
            } = request;
            output.one(&claim, |_| {
                format!(
                    "package {package} may release {} on {platform}",
                    name.described()
                )
            })
        }
        Package::Revoke(name) => {
            let request = request(name);
            let claim = name::revoke(&actor::local(), request.clone(), &store).await?;
            let NameRequest {
                package,
                name,
                platform,
            } = request;
            output.one(&claim, |_| {
                format!(
                    "package {package} may not release {} on {platform} any more",
                    name.described()
                )
            })
        }
        Package::Names { name: package } => {
            let claims = name::list(&package, &store).await?;
            output.list(
                &claims,
                "no names yet: a package gets them with its first release",
                |claim| line_of_name(&package, claim),
            )
        }
        Package::Show { name } => {
            let package = package::show(&name, &store).await?;
            output.one(&package, |package| {
                serde_json::to_string_pretty(package).unwrap_or_default()
            })
        }
        Package::Edit {
            name,
            platforms,
            every_platform,
            source_name,
            project,
            priority,
        } => {
            let platforms = (every_platform || !platforms.is_empty()).then_some(platforms);
            let edit = PackageEdit {
                platforms,
                source_name,
                project,
                priority,
            };
            let package = package::edit(&actor::local(), &name, edit, &store).await?;
            output.one(&package, |package| {
                serde_json::to_string_pretty(package).unwrap_or_default()
            })
        }
        Package::Suspend { name, reason } => {
            let actor = actor::local();
            let package = package::suspend(&actor, &name, &reason, &store, now()).await?;
            output.one(&package, |_| {
                format!(
                    "nothing of {name} is built or signed until `millrace package resume {name}`; what is released stays: \
                     `millrace release remove PLATFORM {name}` takes it out"
                )
            })
        }
        Package::Resume { name } => {
            let package = package::resume(&actor::local(), &name, &store).await?;
            output.one(&package, |_| format!("{name} is built and signed again"))
        }
        Package::Remove { name } => {
            let package = package::remove(&actor::local(), &name, &store).await?;
            output.one(&package, |_| {
                format!(
                    "{name} is no package of the line any more; what is released stays: \
                     `millrace release remove PLATFORM {name}` takes it out"
                )
            })
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

fn request(name: NameOfPackage) -> NameRequest {
    let NameOfPackage {
        package,
        name,
        platform,
    } = name;
    NameRequest {
        package,
        name,
        platform,
    }
}

/// One name of a package: where, which, and why the package may use it.
fn line_of_name(package: &PackageName, claim: &Claim) -> String {
    let why = match (claim.is_of(package), claim.grants.get(package)) {
        (true, _) => "its own".to_owned(),
        (false, Some(grant)) => format!("granted by {}", grant.by),
        (false, None) => String::new(),
    };
    let (platform, name) = (&claim.target.platform, claim.name.to_string());
    format!("{:<20} {name:<40} {why}", platform.as_str())
}

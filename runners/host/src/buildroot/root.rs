//! A root of one task, and what is done to it.

use super::dnf::{Dnf, PackageChange};
use super::error::RootError;
use super::fetch::copy_hashed;
use super::header;
use super::installed::InstalledPackage;
use super::locked::{fetch, of_repositories};
use super::recipe::Recipe;
use super::record::{self, PackageFiles};
use super::requires::build_requires;
use super::session::RootSession;
use super::store::{Layer, LayerStore};
use super::task_files::{inside, is_source};
use crate::sandbox::{Overlay, View};
use millrace_core::Digest;
use millrace_core::roots;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

/// A root of one task.
#[derive(Debug)]
pub struct Root {
    pub(super) base: RootBase,
    pub(super) record: roots::Root,
}

/// What a root is made of.
#[derive(Debug)]
pub(super) enum RootBase {
    /// Layers, and what the task changes on top of them.
    Layers(Box<LayeredRoot>),
    /// The machine as it is.
    Machine,
}

/// A root of layers.
#[derive(Debug)]
pub(super) struct LayeredRoot {
    pub(super) overlay: Overlay,
    pub(super) dnf: Dnf,
    pub(super) store: LayerStore,
    pub(super) recipe: Recipe,
    pub(super) files: PackageFiles,
    /// Not given up while a task uses them.
    pub(super) _held: Vec<Layer>,
}

/// What shall come into a root.
struct RequestedPackages {
    /// Names, and capabilities as dnf is asked for them.
    names: Vec<String>,
    /// Files of the task's folder.
    files: Vec<PathBuf>,
}

impl Root {
    /// Installs names, capabilities, RPMs below `/work`, or what source packages there BuildRequire.
    pub fn install(
        &mut self,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let wanted = wanted(packages, session)?;
        match &mut self.base {
            RootBase::Machine => Err(RootError::Refused(MACHINE_STAYS.to_owned())),
            RootBase::Layers(layers) if layers.recipe.locked.is_some() => {
                layers.install_locked(&wanted, session)?;
                let later = layers
                    .recipe
                    .locked
                    .iter()
                    .flat_map(|locked| of_repositories(locked, true))
                    .cloned()
                    .collect();
                record::add(&mut self.record.packages, later);
                note_own(&mut self.record, &wanted.files)
            }
            RootBase::Layers(layers) => {
                if let Some(now) = layers.install(&wanted, &self.record.packages, session)? {
                    record::add(&mut self.record.packages, now);
                }
                note_own(&mut self.record, &wanted.files)
            }
        }
    }

    /// Removes packages by name, and what needs them.
    pub fn remove(
        &mut self,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        match &self.base {
            RootBase::Machine => Err(RootError::Refused(MACHINE_STAYS.to_owned())),
            RootBase::Layers(layers) => layers.dnf.remove(&layers.overlay, packages, session),
        }
    }

    /// Every package in it, sorted.
    pub fn contents(
        &self,
        session: &mut RootSession<'_>,
    ) -> Result<Vec<InstalledPackage>, RootError> {
        let RootBase::Layers(layers) = &self.base else {
            return Ok(Vec::new());
        };
        let mut installed = layers.dnf.installed(&layers.overlay, session)?;
        if layers.recipe.locked.is_some() {
            // rpm alone has put them there, and dnf does not know from where they came.
            let known = &self.record.packages;
            for package in &mut installed {
                let found = known.iter().find(|known| known.nevra == package.nevra);
                package.repository = found
                    .map(|known| known.repository.clone())
                    .unwrap_or_default();
            }
            installed.sort();
        }
        Ok(installed)
    }

    /// How commands see it.
    pub fn view(&self) -> View {
        match &self.base {
            RootBase::Layers(layers) => View::Root(layers.overlay.clone()),
            RootBase::Machine => View::Machine,
        }
    }

    /// What has been in it so far.
    pub fn record(&self) -> &roots::Root {
        &self.record
    }
}

const MACHINE_STAYS: &str = "the platform's provider is `host`: nothing can be installed into the machine itself, or removed from it";

fn wanted(packages: &[String], session: &RootSession<'_>) -> Result<RequestedPackages, RootError> {
    let mut wanted = RequestedPackages {
        names: Vec::new(),
        files: Vec::new(),
    };
    for package in packages {
        if is_source(package) {
            let requires = build_requires(&inside(session.work, package)?)?;
            wanted.names.extend(
                requires
                    .iter()
                    .map(|requirement| Dnf::capability(requirement)),
            );
        } else if package.ends_with(".rpm") {
            wanted.files.push(inside(session.work, package)?);
        } else {
            wanted.names.push(package.clone());
        }
    }
    Ok(wanted)
}

/// Writes down which files of the task came into a root.
fn note_own(record: &mut roots::Root, files: &[PathBuf]) -> Result<(), RootError> {
    for (nevra, digest) in own(files)? {
        let known = record
            .packages
            .iter_mut()
            .find(|package| package.nevra == nevra && package.repository.is_empty());
        match known {
            Some(package) => package.digest = Some(digest),
            None => {
                let package = roots::RootPackage {
                    nevra,
                    repository: String::new(),
                    digest: Some(digest),
                    url: None,
                    later: true,
                };
                record.packages.push(package);
            }
        }
    }
    record.packages.sort();
    Ok(())
}

/// NEVRA and digest of files of the task.
fn own(files: &[PathBuf]) -> Result<BTreeMap<String, Digest>, RootError> {
    let mut own = BTreeMap::new();
    for path in files {
        let file = File::open(path)?;
        let rpm = header::rpm(&file).map_err(|error| RootError::unreadable(path, error))?;
        let nevra = rpm.to_string();
        own.insert(nevra, copy_hashed(file, u64::MAX, &mut std::io::sink())?);
    }
    Ok(own)
}

impl LayeredRoot {
    /// Installs, and answers all that is in the root then if it is not plain from what was asked for.
    fn install(
        &self,
        wanted: &RequestedPackages,
        known: &[roots::RootPackage],
        session: &mut RootSession<'_>,
    ) -> Result<Option<Vec<roots::RootPackage>>, RootError> {
        let RequestedPackages { names, files } = wanted;
        let mut files: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        // If files alone are asked for and the root has all that they need, rpm does it in a tenth of dnf's time.
        if names.is_empty()
            && (files.is_empty() || self.dnf.rpm_installs(&self.overlay, &files, session)?)
        {
            return Ok(None);
        }
        let mut packages = names.clone();
        packages.append(&mut files);
        let install = PackageChange {
            verb: "install",
            packages,
            with_released: true,
            fresh: false,
        };
        self.dnf.change(&self.overlay, &install, session)?;
        let installed = self.dnf.installed(&self.overlay, session)?;
        self.files
            .of(installed, known, &own(&wanted.files)?)
            .map(Some)
    }

    /// Installs files of the task, and of the lock all that came later the first time; nothing else can be installed.
    fn install_locked(
        &self,
        wanted: &RequestedPackages,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let Some(locked) = &self.recipe.locked else {
            return Ok(());
        };
        let later: Vec<&roots::RootPackage> = of_repositories(locked, true).collect();
        let files = fetch(&self.store, &self.recipe, later.iter().copied(), session)?;
        let own: Vec<String> = wanted
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        if files.is_empty() && own.is_empty() {
            return Ok(());
        }
        let put = self.dnf.put_exactly(&self.overlay, &files, &own, session);
        put.map_err(|error| match error {
            RootError::Transaction(words) => RootError::Unresolved(vec![
                words,
                format!(
                    "the lock has {} packages that came later, and no others",
                    later.len()
                ),
            ]),
            other => other,
        })
    }
}

impl Drop for LayeredRoot {
    fn drop(&mut self) {
        if let Some(own) = self.overlay.upper.parent() {
            let _ = crate::machine::removal::remove_folder(own);
        }
    }
}

//! What the layers of one recipe's roots are made with, and what every new layer needs.

use super::dnf::{ChangeResult, Dnf, PackageChange};
use super::error::RootError;
use super::fingerprints::Fingerprints;
use super::layer::{add_user, mark_carried, over, write_names};
use super::recipe::Recipe;
use super::record::{self, PackageFiles};
use super::session::RootSession;
use super::store::LayerStore;
use crate::sandbox::{Overlay, Sandbox};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Makes the layers of one recipe's roots.
pub(super) struct LayerMaker {
    pub(super) store: LayerStore,
    pub(super) sandbox: Sandbox,
    pub(super) dnf: Dnf,
    pub(super) files: PackageFiles,
    pub(super) recipe: Recipe,
    pub(super) repositories: Fingerprints,
    /// The program `mock`, for platforms that want it.
    pub(super) mock: PathBuf,
    /// What one layer may put on the disk, in bytes.
    pub(super) layer_bytes_max: u64,
}

impl LayerMaker {
    /// What a new base needs to be one: a database that all rpms read, an ordinary user, and its contents written down.
    pub(super) fn settle(
        &self,
        new: &Path,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let names = self.settle_database(new, overlay, session)?;
        write_names(new, &names)?;
        self.write_down(new, overlay, session)
    }

    /// The same without writing anything down; the names of the packages.
    pub(super) fn settle_database(
        &self,
        new: &Path,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<Vec<String>, RootError> {
        let settled = self.dnf.settle(overlay, session)?;
        if settled.carried {
            mark_carried(new)?;
        }
        add_user(&overlay.upper)?;
        Ok(settled.names)
    }

    /// Writes down what is in a new layer and those below it. Of the packages of an image only the names are known.
    pub(super) fn write_down(
        &self,
        new: &Path,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let installed = self.dnf.installed(overlay, session)?;
        let below = overlay
            .lowers
            .first()
            .filter(|lower| !lower.starts_with(new));
        let packages = match below {
            Some(below) => {
                let known = record::read(below)?;
                self.files.of(installed, &known, &BTreeMap::new())?
            }
            None if self.recipe.buildroot.provider.is_dnf() => {
                self.files.of(installed, &[], &BTreeMap::new())?
            }
            None => record::of_image(installed),
        };
        record::write(new, &packages)
    }

    /// Lets dnf change a new layer over others; false if there was nothing to change.
    pub(super) fn fill(
        &self,
        new: &Path,
        lowers: &[PathBuf],
        change: &PackageChange<'_>,
        session: &mut RootSession<'_>,
    ) -> Result<bool, RootError> {
        let overlay = over(new, lowers);
        let mut for_layer = session.with_disk(self.layer_bytes_max);
        if self.dnf.change(&overlay, change, &mut for_layer)? == ChangeResult::NothingToDo {
            return Ok(false);
        }
        self.write_down(new, &overlay, session)?;
        Ok(true)
    }
}

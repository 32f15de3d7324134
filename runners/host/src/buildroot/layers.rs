//! The layers over a base: what the line has released since, what a source package needs, what a lock has.

use super::dnf::{Dnf, PackageChange};
use super::error::RootError;
use super::layer::{from_nothing, over, paths, read_names};
use super::locked;
use super::maker::LayerMaker;
use super::record;
use super::session::RootSession;
use super::store::{Layer, LayerStore};
use millrace_core::roots;
use std::path::Path;

/// Who is to blame for a release that cannot be installed.
const RELEASED: &str =
    "what the line has released, which goes over the platform's own packages in every root";

impl LayerMaker {
    /// What the line has released since of what is in the base. dnf is only asked if there can be something: most releases
    /// touch no root.
    pub(super) fn released_since(
        &self,
        base: &[Layer],
        session: &mut RootSession<'_>,
    ) -> Result<Option<Layer>, RootError> {
        let (Some(released), Some(top)) = (&self.repositories.released, base.first()) else {
            return Ok(None);
        };
        let lowers = paths(base);
        let key = LayerStore::key_of(&("released, written down", &lowers, &released.digest));
        let upgrade = PackageChange {
            verb: "upgrade",
            packages: Vec::new(),
            with_released: true,
            fresh: true,
        };
        self.store.once(&key, |new| {
            if !released.touches(&read_names(top)?)? {
                return Ok(false);
            }
            self.fill(new, &lowers, &upgrade, session)
                .map_err(|error| error.of_platform(RELEASED))
        })
    }

    /// A layer with what a source package needs.
    pub(super) fn dependencies(
        &self,
        lowers: &[Layer],
        requires: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<Option<Layer>, RootError> {
        if requires.is_empty() {
            return Ok(None);
        }
        let released = self.repositories.released.as_ref();
        let released = released.map(|released| &released.digest);
        let lowers = paths(lowers);
        let key = LayerStore::key_of(&("layer, written down", &lowers, requires, released));
        let install = PackageChange {
            verb: "install",
            packages: requires
                .iter()
                .map(|requirement| Dnf::capability(requirement))
                .collect(),
            with_released: true,
            fresh: true,
        };
        self.store
            .once(&key, |new| self.fill(new, &lowers, &install, session))
    }

    /// A layer with exactly what a lock has; none if what lies below has it all.
    pub(super) fn locked(
        &self,
        below: Option<&Layer>,
        locked: &roots::Root,
        session: &mut RootSession<'_>,
    ) -> Result<Option<Layer>, RootError> {
        // What somebody has made is there by its digest; the lock's repositories bring the rest.
        let has = below
            .map(|layer| record::read(&layer.path))
            .transpose()?
            .unwrap_or_default();
        let packages: Vec<&roots::RootPackage> = locked::of_repositories(locked, false)
            .filter(|package| !has.iter().any(|other| other.nevra == package.nevra))
            .collect();
        let key = LayerStore::key_of(&(
            "exactly",
            self.recipe.arch,
            below.map(|layer| &layer.path),
            &packages,
        ));
        self.store.once(&key, |new| {
            session.say(&format!(
                "making a {} root with {} packages of the lock",
                self.recipe.arch,
                packages.len()
            ));
            self.fill_exactly(new, below, &packages, locked, session)?;
            Ok(true)
        })
    }

    fn fill_exactly(
        &self,
        new: &Path,
        below: Option<&Layer>,
        packages: &[&roots::RootPackage],
        locked: &roots::Root,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let files = locked::fetch(&self.store, &self.recipe, packages.iter().copied(), session)?;
        let overlay = match below {
            Some(layer) => over(new, std::slice::from_ref(&layer.path)),
            None => from_nothing(new)?,
        };
        if !files.is_empty() {
            let mut for_layer = session.with_disk(self.layer_bytes_max);
            self.dnf
                .put_exactly(&overlay, &files, &[], &mut for_layer)?;
        }
        if below.is_none() {
            self.settle_database(new, &overlay, session)?;
        }
        self.dnf.has_exactly(&overlay, &locked.packages, session)?;
        record::write(new, &locked.packages)
    }
}

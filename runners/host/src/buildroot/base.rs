//! The base layer: what every root of a kind begins with.

use super::dnf::PackageChange;
use super::error::RootError;
use super::layer::from_nothing;
use super::maker::LayerMaker;
use super::session::RootSession;
use super::store::{Layer, LayerStore};
use millrace_core::platform::Provider;
use millrace_core::roots::RootKind;

impl LayerMaker {
    /// What every root of the kind has, from the platform's own repositories. If they cannot be installed, the keeper of the platform must act.
    pub(super) fn base(
        &mut self,
        kind: RootKind,
        session: &mut RootSession<'_>,
    ) -> Result<Vec<Layer>, RootError> {
        let (packages, list) = match kind {
            RootKind::Build => (&self.recipe.buildroot.packages, "packages"),
            RootKind::Minimal => (&self.recipe.buildroot.minimal, "minimal"),
        };
        let packages = packages.clone();
        let told = format!("`{list}` under `buildroot` in the platform's file");
        match self.recipe.buildroot.provider {
            Provider::Dnf | Provider::Host => self
                .base_of_packages(packages, &told, session)
                .map(|layer| vec![layer]),
            Provider::Rootfs => {
                let archive = self.archive(session)?;
                self.on_top(archive, &packages, session)
                    .map_err(|error| error.of_platform(&told))
            }
            Provider::Mock => self.of_mock(&packages, session).map(|layer| vec![layer]),
        }
    }

    fn base_of_packages(
        &self,
        packages: Vec<String>,
        told: &str,
        session: &mut RootSession<'_>,
    ) -> Result<Layer, RootError> {
        let key = LayerStore::key_of(&(
            "base",
            self.recipe.arch,
            &self.recipe.releasever,
            &packages,
            &self.repositories.platform,
        ));
        let install = PackageChange {
            verb: "install",
            packages,
            with_released: false,
            fresh: true,
        };
        let made = self.store.once(&key, |new| {
            session.say(&format!(
                "making a {} root with {}",
                self.recipe.arch,
                install.packages.join(" ")
            ));
            let overlay = from_nothing(new)?;
            let mut for_layer = session.with_disk(self.layer_bytes_max);
            self.dnf
                .change(&overlay, &install, &mut for_layer)
                .map_err(|error| error.of_platform(told))?;
            self.settle(new, &overlay, session)?;
            Ok(true)
        })?;
        made.ok_or_else(|| {
            RootError::Refused(
                "the root has no packages: name some under `buildroot` in the platform".to_owned(),
            )
        })
    }
}

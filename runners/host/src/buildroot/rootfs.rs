//! Roots that somebody has made: an archive by its digest, or an image of a registry by the digest of its manifest.

use super::dnf::{ChangeResult, PackageChange};
use super::error::RootError;
use super::fetch::{ExpectedFile, keep, open};
use super::image;
use super::layer::{carries, from_nothing, over, paths};
use super::maker::LayerMaker;
use super::origin::{archive_name, origin};
use super::recipe::Recipe;
use super::session::RootSession;
use super::store::{Layer, LayerStore};
use crate::sandbox::{CommandEnd, Overlay, View};
use millrace_core::platform::{Archive, Image};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Largest archive or layer of an image, in bytes, packed: a whole installed desktop has 4 GB.
const ARCHIVE_BYTES_MAX: u64 = 16 << 30;

/// Unpacks archives one over the other into a folder: those of an image say with files `.wh.NAME` and `.wh..wh..opq` what of the layers
/// below is not there any more (OCI image specification 1.1, "Whiteouts"). Devices are the sandbox's to bring.
const UNPACK: &str = r#"
set -e
umask 022
to=$1; shift
for archive; do
    tar --list --file "$archive" > "$to.list"
    grep -E '(^|/)\.wh\.' "$to.list" | while IFS= read -r path; do
        above=$(dirname -- "$path"); name=$(basename -- "$path")
        case $name in
            .wh..wh..opq) find "$to/$above" -mindepth 1 -maxdepth 1 -exec rm -rf -- {} + ;;
            *) rm -rf -- "$to/$above/${name#.wh.}" ;;
        esac
    done || :
    tar --extract --file "$archive" --directory "$to" --numeric-owner --same-owner --same-permissions \
        --exclude='.wh.*' --exclude='./dev/*' --exclude='dev/*'
    rm -f "$to.list"
done
"#;

impl LayerMaker {
    /// What somebody has made, as a layer.
    pub(super) fn archive(&mut self, session: &mut RootSession<'_>) -> Result<Layer, RootError> {
        let key = LayerStore::key_of(&("rootfs", self.recipe.arch, archive_name(&self.recipe)));
        let made = self.store.once(&key, |new| {
            let fetched = new.join("fetched");
            fs::create_dir_all(&fetched)?;
            let archives = archives(&self.recipe, &fetched, session)?;
            let overlay = from_nothing(new)?;
            self.unpack(&archives, &overlay.upper, session)?;
            fs::remove_dir_all(&fetched)?;
            find_database(&overlay.upper)?;
            self.is_root(&overlay, session)?;
            self.dnf.adopt(&overlay, session)?;
            self.settle(new, &overlay, session)?;
            Ok(true)
        })?;
        let layer = made.ok_or_else(|| RootError::Refused("an empty archive".to_owned()))?;
        self.dnf.carries = carries(std::slice::from_ref(&layer));
        Ok(layer)
    }

    /// Packages over what somebody has made; nothing if it has them.
    pub(super) fn on_top(
        &self,
        archive: Layer,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<Vec<Layer>, RootError> {
        if packages.is_empty() {
            return Ok(vec![archive]);
        }
        let lowers = paths(std::slice::from_ref(&archive));
        let key = LayerStore::key_of(&("on top", &lowers, packages, &self.repositories.platform));
        let install = PackageChange {
            verb: "install",
            packages: packages.to_vec(),
            with_released: false,
            fresh: true,
        };
        let top = self.store.once(&key, |new| {
            let overlay = over(new, &lowers);
            let mut for_layer = session.with_disk(self.layer_bytes_max);
            let changed = self.dnf.change(&overlay, &install, &mut for_layer)?;
            if changed == ChangeResult::NothingToDo {
                return Ok(false);
            }
            self.settle(new, &overlay, session)?;
            Ok(true)
        })?;
        Ok(top.into_iter().chain([archive]).collect())
    }

    fn unpack(
        &self,
        archives: &[PathBuf],
        to: &Path,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        fs::create_dir_all(to)?;
        let above = to.parent().unwrap_or(to).to_owned();
        let paths = std::iter::once(to).chain(archives.iter().map(PathBuf::as_path));
        let argv = ["/bin/sh", "-c", UNPACK, "sh"]
            .into_iter()
            .map(str::to_owned)
            .chain(paths.map(|path| path.display().to_string()))
            .collect();
        let view = View::Host {
            readable: Vec::new(),
            writable: vec![above],
            root: None,
            elsewhere: Vec::new(),
        };
        let mut last = Vec::new();
        let mut output = |bytes: &[u8]| {
            last.extend_from_slice(bytes);
            last.drain(..last.len().saturating_sub(4096));
        };
        let session = session.with_disk(self.layer_bytes_max);
        let command = session.command(view, argv);
        let ended = self.sandbox.run(&command, session.cancelled, &mut output)?;
        let last = String::from_utf8_lossy(&last);
        well(ended).map_err(|problem| {
            problem.unwrap_or_else(|| {
                RootError::Refused(format!("the archive cannot be unpacked: {}", last.trim()))
            })
        })
    }

    /// Whether programs can be run in what somebody has made. What does not pass is thrown away.
    pub(super) fn is_root(
        &self,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let argv = ["/bin/sh", "-c", ":"].map(str::to_owned).to_vec();
        let command = session.command(View::Root(overlay.clone()), argv);
        let ended = self.sandbox.run(&command, session.cancelled, &mut |_| {})?;
        let origin = origin(&self.recipe).unwrap_or_default();
        let refused = || {
            RootError::Refused(format!(
                "{origin} is no root of {}: /bin/sh does not run in it",
                self.recipe.arch
            ))
        };
        well(ended).map_err(|problem| problem.unwrap_or_else(refused))
    }
}

/// Nothing if a command ended well. If not, the reason, or none if it just failed.
fn well(ended: CommandEnd) -> Result<(), Option<RootError>> {
    match ended {
        CommandEnd::Exited { status: 0, .. } => Ok(()),
        CommandEnd::TimedOut | CommandEnd::Cancelled => Err(Some(RootError::Stopped)),
        CommandEnd::OutOfSpace => Err(Some(RootError::Refused(
            "the archive does not fit on the disk that a layer may use".to_owned(),
        ))),
        CommandEnd::Exited { .. } | CommandEnd::OutOfMemory | CommandEnd::OutputLimit => Err(None),
    }
}

/// What has to be unpacked, in order, fetched into a folder.
fn archives(
    recipe: &Recipe,
    folder: &Path,
    session: &mut RootSession<'_>,
) -> Result<Vec<PathBuf>, RootError> {
    if let Some(image) = &recipe.buildroot.image {
        let image: Image = image.parse().map_err(RootError::Refused)?;
        return image::pull(&image, recipe.arch, folder, ARCHIVE_BYTES_MAX, session);
    }
    let archive = recipe
        .buildroot
        .archives
        .iter()
        .find(|archive| archive.arch == recipe.arch);
    let archive = archive.ok_or_else(|| {
        RootError::Refused(format!("the platform has no archive for {}", recipe.arch))
    })?;
    session.say(&format!("fetching {}", archive.url));
    let to = folder.join("archive");
    let Archive { url, digest, .. } = archive;
    let expected = ExpectedFile {
        what: url,
        named_by: "the platform",
        digest,
        bytes_max: ARCHIVE_BYTES_MAX,
    };
    keep(
        open(url)?,
        &mut File::create(&to)?,
        &expected,
        session.cancelled,
    )?;
    Ok(vec![to])
}

/// Newer distributions keep rpm's database elsewhere, with a link at the old place; if that is missing it is made, so that what is
/// there is found.
fn find_database(root: &Path) -> std::io::Result<()> {
    let old = root.join("var/lib/rpm");
    let new = root.join("usr/lib/sysimage/rpm");
    if new.is_dir() && !old.exists() && !old.is_symlink() && !root.join("var").is_symlink() {
        fs::create_dir_all(root.join("var/lib"))?;
        std::os::unix::fs::symlink("../../usr/lib/sysimage/rpm", old)?;
    }
    Ok(())
}

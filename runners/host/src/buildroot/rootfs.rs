//! Roots that somebody has made: an archive by its digest, or an image of a registry by the digest of its manifest.

use super::dnf::{Change, Said};
use super::fetch::{Wanted, keep, open};
use super::recipe::{self, Recipe};
use super::store::{Layer, Store};
use super::{Buildroots, CARRIED, Maker, RootError, Session, from_nothing, image, paths};
use crate::sandbox::{Ended, Overlay, View};
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

/// What a root that somebody has made is called in records.
pub(super) fn name(recipe: &Recipe) -> String {
    match &recipe.buildroot.image {
        Some(image) => format!(
            "image {}",
            image
                .split_once('@')
                .map_or(image.as_str(), |(_, digest)| digest)
        ),
        None => {
            let archive = recipe
                .buildroot
                .archives
                .iter()
                .find(|archive| archive.arch == recipe.arch);
            archive.map_or_else(
                || "archive".to_owned(),
                |archive| format!("archive {}", archive.digest),
            )
        }
    }
}

impl Buildroots {
    /// What somebody has made, as a layer.
    pub(super) fn archive(
        &self,
        maker: &mut Maker,
        session: &mut Session<'_>,
    ) -> Result<Layer, RootError> {
        let recipe = maker.recipe.clone();
        let key = Store::key_of(&("rootfs", recipe.arch, name(&recipe)));
        let made = self.store.once(&key, |new| {
            let fetched = new.join("fetched");
            fs::create_dir_all(&fetched)?;
            let archives = archives(&recipe, &fetched, session)?;
            let overlay = from_nothing(new)?;
            self.unpack(&archives, &overlay.upper, session)?;
            fs::remove_dir_all(&fetched)?;
            find_database(&overlay.upper)?;
            self.is_root(&overlay, maker, session)?;
            maker.dnf.adopt(&self.sandbox, &overlay, session)?;
            self.settle(new, &overlay, maker, session)?;
            Ok(true)
        })?;
        let layer = made.ok_or_else(|| RootError::Refused("an empty archive".to_owned()))?;
        maker.dnf.carries = layer.path.with_file_name(CARRIED).exists();
        Ok(layer)
    }

    /// Packages over what somebody has made; nothing where it has them.
    pub(super) fn on_top(
        &self,
        archive: Layer,
        packages: &[String],
        repositories: &recipe::Fingerprints,
        maker: &Maker,
        session: &mut Session<'_>,
    ) -> Result<Vec<Layer>, RootError> {
        if packages.is_empty() {
            return Ok(vec![archive]);
        }
        let lowers = paths(std::slice::from_ref(&archive));
        let key = Store::key_of(&("on top", &lowers, packages, &repositories.platform));
        let install = Change {
            verb: "install",
            packages: packages.to_vec(),
            with_released: false,
            fresh: true,
        };
        let top = self.store.once(&key, |new| {
            let overlay = Overlay {
                lowers: lowers.clone(),
                upper: new.join("layer"),
                scratch: new.join("scratch"),
            };
            if maker.dnf.change(
                &self.sandbox,
                &overlay,
                &install,
                &mut self.for_all(session),
            )? == Said::Nothing
            {
                return Ok(false);
            }
            self.settle(new, &overlay, maker, session)?;
            Ok(true)
        })?;
        Ok(top.into_iter().chain([archive]).collect())
    }

    fn unpack(
        &self,
        archives: &[PathBuf],
        to: &Path,
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        fs::create_dir_all(to)?;
        let above = to.parent().unwrap_or(to).to_owned();
        let argv = ["/bin/sh", "-c", UNPACK, "sh"]
            .map(str::to_owned)
            .into_iter();
        let argv = argv.chain(
            std::iter::once(to)
                .chain(archives.iter().map(PathBuf::as_path))
                .map(|path| path.display().to_string()),
        );
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
        let session = self.for_all(session);
        let command = session.command(view, argv.collect());
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
        maker: &Maker,
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let argv = ["/bin/sh", "-c", ":"].map(str::to_owned).to_vec();
        let command = session.command(View::Root(overlay.clone()), argv);
        let ended = self.sandbox.run(&command, session.cancelled, &mut |_| {})?;
        let origin = self.origin(&maker.recipe).unwrap_or_default();
        let refused = || {
            RootError::Refused(format!(
                "{origin} is no root of {}: /bin/sh does not run in it",
                maker.recipe.arch
            ))
        };
        well(ended).map_err(|problem| problem.unwrap_or_else(refused))
    }
}

/// Nothing where a command ended well; otherwise what else there was to say, if it did not just fail.
fn well(ended: Ended) -> Result<(), Option<RootError>> {
    match ended {
        Ended::Exited { status: 0, .. } => Ok(()),
        Ended::TimedOut | Ended::Cancelled => Err(Some(RootError::Stopped)),
        Ended::OutOfSpace => Err(Some(RootError::Refused(
            "the archive does not fit on the disk that a layer may use".to_owned(),
        ))),
        Ended::Exited { .. } | Ended::OutOfMemory | Ended::OutputLimit => Err(None),
    }
}

/// What has to be unpacked, in order, fetched into a folder.
fn archives(
    recipe: &Recipe,
    folder: &Path,
    session: &mut Session<'_>,
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
    (session.output)(format!("fetching {}\n", archive.url).as_bytes());
    let to = folder.join("archive");
    let Archive { url, digest, .. } = archive;
    let wanted = Wanted {
        what: url,
        named_by: "the platform",
        digest,
        bytes_max: ARCHIVE_BYTES_MAX,
    };
    keep(
        open(url)?,
        &mut File::create(&to)?,
        &wanted,
        session.cancelled,
    )?;
    Ok(vec![to])
}

/// Newer distributions keep rpm's database elsewhere, with a link at the old place; where that is missing it is made, so that what is
/// there is found.
fn find_database(root: &Path) -> std::io::Result<()> {
    let (old, new) = (root.join("var/lib/rpm"), root.join("usr/lib/sysimage/rpm"));
    if new.is_dir() && !old.exists() && !old.is_symlink() && !root.join("var").is_symlink() {
        fs::create_dir_all(root.join("var/lib"))?;
        std::os::unix::fs::symlink("../../usr/lib/sysimage/rpm", old)?;
    }
    Ok(())
}

//! One package of Debian's becomes one RPM.

use super::control::Control;
use super::folder::{SeedFolder, SeedPackage};
use super::spec::{self, Contents, Identity};
use super::tables::Tables;
use super::{files, perl};
use crate::command::{logged, output_of};
use crate::folders::{self, fresh, remove};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Grows when the conversion itself changes, so that what an older one made is made again.
pub const RECIPE: u32 = 4;

/// Trees that nobody in a buildroot reads, a third of the whole. Folders end with `/`; `etc/cron` stands for several.
const LEFT_OUT: [&str; 11] = [
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/lintian/",
    "usr/share/bug/",
    "usr/share/doc-base/",
    "usr/share/gcc/python/__pycache__/",
    "etc/apt/",
    "etc/cron",
    "usr/share/bash-completion/",
];

/// Folders at the top that are links into usr on a merged system: tar rewrites names and targets of hard links, not of
/// symbolic ones.
const MERGE: &str = r"flags=rhS;s,^\./\(bin\|sbin\|lib\|lib64\|lib32\|libx32\)\(/\|$\),./usr/\1\2,";

/// Converts a package, or finds it converted; `None` for one that only serves dpkg.
pub fn convert(
    deb: &Path,
    seed_folder: &SeedFolder,
    tables: &Tables,
) -> Result<Option<SeedPackage>> {
    let control = Control::parse(&output_of(Command::new("dpkg-deb").arg("-f").arg(deb))?);
    let debian = control.must("Package")?.to_owned();
    if tables.ignores(&debian) {
        return Ok(None);
    }
    let row = tables.of(&debian);
    let identity = Identity::of(&control, &row, seed_folder.arch.rpm)?;
    let made = SeedPackage {
        name: identity.file_name(),
        debian,
    };
    let key = format!(
        "{RECIPE} {} {row:?}",
        deb.file_name().unwrap_or_default().to_string_lossy()
    );
    let key_file = seed_folder.join("keys").join(&made.debian);
    if std::fs::read_to_string(&key_file).is_ok_and(|old| old == key)
        && seed_folder.rpm(&made.name).exists()
    {
        return Ok(Some(made));
    }
    let tree = seed_folder.join("trees").join(&made.debian);
    fresh(&tree)?;
    unpack(deb, &tree, made.debian == "base-files")?;
    for (link, target) in &row.links {
        link_where_missing(&tree, link, target)?;
    }
    if made.debian == "dash" {
        let _ = std::fs::remove_file(tree.join("usr/bin/sh")); // bash is sh, as on EL
    }
    let contents = Contents {
        files: files::listed(&tree, seed_folder.arch.triplet, &configuration(deb)?)?,
        perl: perl::provided(&tree)?,
    };
    rpmbuild(
        seed_folder,
        &made,
        &tree,
        &spec::of_debian(&control, &identity, tables, &contents)?,
    )?;
    remove(&tree)?;
    folders::write(&key_file, key)?;
    Ok(Some(made))
}

/// Makes the RPM of a finished tree, which is used up.
pub fn rpmbuild(
    seed_folder: &SeedFolder,
    made: &SeedPackage,
    tree: &Path,
    text: &str,
) -> Result<()> {
    let file = seed_folder
        .join("specs")
        .join(format!("{}.spec", made.debian));
    folders::write(&file, text)?;
    // rpmbuild would write into the file that the published repository has under another name.
    let _ = std::fs::remove_file(seed_folder.rpm(&made.name));
    let mut command = Command::new("rpmbuild");
    command.args([
        "-bb",
        "--quiet",
        "--nodeps",
        "--target",
        &format!("{}-linux", seed_folder.arch.rpm),
    ]);
    let definitions = [
        // A folder each: packages of one source package have one name for their buildroots.
        ("_topdir", seed_folder.join("top").join(&made.debian)),
        ("_rpmdir", seed_folder.join("rpms")),
        (
            "_rpmfilename",
            PathBuf::from("%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"),
        ),
        ("tree", tree.to_owned()),
    ];
    for (name, value) in definitions {
        command
            .arg("--define")
            .arg(format!("{name} {}", value.display()));
    }
    logged(
        command.arg(&file),
        &seed_folder
            .join("logs")
            .join(format!("{}.log", made.debian)),
    )?;
    if !seed_folder.rpm(&made.name).exists() {
        bail!("rpmbuild made no {}", made.name);
    }
    Ok(())
}

fn unpack(deb: &Path, tree: &Path, base_files: bool) -> Result<()> {
    let mut from = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("start dpkg-deb")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "-p", "--numeric-owner", "-C"])
        .arg(tree)
        .arg(format!("--transform={MERGE}"));
    tar.args(LEFT_OUT.map(|path| format!("--exclude=./{path}*")));
    if base_files {
        // Debian 13's has the links of the merged system itself; here they are filesystem's.
        tar.args(["bin", "sbin", "lib", "lib64"].map(|link| format!("--exclude=./{link}")));
    }
    let tar = tar
        .stdin(from.stdout.take().context("a pipe was asked for")?)
        .output()
        .context("start tar")?;
    if !from.wait()?.success() || !tar.status.success() {
        bail!(
            "cannot unpack {}: {}",
            deb.display(),
            String::from_utf8_lossy(&tar.stderr)
        );
    }
    Ok(())
}

fn link_where_missing(tree: &Path, link: &str, target: &str) -> Result<()> {
    let link = tree.join(link.trim_start_matches('/'));
    let folder = link.parent().context("a link lies in a folder")?;
    if folder.join(target).symlink_metadata().is_ok() && link.symlink_metadata().is_err() {
        std::os::unix::fs::symlink(target, &link)?;
    }
    Ok(())
}

fn configuration(deb: &Path) -> Result<BTreeSet<String>> {
    let shown = Command::new("dpkg-deb")
        .arg("-I")
        .arg(deb)
        .arg("conffiles")
        .output()
        .context("start dpkg-deb")?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned(); // it fails, silently, where there are none
    Ok(text
        .lines()
        .map(|line| line.trim().trim_start_matches('/').to_owned())
        .collect())
}

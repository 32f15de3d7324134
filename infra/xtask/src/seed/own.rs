//! The seed's own packages: its file system, its macros, and what a buildroot is made of.

use super::convert::rpmbuild;
use super::deps::Evr;
use super::folder::{SeedFolder, SeedPackage};
use super::spec::{self, Identity};
use crate::folders::{self, fresh, remove};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};

/// Folders that `filesystem` brings, each with mode 0755.
const FOLDERS: &str = "usr usr/bin usr/sbin usr/lib usr/lib64 usr/share usr/include usr/libexec usr/src etc var var/lib var/cache var/log \
    dev proc sys run home opt srv mnt media boot builddir var/lib/rpm";

/// rpm in every root, the smallest included. Debian's would keep its database in the home folder of the user who runs it; and it has
/// plugins that want a system bus and a root that is a mount point.
const RPM_MACROS: &str = "\
%_dbpath /var/lib/rpm
%_db_backend sqlite
%__transaction_dbus_announce %{nil}
%__transaction_systemd_inhibit %{nil}
%__transaction_unshare %{nil}
";

/// Macro packages of Enterprise Linux that `millrace-seed-rpm-config` stands for.
const CONFIG_PROVIDES: &str = "redhat-rpm-config systemd-rpm-macros python3-rpm-macros pyproject-rpm-macros perl-macros cmake-rpm-macros \
    systemd fonts-rpm-macros go-srpm-macros rust-srpm-macros epel-rpm-macros rpm-macros glibc-langpack-en";

/// What a buildroot has, by the names of Enterprise Linux, as in its group @buildsys-build.
const BUILDROOT: &str = "bash bzip2 coreutils cpio diffutils file findutils gawk grep gzip hostname patch redhat-rpm-config rpm-build sed \
    tar unzip util-linux which xz zstd gcc gcc-c++ make glibc-devel base-files base-passwd perl-base glibc-common";

/// A package as it is put together: files with their text, links, folders, tags.
#[derive(Default)]
struct Draft {
    name: &'static str,
    files: Vec<(&'static str, String)>,
    links: Vec<(&'static str, &'static str)>,
    folders: Vec<(String, &'static str)>,
    tags: Vec<String>,
    noarch: bool,
}

/// Makes all of them; `debs` are the packages that the seed is made of, `macros` the distribution's macros.
pub fn make(
    seed_folder: &SeedFolder,
    debs: &[std::path::PathBuf],
    macros: &str,
) -> Result<Vec<SeedPackage>> {
    let drafts = [
        filesystem(seed_folder, debs)?,
        config(seed_folder, macros),
        buildroot(),
    ];
    drafts
        .into_iter()
        .map(|draft| made(seed_folder, draft))
        .collect()
}

fn filesystem(seed_folder: &SeedFolder, debs: &[std::path::PathBuf]) -> Result<Draft> {
    let base = debs.iter().find(|deb| {
        deb.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("base-passwd_"))
    });
    let base = base.context("the set has no base-passwd, which brings the users and groups")?;
    let master = |name: &str| {
        Ok::<_, anyhow::Error>(
            file_of(base, &format!("./usr/share/base-passwd/{name}.master"))?.replace(":*:", ":x:"),
        )
    };
    let mut folders: Vec<(String, &str)> = FOLDERS
        .split_whitespace()
        .map(|folder| (folder.to_owned(), "0755"))
        .collect();
    folders.push((format!("usr/lib/{}", seed_folder.arch.triplet), "0755"));
    folders.extend(
        [("tmp", "1777"), ("var/tmp", "1777"), ("root", "0700")]
            .map(|(folder, mode)| (folder.to_owned(), mode)),
    );
    Ok(Draft {
        name: "filesystem",
        files: vec![
            (
                "etc/passwd",
                master("passwd")? + "mockbuild:x:1000:1000::/builddir:/bin/bash\n",
            ),
            ("etc/group", master("group")? + "mockbuild:x:1000:\n"),
            (
                "etc/nsswitch.conf",
                "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n".to_owned(),
            ),
            (
                "etc/hosts",
                "127.0.0.1 localhost\n::1 localhost\n".to_owned(),
            ),
            ("etc/rpm/macros.seed-db", RPM_MACROS.to_owned()),
            (
                "etc/rpm/platform",
                format!("{}-redhat-linux\n", seed_folder.arch.rpm),
            ),
            (
                "etc/ld.so.conf.d/seed-lib64.conf",
                "/usr/lib64\n".to_owned(),
            ),
        ],
        links: vec![
            ("bin", "usr/bin"),
            ("sbin", "usr/sbin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
        ],
        folders,
        tags: vec![
            "Provides: setup = 1".to_owned(),
            "Provides: system-release(millrace) = 1".to_owned(),
        ],
        noarch: false,
    })
}

fn config(seed_folder: &SeedFolder, macros: &str) -> Draft {
    let provides = CONFIG_PROVIDES
        .split_whitespace()
        .map(|name| format!("Provides: {name} = 100"));
    let requires =
        ["rpm", "debugedit", "dwz", "elfutils", "pkgconf"].map(|name| format!("Requires: {name}"));
    Draft {
        name: "millrace-seed-rpm-config",
        files: vec![
            ("etc/rpm/macros.millrace-seed", macros.to_owned()),
            (
                "etc/rpmrc",
                format!("optflags: {} %{{__seed_cflags}}\n", seed_folder.arch.rpm),
            ),
        ],
        tags: provides.chain(requires).collect(),
        noarch: true,
        ..Draft::default()
    }
}

fn buildroot() -> Draft {
    let tags = BUILDROOT
        .split_whitespace()
        .map(|name| format!("Requires: {name}"))
        .collect();
    Draft {
        name: "buildsys-build",
        tags,
        noarch: true,
        ..Draft::default()
    }
}

fn made(seed_folder: &SeedFolder, draft: Draft) -> Result<SeedPackage> {
    let tree = seed_folder.join("trees").join(draft.name);
    fresh(&tree)?;
    let mut lines = Vec::new();
    for (folder, mode) in &draft.folders {
        std::fs::create_dir_all(tree.join(folder))?;
        lines.push(format!("%dir %attr({mode},root,root) /{folder}"));
    }
    for (link, target) in &draft.links {
        std::os::unix::fs::symlink(target, tree.join(link))?;
        lines.push(format!("/{link}"));
    }
    for (path, text) in &draft.files {
        folders::write(&tree.join(path), text)?;
        lines.push(format!("%config(noreplace) /{path}"));
    }
    let evr = Evr {
        epoch: None,
        version: "1".to_owned(),
        release: "1".to_owned(),
    };
    let arch = if draft.noarch {
        "noarch"
    } else {
        seed_folder.arch.rpm
    }
    .to_owned();
    let identity = Identity {
        name: draft.name.to_owned(),
        evr,
        arch,
    };
    let made = SeedPackage {
        name: identity.file_name(),
        debian: draft.name.to_owned(),
    };
    rpmbuild(
        seed_folder,
        &made,
        &tree,
        &spec::of_own(&identity, &draft.tags, &lines),
    )?;
    remove(&tree)?;
    Ok(made)
}

/// The text of one file of a package.
fn file_of(deb: &Path, path: &str) -> Result<String> {
    let mut from = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("start dpkg-deb")?;
    let pipe = from.stdout.take().context("a pipe was asked for")?;
    let tar = Command::new("tar")
        .args(["-x", "-O", path])
        .stdin(pipe)
        .output()
        .context("start tar")?;
    anyhow::ensure!(
        from.wait()?.success() && tar.status.success(),
        "no {path} in {}",
        deb.display()
    );
    Ok(String::from_utf8_lossy(&tar.stdout).into_owned())
}

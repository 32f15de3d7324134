//! A Rust toolchain that compiles for `wasm32-wasip2`: the active one, by rustup, or a newer Debian's in a folder of its own.

use crate::apt::{Apt, Archive, Kind};
use crate::cargo;
use crate::command::{self, logged, output_of, succeeds_within};
use crate::folders::{self, Folders, fresh, remove};
use crate::host::{Arch, Family, Host};
use crate::progress::{self, Progress};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The guests' target.
pub const TARGET: &str = "wasm32-wasip2";

/// rustup fetches 60 MB. In a closed network it hangs or fails, and there is another way.
const RUSTUP_TIME: Duration = Duration::from_secs(120);

/// The suite whose rustc is taken: the first of Debian's whose rustc is as new as the workspace asks for.
const SUITE: &str = "forky";

/// Variables that cargo needs to build for [`TARGET`].
pub type Environment = Vec<(String, String)>;

/// Finds or gets a toolchain.
pub fn toolchain(folders: &Folders) -> Result<Environment> {
    let sysroot =
        PathBuf::from(output_of(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    if has_target(&sysroot) {
        return Ok(Vec::new());
    }
    let private = Private {
        root: folders.cache.join("wasm-toolchain"),
    };
    if !private.stamp().exists() {
        if command::find("rustup").is_some() && by_rustup(folders) && has_target(&sysroot) {
            return Ok(Vec::new());
        }
        private.check_host()?;
        progress::timed(
            folders,
            "wasm-toolchain",
            &format!("rustc with {TARGET} from {SUITE}"),
            70,
            |progress| private.unpack(progress),
        )?;
    }
    private.environment(&sysroot)
}

fn has_target(sysroot: &Path) -> bool {
    let libraries = std::fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib"));
    libraries.is_ok_and(|all| {
        all.flatten()
            .any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

fn by_rustup(folders: &Folders) -> bool {
    let title = format!("rustup target add {TARGET}");
    let added = progress::timed(folders, "rustup", &title, 10, |_| {
        let added = succeeds_within(
            Command::new("rustup").args(["target", "add", TARGET]),
            RUSTUP_TIME,
        );
        if added {
            Ok(())
        } else {
            bail!("rustup does not get it here")
        }
    });
    added.is_ok()
}

/// A rustc that is unpacked, not installed.
struct Private {
    root: PathBuf,
}

impl Private {
    fn stamp(&self) -> PathBuf {
        self.root.join(format!("done-{SUITE}"))
    }

    fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    fn check_host(&self) -> Result<()> {
        let host = Host::find()?;
        if host.family != Family::Debian {
            bail!(
                "the active Rust toolchain has no {TARGET}, and rustup could not add it: install Rust by rustup, then `rustup target add {TARGET}`"
            );
        }
        if self.root.to_string_lossy().contains([' ', '\'', '"']) {
            bail!(
                "{} has a space or a quote in it, which a wrapper for rustc cannot have: set XDG_CACHE_HOME to a plain path",
                self.root.display()
            );
        }
        Ok(())
    }

    fn unpack(&self, progress: &Progress) -> Result<()> {
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg".to_owned();
        let archive = Archive {
            kind: "debian".to_owned(),
            suite: SUITE.to_owned(),
            components: "main".to_owned(),
            keyring,
        };
        let apt = Apt::new(
            &self.root.join("apt"),
            &archive,
            Arch::native()?.debian,
            Kind::Binary,
        )?;
        progress.set("reading the lists");
        apt.update()?;
        progress.set("downloading 190 MB");
        // The standard libraries bring LLVM and libc with them; rustc comes alone, for it would bring gcc.
        let mut debs = apt.closure(&["libstd-rust-dev-wasm32", "libstd-rust-dev"])?;
        debs.push(apt.alone("rustc")?);
        fresh(&self.tree())?;
        for (number, deb) in debs.iter().enumerate() {
            progress.set(format!("unpacking {} of {}", number + 1, debs.len()));
            unpack(deb, &self.tree())?;
        }
        remove(&self.root.join("apt"))?;
        folders::write(&self.stamp(), "")
    }

    /// Writes the wrapper, each time, for the active toolchain may have moved; and says how to use it.
    fn environment(&self, sysroot: &Path) -> Result<Environment> {
        let host = cargo::host()?;
        let bin = self.root.join("bin");
        fresh(&bin)?;
        for linker in ["rust-lld", "wasm-component-ld"] {
            let borrowed = sysroot
                .join("lib/rustlib")
                .join(&host)
                .join("bin")
                .join(linker);
            if !borrowed.exists() {
                bail!(
                    "the active Rust toolchain has no {linker}: a toolchain by rustup has it, a distribution's has not"
                );
            }
            symlink(&borrowed, bin.join(linker))?;
        }
        symlink("rust-lld", bin.join("wasm-ld"))?; // wasm-component-ld looks for a wasm-ld beside itself
        let wrapper = bin.join("rustc");
        folders::write(&wrapper, self.wrapper(&bin)?)?;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
        logged(
            Command::new(&wrapper).arg("--version"),
            &self.root.join("version.log"),
        )?;
        let linker = cargo::variable_of_target(TARGET, "LINKER");
        let text = |path: PathBuf| path.display().to_string();
        Ok(vec![
            ("RUSTC".to_owned(), text(wrapper)),
            (linker, text(bin.join("wasm-component-ld"))),
        ])
    }

    /// A script that runs the unpacked rustc by the loader and the libraries that it was built with, which are newer than the
    /// machine's.
    fn wrapper(&self, bin: &Path) -> Result<String> {
        let mut found = ToolchainFiles::default();
        search(&self.tree(), &mut found)?;
        let loader = found
            .loader
            .context("no dynamic loader among the unpacked packages")?;
        let libraries = found
            .libraries
            .iter()
            .map(|folder| folder.display().to_string())
            .collect::<Vec<_>>()
            .join(":");
        let usr = self.tree().join("usr");
        Ok(format!(
            "#!/bin/sh\nPATH={}:$PATH exec {} --library-path {libraries} --argv0 rustc {usr}/bin/rustc --sysroot {usr} \"$@\"\n",
            bin.display(),
            loader.display(),
            usr = usr.display(),
        ))
    }
}

/// No documentation, and of the standard libraries only this target's: a third of the folder.
fn unpack(deb: &Path, tree: &Path) -> Result<()> {
    let mut from = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("start dpkg-deb")?;
    let left_out = [
        "./usr/share/*",
        "*/rustlib/wasm32-unknown-unknown/*",
        "*/rustlib/wasm32-wasip1/*",
    ]
    .map(|path| format!("--exclude={path}"));
    let pipe = from.stdout.take().context("a pipe was asked for")?;
    let tar = Command::new("tar")
        .args(["-x", "-C"])
        .arg(tree)
        .args(left_out)
        .stdin(pipe)
        .status()
        .context("start tar")?;
    anyhow::ensure!(
        from.wait()?.success() && tar.success(),
        "cannot unpack {}",
        deb.display()
    );
    Ok(())
}

#[derive(Default)]
struct ToolchainFiles {
    loader: Option<PathBuf>,
    libraries: BTreeSet<PathBuf>,
}

/// Looks for the dynamic loader and for folders with shared libraries; character sets of iconv (gconv) are none.
fn search(folder: &Path, found: &mut ToolchainFiles) -> Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if name != "gconv" {
                search(&path, found)?;
            }
        } else if name.ends_with(".so") || name.contains(".so.") {
            found.libraries.insert(folder.to_owned());
            if (name.starts_with("ld-linux") || name.starts_with("ld64")) && path.is_file() {
                found.loader = Some(path);
            }
        }
    }
    Ok(())
}

//! `cargo xtask demo`: two real packages from `git push` to `dnf install`, the second built with the first.

use crate::command::{logged, shown};
use crate::folders::{self, Folders, fresh, remove};
use crate::forge::{Listener, Repository};
use crate::line::{Line, command_over, stop_earlier};
use crate::progress::spoken;
use crate::prove::{Proof, platform_name};
use crate::{build, platform, root, setup, sources};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// In this order: pigz needs the zlib that the line released.
const PACKAGES: [&str; 2] = ["zlib", "pigz"];

/// The hidden verb for what takes root's rights: all that comes after building.
pub const AS_ROOT_VERB: &str = "demo-as-root";

/// The options of `cargo xtask demo`.
#[derive(Debug)]
pub struct DemoOptions<'a> {
    pub yes: bool,
    /// Leave the line running.
    pub keep: bool,
    /// A platform of infra/platforms.
    pub platform: Option<&'a str>,
    /// A suite for the seed distribution.
    pub suite: Option<&'a str>,
}

/// The folder that holds the line, the forge and the pushed packages of the demo.
struct DemoFolder {
    root: PathBuf,
}

impl DemoFolder {
    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Empties everything but what the runner keeps: roots and compiled plugins go by what is in them, and stay right.
    fn emptied(folders: &Folders) -> Result<Self> {
        let folder = Self {
            root: folders.cache.join("demo"),
        };
        let state = folder.at("state");
        let kept = folder.at("runner.kept");
        stop_earlier(&state)?;
        remove(&kept)?;
        if state.join("runner").exists() {
            std::fs::rename(state.join("runner"), &kept)?;
        }
        for name in ["state", "forge", "work", "platform.toml"] {
            let path = folder.at(name);
            if path.is_file() {
                std::fs::remove_file(path)?
            } else {
                remove(&path)?
            }
        }
        std::fs::create_dir_all(folder.at("forge"))?;
        if kept.exists() {
            private_folder(&state)?;
            std::fs::rename(&kept, state.join("runner"))?;
        }
        Ok(folder)
    }
}

fn private_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make {}", path.display()))
}

/// The demo, from a fresh machine to an installed package.
pub fn demo(folders: &Folders, options: &DemoOptions) -> Result<()> {
    let begin = Instant::now();
    headline("1. What the line needs, and the line itself");
    setup::set_up(folders, setup::Purpose::Line, options.yes)?;
    build::line(folders)?;
    platform_for(folders, options)?;
    archives(folders)?;
    root::ask()?;
    // What was made up to here is the user's, and stays so: root finds it made.
    let mut rest = root::command(folders.own_copy()?);
    rest.arg(AS_ROOT_VERB)
        .args(options.keep.then_some("--keep"));
    rest.args(
        options
            .platform
            .map(|name| ["--platform", name])
            .into_iter()
            .flatten(),
    );
    rest.args(
        options
            .suite
            .map(|name| ["--suite", name])
            .into_iter()
            .flatten(),
    );
    shown(&mut rest).context("the demo failed: what went wrong is above")?;
    println!(
        "✓ two packages from git push to dnf install, after {}",
        spoken(begin.elapsed().as_secs())
    );
    Ok(())
}

fn archives(folders: &Folders) -> Result<Vec<sources::Source>> {
    PACKAGES
        .iter()
        .map(|package| sources::get(folders, package))
        .collect()
}

/// The part of the demo that takes root's rights, over what was built and downloaded before.
pub fn from_push_to_install(folders: &Folders, options: &DemoOptions) -> Result<()> {
    ensure!(
        root::is_root(),
        "`{AS_ROOT_VERB}` is what `cargo xtask demo` runs as root"
    );
    let platform_text = platform_for(folders, options)?;
    let archives = archives(folders)?;
    headline("2. The line starts");
    let folder = DemoFolder::emptied(folders)?;
    let line = start(folders, &folder, &platform_text)?;
    headline("3. Two packages are pushed");
    let versions: Vec<(&str, &str)> = PACKAGES
        .iter()
        .copied()
        .zip(archives.iter().map(|archive| archive.version.as_str()))
        .collect();
    for (package, archive) in PACKAGES.iter().zip(&archives) {
        build_package(folders, &folder, &line, package, archive, &versions)?;
    }
    headline("4. The proof");
    let name = platform_name(&platform_text)?;
    Proof {
        folders,
        address: &line.address,
        platform: name,
        platform_text: &platform_text,
        packages: &PACKAGES,
        folder: folder.at("proof"),
    }
    .show()?;
    headline("5. Where to look");
    println!("  pages        http://{}/", line.address);
    println!(
        "  .repo file   http://{}/repo/{name}/{name}.repo",
        line.address
    );
    println!(
        "  state, logs  {} and {}",
        line.state().display(),
        line.log.display()
    );
    println!("  proof        {}", folder.at("proof").display());
    end(line, options.keep)
}

fn headline(text: &str) {
    println!("\n{text}");
}

fn platform_for(folders: &Folders, options: &DemoOptions) -> Result<String> {
    ensure!(
        options.platform != Some("almalinux-10"),
        "the demo builds zlib, which AlmaLinux 10 replaces by zlib-ng: take almalinux-9 or almalinux-8"
    );
    platform::for_this_machine(folders, options.platform, options.suite)
}

fn start(folders: &Folders, folder: &DemoFolder, platform_text: &str) -> Result<Line> {
    let state = folder.at("state");
    let file = folder.at("platform.toml");
    private_folder(&state)?;
    logged(
        &mut command_over(&folders.millrace(), &state, &["key", "create", "default"]),
        &folder.at("key.log"),
    )?;
    let line = Line::start(folders, &state, folder.at("up.log"))?;
    folders::write(&file, platform_text)?;
    line.say(&["platform", "add", &file.display().to_string()])?;
    println!(
        "  http://{}/  signs with a new key, builds for {}",
        line.address,
        platform_name(platform_text)?
    );
    Ok(line)
}

/// Registers, pushes and follows one package.
fn build_package(
    folders: &Folders,
    folder: &DemoFolder,
    line: &Line,
    package: &str,
    archive: &sources::Source,
    versions: &[(&str, &str)],
) -> Result<()> {
    let work = folder.at("work").join(package);
    write_tree(folders, &work, package, archive, versions)?;
    line.say(&["package", "upload", &archive.file.display().to_string()])?;
    let listener = Listener {
        address: line.address.clone(),
        secret: line.state().join("webhook-secret"),
    };
    let repository = Repository::create(&folder.at("forge"), package, &listener)?;
    line.say(&["package", "add", package, &repository.url()])?;
    println!("\n  $ git push {} main", repository.url());
    let (commit, said) = repository.push(&work)?;
    for answer in said.lines().filter_map(|line| line.split_once("webhook: ")) {
        println!("  webhook: {}", answer.1.trim());
    }
    line.watch(&commit)
        .with_context(|| format!("{package} was not released"))
}

/// What is pushed of a package.
fn write_tree(
    folders: &Folders,
    work: &Path,
    package: &str,
    archive: &sources::Source,
    versions: &[(&str, &str)],
) -> Result<()> {
    copy_folder(
        &folders
            .workspace
            .join("tests/fixtures/packages")
            .join(package),
        work,
    )?;
    let spec = work.join(format!("{package}.spec"));
    let text = with_versions(&std::fs::read_to_string(&spec)?, package, versions);
    std::fs::write(&spec, text)?;
    // The lookaside store goes by digest, so that upstream's archive may get the name that the spec has for it.
    let name = format!("{package}-{}.tar.gz", archive.version);
    folders::write(
        &work.join("sources"),
        format!("SHA512 ({name}) = {}\n", sources::sha512(&archive.file)?),
    )
}

/// The demo's packages for somebody else who pushes them: a folder with `NAME/`, what is pushed, and `NAME.tar.gz`, upstream's archive.
pub fn packages(folders: &Folders) -> Result<PathBuf> {
    let place = folders.cache.join("cloud/packages");
    let archives = archives(folders)?;
    fresh(&place)?;
    let versions: Vec<(&str, &str)> = PACKAGES
        .iter()
        .copied()
        .zip(archives.iter().map(|archive| archive.version.as_str()))
        .collect();
    for (package, archive) in PACKAGES.iter().zip(&archives) {
        write_tree(folders, &place.join(package), package, archive, &versions)?;
        std::fs::copy(&archive.file, place.join(format!("{package}.tar.gz")))?;
    }
    Ok(place)
}

/// The spec with the versions of upstream that this machine got, in `Version:` and in BuildRequires.
fn with_versions(spec: &str, package: &str, versions: &[(&str, &str)]) -> String {
    let version_of = |name: &str| {
        versions
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, version)| *version)
    };
    let line = |line: &str| {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        let words: Vec<&str> = value.split_whitespace().collect();
        match (tag, words.as_slice()) {
            ("Version", [_]) => {
                version_of(package).map(|version| format!("Version:        {version}"))
            }
            ("BuildRequires", [name, relation, evr]) => {
                let version = name.strip_suffix("-devel").and_then(version_of);
                version
                    .zip(evr.split_once('-'))
                    .map(|(version, (_, release))| {
                        format!("BuildRequires:  {name} {relation} {version}-{release}")
                    })
            }
            _ => None,
        }
        .unwrap_or_else(|| line.to_owned())
    };
    spec.lines().map(line).map(|line| line + "\n").collect()
}

/// Copies a folder with the modes of its files.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fresh(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn end(line: Line, keep: bool) -> Result<()> {
    if keep {
        let process = line.keep()?;
        println!(
            "  The line goes on; `{}kill {process}` stops it.",
            if root::for_a_user() { "sudo " } else { "" }
        );
        return Ok(());
    }
    println!("  The line stops now; `cargo xtask demo --keep` leaves it running.");
    line.stop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_gets_the_versions_that_this_machine_got() {
        let spec = "Name: pigz\nVersion:        2.8\nBuildRequires:  gcc\nBuildRequires:  zlib-devel >= 1.3.1-100\n%changelog\n";
        let versions = [("zlib", "1.2.11"), ("pigz", "2.5")];
        assert_eq!(
            with_versions(spec, "pigz", &versions),
            "Name: pigz\nVersion:        2.5\nBuildRequires:  gcc\nBuildRequires:  zlib-devel >= 1.2.11-100\n%changelog\n"
        );
    }

    #[test]
    fn the_committed_specs_are_for_the_versions_that_debian_has() {
        let folders = Folders::find().unwrap();
        for (package, version) in [("zlib", "1.3.1"), ("pigz", "2.8")] {
            let spec = folders
                .workspace
                .join("tests/fixtures/packages")
                .join(package)
                .join(format!("{package}.spec"));
            let spec = std::fs::read_to_string(spec).unwrap();
            assert_eq!(
                with_versions(&spec, package, &[("zlib", "1.3.1"), ("pigz", "2.8")]),
                spec,
                "{version}"
            );
        }
    }
}

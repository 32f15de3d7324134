//! Platform files made ready for one machine.

use crate::folders::Folders;
use crate::host::{Arch, Family, Host};
use crate::seed::{self, Seed};
use anyhow::{Context, Result, ensure};

/// What a machine without apt builds for: its repositories are public, and its zlib is zlib (that of 10 is zlib-ng).
const WITHOUT_APT: &str = "almalinux-9";

/// The platform file of this name for this machine's architecture; without a name the seed distribution's where there is apt to
/// make it with, and one with public repositories elsewhere.
pub fn for_this_machine(
    folders: &Folders,
    name: Option<&str>,
    suite: Option<&str>,
) -> Result<String> {
    for_machine(folders, name, suite, &[Arch::native()?])
}

/// The same for every architecture of the line; this machine's own is the first.
pub fn for_all_architectures(folders: &Folders) -> Result<String> {
    let mut all = Arch::all()?;
    let native = Arch::native()?;
    all.sort_by_key(|arch| *arch != native);
    for_machine(folders, None, None, &all)
}

fn for_machine(
    folders: &Folders,
    name: Option<&str>,
    suite: Option<&str>,
    architectures: &[Arch],
) -> Result<String> {
    let without_apt = Host::find()?.family == Family::Fedora;
    match name.or(without_apt.then_some(WITHOUT_APT)) {
        Some(name) if !name.starts_with("seed-") => for_architectures(folders, name, architectures),
        Some(_) | None => {
            let seeds = architectures
                .iter()
                .map(|arch| seed::make(folders, suite, *arch, false))
                .collect::<Result<Vec<_>>>()?;
            of_seeds(folders, &seeds)
        }
    }
}

/// The platform for seed distributions of one suite, one per architecture, with their address filled in.
pub fn of_seeds(folders: &Folders, seeds: &[Seed]) -> Result<String> {
    let first = seeds
        .first()
        .context("a platform needs at least one architecture")?;
    let architectures: Vec<Arch> = seeds.iter().map(|seed| seed.arch).collect();
    let text = for_architectures(folders, first.suite.platform, &architectures)?;
    let repo = match seeds {
        [only] => only.repo.clone(),
        _ => seed::folder(folders, &first.suite, "$basearch").join("repo"),
    };
    Ok(text.replace("@SEED@", &repo.display().to_string()))
}

/// A platform of infra/platforms for these architectures alone, so that a line waits for no runner that it does not have.
fn for_architectures(folders: &Folders, name: &str, architectures: &[Arch]) -> Result<String> {
    let file = folders
        .workspace
        .join("infra/platforms")
        .join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("no platform {name}: {} is not there", file.display()))?;
    let names: Vec<&str> = architectures.iter().map(|arch| arch.rpm).collect();
    narrowed(&text, &names).with_context(|| format!("{}", file.display()))
}

fn narrowed(text: &str, architectures: &[&str]) -> Result<String> {
    let all = text
        .lines()
        .find(|line| line.starts_with("architectures = ["))
        .context("no line `architectures = […]`")?;
    for arch in architectures {
        ensure!(
            all.contains(&format!("\"{arch}\"")),
            "it does not build for {arch}: {all}"
        );
    }
    Ok(text.replacen(all, &format!("architectures = {architectures:?}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_narrowed_to_what_it_has() {
        let text = "name = \"el-9\"\narchitectures = [\"x86_64\", \"s390x\"]\nkey = \"default\"\n";
        assert_eq!(
            narrowed(text, &["s390x", "x86_64"]).unwrap().lines().nth(1),
            Some("architectures = [\"s390x\", \"x86_64\"]")
        );
        assert_eq!(
            narrowed(text, &["s390x"]).unwrap(),
            "name = \"el-9\"\narchitectures = [\"s390x\"]\nkey = \"default\"\n"
        );
        let error = narrowed(text, &["x86_64", "aarch64"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "it does not build for aarch64: architectures = [\"x86_64\", \"s390x\"]"
        );
    }
}

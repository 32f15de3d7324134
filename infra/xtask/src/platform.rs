//! Platform files made ready for one machine.

use crate::folders::Folders;
use crate::host::{Arch, Family, Host};
use crate::seed;
use anyhow::{Context, Result, ensure};

/// What a machine without apt builds for: its repositories are public, and its zlib is zlib (that of 10 is zlib-ng).
const WITHOUT_APT: &str = "almalinux-9";

/// The platform file of this name for this machine's architecture; without a name the seed distribution's where there is apt to
/// make it with, and one with public repositories elsewhere.
pub fn for_this_machine(folders: &Folders, name: Option<&str>, suite: Option<&str>) -> Result<String> {
    let arch = Arch::native()?;
    let without_apt = Host::find()?.family == Family::Fedora;
    match name.or(without_apt.then_some(WITHOUT_APT)) {
        Some(name) if !name.starts_with("seed-") => for_one_arch(folders, name, arch),
        Some(_) | None => seed::make(folders, suite, arch, false)?.platform(folders),
    }
}

/// A platform of infra/platforms for one architecture alone, so that a line with one runner waits for no other.
pub fn for_one_arch(folders: &Folders, name: &str, arch: Arch) -> Result<String> {
    let file = folders.workspace.join("infra/platforms").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file).with_context(|| format!("no platform {name}: {} is not there", file.display()))?;
    narrowed(&text, arch.rpm).with_context(|| format!("{}", file.display()))
}

fn narrowed(text: &str, arch: &str) -> Result<String> {
    let all = text.lines().find(|line| line.starts_with("architectures = [")).context("no line `architectures = […]`")?;
    ensure!(all.contains(&format!("\"{arch}\"")), "it does not build for {arch}: {all}");
    Ok(text.replacen(all, &format!("architectures = [\"{arch}\"]"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_narrowed_to_what_it_has() {
        let text = "name = \"el-9\"\narchitectures = [\"x86_64\", \"s390x\"]\nkey = \"default\"\n";
        assert_eq!(narrowed(text, "s390x").unwrap(), "name = \"el-9\"\narchitectures = [\"s390x\"]\nkey = \"default\"\n");
        let error = narrowed(text, "aarch64").unwrap_err().to_string();
        assert_eq!(error, "it does not build for aarch64: architectures = [\"x86_64\", \"s390x\"]");
    }
}

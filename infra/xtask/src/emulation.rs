//! Programs of other architectures on this machine: qemu, and a kernel that is told to start it.

use crate::command::{logged, output_of};
use crate::folders::Folders;
use crate::host::{Arch, Family, Host};
use crate::{progress, root, setup};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

/// Where the kernel shows who runs what, and is told (binfmt_misc).
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Tells the kernel what the package of qemu brought along for systemd (binfmt.d(5)). If systemd runs, it has done so itself; if it does
/// not, as in containers, nobody has. Each argument is a name that qemu's files have.
const REGISTER: &str = r#"set -e
at=/proc/sys/fs/binfmt_misc
test -e "$at/register" || mount -t binfmt_misc binfmt_misc "$at"
for name; do
    test ! -e "$at/$name" || continue
    for file in "/usr/lib/binfmt.d/$name.conf" "/usr/lib/binfmt.d/$name-static.conf"; do
        test -e "$file" || continue
        grep '^:' "$file" >"$at/register"
        break
    done
done
"#;

/// Makes this machine run programs of every architecture of the line. It asks before it installs anything, as [`setup::set_up`] does.
/// Answers why not if that is impossible, as it is on some rebuilds of Enterprise Linux, whose repositories have no qemu for it.
pub fn set_up(folders: &Folders, yes: bool) -> Result<Option<String>> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(None);
    }
    match ready(folders, &missing, yes) {
        Ok(()) => Ok(None),
        Err(error) if Host::find()?.family == Family::Fedora => Ok(Some(format!("{error:#}"))),
        Err(error) => Err(error),
    }
}

fn ready(folders: &Folders, names: &[String], yes: bool) -> Result<()> {
    setup::set_up(folders, setup::Purpose::Emulation, yes)?;
    let mut register = root::command("sh");
    register.args(["-c", REGISTER, "register"]).args(names);
    root::ask()?;
    progress::timed(
        folders,
        "emulation",
        "tell the kernel who runs other architectures",
        1,
        |_| logged(&mut register, &folders.log("emulation")),
    )?;
    let missing = self::missing()?;
    ensure!(
        missing.is_empty(),
        "the kernel starts nothing for programs of other architectures: {} is not in {REGISTERED}, or lacks the flag F; is there another \
         qemu on this machine, which is not statically linked?",
        missing.join(", ")
    );
    Ok(())
}

/// Names of what is not registered for roots, one for each architecture that is not the machine's own.
fn missing() -> Result<Vec<String>> {
    let own = output_of(Command::new("uname").arg("-m"))?;
    let foreign = Arch::all()?
        .into_iter()
        .filter(|arch| arch.rpm != own.trim());
    Ok(foreign
        .map(|arch| arch.emulator.to_owned())
        .filter(|name| !serves(&Path::new(REGISTERED).join(name)))
        .collect())
}

/// Whether what is registered is on, and is there in every root, which is what the flag `F` means.
fn serves(entry: &Path) -> bool {
    std::fs::read_to_string(entry).is_ok_and(|text| is_good(&text))
}

fn is_good(text: &str) -> bool {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    text.starts_with("enabled\n") && flags.is_some_and(|flags| flags.contains('F'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_or_not_there_in_roots_does_not_serve() {
        let text = "enabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: F\noffset 0\n";
        assert!(is_good(text));
        assert!(
            !is_good(&text.replace("enabled", "disabled"))
                && !is_good(&text.replace("flags: F", "flags: P"))
        );
    }
}

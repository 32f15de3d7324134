//! What the line needs of a machine, and getting it there.

use crate::command::{self, logged};
use crate::folders::Folders;
use crate::host::{Family, Host};
use crate::{progress, root};
use anyhow::{Result, bail};
use std::io::{BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};

/// How it is found out that something is there.
enum Probe {
    /// A program in PATH.
    Program(&'static str),
    /// A command that ends well.
    Runs(&'static [&'static str]),
}

/// Something that the line needs.
struct Need {
    probe: Probe,
    why: &'static str,
    debian: &'static str,
    fedora: &'static str,
}

const fn program(
    name: &'static str,
    debian: &'static str,
    fedora: &'static str,
    why: &'static str,
) -> Need {
    Need {
        probe: Probe::Program(name),
        why,
        debian,
        fedora,
    }
}

const NEEDS: [Need; 18] = [
    program(
        "gcc",
        "gcc",
        "gcc",
        "compiles the C parts of SQLite, libgit2 and zstd",
    ),
    Need {
        probe: Probe::Runs(&["sh", "-c", "echo '#include <stdio.h>' | gcc -E -"]),
        why: "the C library's headers",
        debian: "libc6-dev",
        fedora: "glibc-devel",
    },
    program("git", "git", "git-core", "pushes to the demo's forge"),
    program(
        "pkg-config",
        "pkg-config",
        "pkgconf-pkg-config",
        "finds libraries",
    ),
    program("rpm", "rpm", "rpm", "reads and checks packages"),
    program("rpmkeys", "rpm", "rpm", "checks signatures"),
    program(
        "rpmbuild",
        "rpm",
        "rpm-build",
        "makes the seed distribution's packages",
    ),
    program("dnf", "dnf", "dnf", "makes buildroots"),
    Need {
        probe: Probe::Runs(&["dnf", "download", "--help"]),
        why: "downloads packages to prove their signatures (dnf 5 does it by itself)",
        debian: "dnf-plugins-core",
        fedora: "dnf-plugins-core",
    },
    program(
        "newuidmap",
        "uidmap",
        "shadow-utils",
        "gives the sandboxes of an ordinary user's runner their ids",
    ),
    program(
        "createrepo_c",
        "createrepo-c",
        "createrepo_c",
        "writes the seed distribution's repository; the tests compare with it",
    ),
    program(
        "debugedit",
        "debugedit",
        "debugedit",
        "splits debuginfo from programs",
    ),
    program("dwz", "dwz", "dwz", "makes debuginfo small"),
    program("eu-strip", "elfutils", "elfutils", "takes debuginfo apart"),
    program("zstd", "zstd", "zstd", "compresses payloads"),
    program(
        "gpg",
        "gnupg",
        "gnupg2",
        "signs what the bench compares with",
    ),
    program(
        "rpmsign",
        "rpm",
        "rpm-sign",
        "signs the packages that the bench compares with",
    ),
    program(
        "curl",
        "curl",
        "curl",
        "fetches from repositories as people do",
    ),
];

/// What the tests of the cloud need besides.
const CLOUD_NEEDS: [Need; 1] = [Need {
    probe: Probe::Runs(&["python3", "-c", "import ensurepip, venv"]),
    why: "runs the emulator of AWS that the tests of the cloud speak to",
    debian: "python3-venv",
    fedora: "python3-pip",
}];

/// What the tests of other architectures need.
const EMULATION_NEEDS: [Need; 1] = [Need {
    probe: Probe::Runs(&[
        "sh",
        "-c",
        "command -v qemu-s390x-static || command -v qemu-s390x",
    ]),
    why: "runs programs of other architectures, which the tests build for",
    debian: "qemu-user-static",
    fedora: "qemu-user-static",
}];
/// What the bench of the sandbox compares it with.
const BENCH_NEEDS: [Need; 4] = [
    program(
        "bwrap",
        "bubblewrap",
        "bubblewrap",
        "runs sandboxes that the bench compares with",
    ),
    program(
        "systemd-nspawn",
        "systemd-container",
        "systemd-container",
        "runs sandboxes that the bench compares with",
    ),
    program(
        "podman",
        "podman",
        "podman",
        "runs sandboxes that the bench compares with",
    ),
    Need {
        probe: Probe::Runs(&["sh", "-c", "command -v runc || command -v crun"]),
        why: "runs podman's containers",
        debian: "runc",
        fedora: "crun",
    },
];

/// What chaos needs, in tests and by itself.
const CHAOS_NEEDS: [Need; 3] = [
    program(
        "ip",
        "iproute2",
        "iproute",
        "gives the runners of chaos networks of their own",
    ),
    program(
        "faketime",
        "faketime",
        "libfaketime",
        "lets clocks jump in chaos",
    ),
    program(
        "gpgv",
        "gpgv",
        "gnupg2",
        "checks the signatures of repositories",
    ),
];

/// Purpose what a machine is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The line on one machine.
    Line,
    /// Programs of other architectures.
    Emulation,
    /// All tests, those of the cloud among them.
    Cloud,
    /// The bench of the sandbox, too.
    Bench,
    Chaos,
}

fn needs(wanted: Purpose) -> impl Iterator<Item = &'static Need> {
    let line = !matches!(wanted, Purpose::Emulation);
    let cloud = wanted == Purpose::Cloud;
    let emulation = wanted == Purpose::Emulation;
    let bench = wanted == Purpose::Bench;
    let chaos = matches!(wanted, Purpose::Chaos | Purpose::Cloud);
    let some = |needs: &'static [Need], wanted: bool| needs.iter().filter(move |_| wanted);
    let line = some(&NEEDS, line)
        .chain(some(&CLOUD_NEEDS, cloud))
        .chain(some(&CHAOS_NEEDS, chaos));
    line.chain(some(&EMULATION_NEEDS, emulation))
        .chain(some(&BENCH_NEEDS, bench))
}

impl Need {
    fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(name) => command::find(name).is_some(),
            Probe::Runs(words) => {
                let status = Command::new(words[0])
                    .args(&words[1..])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                status.is_ok_and(|status| status.success())
            }
        }
    }

    const fn package(&self, family: Family) -> &'static str {
        match family {
            Family::Debian => self.debian,
            Family::Fedora => self.fedora,
        }
    }
}

/// Prints what the line needs, and whether it is there.
pub fn list() {
    for need in needs(Purpose::Cloud).chain(needs(Purpose::Emulation)) {
        let mark = if need.is_there() { "✓" } else { "✗" };
        println!(
            "{mark} {:<18} {:<20} {}",
            need.debian, need.fedora, need.why
        );
    }
}

/// Installs what is missing. It asks first, unless `yes` or nobody sits there.
pub fn set_up(folders: &Folders, wanted: Purpose, yes: bool) -> Result<()> {
    let missing: Vec<&Need> = needs(wanted).filter(|need| !need.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let host = Host::find()?;
    let mut packages: Vec<&str> = missing
        .iter()
        .map(|need| need.package(host.family))
        .collect();
    packages.sort_unstable();
    packages.dedup();
    eprintln!(
        "{} lacks what the line needs. These packages of the distribution will be installed:",
        host.title
    );
    for package in &packages {
        let whys = missing
            .iter()
            .filter(|need| need.package(host.family) == *package)
            .map(|need| need.why);
        eprintln!("  {package:<18} {}", whys.collect::<Vec<_>>().join(", "));
    }
    if !yes && !agreed()? {
        bail!(
            "nothing was installed: install {} yourself, or answer yes",
            packages.join(" ")
        );
    }
    let log = folders.log("setup");
    root::ask()?;
    progress::timed(
        folders,
        "setup",
        &format!("install {} packages", packages.len()),
        60,
        |progress| {
            for (what, mut command) in commands(host.family, &packages) {
                progress.set(what);
                logged(&mut command, &log)?;
            }
            Ok(())
        },
    )?;
    match missing.into_iter().find(|need| !need.is_there()) {
        None => Ok(()),
        Some(need) => bail!(
            "{} is installed, but what {} is still missing: see {}",
            need.package(host.family),
            need.why,
            log.display()
        ),
    }
}

/// Asks on a terminal. Without one nobody can answer, and the answer is yes.
fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("Install them now? [Y/n] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_lowercase().as_str(),
        "" | "y" | "yes"
    ))
}

fn commands(family: Family, packages: &[&str]) -> Vec<(&'static str, Command)> {
    let steps: &[(&str, &[&str])] = match family {
        Family::Debian => &[
            ("reading the lists", &["apt-get", "-q", "update"]),
            (
                "installing",
                &[
                    "env",
                    "DEBIAN_FRONTEND=noninteractive",
                    "apt-get",
                    "-q",
                    "install",
                    "-y",
                    "--no-install-recommends",
                ],
            ),
        ],
        Family::Fedora => &[(
            "installing",
            &["dnf", "-y", "--setopt=install_weak_deps=False", "install"],
        )],
    };
    let last = steps.len() - 1;
    let ready = |(number, (what, words)): (usize, &(&'static str, &[&str]))| {
        let mut command = root::command(words[0]);
        command
            .args(&words[1..])
            .args(if number == last { packages } else { &[] });
        (*what, command)
    };
    steps.iter().enumerate().map(ready).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_has_a_package_on_both_families() {
        let nameless = needs(Purpose::Cloud)
            .chain(needs(Purpose::Emulation))
            .find(|need| need.debian.is_empty() || need.fedora.is_empty() || need.why.is_empty());
        assert!(nameless.is_none());
    }

    #[test]
    fn packages_come_after_the_lists() {
        let words = |command: &Command| {
            command
                .get_args()
                .last()
                .map(|word| word.to_string_lossy().into_owned())
        };
        let commands = commands(Family::Debian, &["dnf", "rpm"]);
        let last: Vec<_> = commands.iter().map(|(_, command)| words(command)).collect();
        assert_eq!(last, [Some("update".to_owned()), Some("rpm".to_owned())]);
    }
}

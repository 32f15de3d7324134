//! Lets an ordinary user run a runner: as root of a user namespace that has the ids which `/etc/subuid` gives this user.
//!
//! The runner goes there as a whole, rather than each sandbox by itself. The files of roots and tasks belong to the ids that commands have;
//! as their root it gives them away and removes them, and has no right outside that its user has not (user_namespaces(7)).

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, User, fork, getegid, geteuid};
use std::convert::Infallible;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Ids that a root needs besides its own root's: rpm gives files to any below `nobody`, which is 65534.
const IDS_MIN: u32 = 65_534;

/// Ids that are mapped at most: no package knows of more.
const IDS_MAX: u32 = 65_535;

/// Why an ordinary user's runner is none. The person who looks after the machine must act.
#[derive(Debug, thiserror::Error)]
pub enum NoNamespace {
    /// Nobody has given the user any ids, or too few.
    #[error(
        "{file} gives {user} no {IDS_MIN} ids of its own: let root run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \
         {user}`, with numbers that nobody else has"
    )]
    NoIds {
        /// The file that would.
        file: &'static str,
        user: String,
    },
    /// The kernel does not let ordinary users.
    #[error(
        "the kernel lets this user make no user namespace ({0}): sysctl user.max_user_namespaces must not be 0, nor \
         kernel.unprivileged_userns_clone where there is one, and kernel.apparmor_restrict_unprivileged_userns must be 0 where there is one"
    )]
    Kernel(nix::Error),
    /// What maps ids is not there, or will not.
    #[error(
        "{program}: {problem} (it is in the package uidmap of Debian and Ubuntu, shadow-utils of Fedora and EL)"
    )]
    Helper {
        /// Which of the two.
        program: &'static str,
        problem: String,
    },
    #[error("entering a user namespace: {0}")]
    Io(#[from] std::io::Error),
}

/// Whether this process is in a user namespace, where root is not the machine's.
pub fn in_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_whole(&map))
}

/// The machine's own map has every id as itself (user_namespaces(7)).
fn is_whole(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether a process of this user must [`enter`] a namespace to be a runner.
pub fn is_needed() -> bool {
    !geteuid().is_root()
}

/// Makes this process root of a namespace of its own, and starts the program there once more, with the same arguments and these variables
/// besides. Comes back only to say why not. To be called before there are threads.
pub fn enter(variables: &[(&str, &str)]) -> Result<Infallible, NoNamespace> {
    let user = User::from_uid(geteuid())
        .ok()
        .flatten()
        .map_or_else(|| geteuid().to_string(), |user| user.name);
    let users = Mapping::of("newuidmap", "/etc/subuid", &user, geteuid().as_raw())?;
    let groups = Mapping::of("newgidmap", "/etc/subgid", &user, getegid().as_raw())?;
    become_root(&[users, groups])?;
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again
        .args(arguments)
        .envs(variables.iter().copied())
        .exec()
        .into())
}

/// Ids of the machine for those of the namespace.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    program: &'static str,
    /// What root is outside.
    own: u32,
    first: u32,
    count: u32,
}

impl Mapping {
    fn of(
        program: &'static str,
        file: &'static str,
        user: &str,
        own: u32,
    ) -> Result<Self, NoNamespace> {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = range(&text, user, geteuid().as_raw());
        let (first, count) = found.ok_or_else(|| NoNamespace::NoIds {
            file,
            user: user.to_owned(),
        })?;
        Ok(Self {
            program,
            own,
            first,
            count,
        })
    }

    /// Lets the helper, which may, write the map of a process.
    fn write(&self, process: Pid) -> Result<(), NoNamespace> {
        let failed = |problem: String| NoNamespace::Helper {
            program: self.program,
            problem,
        };
        let numbers = [0, self.own, 1, 1, self.first, self.count].map(|number| number.to_string());
        let output = Command::new(self.program)
            .arg(process.to_string())
            .args(numbers)
            .output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() {
            Ok(())
        } else {
            Err(failed(said))
        }
    }
}

/// The first and the number of the ids that a file gives a user, by name or number (subuid(5)); none if there are too few.
fn range(text: &str, name: &str, number: u32) -> Option<(u32, u32)> {
    let number = number.to_string();
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let whose = fields.next()?;
        let (first, count) = (
            fields.next()?.parse().ok()?,
            fields.next()?.parse::<u32>().ok()?,
        );
        (whose == name || whose == number).then_some((first, count.min(IDS_MAX)))
    });
    ranges
        .filter(|(_, count)| *count >= IDS_MIN)
        .max_by_key(|(_, count)| *count)
}

/// The maps of a process in a new namespace are written by a process outside, which is therefore begun before.
fn become_root(mappings: &[Mapping]) -> Result<(), NoNamespace> {
    let (mut made, mut say_made) = std::io::pipe()?;
    let (mut answer, mut say) = std::io::pipe()?;
    let process = nix::unistd::getpid();
    // SAFETY: there are no other threads yet, as callers promise; the child does what any process may.
    match unsafe { fork() }.map_err(std::io::Error::from)? {
        ForkResult::Child => {
            drop((say_made, answer));
            let problem = match made.read_exact(&mut [0]) {
                Ok(()) => mappings
                    .iter()
                    .try_for_each(|mapping| mapping.write(process))
                    .err(),
                Err(_) => None,
            };
            let Some(problem) = problem else {
                std::process::exit(0)
            };
            let _ = write!(say, "{problem}");
            std::process::exit(1)
        }
        ForkResult::Parent { child } => {
            drop((made, say));
            let unshared = unshare(CloneFlags::CLONE_NEWUSER).map_err(NoNamespace::Kernel);
            if unshared.is_ok() {
                say_made.write_all(&[1])?;
            }
            drop(say_made);
            let mut problem = String::new();
            answer.read_to_string(&mut problem)?;
            let ended = waitpid(child, None).map_err(std::io::Error::from)?;
            unshared?;
            if ended == WaitStatus::Exited(child, 0) {
                Ok(())
            } else {
                Err(std::io::Error::other(problem).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_user_are_found_by_name_or_number_and_only_where_there_are_enough() {
        let text = "# comment\ndana:100000:65536\n1001:300000:65536\nfew:1:1000\nmany:200000:1000\nmany:500000:70000\n";
        assert_eq!(range(text, "dana", 7), Some((100_000, 65_535)));
        assert_eq!(range(text, "erin", 1001), Some((300_000, 65_535)));
        assert_eq!(range(text, "many", 7), Some((500_000, 65_535)));
        assert_eq!(range(text, "few", 7), None);
        assert_eq!(range(text, "dan", 7), None);
    }

    #[test]
    fn the_machines_own_map_is_told_from_that_of_a_namespace() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole(
            "         0       1000          1\n         1     100000      65535\n"
        ));
        assert!(!is_whole(""));
    }

    #[test]
    fn whoever_has_no_ids_is_told_how_to_get_some() {
        let said = NoNamespace::NoIds {
            file: "/etc/subuid",
            user: "dana".to_owned(),
        }
        .to_string();
        assert!(said.starts_with("/etc/subuid gives dana no 65534 ids of its own: let root run `usermod --add-subuids"), "{said}");
    }
}

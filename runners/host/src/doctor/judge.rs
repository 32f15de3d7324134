//! What follows from what was seen: pure, so that hosts can be judged that nobody has.

use super::seen::{Place, Seen, Standing};
use super::{Finding, Verdict};
use crate::sandbox::{Bounds, Inspection};
use millrace_core::platform::Limits;

/// The first kernel that makes mounts read-only as a whole, which the sandbox does (mount_setattr(2)).
const KERNEL_MIN: (u32, u32) = (5, 12);

/// Below this many free bytes no task can be done: a root that packages are built in has half of it.
pub(crate) const FREE_BYTES_MIN: u64 = 2 << 30;

/// Below this many files that may still be made, the same: such a root has 30 000.
const FREE_FILES_MIN: u64 = 100_000;

/// How far the clock may be from the line's, in seconds, before it is said: certificates and signatures that were made a moment ago are
/// not good yet for a clock that is behind.
const AHEAD_S_MAX: u64 = 10;

/// Kinds of file systems that no overlay can write to (statfs(2)), and what they are called.
const UNFIT: [(i64, &str); 4] = [
    (0x794c_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0x0102_1997, "9p"),
];

pub(super) fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = vec![user(&seen.standing), kernel(&seen.kernel)];
    match &seen.looked {
        Err(problem) => findings.push(no_sandbox(problem, seen)),
        Ok(looked) => {
            findings.push(good(
                "sandbox",
                format!(
                    "built, looked around in and taken down in {} ms",
                    seen.took_ms
                ),
            ));
            findings.extend([
                network(looked),
                processes(looked),
                machine(looked),
                privileges(looked),
                calls(looked, seen.filters),
            ]);
            findings.push(order(looked));
        }
    }
    findings.extend(bounds(&seen.bounds));
    findings.push(dnf(seen.dnf));
    findings.extend(disk(&seen.place));
    findings.extend(seen.ahead_s.as_ref().map(clock));
    findings
}

fn good(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        about,
        verdict: Verdict::Good,
        says: says.into(),
    }
}

fn weaker(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        about,
        verdict: Verdict::Weaker,
        says: says.into(),
    }
}

fn refused(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        about,
        verdict: Verdict::Refused,
        says: says.into(),
    }
}

fn user(standing: &Standing) -> Finding {
    match standing {
        Standing::Root => good("user", "root"),
        Standing::Namespace => good(
            "user",
            "an ordinary user, with ids of its own for sandboxes: their root is this user outside",
        ),
        Standing::Ordinary(problem) => refused(
            "user",
            format!("no root, and no user with ids for sandboxes: {problem}"),
        ),
    }
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return good("kernel", release);
    }
    let (major, minor) = KERNEL_MIN;
    // Those of EL have calls of younger ones, so that this alone decides nothing: the sandbox does.
    weaker(
        "kernel",
        format!("{release} is older than {major}.{minor}, with which sandboxes work everywhere"),
    )
}

fn no_sandbox(problem: &str, seen: &Seen) -> Finding {
    let kind = seen
        .place
        .as_ref()
        .ok()
        .and_then(|place| UNFIT.iter().find(|(number, _)| *number == place.kind));
    let hint = match kind {
        Some((_, name)) => {
            format!("; the runner's folder lies on {name}, over which no root can be laid: put it on a disk of this machine")
        }
        None if matches!(seen.standing, Standing::Ordinary(_)) => String::new(),
        None => "; in a container, it must let its root make namespaces and mounts, as `podman run --privileged` does".to_owned(),
    };
    refused(
        "sandbox",
        format!("none can be built, and nothing foreign runs without one: {problem}{hint}"),
    )
}

fn network(looked: &Inspection) -> Finding {
    let others: Vec<&str> = looked
        .interfaces
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "lo")
        .collect();
    match others.as_slice() {
        [] => good(
            "network",
            "none in a sandbox: a loopback of its own, and nothing else",
        ),
        others => refused(
            "network",
            format!(
                "a command in a sandbox sees {}: it would reach this machine and its network",
                others.join(", ")
            ),
        ),
    }
}

fn processes(looked: &Inspection) -> Finding {
    /// The first process of a sandbox, and the command.
    const OWN: usize = 2;
    match looked.processes.len() {
        1..=OWN => good("processes", "a command sees those of its sandbox alone"),
        number => refused(
            "processes",
            format!("a command in a sandbox sees {number} processes, which it could disturb"),
        ),
    }
}

fn machine(looked: &Inspection) -> Finding {
    match looked.knobs.as_slice() {
        [] => good("machine", "what sets the kernel is only to be read"),
        knobs => refused(
            "machine",
            format!(
                "root of a sandbox can write to {}, and so set the whole machine",
                knobs.join(", ")
            ),
        ),
    }
}

fn privileges(looked: &Inspection) -> Finding {
    if !looked.no_new_privileges {
        return refused(
            "privileges",
            "programs that make their user root do so in a sandbox too: the kernel knows no no_new_privs",
        );
    }
    match looked.capabilities.as_slice() {
        [] => good(
            "privileges",
            "none can be gained, and root of a sandbox has those that packages need, in it alone",
        ),
        more => refused(
            "privileges",
            format!("root of a sandbox could have the capabilities {more:?} (capabilities(7))"),
        ),
    }
}

fn calls(looked: &Inspection, filters: bool) -> Finding {
    match (looked.filtered, filters) {
        (true, _) => good("calls", "system calls that no build needs are refused"),
        (false, true) => refused(
            "calls",
            "the kernel takes no list of system calls to refuse: it must be built with CONFIG_SECCOMP_FILTER",
        ),
        (false, false) => weaker(
            "calls",
            "there is no list of system calls to refuse for this architecture: namespaces and capabilities do alone",
        ),
    }
}

fn order(looked: &Inspection) -> Finding {
    if looked.ordered {
        return good(
            "order",
            "folders list their files alike whatever the disk has first, so that packages come out the same elsewhere",
        );
    }
    weaker(
        "order",
        "folders list their files as this disk has them, and a package that depends on it comes out another elsewhere: it takes a kernel of \
         5.19 or newer that lets root attach to processes (kernel.yama.ptrace_scope below 3)",
    )
}

fn bounds(bounds: &Result<Bounds, String>) -> [Finding; 2] {
    const BY_ROOT: &str = "root's runner can, where the machine or its container lets it";
    let Bounds { memory, processes } = match bounds {
        Ok(bounds) => *bounds,
        Err(problem) => {
            let says = format!(
                "control groups do not work here, and no command could be started: {problem}"
            );
            return ["memory", "number of processes"].map(|about| refused(about, says.clone()));
        }
    };
    [
        if memory {
            good(
                "memory",
                "all processes of a command together are bounded, by a control group",
            )
        } else {
            weaker(
                "memory",
                format!(
                    "each process of a command is bounded, not all together, since no control group can be made: {BY_ROOT}"
                ),
            )
        },
        if processes {
            good(
                "number of processes",
                "bounded for each command, by a control group",
            )
        } else {
            let says = "bounded for all sandboxes together, and not for their root, since no control group can be made";
            weaker("number of processes", format!("{says}: {BY_ROOT}"))
        },
    ]
}

fn dnf(is_there: bool) -> Finding {
    if is_there {
        return good("dnf", "there");
    }
    weaker(
        "dnf",
        "not there: it makes the roots of platforms, so that no task which wants one can be done here: install `dnf`",
    )
}

fn disk(place: &Result<Place, String>) -> [Finding; 2] {
    let place = match place {
        Ok(place) => place,
        Err(problem) => return ["disk", "files"].map(|about| refused(about, problem.clone())),
    };
    let (gib, wanted) = (place.free_bytes >> 30, Limits::default().disk_bytes);
    let free = format!("{gib} GiB are free in {}", place.folder.display());
    let disk = if place.free_bytes < FREE_BYTES_MIN {
        refused(
            "disk",
            format!(
                "{free}, too few for any root: at least {} GiB",
                FREE_BYTES_MIN >> 30
            ),
        )
    } else if place.free_bytes < wanted {
        weaker(
            "disk",
            format!(
                "{free}; a task may use {} GiB where its platform says nothing else",
                wanted >> 30
            ),
        )
    } else {
        good("disk", free)
    };
    let files = match place.free_files {
        Some(free) if free < FREE_FILES_MIN => refused(
            "files",
            format!("only {free} more can be made: no inodes are left for roots"),
        ),
        Some(free) => good("files", format!("{free} more can be made")),
        None => good("files", "as many as there is space for"),
    };
    [disk, files]
}

fn clock(ahead_s: &Result<i64, String>) -> Finding {
    match ahead_s {
        Err(problem) => weaker(
            "clock",
            format!("it cannot be compared with the line's: {problem}"),
        ),
        Ok(seconds) if seconds.unsigned_abs() <= AHEAD_S_MAX => good(
            "clock",
            format!("{} s from the line's", seconds.unsigned_abs()),
        ),
        Ok(seconds) => {
            let way = if *seconds > 0 { "ahead of" } else { "behind" };
            let says = format!(
                "{} s {way} the line's: certificates and signatures may not be good yet, or no more",
                seconds.unsigned_abs()
            );
            weaker(
                "clock",
                format!("{says}: let chrony or systemd-timesyncd set it"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::refusal;
    use super::*;

    /// A machine on which all is as it should be.
    fn machine() -> Seen {
        let looked = Inspection {
            interfaces: vec!["lo".to_owned()],
            processes: vec![1, 2],
            no_new_privileges: true,
            filtered: true,
            ordered: true,
            ..Inspection::default()
        };
        Seen {
            standing: Standing::Root,
            kernel: "6.12.0-55.el10.x86_64".to_owned(),
            looked: Ok(looked),
            took_ms: 20,
            bounds: Ok(Bounds {
                memory: true,
                processes: true,
            }),
            filters: true,
            dnf: true,
            place: Ok(Place {
                folder: "/var/lib/millrace/runner".into(),
                kind: 0xef53,
                free_bytes: 100 << 30,
                free_files: Some(1 << 24),
            }),
            ahead_s: Some(Ok(0)),
        }
    }

    fn with_looked(change: impl FnOnce(&mut Inspection)) -> Seen {
        let mut seen = machine();
        change(seen.looked.as_mut().unwrap());
        seen
    }

    fn verdict(seen: &Seen, about: &str) -> Verdict {
        judge(seen)
            .into_iter()
            .find(|finding| finding.about == about)
            .unwrap()
            .verdict
    }

    #[test]
    fn a_machine_on_which_all_is_as_it_should_be_is_told_so_and_nothing_else() {
        let findings = judge(&machine());
        assert!(
            findings
                .iter()
                .all(|finding| finding.verdict == Verdict::Good),
            "{findings:?}"
        );
        assert_eq!(refusal(&findings), None);
        let about: Vec<&str> = findings.iter().map(|finding| finding.about).collect();
        let all = "user kernel sandbox network processes machine privileges calls order memory,number of processes dnf disk files clock";
        assert_eq!(about.join(" "), all.replace(',', " "));
    }

    #[test]
    fn each_protection_that_matters_is_reason_enough_to_refuse_and_is_named() {
        let cases = [
            (
                "network",
                "eth0",
                with_looked(|looked| looked.interfaces.push("eth0".to_owned())),
            ),
            (
                "processes",
                "3 processes",
                with_looked(|looked| looked.processes.push(3)),
            ),
            (
                "machine",
                "/proc/sys",
                with_looked(|looked| looked.knobs.push("/proc/sys".to_owned())),
            ),
            (
                "privileges",
                "no_new_privs",
                with_looked(|looked| looked.no_new_privileges = false),
            ),
            (
                "privileges",
                "[21]",
                with_looked(|looked| looked.capabilities.push(21)),
            ),
            (
                "calls",
                "CONFIG_SECCOMP_FILTER",
                with_looked(|looked| looked.filtered = false),
            ),
            (
                "sandbox",
                "EPERM",
                Seen {
                    looked: Err("namespaces: EPERM".to_owned()),
                    ..machine()
                },
            ),
            (
                "memory",
                "pids.max",
                Seen {
                    bounds: Err("pids.max: no".to_owned()),
                    ..machine()
                },
            ),
            (
                "user",
                "/etc/subuid",
                Seen {
                    standing: Standing::Ordinary("/etc/subuid gives dana none".to_owned()),
                    ..machine()
                },
            ),
            (
                "disk",
                "1 GiB are free",
                Seen {
                    place: machine().place.map(|place| Place {
                        free_bytes: 1 << 30,
                        ..place
                    }),
                    ..machine()
                },
            ),
            (
                "files",
                "only 7",
                Seen {
                    place: machine().place.map(|place| Place {
                        free_files: Some(7),
                        ..place
                    }),
                    ..machine()
                },
            ),
        ];
        for (about, word, seen) in cases {
            let refusal =
                refusal(&judge(&seen)).unwrap_or_else(|| panic!("{about} is no reason: {seen:?}"));
            assert!(
                refusal
                    .lines()
                    .any(|line| line.starts_with(&format!("{about}: ")) && line.contains(word)),
                "{about}: {refusal}"
            );
        }
    }

    #[test]
    fn what_is_only_weaker_is_said_and_keeps_nobody_from_working() {
        let cases = [
            (
                "kernel",
                Seen {
                    kernel: "4.18.0-553.el8.x86_64".to_owned(),
                    ..machine()
                },
            ),
            (
                "memory",
                Seen {
                    bounds: Ok(Bounds {
                        memory: false,
                        processes: true,
                    }),
                    ..machine()
                },
            ),
            (
                "number of processes",
                Seen {
                    bounds: Ok(Bounds {
                        memory: true,
                        processes: false,
                    }),
                    ..machine()
                },
            ),
            ("order", with_looked(|looked| looked.ordered = false)),
            (
                "dnf",
                Seen {
                    dnf: false,
                    ..machine()
                },
            ),
            (
                "disk",
                Seen {
                    place: machine().place.map(|place| Place {
                        free_bytes: 30 << 30,
                        ..place
                    }),
                    ..machine()
                },
            ),
            (
                "clock",
                Seen {
                    ahead_s: Some(Ok(-3600)),
                    ..machine()
                },
            ),
            (
                "clock",
                Seen {
                    ahead_s: Some(Err("it does not answer".to_owned())),
                    ..machine()
                },
            ),
            (
                "calls",
                Seen {
                    filters: false,
                    ..with_looked(|looked| looked.filtered = false)
                },
            ),
        ];
        for (about, seen) in cases {
            assert_eq!(
                (verdict(&seen, about), refusal(&judge(&seen))),
                (Verdict::Weaker, None),
                "{about}"
            );
        }
    }

    #[test]
    fn a_folder_on_which_no_root_can_be_laid_is_named_as_the_reason() {
        let place = machine().place.map(|place| Place {
            kind: 0x794c_7630,
            ..place
        });
        let said = refusal(&judge(&Seen {
            looked: Err("overlay: EINVAL".to_owned()),
            place,
            ..machine()
        }))
        .unwrap();
        assert!(
            said.contains("overlay: EINVAL") && said.contains("lies on overlayfs"),
            "{said}"
        );
    }
}

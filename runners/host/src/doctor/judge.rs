//! What follows from what was observed: pure, so that machines can be judged that nobody has.

use super::finding::{Finding, Verdict};
use super::observe::{Observations, RunnerDisk, Standing};
use crate::sandbox::{Bounds, Inspection};
use millrace_core::platform::Limits;

/// The first kernel that makes mounts read-only as a whole, which the sandbox does (mount_setattr(2)).
const KERNEL_MIN: (u32, u32) = (5, 12);

/// Below this many free bytes no task can be done: a root that packages are built in has half of it.
pub(crate) const FREE_BYTES_MIN: u64 = 2 << 30;

/// Below this many files that may still be made, the same: such a root has 30 000.
const FREE_FILES_MIN: u64 = 100_000;

/// How far the clock may be from the line's, in seconds, before the doctor says so: certificates and signatures that were made a moment
/// ago are not valid yet for a clock that is behind.
const AHEAD_S_MAX: u64 = 10;

/// Kinds of file systems that no overlay can write to (statfs(2)), and what they are called.
const UNFIT: [(i64, &str); 4] = [
    (0x794c_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0x0102_1997, "9p"),
];

pub(super) fn judge(seen: &Observations) -> Vec<Finding> {
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
    findings.extend(disk(&seen.disk));
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

fn no_sandbox(problem: &str, seen: &Observations) -> Finding {
    let kind = seen
        .disk
        .as_ref()
        .ok()
        .and_then(|disk| UNFIT.iter().find(|(number, _)| *number == disk.kind));
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
            "a sandbox has a loopback of its own, and nothing else",
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
        [] => good(
            "machine",
            "a command can read the kernel's settings, and not change them",
        ),
        knobs => refused(
            "machine",
            format!(
                "root of a sandbox can write to {}, and so change the whole machine",
                knobs.join(", ")
            ),
        ),
    }
}

fn privileges(looked: &Inspection) -> Finding {
    if !looked.no_new_privileges {
        return refused(
            "privileges",
            "programs that make their user root do so in a sandbox, too: the kernel has no no_new_privs",
        );
    }
    match looked.capabilities.as_slice() {
        [] => good(
            "privileges",
            "none can be gained; root of a sandbox has those that packages need, inside it only",
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
            "there is no list of system calls to refuse for this architecture: namespaces and capabilities protect alone",
        ),
    }
}

fn order(looked: &Inspection) -> Finding {
    if looked.ordered {
        return good(
            "order",
            "folders list their files alike whatever the disk has first, so that packages are the same wherever they are built",
        );
    }
    weaker(
        "order",
        "folders list their files as this disk has them, and a package that depends on it differs elsewhere: it takes a kernel of \
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
        return good("dnf", "installed");
    }
    weaker(
        "dnf",
        "not installed: it makes the roots of platforms, and no task that needs one can run here: install `dnf`",
    )
}

fn disk(found: &Result<RunnerDisk, String>) -> [Finding; 2] {
    let found = match found {
        Ok(found) => found,
        Err(problem) => return ["disk", "files"].map(|about| refused(about, problem.clone())),
    };
    let (gib, wanted) = (found.free_bytes >> 30, Limits::default().disk_bytes);
    let free = format!("{gib} GiB are free in {}", found.folder.display());
    let disk = if found.free_bytes < FREE_BYTES_MIN {
        refused(
            "disk",
            format!(
                "{free}, too few for any root: at least {} GiB",
                FREE_BYTES_MIN >> 30
            ),
        )
    } else if found.free_bytes < wanted {
        weaker(
            "disk",
            format!(
                "{free}; a task may use {} GiB unless its platform says otherwise",
                wanted >> 30
            ),
        )
    } else {
        good("disk", free)
    };
    let files = match found.free_files {
        Some(free) if free < FREE_FILES_MIN => refused(
            "files",
            format!("only {free} more can be made, which is too few for roots"),
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
                "{} s {way} the line's: certificates and signatures may not be valid yet, or not any more",
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
    fn machine() -> Observations {
        let looked = Inspection {
            interfaces: vec!["lo".to_owned()],
            processes: vec![1, 2],
            no_new_privileges: true,
            filtered: true,
            ordered: true,
            ..Inspection::default()
        };
        Observations {
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
            disk: Ok(RunnerDisk {
                folder: "/var/lib/millrace/runner".into(),
                kind: 0xef53,
                free_bytes: 100 << 30,
                free_files: Some(1 << 24),
            }),
            ahead_s: Some(Ok(0)),
        }
    }

    fn with_looked(change: impl FnOnce(&mut Inspection)) -> Observations {
        let mut seen = machine();
        change(seen.looked.as_mut().unwrap());
        seen
    }

    fn verdict(seen: &Observations, about: &str) -> Verdict {
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
                Observations {
                    looked: Err("namespaces: EPERM".to_owned()),
                    ..machine()
                },
            ),
            (
                "memory",
                "pids.max",
                Observations {
                    bounds: Err("pids.max: no".to_owned()),
                    ..machine()
                },
            ),
            (
                "user",
                "/etc/subuid",
                Observations {
                    standing: Standing::Ordinary("/etc/subuid gives dana none".to_owned()),
                    ..machine()
                },
            ),
            (
                "disk",
                "1 GiB are free",
                Observations {
                    disk: machine().disk.map(|disk| RunnerDisk {
                        free_bytes: 1 << 30,
                        ..disk
                    }),
                    ..machine()
                },
            ),
            (
                "files",
                "only 7",
                Observations {
                    disk: machine().disk.map(|disk| RunnerDisk {
                        free_files: Some(7),
                        ..disk
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
                Observations {
                    kernel: "4.18.0-553.el8.x86_64".to_owned(),
                    ..machine()
                },
            ),
            (
                "memory",
                Observations {
                    bounds: Ok(Bounds {
                        memory: false,
                        processes: true,
                    }),
                    ..machine()
                },
            ),
            (
                "number of processes",
                Observations {
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
                Observations {
                    dnf: false,
                    ..machine()
                },
            ),
            (
                "disk",
                Observations {
                    disk: machine().disk.map(|disk| RunnerDisk {
                        free_bytes: 30 << 30,
                        ..disk
                    }),
                    ..machine()
                },
            ),
            (
                "clock",
                Observations {
                    ahead_s: Some(Ok(-3600)),
                    ..machine()
                },
            ),
            (
                "clock",
                Observations {
                    ahead_s: Some(Err("it does not answer".to_owned())),
                    ..machine()
                },
            ),
            (
                "calls",
                Observations {
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
        let disk = machine().disk.map(|disk| RunnerDisk {
            kind: 0x794c_7630,
            ..disk
        });
        let said = refusal(&judge(&Observations {
            looked: Err("overlay: EINVAL".to_owned()),
            disk,
            ..machine()
        }))
        .unwrap();
        assert!(
            said.contains("overlay: EINVAL") && said.contains("lies on overlayfs"),
            "{said}"
        );
    }
}

//! Who is next, and who waits for what.

use super::*;
use crate::RunnerName;

const NOW: Timestamp = Timestamp(1_000_000_000);
const MINUTE: u64 = 60_000;

fn rank(project: &str, priority: Priority) -> Rank {
    Rank {
        project: project.parse().unwrap(),
        priority,
    }
}

/// A task of a build that has waited for so many minutes.
fn task(project: &str, build: &str, name: &str, minutes: u64) -> QueuedTask {
    let since = Timestamp(NOW.0 - minutes * MINUTE);
    let (build, task) = (build.parse().unwrap(), name.parse().unwrap());
    QueuedTask {
        rank: rank(project, Priority::Normal),
        since,
        build,
        task,
        requires: Requires::default(),
        not_by: None,
    }
}

fn host(name: &str, arch: Arch) -> KnownRunner {
    let capacity = Capacity {
        memory_bytes: 8 << 30,
        disk_bytes: 100 << 30,
        features: BTreeSet::new(),
    };
    KnownRunner {
        name: RunnerName::new(name).unwrap(),
        arches: vec![arch],
        capacity,
        reserved: Reservation::default(),
        at_work: None,
    }
}

fn busy(host: KnownRunner, project: &str, minutes: u64) -> KnownRunner {
    let project = project.parse().unwrap();
    KnownRunner {
        at_work: Some(CurrentWork {
            project,
            until: NOW.plus_ms(minutes * MINUTE),
        }),
        ..host
    }
}

/// What is told, a line a task; every task takes ten minutes.
fn told(queued: Vec<QueuedTask>, hosts: Vec<KnownRunner>) -> Vec<String> {
    let wait = |wait: QueueWait| match wait {
        QueueWait::Nothing => "now".to_owned(),
        QueueWait::Turn { ms, ahead, hosts } => {
            format!("{} min, {ahead} ahead, {hosts} hosts", ms / MINUTE)
        }
        QueueWait::Runner { reason } => reason,
    };
    let all = forecast(queued, hosts, |_| 10 * MINUTE, NOW);
    all.into_iter()
        .map(|told| format!("{}/{}: {}", told.build, told.task, wait(told.wait)))
        .collect()
}

fn order(mut queued: Vec<QueuedTask>, running: &[(&str, usize)]) -> Vec<String> {
    sort_queue(
        &mut queued,
        &running
            .iter()
            .map(|(project, count)| (project.parse().unwrap(), *count))
            .collect(),
    );
    queued
        .into_iter()
        .map(|queued| queued.build.to_string())
        .collect()
}

#[test]
fn the_most_urgent_is_first_then_who_has_the_least_then_who_has_waited() {
    let urgent = QueuedTask {
        rank: rank("big", Priority::Urgent),
        ..task("big", "urgent", "source", 0)
    };
    let mass = QueuedTask {
        rank: rank("small", Priority::Background),
        ..task("small", "mass", "source", 999)
    };
    let all = vec![
        mass,
        task("big", "old", "source", 60),
        task("big", "older", "source", 70),
        task("small", "new", "source", 1),
        urgent,
    ];
    assert_eq!(
        order(all.clone(), &[("big", 3), ("small", 1)]),
        ["urgent", "new", "older", "old", "mass"]
    );
    assert_eq!(
        order(all, &[("small", 1)]),
        ["urgent", "older", "old", "new", "mass"]
    );
}

#[test]
fn the_first_of_a_long_queue_are_of_every_project() {
    let urgent = QueuedTask {
        rank: rank("z", Priority::Urgent),
        ..task("z", "fix", "source", 0)
    };
    let mut all: Vec<QueuedTask> = (0..200)
        .map(|n| task("a", &format!("a{n:03}"), "source", 500 - n))
        .collect();
    all.extend([
        task("b", "b1", "source", 1),
        task("b", "b2", "source", 0),
        urgent,
    ]);
    let running = [("b".parse().unwrap(), 1)].into();
    let taken: Vec<String> = next_tasks(all, &running, 6)
        .into_iter()
        .map(|queued| queued.build.to_string())
        .collect();
    assert_eq!(taken, ["fix", "a000", "a001", "b1", "a002", "b2"]);
    assert!(next_tasks(Vec::new(), &running, 6).is_empty());
}

#[test]
fn a_thousand_builds_of_one_project_hold_up_no_other() {
    let mut all: Vec<QueuedTask> = (0..1000)
        .map(|n| task("mass", &format!("m{n:03}"), "rpm@x86_64", 100))
        .collect();
    all.push(task("one", "mine", "rpm@x86_64", 0));
    let lines = told(
        all,
        vec![
            busy(host("r1", Arch::X86_64), "mass", 5),
            busy(host("r2", Arch::X86_64), "mass", 7),
        ],
    );
    assert_eq!(lines[0], "mine/rpm@x86_64: 5 min, 0 ahead, 2 hosts");
    assert_eq!(lines[1], "m000/rpm@x86_64: 7 min, 1 ahead, 2 hosts");
    assert_eq!(lines[2], "m001/rpm@x86_64: 15 min, 2 ahead, 2 hosts");
    assert_eq!(lines.len(), 1001);
}

#[test]
fn a_machine_that_is_free_takes_what_it_can() {
    let all = vec![
        task("p", "a", "rpm@s390x", 9),
        task("p", "b", "rpm@x86_64", 8),
        task("p", "c", "source", 7),
    ];
    assert_eq!(
        told(all, vec![host("r1", Arch::X86_64)]),
        [
            "a/rpm@s390x: no runner for s390x is there: `millrace runner add --arch s390x` lets one in",
            "b/rpm@x86_64: now",
            "c/source: 10 min, 1 ahead, 1 hosts",
        ]
    );
    let nobody =
        "no runner is there: `millrace up` brings its own, `millrace runner add` lets others in";
    assert_eq!(
        told(vec![task("p", "c", "source", 7)], Vec::new()),
        [format!("c/source: {nobody}")]
    );
}

#[test]
fn what_a_machine_lacks_is_named() {
    let features = BTreeSet::from(["secure-boot".parse().unwrap()]);
    let big = Requires {
        memory_bytes: Some(16 << 30),
        ..Requires::default()
    };
    let wants = |requires: Requires| {
        vec![QueuedTask {
            requires,
            ..task("p", "a", "rpm@x86_64", 1)
        }]
    };
    let small = || vec![host("r1", Arch::X86_64)];
    let too_little = "a/rpm@x86_64: runner r1 is too little: the task wants";
    assert_eq!(
        told(wants(big), small()),
        [format!(
            "{too_little} 16384 MiB of memory, and it has 8192 MiB"
        )]
    );
    let disk = Requires {
        disk_bytes: Some(200 << 30),
        ..Requires::default()
    };
    assert_eq!(
        told(wants(disk), small()),
        [format!(
            "{too_little} 204800 MiB of free disk, and it has 102400 MiB"
        )]
    );
    let boot = Requires {
        features: features.clone(),
        ..Requires::default()
    };
    assert_eq!(
        told(wants(boot.clone()), small()),
        [format!(
            "{too_little} `secure-boot`, which it does not have"
        )]
    );
    let mut able = host("r2", Arch::X86_64);
    able.capacity.features = features;
    assert_eq!(
        told(wants(boot), [small(), vec![able]].concat()),
        ["a/rpm@x86_64: now"]
    );
}

#[test]
fn what_is_kept_for_some_is_not_for_others() {
    let only = |reserved: Reservation| {
        vec![KnownRunner {
            reserved,
            ..host("z1", Arch::S390x)
        }]
    };
    let own = Reservation {
        own_arch: true,
        ..Reservation::default()
    };
    let both = || vec![task("p", "a", "source", 9), task("p", "b", "rpm@s390x", 1)];
    assert_eq!(
        told(both(), only(own)),
        [
            "a/source: runner z1 is reserved for its own architecture",
            "b/rpm@s390x: now"
        ]
    );
    let ours = Reservation {
        projects: vec!["ours".parse().unwrap()],
        ..Reservation::default()
    };
    assert_eq!(
        told(vec![task("p", "a", "source", 9)], only(ours.clone())),
        ["a/source: runner z1 is reserved for project ours"]
    );
    assert_eq!(
        told(vec![task("ours", "a", "source", 9)], only(ours)),
        ["a/source: now"]
    );
    let urgent = Reservation {
        at_least: Some(Priority::Urgent),
        ..Reservation::default()
    };
    assert_eq!(
        told(vec![task("p", "a", "source", 9)], only(urgent.clone())),
        ["a/source: runner z1 is reserved for what is urgent"]
    );
    assert!(urgent.admits(Arch::S390x, None, &rank("p", Priority::Urgent)));
}

#[test]
fn a_project_is_named_by_where_its_repositories_lie() {
    let of = |url: &str| ProjectName::of_clone_url(url).to_string();
    assert_eq!(of("https://forge.example/rpms/zlib.git"), "rpms");
    assert_eq!(of("https://forge.example/a/b/zlib"), "b");
    assert_eq!(of("git@forge.example:team/zlib.git"), "team");
    assert_eq!(of("https://forge.example/zlib.git"), "forge.example");
    assert_eq!(of("file:///srv/git/zlib.git/"), "git");
    assert_eq!(of("/zlib.git"), "default");
    assert_eq!(of(""), "default");
    assert_eq!(of("https://forge.example/~dana/zlib"), "dana");
}

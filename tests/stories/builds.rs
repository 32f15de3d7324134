//! A build's life under the rules alone.

use insta::assert_snapshot;
use millrace_core::build::{Event, LeaseRenewal, Refused};
use millrace_core::order::{Effect, OrderedFile, SignOrder, SignedFile};
use millrace_core::platform::PackageConfig;
use millrace_core::task::{Blame, LEASE_MS, Outcome, RunnerProfile};
use millrace_core::{Arch, Digest, LeaseNumber, Timestamp};
use millrace_tests::line::{Line, MACHINE, failed, id, name, passed, platform, push, rpm};

#[test]
fn a_push_becomes_a_release() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes(
        "rpm@x86_64",
        &[
            rpm("zlib", "x86_64"),
            rpm("zlib-devel", "x86_64"),
            rpm("zlib-debuginfo", "x86_64"),
        ],
    );
    line.passes("check@x86_64", &[]);
    line.signed();
    line.released();
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 passed: 3 packages
    check@x86_64 passed: 0 packages
    build released
    ");
    assert_snapshot!(line.wanted(), @"
    ready source
    ready rpm@x86_64
    ready check@x86_64
    sign zlib-1-1.el9.src.rpm zlib-1-1.el9.x86_64.rpm zlib-debuginfo-1-1.el9.x86_64.rpm zlib-devel-1-1.el9.x86_64.rpm
    release
      zlib-1-1.el9.src.rpm into source
      zlib-1-1.el9.x86_64.rpm into x86_64/os
      zlib-debuginfo-1-1.el9.x86_64.rpm into x86_64/debug
      zlib-devel-1-1.el9.x86_64.rpm into x86_64/os
    ended
    ");
}

#[test]
fn a_step_that_needs_no_other_is_given_the_tree_and_the_sources_that_the_package_names() {
    let line = Line::of("zlib", r#""x86_64""#);
    let given = line.build.inputs(&id("source"));
    let given: Vec<_> = given
        .iter()
        .map(|artifact| (&artifact.name[..], artifact.digest, artifact.size))
        .collect();
    assert_eq!(
        given,
        [
            ("tree.tar", Digest::of(b"zlib"), 10_240),
            ("zlib-1.tar.xz", Digest::of(b"tarball"), 9)
        ]
    );
}

#[test]
fn a_noarch_package_is_built_once_checked_everywhere_and_released_for_every_architecture() {
    let mut line = Line::of("lcov", r#""x86_64", "aarch64""#);
    let source = millrace_core::rpm::Rpm {
        build_arch: vec!["noarch".to_owned()],
        ..rpm("lcov", "src")
    };
    line.passes("source", &[source]);
    line.passes("rpm@x86_64", &[rpm("lcov", "noarch")]);
    line.passes("check@x86_64", &[]);
    let given = line.build.inputs(&id("check@aarch64"));
    assert_snapshot!(given.iter().map(|artifact| artifact.name.as_str()).collect::<Vec<_>>().join(" "), @"tree.tar lcov-1-1.el9.noarch.rpm");
    line.passes("check@aarch64", &[]);
    line.signed();
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 passed: 1 packages
    rpm@aarch64 excluded: noarch: built once, on x86_64
    check@x86_64 passed: 0 packages
    check@aarch64 passed: 0 packages
    build releasing
    ");
    assert_snapshot!(line.wanted(), @"
    ready source
    ready rpm@x86_64
    ready check@x86_64
    ready check@aarch64
    sign lcov-1-1.el9.noarch.rpm lcov-1-1.el9.src.rpm
    release
      lcov-1-1.el9.noarch.rpm into x86_64/os aarch64/os
      lcov-1-1.el9.src.rpm into source
    ");
}

#[test]
fn a_noarch_subpackage_is_released_once_from_the_first_architecture_that_made_it() {
    let mut line = Line::of("zlib", r#""x86_64", "aarch64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    for arch in ["aarch64", "x86_64"] {
        line.passes(
            &format!("rpm@{arch}"),
            &[rpm("zlib", arch), rpm("zlib-doc", "noarch")],
        );
        line.passes(&format!("check@{arch}"), &[]);
    }
    line.signed();
    assert_snapshot!(line.wanted().lines().skip_while(|line| !line.starts_with("release")).collect::<Vec<_>>().join("\n"), @"
    release
      zlib-1-1.el9.aarch64.rpm into aarch64/os
      zlib-1-1.el9.src.rpm into source
      zlib-1-1.el9.x86_64.rpm into x86_64/os
      zlib-doc-1-1.el9.noarch.rpm into x86_64/os aarch64/os
    ");
}

#[test]
fn exclusive_arch_ends_tasks_as_excluded_and_the_build_goes_on() {
    let mut line = Line::of("grub2", r#""x86_64", "s390x""#);
    let source = millrace_core::rpm::Rpm {
        exclusive_arch: vec!["x86_64".to_owned(), "aarch64".to_owned()],
        ..rpm("grub2", "src")
    };
    line.passes("source", &[source]);
    line.passes("rpm@x86_64", &[rpm("grub2", "x86_64")]);
    line.passes("check@x86_64", &[]);
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 passed: 1 packages
    rpm@s390x excluded: ExclusiveArch: x86_64 aarch64
    check@x86_64 passed: 0 packages
    check@s390x excluded: ExclusiveArch: x86_64 aarch64
    build signing
    ");
}

#[test]
fn a_package_that_no_architecture_builds_ends_as_excluded_and_releases_nothing() {
    let mut line = Line::of("s390utils", r#""x86_64""#);
    line.passes(
        "source",
        &[millrace_core::rpm::Rpm {
            exclusive_arch: vec!["s390x".to_owned()],
            ..rpm("s390utils", "src")
        }],
    );
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 excluded: ExclusiveArch: s390x
    check@x86_64 excluded: rpm had nothing to do
    build excluded: no architecture of platform el-9 builds it (ExclusiveArch: s390x)
    ");
    assert_snapshot!(line.wanted(), @"
    ready source
    ended
    ");
}

#[test]
fn exclude_arch_is_heeded() {
    let mut line = Line::of("valgrind", r#""x86_64", "ppc64le""#);
    line.passes(
        "source",
        &[millrace_core::rpm::Rpm {
            exclude_arch: vec!["ppc64le".to_owned()],
            ..rpm("valgrind", "src")
        }],
    );
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 waiting
    rpm@ppc64le excluded: ExcludeArch: ppc64le
    check@x86_64 waiting
    check@ppc64le excluded: ExcludeArch: ppc64le
    build running
    ");
}

#[test]
fn one_architecture_failing_lets_the_others_end_and_then_fails_the_build() {
    let mut line = Line::of("zlib", r#""x86_64", "aarch64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.fails("rpm@x86_64", "%check: 1 of 12 tests failed");
    assert!(!line.build.is_ended(), "aarch64 may still be built");
    line.passes("rpm@aarch64", &[rpm("zlib", "aarch64")]);
    line.passes("check@aarch64", &[]);
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 failed: %check: 1 of 12 tests failed
    rpm@aarch64 passed: 1 packages
    check@x86_64 dropped
    check@aarch64 passed: 0 packages
    build failed: rpm@x86_64: %check: 1 of 12 tests failed
    ");
    assert_snapshot!(line.wanted(), @"
    ready source
    ready rpm@x86_64
    ready rpm@aarch64
    ready check@aarch64
    ended
    ");
}

#[test]
fn a_runner_that_falls_silent_loses_its_lease_and_its_late_answer_is_refused() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let first = line.take("source", "r1");
    line.pass_ms(LEASE_MS - 1);
    line.event(Event::Tick).unwrap();
    assert_eq!(
        line.build.task(&id("source")).unwrap().word(),
        "running",
        "the lease is not over yet"
    );
    line.pass_ms(1);
    line.event(Event::Tick).unwrap();
    let second = line.take("source", "r2");
    assert!(second > first);
    let late = line.report("source", first, passed(&[rpm("zlib", "src")]));
    assert_eq!(
        late,
        Err(Refused::StaleLease {
            task: id("source"),
            given: first
        })
    );
    line.event(heard("source", first, line.now)).unwrap();
    assert_eq!(
        line.build
            .task(&id("source"))
            .unwrap()
            .lease()
            .unwrap()
            .number,
        second,
        "a late word changes nothing"
    );
    line.report("source", second, passed(&[rpm("zlib", "src")]))
        .unwrap();
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 waiting
    check@x86_64 waiting
    build running
    ");
}

#[test]
fn a_runner_that_asks_again_has_lost_what_it_had() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let first = line.take("source", "r1");
    line.event(Event::Return { runner: name("r1") }).unwrap();
    assert_eq!(
        line.build.task(&id("source")).unwrap().word(),
        "waiting",
        "nobody waits a minute for the lease to run out"
    );
    let second = line.take("source", "r1");
    assert!(second > first);
    let late = line.report("source", first, passed(&[rpm("zlib", "src")]));
    assert_eq!(
        late,
        Err(Refused::StaleLease {
            task: id("source"),
            given: first
        })
    );
    line.event(Event::Return { runner: name("r2") }).unwrap();
    assert_eq!(
        line.build.task(&id("source")).unwrap().word(),
        "running",
        "another runner's coming changes nothing"
    );
    line.ends_early("r1 would go on");
}

fn heard(task: &str, lease: LeaseNumber, at: Timestamp) -> Event {
    Event::Renew {
        heard: vec![LeaseRenewal {
            task: id(task),
            lease,
            at,
        }],
    }
}

#[test]
fn a_renewed_lease_lasts() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let lease = line.take("source", "r1");
    for _ in 0..10 {
        line.pass_ms(LEASE_MS - 1);
        line.event(heard("source", lease, line.now)).unwrap();
        line.event(Event::Tick).unwrap();
    }
    line.report("source", lease, passed(&[rpm("zlib", "src")]))
        .unwrap();
}

#[test]
fn a_task_that_takes_three_runners_down_is_quarantined_with_its_history() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    for runner in ["r1", "r2"] {
        line.take("source", runner);
        line.pass_ms(LEASE_MS);
        line.event(Event::Tick).unwrap();
    }
    let third = line.take("source", "r3");
    line.report(
        "source",
        third,
        failed(Blame::Environment, "no space left on device"),
    )
    .unwrap();
    assert_snapshot!(line.told(), @"
    source quarantined: 3 leases ended without a verdict: r1 fell silent; r2 fell silent; r3: no space left on device
    rpm@x86_64 dropped
    check@x86_64 dropped
    build failed: source: 3 leases ended without a verdict: r1 fell silent; r2 fell silent; r3: no space left on device
    ");
}

#[test]
fn an_answer_said_twice_counts_once() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let lease = line.take("source", "r1");
    line.report("source", lease, passed(&[rpm("zlib", "src")]))
        .unwrap();
    assert_eq!(
        line.report("source", lease, passed(&[rpm("zlib", "src")])),
        Err(Refused::Already)
    );
    assert_eq!(
        line.report("source", LeaseNumber(9), passed(&[])),
        Err(Refused::StaleLease {
            task: id("source"),
            given: LeaseNumber(9)
        })
    );
}

#[test]
fn an_attempt_says_on_what_its_programs_were_emulated() {
    // What is done once is done as the machine is, if the platform has packages for it.
    let cases = [
        (r#""aarch64""#, "source", Arch::Aarch64, None),
        (r#""aarch64""#, "source", Arch::X86_64, Some(Arch::X86_64)),
        (r#""aarch64", "x86_64""#, "source", Arch::X86_64, None),
    ];
    for (platform, task, arch, expected) in cases {
        let mut line = Line::of("zlib", platform);
        let machine = RunnerProfile {
            arch,
            emulates: vec![Arch::Aarch64],
        };
        line.event(Event::Take {
            task: id(task),
            runner: name("r1"),
            machine,
        })
        .unwrap();
        assert_eq!(
            line.build
                .task(&id(task))
                .unwrap()
                .lease()
                .unwrap()
                .emulated_on,
            expected,
            "{platform} on {arch}"
        );
        line.report(task, LeaseNumber(1), passed(&[rpm("zlib", "src")]))
            .unwrap();
        assert_eq!(
            line.build.task(&id(task)).unwrap().attempts[0].emulated_on,
            expected,
            "{platform} on {arch}"
        );
    }
}

#[test]
fn a_task_is_leased_to_one_runner_and_only_when_what_it_needs_is_done() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let early = line.event(Event::Take {
        task: id("rpm@x86_64"),
        runner: name("r1"),
        machine: MACHINE,
    });
    assert_eq!(
        early,
        Err(Refused::NotReady {
            task: id("rpm@x86_64"),
            word: "waiting".to_owned()
        })
    );
    line.take("source", "r1");
    let second = line.event(Event::Take {
        task: id("source"),
        runner: name("r2"),
        machine: MACHINE,
    });
    assert_eq!(
        second,
        Err(Refused::NotReady {
            task: id("source"),
            word: "running".to_owned()
        })
    );
    let unknown = line.event(Event::Take {
        task: id("bake@x86_64"),
        runner: name("r1"),
        machine: MACHINE,
    });
    assert_eq!(unknown, Err(Refused::UnknownTask(id("bake@x86_64"))));
    line.ends_early("r1 would go on");
}

#[test]
fn cancelling_drops_what_runs_and_refuses_its_answer() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let lease = line.take("source", "r1");
    line.event(Event::Cancel {
        by: "dana".parse().unwrap(),
    })
    .unwrap();
    assert_eq!(
        line.event(Event::Cancel {
            by: "dana".parse().unwrap()
        }),
        Err(Refused::Already)
    );
    assert!(line.report("source", lease, passed(&[])).is_err());
    assert_snapshot!(line.told(), @"
    source dropped
    rpm@x86_64 dropped
    check@x86_64 dropped
    build cancelled: dana
    ");
}

#[test]
fn orders_are_answered_once_and_only_as_they_stand() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    let order = line.sign_order();
    let wrong = line.event(Event::Signed {
        order: order.id,
        files: Vec::new(),
    });
    assert!(
        matches!(wrong, Err(Refused::WrongAnswer { .. })),
        "{wrong:?}"
    );
    let other = |file: &OrderedFile| SignedFile {
        unsigned: Digest::of(b"other"),
        signed: Digest::of(b"signed"),
        size: file.size,
    };
    let others = line.event(Event::Signed {
        order: order.id,
        files: order.files.iter().map(other).collect(),
    });
    assert!(
        matches!(others, Err(Refused::WrongAnswer { .. })),
        "as many files, and other ones: {others:?}"
    );
    let early = line.event(Event::Released {
        order: order.id,
        generation: Digest::of(b""),
        number: 1,
    });
    assert_eq!(early, Err(Refused::WrongStage("signing".to_owned())));
    line.signed();
    let again = line.event(Event::Signed {
        order: order.id,
        files: Vec::new(),
    });
    assert_eq!(again, Err(Refused::Already));
    line.released();
    assert!(
        line.event(Event::Cancel {
            by: "dana".parse().unwrap()
        })
        .is_err(),
        "what is released stays released"
    );
}

#[test]
fn the_releasers_refusal_ends_the_build_in_its_words() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    line.signed();
    let order = line.release_order();
    let refuse = Event::ReleaseRefused {
        order: order.id,
        reason: "zlib-1-1.el9.x86_64 was released before: raise Release".to_owned(),
    };
    line.event(refuse.clone()).unwrap();
    assert_eq!(line.event(refuse), Err(Refused::Already));
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 passed: 1 packages
    check@x86_64 passed: 0 packages
    build failed: release: zlib-1-1.el9.x86_64 was released before: raise Release
    ");
}

#[test]
fn a_package_may_bring_a_step_of_its_own_which_is_data() {
    let config = r#"
        [[steps]]
        name = "lint"
        plugin = "lint"
        on = "once"
        needs = ["source"]

        [config.check]
        tests = ["tests/smoke.sh"]
    "#;
    let mut line = Line::planned(
        &push("zlib", 1),
        &platform(r#""x86_64""#),
        &PackageConfig::parse(config).unwrap(),
    );
    line.passes("source", &[rpm("zlib", "src")]);
    line.fails("lint", "3 findings");
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 passed: 1 packages
    check@x86_64 passed: 0 packages
    lint failed: 3 findings
    build failed: lint: 3 findings
    ");
    assert_snapshot!(serde_json::to_string(&line.build.step_of(&id("check@x86_64")).unwrap().config).unwrap(), @r#"{"tests":["tests/smoke.sh"]}"#);
}

/// The rules are total. Whatever is said in whatever order, nothing panics, refused events change nothing (which `Line`
/// checks), lease numbers only grow, and an ended build stays as it ended until somebody wants it done again.
#[test]
fn any_order_of_events_keeps_the_invariants() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut line = Line::of("zlib", r#""x86_64", "aarch64""#);
        let mut highest = std::collections::BTreeMap::new();
        for _ in 0..200 {
            let was_ended = line.build.is_ended().then(|| line.build.clone());
            let event = any_event(&mut chance, &line);
            let is_retry = matches!(event, Event::Retry { .. });
            line.pass_ms(chance.u64(0..6_000));
            let _ = line.event(event);
            for task in &line.build.tasks {
                let number = task.latest_number().map_or(0, |number| number.0);
                let before = highest.insert(task.id.clone(), number).unwrap_or(0);
                assert!(
                    number >= before,
                    "seed {seed}: lease numbers of {} fell from {before} to {number}",
                    task.id
                );
            }
            if let Some(ended) = was_ended.filter(|_| !is_retry) {
                assert_eq!(line.build, ended, "seed {seed}: an ended build changed");
            }
        }
        ends.insert(line.build.word());
        line.ends_early("events come in any order, and any of them may be the last");
    }
    for end in ["released", "failed", "cancelled", "excluded"] {
        assert!(ends.contains(end), "no build was {end}: {ends:?}");
    }
}

fn any_event(chance: &mut fastrand::Rng, line: &Line) -> Event {
    let tasks = &line.build.tasks;
    let task = &tasks[chance.usize(0..tasks.len())];
    let lease = LeaseNumber(chance.u32(0..4));
    let ordered = line.effects.iter().rev().find_map(|effect| match effect {
        Effect::Sign(order) => Some(order.id),
        Effect::Release(order) => Some(order.id),
        Effect::Fetch(_)
        | Effect::Plan(_)
        | Effect::Ready { .. }
        | Effect::FetchNames { .. }
        | Effect::ClaimReleased { .. }
        | Effect::Ended { .. }
        | Effect::Unreadable(_) => None,
    });
    let order = ordered.unwrap_or_else(|| {
        SignOrder::new(
            line.build.id.clone(),
            "default".parse().unwrap(),
            0,
            Vec::new(),
        )
        .id
    });
    let ordered_files = line.effects.iter().rev().find_map(|effect| match effect {
        Effect::Sign(order) => Some(order.files.clone()),
        Effect::Release(_)
        | Effect::Fetch(_)
        | Effect::Plan(_)
        | Effect::Ready { .. }
        | Effect::FetchNames { .. }
        | Effect::ClaimReleased { .. }
        | Effect::Ended { .. }
        | Effect::Unreadable(_) => None,
    });
    let made = |file: &OrderedFile| SignedFile {
        unsigned: file.digest,
        signed: Digest::of(b"signed"),
        size: file.size,
    };
    let signed: Vec<SignedFile> = ordered_files
        .iter()
        .flatten()
        .filter(|_| chance.u8(0..8) > 0)
        .map(made)
        .collect();
    let report = |outcome| Event::Report {
        task: task.id.clone(),
        lease,
        outcome,
        roots: None,
    };
    let drastic = chance.u8(0..40) == 0;
    match chance.u8(0..20) {
        0..5 => Event::Take {
            task: task.id.clone(),
            runner: name("r1"),
            machine: MACHINE,
        },
        5 if chance.bool() => Event::Silent {
            task: task.id.clone(),
            lease,
            since: chance.bool().then_some(line.now),
        },
        5 => heard(&task.id.to_string(), lease, line.now),
        6..12 => {
            let arch = task.id.arch.map_or("src", Arch::as_str);
            report(passed(&[rpm("zlib", arch)]))
        }
        12 => report(Outcome::HandedBack {
            reason: "stopped".to_owned(),
        }),
        13 => Event::Tick,
        14 => Event::Signed {
            order,
            files: signed,
        },
        15 => Event::Released {
            order,
            generation: Digest::of(b""),
            number: 1,
        },
        16 if drastic => report(failed(Blame::Environment, "swap")),
        16 => Event::Return { runner: name("r2") },
        17 if drastic => Event::Cancel {
            by: "dana".parse().unwrap(),
        },
        17 if chance.u8(0..9) == 0 => Event::Return { runner: name("r1") },
        18 if drastic => Event::SignRefused {
            order,
            reason: "no".to_owned(),
        },
        18 if chance.u8(0..40) == 0 => Event::ReleaseRefused {
            order,
            reason: "no".to_owned(),
        },
        19 if drastic => Event::Outgrown {
            bytes: 2,
            bytes_max: 1,
        },
        19 if chance.u8(0..9) == 0 => Event::Retry {
            task: chance.bool().then(|| task.id.clone()),
            by: "erin".parse().unwrap(),
            hold_s: None,
        },
        19 if chance.u8(0..9) == 0 => report(Outcome::Excluded {
            reason: "nothing to do".to_owned(),
        }),
        _ => Event::Tick,
    }
}

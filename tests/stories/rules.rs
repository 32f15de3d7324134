//! Bounds and refusals of the rules: what a package may ask for, what a runner may answer, and what becomes of passing trouble.

use insta::assert_snapshot;
use millrace_core::build::Event;
use millrace_core::plan::{TASKS_MAX, plan, platforms_for};
use millrace_core::platform::{Limits, PackageConfig, Platform};
use millrace_core::task::{ATTEMPTS_MAX, Artifact, Blame, LEASES_MAX, Outcome, PAUSES_MS};
use millrace_core::testing::plugins;
use millrace_core::{Digest, PlatformName, Timestamp};
use millrace_tests::line::{Line, failed, id, platform, push, rpm};

fn config(text: &str) -> PackageConfig {
    PackageConfig::parse(text).unwrap()
}

fn own_step(more: &str) -> PackageConfig {
    config(&format!(
        "[[steps]]\nname = \"lint\"\nplugin = \"lint\"\non = \"once\"\n{more}"
    ))
}

fn tight() -> Platform {
    let limits = Limits {
        memory_bytes: 400,
        disk_bytes: 500,
        processes: 6,
        time_s: 70,
        silence_s: 30,
        log_bytes: 800,
    };
    Platform {
        limits,
        ..platform(r#""x86_64""#)
    }
}

#[test]
fn a_packages_own_step_is_bound_by_its_platform_and_may_bind_itself_tighter() {
    let asks =
        own_step("limits = { memory_bytes = 999999999999, time_s = 4294967295, processes = 2 }\n");
    let line = Line::planned(&push("zlib", 1), &tight(), &asks);
    let bound = line.build.limits_of(&id("lint"));
    assert_eq!(
        bound,
        Limits {
            memory_bytes: 400,
            disk_bytes: 500,
            processes: 2,
            time_s: 70,
            silence_s: 30,
            log_bytes: 800
        }
    );
}

#[test]
fn what_a_platforms_step_does_not_bound_is_bound_as_in_its_platform() {
    let mut platform = tight();
    platform.steps[1].limits = serde_json::from_str(r#"{"time_s": 9000}"#).unwrap();
    let line = Line::planned(&push("zlib", 1), &platform, &PackageConfig::default());
    assert_eq!(
        line.build.limits_of(&id("rpm@x86_64")),
        Limits {
            time_s: 9000,
            ..platform.limits
        }
    );
    assert_eq!(line.build.limits_of(&id("source")), platform.limits);
}

#[test]
fn passing_trouble_is_given_time_to_pass() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    for (number, pause_ms) in PAUSES_MS.into_iter().enumerate() {
        let lease = line.take("source", "r1");
        line.report(
            "source",
            lease,
            failed(Blame::Environment, "the mirror is away"),
        )
        .unwrap();
        assert!(
            line.told()
                .starts_with("source paused: the mirror is away\n"),
            "{}",
            line.told()
        );
        assert_eq!(line.build.ready().count(), 0, "pause {number}");
        assert_eq!(
            line.build.next_expiry(),
            Some(line.now.plus_ms(pause_ms)),
            "a tick must come for it"
        );
        line.pass_ms(pause_ms - 1);
        line.event(Event::Tick).unwrap();
        assert_eq!(line.build.ready().count(), 0, "pause {number} is not over");
        line.pass_ms(1);
        line.event(Event::Tick).unwrap();
        assert_eq!(line.build.ready().count(), 1);
    }
    assert_snapshot!(line.wanted(), @"
    ready source
    ready source
    ready source
    ");
    line.fails("source", "the spec is wrong, at last");
    assert!(line.build.is_ended());
}

#[test]
fn a_build_that_only_pauses_has_not_ended() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let lease = line.take("source", "r1");
    line.report("source", lease, failed(Blame::Environment, "no mirror"))
        .unwrap();
    assert!(!line.build.is_ended());
    line.event(Event::Cancel {
        by: "dana".parse().unwrap(),
    })
    .unwrap();
    assert_snapshot!(line.told().lines().next().unwrap(), @"source dropped");
}

#[test]
fn a_task_that_was_handed_back_is_none_the_worse() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    for _ in 0..LEASES_MAX + 2 {
        let lease = line.take("source", "r1");
        line.report(
            "source",
            lease,
            Outcome::HandedBack {
                reason: "the runner was stopped".to_owned(),
            },
        )
        .unwrap();
        assert_eq!(
            line.build.ready().count(),
            1,
            "nobody waits for it to be given out again"
        );
    }
    line.passes("source", &[rpm("zlib", "src")]);
    assert_snapshot!(line.told().lines().next().unwrap(), @"source passed: 1 packages");
    line.event(Event::Cancel {
        by: "dana".parse().unwrap(),
    })
    .unwrap();
}

#[test]
fn a_task_is_not_handed_back_for_ever() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    for _ in 0..ATTEMPTS_MAX {
        let lease = line.take("source", "r1");
        line.report(
            "source",
            lease,
            Outcome::HandedBack {
                reason: "stopped".to_owned(),
            },
        )
        .unwrap();
    }
    let told = line.told();
    assert!(
        told.starts_with(
            "source quarantined: 20 leases ended without a verdict: r1 handed it back: stopped; "
        ),
        "{told}"
    );
    assert!(line.build.is_ended());
}

#[test]
fn what_a_task_hands_over_has_plain_names_each_once() {
    let artifact = |name: &str| Artifact {
        name: name.to_owned(),
        digest: Digest::of(b"x"),
        size: 1,
        rpm: None,
    };
    for names in [
        &["a.rpm", "a.rpm"][..],
        &["../a.rpm"],
        &["x/a.rpm"],
        &[""],
        &["tree.tar"],
        &["a\nb"],
    ] {
        let mut line = Line::of("zlib", r#""x86_64""#);
        let lease = line.take("source", "r1");
        let artifacts = names.iter().map(|name| artifact(name)).collect();
        line.report(
            "source",
            lease,
            Outcome::Passed {
                summary: String::new(),
                artifacts,
            },
        )
        .unwrap();
        assert!(
            line.told()
                .contains("each must have a plain file name of its own"),
            "{names:?}: {}",
            line.told()
        );
    }
}

#[test]
fn a_package_that_no_repository_would_have_fails_its_task() {
    let mut line = Line::of("wine", r#""x86_64""#);
    line.passes("source", &[rpm("wine", "src")]);
    line.passes(
        "rpm@x86_64",
        &[rpm("wine", "x86_64"), rpm("wine", "armv7hl")],
    );
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 failed: it hands over wine-1-1.el9.armv7hl; this task may hand over packages for x86_64, i686 and noarch
    check@x86_64 dropped
    build failed: rpm@x86_64: it hands over wine-1-1.el9.armv7hl; this task may hand over packages for x86_64, i686 and noarch
    ");
}

#[test]
fn packages_of_32_bits_are_released_beside_those_of_the_architecture_that_runs_them() {
    let mut line = Line::of("wine", r#""x86_64", "aarch64""#);
    line.passes("source", &[rpm("wine", "src")]);
    line.passes(
        "rpm@x86_64",
        &[
            rpm("wine", "x86_64"),
            rpm("wine", "i686"),
            rpm("wine-debuginfo", "i686"),
        ],
    );
    line.passes("rpm@aarch64", &[rpm("wine", "aarch64")]);
    line.passes("check@x86_64", &[]);
    line.passes("check@aarch64", &[]);
    line.signed();
    assert_snapshot!(line.wanted().split("release").nth(1).unwrap(), @"

      wine-1-1.el9.aarch64.rpm into aarch64/os
      wine-1-1.el9.i686.rpm into x86_64/os
      wine-1-1.el9.src.rpm into source
      wine-1-1.el9.x86_64.rpm into x86_64/os
      wine-debuginfo-1-1.el9.i686.rpm into x86_64/debug
    ");
    line.released();
}

#[test]
fn only_what_the_platform_says_is_signed_whatever_a_packages_own_step_hands_over() {
    let mut line = Line::planned(
        &push("zlib", 1),
        &platform(r#""x86_64""#),
        &own_step("needs = [\"source\"]\n"),
    );
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("lint", &[rpm("planted", "noarch")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    let wanted = line.wanted();
    assert_snapshot!(wanted.lines().last().unwrap(), @"sign zlib-1-1.el9.src.rpm zlib-1-1.el9.x86_64.rpm");
    line.signed();
    line.released();
}

#[test]
fn signatures_are_never_of_a_time_to_come() {
    let mut push = push("zlib", 1);
    push.committed_s = 4_000_000_000;
    push.announced.received = Timestamp(1_700_000_000_000);
    let mut line = Line::planned(&push, &platform(r#""x86_64""#), &PackageConfig::default());
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    let Some(millrace_core::order::Effect::Sign(order)) = line.effects.last() else {
        panic!("{}", line.wanted())
    };
    assert_eq!(order.signed_s, 1_700_000_000);
    line.signed();
    line.released();
}

#[test]
fn an_answer_about_other_files_or_another_order_is_refused() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    let Some(millrace_core::order::Effect::Sign(order)) = line.effects.last().cloned() else {
        panic!("{}", line.wanted())
    };
    let other = millrace_core::order::SignOrder::new(
        line.build.id.clone(),
        "other".parse().unwrap(),
        7,
        order.files.clone(),
    );
    let made = |unsigned| millrace_core::order::SignedFile {
        unsigned,
        signed: Digest::of(b"signed"),
        size: 1,
    };
    let swapped: Vec<_> = order
        .files
        .iter()
        .rev()
        .map(|file| made(file.digest))
        .collect();
    let right: Vec<_> = order.files.iter().map(|file| made(file.digest)).collect();
    let refused = |line: &mut Line, event| line.event(event).unwrap_err().to_string();
    assert_snapshot!(refused(&mut line, Event::Signed { order: order.id, files: swapped }).split_once(": ").unwrap().1, @"other files than ordered");
    assert!(
        refused(
            &mut line,
            Event::Signed {
                order: other.id,
                files: right
            }
        )
        .ends_with("is not the one that the build waits for")
    );
    assert!(
        refused(
            &mut line,
            Event::SignRefused {
                order: other.id,
                reason: "no".to_owned()
            }
        )
        .ends_with("is not the one that the build waits for")
    );
    assert!(line.build.vouches_for_signing(&order).is_ok());
    let forged = millrace_core::order::SignOrder {
        id: order.id,
        ..other
    };
    assert!(
        line.build.vouches_for_signing(&forged).is_err(),
        "the right id on another order"
    );
    line.signed();
    let Some(millrace_core::order::Effect::Release(release)) = line.effects.last().cloned() else {
        panic!("{}", line.wanted())
    };
    assert!(line.build.vouches_for_release(&release).is_ok());
    let forged = millrace_core::order::ReleaseOrder {
        package: "other".parse().unwrap(),
        ..release
    };
    assert!(
        line.build.vouches_for_release(&forged).is_err(),
        "the right id on another order"
    );
    assert!(
        refused(
            &mut line,
            Event::ReleaseRefused {
                order: order.id,
                reason: "no".to_owned()
            }
        )
        .ends_with("is not the one that the build waits for")
    );
    let elsewhere = Event::Released {
        order: order.id,
        generation: Digest::of(b"another's"),
        number: 7,
    };
    assert!(refused(&mut line, elsewhere).ends_with("is not the one that the build waits for"));
    line.released();
}

fn named(name: &str) -> Platform {
    Platform {
        name: name.parse().unwrap(),
        ..platform(r#""x86_64""#)
    }
}

#[test]
fn a_push_does_not_say_with_whose_key_it_is_signed() {
    let all = [named("el-8"), named("el-9"), named("el-10")];
    let names = |names: &[&str]| -> Vec<PlatformName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    };
    let chosen = |asked: &str, registered: &[&str]| {
        let config = config(asked);
        let found = platforms_for(&push("zlib", 1), &config, &names(registered), &all);
        found.map_or_else(
            |error| error.to_string(),
            |found| {
                found
                    .iter()
                    .map(|platform| platform.name.as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            },
        )
    };
    assert_snapshot!(chosen("", &[]), @"el-8 el-9 el-10");
    assert_snapshot!(chosen("", &["el-9"]), @"el-9");
    assert_snapshot!(chosen("platforms = [\"el-8\"]", &[]), @"el-8");
    assert_snapshot!(chosen("platforms = [\"el-8\"]", &["el-8", "el-9"]), @"el-8");
    assert_snapshot!(chosen("platforms = [\"el-10\"]", &["el-8", "el-9"]), @"millrace.toml asks for the platform `el-10`; the package is registered for el-8, el-9: the line's operator can register it for more, by `millrace package add` with `--platform`");
    assert_snapshot!(chosen("platforms = [\"el-11\"]", &[]), @"millrace.toml asks for the platform `el-11`, which the line does not have: `millrace platform list` shows those it has");
    assert_snapshot!(chosen("", &["el-7"]), @"the package is registered for the platform `el-7`, which the line does not have: `millrace platform add` adds it, `millrace package add` with other `--platform` changes the registration");
}

fn planned(config: &PackageConfig, architectures: &str) -> String {
    let plugins = ["source", "rpm", "check", "lint"]
        .map(|name| (name.parse().unwrap(), Digest::of(name.as_bytes())))
        .into();
    plan(
        &push("zlib", 1),
        config,
        &platform(architectures),
        &plugins,
        Timestamp(1),
    )
    .unwrap_err()
    .to_string()
}

#[test]
fn more_tasks_than_a_store_can_keep_at_once_are_refused_while_planning() {
    let steps: String = (0..TASKS_MAX / 4)
        .map(|n| format!("[[steps]]\nname = \"s{n}\"\nplugin = \"lint\"\non = \"each-arch\"\n"))
        .collect();
    let told = planned(
        &config(&steps),
        r#""x86_64", "aarch64", "ppc64le", "s390x""#,
    );
    assert_snapshot!(told, @"49 tasks on platform el-9; a build may have 40: put several of the steps into one plugin");
}

#[test]
fn more_words_than_a_record_can_begin_with_are_refused_while_planning() {
    let text = format!("[config.check]\ntests = [\"{}\"]\n", "x".repeat(300_000));
    let told = planned(&config(&text), r#""x86_64""#);
    assert!(
        told.ends_with(
            "put long configuration into a file of the repository, which every step is given"
        ),
        "{told}"
    );
}

#[test]
fn a_package_cannot_take_a_platforms_test_away_or_change_what_it_fixes() {
    let mut mandatory = platform(r#""x86_64""#);
    let check = mandatory.steps.last_mut().unwrap();
    check.package_may_set = vec!["packages".to_owned()];
    check.config = [("tests".to_owned(), vec!["mandatory.sh"].into())].into();
    let told = |text: &str| {
        plan(
            &push("zlib", 1),
            &config(text),
            &mandatory,
            &plugins(),
            Timestamp(1_000),
        )
        .map(|build| build.step_of(&id("check@x86_64")).unwrap().config.clone())
        .map_err(|error| error.to_string())
    };
    assert_eq!(
        told("[config.check]\ntests = []\n").unwrap_err(),
        "millrace.toml: `config.check.tests`: platform el-9 lets a package set packages of this step. Take it out, or ask the platform's \
         keeper for `package_may_set`"
    );
    let rpm = told("[config.rpm]\nwords = \"x\"\n").unwrap_err();
    assert!(
        rpm.contains("lets a package set nothing of this step"),
        "{rpm}"
    );
    let allowed = told("[config.check]\npackages = [\"bats\"]\n").unwrap();
    assert_eq!(allowed.len(), 2, "{allowed:?}");
    let own = "[[steps]]\nname = \"lint\"\nplugin = \"lint\"\non = \"once\"\n";
    assert!(
        told(&format!("{own}[config.lint]\nlevel = 9\n")).is_ok(),
        "its own step is its own"
    );
    let loosens = told(&format!("{own}package_may_set = [\"level\"]\n")).unwrap_err();
    assert!(loosens.contains("is for a platform's steps"), "{loosens}");
}

//! Builds with options of their own, and where they stand in the queue.

use millrace_core::build::{Event, Refused};
use millrace_core::plan::platforms_for;
use millrace_core::platform::{PackageConfig, Platform, PlatformError};
use millrace_core::push::{BuildOptions, Package, Push};
use millrace_core::queue::Priority;
use millrace_core::{Arch, Timestamp};
use millrace_tests::line::{Line, id, passed, platform, push, rpm};

fn with_options(options: BuildOptions) -> Push {
    let mut push = push("zlib", 1);
    push.announced.options = options;
    push
}

fn planned(options: BuildOptions) -> Line {
    Line::planned(
        &with_options(options),
        &platform(r#""x86_64", "aarch64""#),
        &PackageConfig::default(),
    )
}

#[test]
fn a_scratch_build_is_built_and_tested_and_goes_nowhere() {
    let mut line = planned(BuildOptions {
        scratch: true,
        architectures: vec![Arch::X86_64],
        ..BuildOptions::default()
    });
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    assert_eq!(
        (line.build.word(), line.build.releasable().len()),
        ("passed", 0)
    );
    assert!(!line.wanted().contains("sign"), "{}", line.wanted());
}

#[test]
fn fewer_architectures_and_other_macros_may_be_asked_for() {
    let macros = [
        ("with_tests".to_owned(), "0".to_owned()),
        ("dist".to_owned(), ".el9_try".to_owned()),
    ]
    .into();
    let line = planned(BuildOptions {
        architectures: vec![Arch::Aarch64],
        macros,
        ..BuildOptions::default()
    });
    let tasks: Vec<String> = line
        .build
        .tasks
        .iter()
        .map(|task| task.id.to_string())
        .collect();
    assert_eq!(tasks, ["source", "rpm@aarch64", "check@aarch64"]);
    let macros: Vec<String> = line
        .build
        .platform
        .macros
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    assert_eq!(macros, ["dist .el9_try", "with_tests 0"]);
}

#[test]
fn an_option_for_what_there_is_not_is_refused_in_words() {
    let arch = with_options(BuildOptions {
        architectures: vec![Arch::S390x],
        ..BuildOptions::default()
    });
    let plugins = ["source", "rpm", "check"]
        .map(|name| (name.parse().unwrap(), millrace_core::Digest::of(b"")))
        .into();
    let config = PackageConfig::default();
    let refused = millrace_core::plan::plan(
        &arch,
        &config,
        &platform(r#""x86_64""#),
        &plugins,
        Timestamp(1),
    )
    .unwrap_err();
    assert_eq!(refused.to_string(), "platform el-9 has no s390x");
    let elsewhere = with_options(BuildOptions {
        platforms: vec!["el-10".parse().unwrap()],
        ..BuildOptions::default()
    });
    let refused = platforms_for(&elsewhere, &config, &[], &[platform(r#""x86_64""#)]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "zlib is not built on the platform `el-10` from refs/heads/main: it is built on el-9"
    );
    let here = with_options(BuildOptions {
        platforms: vec!["el-9".parse().unwrap()],
        ..BuildOptions::default()
    });
    let other = Platform {
        name: "el-8".parse().unwrap(),
        ..platform(r#""x86_64""#)
    };
    assert_eq!(
        platforms_for(&here, &config, &[], &[other, platform(r#""x86_64""#)])
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_clone_keeps_options_and_a_clone_of_scratch_is_scratch() {
    let macros = |all: &[(&str, &str)]| {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let before = BuildOptions {
        priority: Some(Priority::Urgent),
        architectures: vec![Arch::Aarch64],
        macros: macros(&[("flavour", "sweet"), ("with_tests", "1")]),
        scratch: true,
        ..BuildOptions::default()
    };
    let el9 = "el-9".parse().unwrap();
    let same = BuildOptions::default().of_clone(&before, &el9);
    assert_eq!(
        same,
        BuildOptions {
            platforms: vec![el9.clone()],
            ..before.clone()
        }
    );
    let other = BuildOptions {
        architectures: vec![Arch::S390x],
        macros: macros(&[("flavour", "sour")]),
        ..BuildOptions::default()
    };
    let other = other.of_clone(&before, &el9);
    assert_eq!(
        (other.architectures, other.macros),
        (
            vec![Arch::S390x],
            macros(&[("flavour", "sour"), ("with_tests", "1")])
        )
    );
    assert!(other.scratch);
}

#[test]
fn how_urgent_a_build_is_is_for_who_wants_it_to_say_then_for_its_package() {
    let mut package = Package::new(
        "zlib".parse().unwrap(),
        "https://forge/rpms/zlib.git".to_owned(),
        Vec::new(),
        Timestamp(1),
    );
    let rank = |options: BuildOptions, package: Option<&Package>| {
        let rank = with_options(options).announced.rank(package);
        format!("{} {}", rank.project, rank.priority)
    };
    assert_eq!(rank(BuildOptions::default(), None), "rpms normal");
    assert_eq!(rank(BuildOptions::default(), Some(&package)), "rpms normal");
    package.priority = Some(Priority::Background);
    package.project = Some("base".parse().unwrap());
    assert_eq!(
        rank(BuildOptions::default(), Some(&package)),
        "base background"
    );
    assert_eq!(
        rank(
            BuildOptions {
                priority: Some(Priority::Urgent),
                ..BuildOptions::default()
            },
            Some(&package)
        ),
        "base urgent"
    );
}

#[test]
fn a_step_says_what_its_machine_must_have_and_a_misspelt_word_is_refused() {
    let text = |requires: &str| {
        format!(
            "name = \"el-9\"\narchitectures = [\"x86_64\"]\nreleasever = \"9\"\nkey = \"default\"\nrepositories = []\n\
             buildroot = {{ packages = [], minimal = [] }}\n\
             steps = [{{ name = \"source\", plugin = \"source\", on = \"once\", requires = {{ {requires} }} }}]\n"
        )
    };
    let good = Platform::parse(
        "el-9.toml",
        &text("memory_bytes = 17179869184, features = [\"secure-boot\"]"),
    )
    .unwrap();
    assert_eq!(good.steps[0].requires.brief(), "m17179869184,fsecure-boot");
    let misspelt = Platform::parse("el-9.toml", &text("memory = 1")).unwrap_err();
    assert!(
        matches!(misspelt, PlatformError::Syntax { .. }),
        "{misspelt}"
    );
    let nine: Vec<String> = (0..9).map(|n| format!("\"f{n}\"")).collect();
    let many = Platform::parse(
        "el-9.toml",
        &text(&format!("features = [{}]", nine.join(", "))),
    )
    .unwrap_err()
    .to_string();
    assert_eq!(
        many,
        "el-9.toml: step `source` requires 9 features of its machine; it may have 8"
    );
}

#[test]
fn a_silence_is_of_a_lease_and_told_once() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let lease = line.take("source", "r1");
    let silent = |since: Option<u64>| Event::Silent {
        task: id("source"),
        lease,
        since: since.map(Timestamp),
    };
    line.event(silent(Some(5))).unwrap();
    assert_eq!(line.build.tasks[0].word(), "stalled");
    assert_eq!(line.event(silent(Some(9))), Err(Refused::Already));
    line.event(silent(None)).unwrap();
    assert_eq!(line.event(silent(None)), Err(Refused::Already));
    line.report("source", lease, passed(&[rpm("zlib", "src")]))
        .unwrap();
    assert_eq!(
        line.event(silent(Some(9))),
        Err(Refused::StaleLease {
            task: id("source"),
            given: lease
        })
    );
}

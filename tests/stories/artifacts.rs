//! Whose packages a task may hand over, and that what is signed is what was tried.

use millrace_core::Digest;
use millrace_core::platform::{PackageConfig, Platform};
use millrace_core::rpm::Rpm;
use millrace_core::task::{Artifact, Outcome, TaskState};
use millrace_tests::line::{Line, id, passed, platform, push, rpm};

const TWO: &str = r#""x86_64", "aarch64""#;

/// What becomes of a task that hands over this; its reason if it fails.
fn handed_over(platform: &Platform, task: &str, packages: &[Rpm]) -> Option<String> {
    let mut line = Line::planned(&push("zlib", 1), platform, &PackageConfig::default());
    if task != "source" {
        line.passes("source", &[rpm("zlib", "src")]);
    }
    let lease = line.take(task, "r1");
    line.report(task, lease, passed(packages)).unwrap();
    line.ends_early("one task is enough");
    match &line.build.task(&id(task)).unwrap().state {
        TaskState::Failed { failure } => Some(failure.reason.clone()),
        _ => None,
    }
}

#[test]
fn a_runner_hands_over_packages_of_its_tasks_architecture_alone() {
    let two = platform(TWO);
    for arch in ["x86_64", "noarch", "i686"] {
        let own = handed_over(&two, "rpm@x86_64", &[rpm("zlib", arch)]);
        assert_eq!(own, None, "{arch}");
    }
    let displacing = [rpm("zlib", "x86_64"), rpm("victim", "aarch64")];
    assert_eq!(
        handed_over(&two, "rpm@x86_64", &displacing).unwrap(),
        "it hands over victim-1-1.el9.aarch64; this task may hand over packages for x86_64, i686 and noarch"
    );
    for (task, arch) in [
        ("rpm@aarch64", "i686"),
        ("rpm@aarch64", "x86_64"),
        ("rpm@x86_64", "src"),
        ("source", "x86_64"),
    ] {
        assert!(
            handed_over(&two, task, &[rpm("zlib", arch)]).is_some(),
            "{task} {arch}"
        );
    }
}

#[test]
fn a_platform_may_refuse_packages_of_32_bits() {
    let only_64 = Platform {
        multilib: false,
        ..platform(TWO)
    };
    let refused = handed_over(&only_64, "rpm@x86_64", &[rpm("zlib", "i686")]);
    assert!(refused.unwrap().ends_with("packages for x86_64 and noarch"));
}

fn file(name: &str, content: &str) -> Artifact {
    Artifact {
        name: format!("{name}-1-1.el9.x86_64.rpm"),
        digest: Digest::of(content.as_bytes()),
        size: 7,
        rpm: Some(rpm(name, "x86_64")),
    }
}

fn hands_over(line: &mut Line, task: &str, artifacts: Vec<Artifact>) {
    let lease = line.take(task, "r1");
    let summary = String::new();
    line.report(task, lease, Outcome::Passed { summary, artifacts })
        .unwrap();
}

#[test]
fn what_is_signed_is_what_the_tests_were_given() {
    let text = r#"
name = "el-9"
architectures = ["x86_64"]
releasever = "9"
key = "default"
repositories = []
buildroot = { packages = ["@build"], minimal = ["bash"] }
steps = [
    { name = "rpm", plugin = "rpm", on = "build-arch", releases = true },
    { name = "extra", plugin = "lint", on = "build-arch" },
    { name = "check", plugin = "check", on = "each-arch", needs = ["extra", "rpm"] },
]
"#;
    let platform = Platform::parse("el-9.toml", text).unwrap();
    let mut line = Line::planned(&push("zlib", 1), &platform, &PackageConfig::default());
    hands_over(
        &mut line,
        "rpm@x86_64",
        vec![file("zlib", "what was built")],
    );
    hands_over(
        &mut line,
        "extra@x86_64",
        vec![file("zlib", "what passes tests")],
    );
    hands_over(&mut line, "check@x86_64", Vec::new());
    assert_eq!(
        line.build.reason(),
        Some(
            "zlib-1-1.el9.x86_64.rpm of rpm@x86_64 is not what check@x86_64 was given: another step that it needs hands over a file of the same name"
        )
    );
}

#[test]
fn a_noarch_package_goes_out_from_the_architecture_that_the_platform_names() {
    let from = |noarch_from| {
        let platform = Platform {
            noarch_from,
            ..platform(TWO)
        };
        let mut line = Line::planned(&push("zlib", 1), &platform, &PackageConfig::default());
        line.passes("source", &[rpm("zlib", "src")]);
        for arch in ["x86_64", "aarch64"] {
            let doc = Artifact {
                name: "zlib-doc-1-1.el9.noarch.rpm".to_owned(),
                rpm: Some(rpm("zlib-doc", "noarch")),
                ..file("zlib-doc", arch)
            };
            hands_over(&mut line, &format!("rpm@{arch}"), vec![doc]);
        }
        line.ends_early("what goes out is known");
        let doc = line
            .build
            .releasable()
            .into_iter()
            .find(|file| file.rpm.is_noarch());
        let several = line.build.made_several_times().len();
        (doc.unwrap().digest, several)
    };
    let made_on = |arch: &str| Digest::of(arch.as_bytes());
    assert_eq!(
        from(None),
        (made_on("x86_64"), 1),
        "and must be equal to the other"
    );
    let aarch64 = Some("aarch64".parse().unwrap());
    assert_eq!(from(aarch64), (made_on("aarch64"), 0));
}

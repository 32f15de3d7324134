//! Packages that cannot be built: each ends with the reason, and harms nobody.

use crate::specs::{empty, files};
use millrace_tests::up::Up;

/// Tight bounds, so that what misbehaves is over soon.
const LIMITS: &str = "memory_bytes = 400000000\ndisk_bytes = 300000000\nprocesses = 200\ntime_s = 40\nlog_bytes = 2000000";

/// A package, what it does, and words that its author must be told.
struct Bad {
    name: &'static str,
    header: &'static str,
    build: &'static str,
    told: &'static [&'static str],
}

const BAD: &[Bad] = &[
    Bad {
        name: "needs-nothing-there",
        header: "BuildRequires: no-such-thing >= 7",
        build: "true",
        told: &["rpm@", "no-such-thing"],
    },
    Bad {
        name: "fails-to-build",
        header: "",
        build: "echo the compiler is unhappy; exit 3",
        told: &["rpm@", "%build", "the compiler is unhappy"],
    },
    Bad { name: "does-not-parse", header: "%if 1", build: "true", told: &["source", "%if"] },
    Bad { name: "loops", header: "", build: "bash -c 'while :; do :; done'", told: &["rpm@", "40 s"] },
    Bad { name: "eats-memory", header: "", build: "bash -c 'x=a; while :; do x=$x$x; done'", told: &["rpm@", "memory"] },
    Bad { name: "forks", header: "", build: "bash -c 'f() { f | f & }; f; sleep 3'; exit 9", told: &["rpm@"] },
    Bad { name: "fills-the-disk", header: "", build: "cat /dev/zero > big", told: &["rpm@", "disk"] },
    Bad { name: "prints", header: "", build: "yes", told: &["rpm@", "log"] },
    Bad { name: "writes-outside", header: "", build: "touch /usr/bin/planted || exit 4", told: &["rpm@", "/usr/bin/planted"] },
    Bad {
        name: "calls-home",
        header: "",
        build: "exec 3<>/dev/tcp/127.0.0.1/@PORT@ && exit 0; echo no way out; exit 5",
        told: &["rpm@", "no way out"],
    },
];

#[test]
fn each_ends_with_a_reason_for_its_author_and_the_line_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), LIMITS);
    let port = up.port().to_string();
    let commits: Vec<(&Bad, String)> = BAD
        .iter()
        .map(|bad| (bad, up.push_new(bad.name, &files(&empty(bad.name, bad.header, &bad.build.replace("@PORT@", &port))))))
        .collect();
    let no_spec = up.push_new("no-spec", &[("README", "nothing to build")]);
    let two_specs = up.push_new("two-specs", &[("one.spec", ""), ("two.spec", "")]);
    let digest = "0".repeat(128);
    let sources = format!("SHA512 (nowhere-1.tar.xz) = {digest}\n");
    let lost = up.push_new("lost-source", &[("lost-source.spec", ""), ("sources", &sources)]);
    for (bad, commit) in &commits {
        let (told, released) = up.watch(commit);
        assert!(!released, "{} was released:\n{told}", bad.name);
        for words in bad.told {
            assert!(told.contains(words), "{}: nobody is told of `{words}`:\n{told}", bad.name);
        }
    }
    for (commit, words) in [(no_spec, "no spec file"), (two_specs, "2 spec files (one.spec, two.spec)"), (lost, "nowhere-1.tar.xz")]
    {
        let (told, released) = up.watch(&commit);
        assert!(!released && told.contains("refused") && told.contains(words), "{told}");
    }
    assert!(!std::path::Path::new("/usr/bin/planted").exists(), "a build wrote to this machine");
    let good = up.push_new("good", &files(&empty("good", "BuildArch: noarch", "true")));
    let (told, released) = up.watch(&good);
    assert!(released, "the line did not get over it:\n{told}\n{}", up.log());
}

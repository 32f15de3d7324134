//! Packages that cannot be built: each ends with the reason, and harms nobody.

use crate::specs::{empty, files};
use millrace_tests::up::Up;
use millrace_tests::wait::wait_for;

/// Tight bounds, so that what misbehaves is over soon. The time is not as tight as the others: a task that finds no base root
/// makes one, which takes 13 s on two cores that do nothing else.
const LIMITS: &str = "memory_bytes = 400000000\ndisk_bytes = 300000000\nprocesses = 200\ntime_s = 60\nlog_bytes = 2000000";

/// Builds a package whose `%build` does this, or whose header has that; its author must be told these words and of this cause, nothing
/// is released, and the line builds the next package.
fn author_is_told(name: &str, header: &str, build: &str, words: &[&str], cause: Option<&str>) {
    author_is_told_within(LIMITS, name, header, build, words, cause);
}

fn author_is_told_within(
    limits: &str,
    name: &str,
    header: &str,
    build: &str,
    words: &[&str],
    cause: Option<&str>,
) {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), limits);
    let build = build.replace("@PORT@", &up.port().to_string());
    push_and_see(&mut up, name, &files(&empty(name, header, &build)), words);
    cause_is(&up, name, cause);
}

/// What the line makes of the log of the task that failed: this kind of trouble, and the line that says so.
fn cause_is(up: &Up, package: &str, kind: Option<&str>) {
    let build = up
        .builds()
        .into_iter()
        .find(|build| build["package"] == package)
        .unwrap();
    let failed = build["pipeline"]
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["state"] == "failed")
        .unwrap();
    let cause = &failed["cause"];
    assert_eq!(cause["kind"].as_str(), kind, "{cause}");
    if kind.is_some() {
        let log = up.millrace(&[
            "logs",
            build["id"].as_str().unwrap(),
            failed["task"].as_str().unwrap(),
        ]);
        let line = log
            .lines()
            .nth(cause["line"].as_u64().unwrap() as usize - 1)
            .unwrap();
        assert_eq!(cause["text"], line.trim(), "{log}");
    }
}

fn push_and_see(up: &mut Up, name: &str, files_of_it: &[(&str, &str)], words: &[&str]) {
    let commit = up.push_new(name, files_of_it);
    let (told, released) = up.watch(&commit);
    assert!(!released, "it was released:\n{told}");
    for words in words {
        assert!(
            told.contains(words),
            "nobody is told of `{words}`:\n{told}\n{}",
            up.log()
        );
    }
    let good = up.push_new("good", &files(&empty("good", "BuildArch: noarch", "true")));
    let (told, released) = up.watch(&good);
    assert!(
        released,
        "the line did not get over it:\n{told}\n{}",
        up.log()
    );
    let released: Vec<_> = up
        .builds()
        .into_iter()
        .filter(|build| build["state"] == "released")
        .collect();
    assert!(
        matches!(released.as_slice(), [one] if one["package"] == "good"),
        "{released:?}"
    );
}

/// Refused before there is a build.
fn push_is_refused(name: &str, files: &[(&str, &str)], words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), LIMITS);
    push_and_see(&mut up, name, files, &["refused: ", words]);
}

#[test]
fn a_build_requires_that_nothing_provides() {
    author_is_told(
        "needs-nothing-there",
        "BuildRequires: no-such-thing >= 7",
        "true",
        &[
            "BuildRequires that no repository of the platform can satisfy",
            "no-such-thing >= 7",
        ],
        Some("missing-build-requires"),
    );
}

#[test]
fn a_build_that_fails() {
    author_is_told(
        "fails-to-build",
        "",
        "echo the compiler is unhappy; exit 3",
        &["%build failed:", "the compiler is unhappy"],
        None,
    );
}

#[test]
fn a_spec_that_does_not_parse() {
    author_is_told(
        "does-not-parse",
        "%if 1",
        "true",
        &[
            "no source package can be made from does-not-parse.spec",
            "Unclosed %if",
        ],
        None,
    );
}

#[test]
fn a_build_that_loops() {
    author_is_told(
        "loops",
        "",
        "bash -c 'while :; do :; done'",
        &[
            "stopped: it was not done after",
            "`time_s` of the step's limits",
        ],
        Some("timed-out"),
    );
}

#[test]
fn a_build_that_eats_memory() {
    author_is_told(
        "eats-memory",
        "",
        "bash -c 'x=a; while :; do x=$x$x; done'",
        &["stopped: it needs more memory than 381 MiB"],
        Some("out-of-memory"),
    );
}

#[test]
fn a_build_that_forks_without_end() {
    let bomb = "bash -c 'f() { f | f & }; f; sleep 3'; exit 9";
    author_is_told(
        "forks",
        "",
        bomb,
        &["%build failed:", "Resource temporarily unavailable"],
        None,
    );
}

#[test]
fn a_build_that_fills_the_disk() {
    author_is_told(
        "fills-the-disk",
        "",
        "cat /dev/zero > big",
        &["stopped: it fills more disk than 286 MiB"],
        Some("out-of-disk"),
    );
}

#[test]
fn a_build_that_prints_without_end() {
    author_is_told(
        "prints",
        "",
        "yes",
        &["stopped: it prints more than 1953 KiB"],
        Some("too-much-output"),
    );
}

#[test]
fn a_build_that_writes_outside_its_folder() {
    let planted = "/usr/bin/planted-by-a-build";
    author_is_told(
        "writes-outside",
        "",
        &format!("touch {planted} || exit 4"),
        &["%build failed:", "touch: cannot touch", planted],
        None,
    );
    assert!(
        !std::path::Path::new(planted).exists(),
        "a build wrote to this machine"
    );
}

#[test]
fn a_build_that_opens_a_socket() {
    // bash's own way to open one, whatever shell the platform builds with. It stops at the first thing that fails.
    let build = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/@PORT@' && exit 0; echo no way out; exit 5";
    author_is_told(
        "calls-home",
        "",
        build,
        &["%build failed:", "Connection refused", "no way out"],
        Some("network-wanted"),
    );
}

#[test]
fn a_build_that_installs_what_its_spec_does_not_list() {
    let build = "true\n%install\ninstall -D -m 755 /bin/true %{buildroot}/usr/bin/extra";
    let words = [
        "Installed (but unpackaged) file(s) found:",
        "/usr/bin/extra",
    ];
    author_is_told("unlisted", "", build, &words, Some("unpackaged-files"));
}

#[test]
fn a_patch_that_does_not_fit() {
    let patch = "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-what is not there\n+what should be\n";
    let mut files_of_it = empty("unfit", "Source0: fix.patch\nBuildRequires: patch", "true");
    files_of_it[0].1 = files_of_it[0].1.replace(
        "%build\n",
        "echo something else > file\npatch -p1 < %{SOURCE0}\n%build\n",
    );
    files_of_it.push(("fix.patch".to_owned(), patch.to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), LIMITS);
    push_and_see(
        &mut up,
        "unfit",
        &files(&files_of_it),
        &["%prep failed:", "Hunk #1 FAILED at 1."],
    );
    cause_is(&up, "unfit", Some("patch-does-not-apply"));
}

#[test]
fn a_test_that_fails() {
    let build = "true\n%check\necho 'FAIL: adds'\nexit 1";
    author_is_told(
        "wrong",
        "",
        build,
        &["%check failed:", "FAIL: adds"],
        Some("test-failed"),
    );
}

#[test]
fn a_build_that_says_nothing_is_told_of_and_then_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "silence_s = 24\ntime_s = 600");
    let commit = up.push_new(
        "silent",
        &files(&empty(
            "silent",
            "BuildArch: noarch",
            "echo the last word; sleep 900",
        )),
    );
    let pipeline = |up: &Up| {
        up.builds()
            .first()
            .map(|build| build["pipeline"].clone())
            .unwrap_or_default()
    };
    let stalled = wait_for(
        || format!("word that it stalls: {}\n{}", pipeline(&up), up.log()),
        || {
            let tasks = pipeline(&up);
            let rpm = tasks.as_array()?.iter().find(|task| task["step"] == "rpm");
            rpm.filter(|rpm| rpm["state"] == "stalled").cloned()
        },
    );
    assert!(stalled["silent_since"].is_string(), "{stalled}");
    let (told, released) = up.watch(&commit);
    assert!(
        !released
            && told.contains(
                "stopped: it printed nothing for 24 s (`silence_s` of the step's limits)"
            ),
        "{told}"
    );
    assert!(told.contains("the last word"), "its log is lost:\n{told}");
    cause_is(&up, "silent", Some("timed-out"));
}

#[test]
fn no_spec() {
    push_is_refused("no-spec", &[("README", "nothing to build")], "no spec file");
}

#[test]
fn two_specs() {
    push_is_refused(
        "two-specs",
        &[("one.spec", ""), ("two.spec", "")],
        "2 spec files (one.spec, two.spec)",
    );
}

#[test]
fn a_source_that_nobody_has() {
    let sources = format!("SHA512 (nowhere-1.tar.xz) = {}\n", "0".repeat(128));
    push_is_refused(
        "lost-source",
        &[("lost-source.spec", ""), ("sources", &sources)],
        "nowhere-1.tar.xz",
    );
}

#[test]
fn a_release_from_the_clock_makes_packages_of_no_source_package() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), LIMITS);
    let spec = "Name: clock\nVersion: 1\nRelease: 0.%(date -u +%%Y%%m%%d%%H%%M%%S%%N)\nSummary: For tests\nLicense: MIT\n\
                BuildArch: noarch\n%description\nFor tests.\n%prep\n%setup -q -c -T\n%files\n";
    let words = [
        "says that it was built from clock-1-0.",
        "set them from nothing that changes, such as the clock",
    ];
    push_and_see(&mut up, "clock", &[("clock.spec", spec)], &words);
}

//! Taking back: a bad package goes out of the repositories, nothing more of it comes in, and what was built with it is known.

use crate::specs::{empty, files, library, program};
use millrace_tests::up::Up;
use serde_json::Value;

#[test]
fn a_bad_package_is_taken_out_alone_and_what_was_built_with_it_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    for (name, tree) in [("tally", library("2.5")), ("tallyctl", program("2.5"))] {
        let commit = up.push_new(name, &files(&tree));
        let (told, released) = up.watch(&commit);
        assert!(released, "{told}\n{}", up.log());
    }

    // Which builds had it in a root: the program's, which needs the library's `-devel`.
    let arch = std::env::consts::ARCH;
    let bad = format!("tally-devel-2.5-1.t9.{arch}");
    let impact = up.millrace(&["--json", "impact", &bad]);
    let impact: Vec<Value> = impact
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let had: Vec<&str> = impact
        .iter()
        .map(|build| build["package"].as_str().unwrap())
        .collect();
    assert_eq!(had, ["tallyctl"], "{impact:?}");
    assert_eq!(impact[0]["had"][0], bad.as_str());
    let none = up.millrace(&["impact", "tally-devel-9-1"]);
    assert!(
        none.contains("no build that the line knows had tally-devel-9-1"),
        "{none}"
    );

    // It goes, and the other stays.
    let gone = up.millrace(&["release", "remove", "test-9", "tally"]);
    assert!(gone.contains(&bad), "{gone}");
    let os = format!("/repo/test-9/{arch}/os/Packages/t");
    let (status, _) = up.http("GET", &format!("{os}/tally-2.5-1.t9.{arch}.rpm"), "", "");
    assert_eq!(status, 404);
    let (status, _) = up.http("GET", &format!("{os}/tallyctl-1-1.t9.{arch}.rpm"), "", "");
    assert_eq!(status, 200);
    let again = up.try_millrace(&["release", "remove", "test-9", "tally"]);
    assert_eq!(again.status.code(), Some(3), "{again:?}");

    // Nothing more of it comes in until somebody says so.
    up.millrace(&[
        "package",
        "suspend",
        "tally",
        "--reason",
        "its account was taken over",
    ]);
    let commit = up.push("tally", &files(&library("2.6")));
    let (told, released) = up.watch(&commit);
    assert!(
        !released && told.contains("its account was taken over"),
        "{told}"
    );
    assert!(told.contains("`millrace package resume tally`"), "{told}");
    up.millrace(&["package", "resume", "tally"]);
    let commit = up.push("tally", &files(&library("2.7")));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());

    // A package that is forgotten leaves its name to another one.
    up.millrace(&["package", "remove", "tally"]);
    let shown = up.try_millrace(&["package", "show", "tally"]);
    assert_eq!(shown.status.code(), Some(3), "{shown:?}");
    let header = "BuildArch: noarch\n%package -n tally\nSummary: A new one\n%description -n tally\nNew.\n%files -n tally";
    let commit = up.push_new("heir", &files(&empty("heir", header, "true")));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
}

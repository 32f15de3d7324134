//! Logs as they are, and what is found in them.

use super::*;

/// The kind and the line that are found in a log, however it is cut into pieces.
fn told(log: &str) -> String {
    let of = |piece: usize| {
        let mut classifier = Classifier::default();
        log.as_bytes()
            .chunks(piece)
            .for_each(|bytes| classifier.take(bytes));
        classifier.cause().map_or_else(String::new, |cause| {
            format!(
                "{}, line {}: {}",
                cause.kind.words(),
                cause.line,
                cause.text
            )
        })
    };
    let whole = of(log.len().max(1));
    assert_eq!(of(1), whole);
    assert_eq!(of(7), whole);
    whole
}

const BUILD: &str = "==> build\nExecuting(%prep): /bin/sh -e /var/tmp/rpm-tmp.1\n+ exit 0\nExecuting(%build): /bin/sh -e /var/tmp/rpm-tmp.2\n";

fn in_build(lines: &str) -> String {
    told(&format!(
        "{BUILD}{lines}\nerror: Bad exit status from /var/tmp/rpm-tmp.2 (%build)\n==> failed\n%build failed:\n"
    ))
}

fn in_check(lines: &str) -> String {
    let check = "Executing(%check): /bin/sh -e /var/tmp/rpm-tmp.4\n";
    told(&format!(
        "{BUILD}{check}{lines}\nerror: Bad exit status from /var/tmp/rpm-tmp.4 (%check)\n==> failed\n"
    ))
}

#[test]
fn what_is_not_in_the_buildroot() {
    let root = "==> root with build dependencies\nError: Unable to find a match: no-such-thing\n==> failed\n\
                BuildRequires that no repository of the platform can satisfy:\nnothing provides no-such-thing >= 7\n";
    let expected = "missing BuildRequires, line 4: BuildRequires that no repository of the platform can satisfy:";
    assert_eq!(told(root), expected);
    for line in [
        "foo.c:3:10: fatal error: zlib.h: No such file or directory",
        "foo.cc:3:10: fatal error: 'zlib.h' file not found",
        "/var/tmp/rpm-tmp.2: line 38: cmake: command not found",
        "/usr/bin/ld: cannot find -lz: No such file or directory",
        "Package 'libfoo', required by 'virtual:world', not found",
        "configure: error: libfoo is required",
        "CMake Error: Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)",
        "meson.build:12:0: ERROR: Dependency \"libfoo\" not found, tried pkgconfig",
        "ModuleNotFoundError: No module named 'setuptools'",
        "Can't locate ExtUtils/MakeMaker.pm in @INC (you may need to install it)",
    ] {
        assert_eq!(
            in_build(&format!("gcc -c foo.c\n{line}\nmake: *** [foo.o] Error 1")),
            format!("missing BuildRequires, line 6: {line}")
        );
    }
}

#[test]
fn what_the_compiler_refuses() {
    let found = in_build(
        "foo.c:1:1: error: unknown type name 'itn'\nfoo.c:9:2: error: expected ';'\nmake: *** [foo.o] Error 1",
    );
    assert_eq!(
        found,
        "it does not compile, line 5: foo.c:1:1: error: unknown type name 'itn'"
    );
    let linked = in_build(
        "/usr/bin/ld: foo.o: undefined reference to `tally'\ncollect2: error: ld returned 1 exit status",
    );
    assert_eq!(
        linked,
        "it does not compile, line 5: /usr/bin/ld: foo.o: undefined reference to `tally'"
    );
}

#[test]
fn a_test_that_fails_and_one_that_does_not() {
    let automake = "PASS: one\nFAIL: two\n# FAIL:  1\n";
    assert_eq!(in_check(automake), "a test failed, line 7: FAIL: two");
    assert_eq!(
        in_check("# FAIL:  0\nbusy\nnot ok 3 - adds"),
        "a test failed, line 8: not ok 3 - adds"
    );
    assert_eq!(
        in_check("nothing that anybody knows"),
        "a test failed, line 7: error: Bad exit status from /var/tmp/rpm-tmp.4 (%check)"
    );
    let compiled = in_check("t.c:1:1: error: unknown type name 'itn'");
    assert_eq!(
        compiled,
        "a test failed, line 7: error: Bad exit status from /var/tmp/rpm-tmp.4 (%check)"
    );
}

#[test]
fn what_earlier_phases_say_does_no_harm() {
    let configured = "checking for foo.h... fatal error: foo.h: No such file or directory\nExecuting(%install): /bin/sh\n";
    assert_eq!(
        told(&format!(
            "{BUILD}{configured}error: Installed (but unpackaged) file(s) found:\n   /usr/bin/extra\n"
        )),
        "unpackaged files, line 7: error: Installed (but unpackaged) file(s) found:"
    );
    assert_eq!(
        told(&format!(
            "{BUILD}{configured}error: File not found: /builddir/BUILDROOT/usr/bin/gone\n"
        )),
        "files in the spec that were not installed, line 7: error: File not found: /builddir/BUILDROOT/usr/bin/gone"
    );
}

#[test]
fn a_patch_that_does_not_apply_is_one_of_prep_alone() {
    let prep = "Executing(%prep): /bin/sh -e /var/tmp/rpm-tmp.1\npatching file foo.c\nHunk #1 FAILED at 3.\n1 out of 1 hunk FAILED -- saving rejects to file foo.c.rej\n";
    assert_eq!(
        told(prep),
        "a patch does not apply, line 3: Hunk #1 FAILED at 3."
    );
    assert_eq!(
        in_check("Hunk #1 FAILED at 3."),
        "a test failed, line 7: error: Bad exit status from /var/tmp/rpm-tmp.4 (%check)"
    );
}

#[test]
fn who_runs_out_of_something_is_told_of_that_whatever_else_is_said() {
    let disk = "cc1: fatal error: error writing to /tmp/x.s: No space left on device";
    assert_eq!(
        in_build(&format!("foo.c:1:1: error: odd\n{disk}")),
        format!("out of disk, line 6: {disk}")
    );
    let memory = "g++: fatal error: Killed signal terminated program cc1plus";
    assert_eq!(in_build(memory), format!("out of memory, line 5: {memory}"));
    let limit = "==> build\nExecuting(%build): /bin/sh\n==> failed\nrpmbuild: stopped: it was not done after 60 s (`time_s` of the step's limits)\n";
    assert_eq!(
        told(limit),
        "out of time, line 4: rpmbuild: stopped: it was not done after 60 s (`time_s` of the step's limits)"
    );
}

#[test]
fn who_wants_the_network_is_told_so_before_the_test_that_wanted_it() {
    let cargo = "error: failed to fetch: [6] Could not resolve hostname (Could not resolve host: index.crates.io)";
    assert_eq!(
        in_build(cargo),
        format!("it wants the network, line 5: {cargo}")
    );
    let python = "socket.gaierror: [Errno -3] Temporary failure in name resolution";
    assert_eq!(
        in_check(&format!("FAIL: one\n{python}")),
        format!("it wants the network, line 7: {python}")
    );
    assert_eq!(
        in_check("server did not come up: Connection refused\nFAIL: one"),
        "a test failed, line 7: FAIL: one"
    );
}

#[test]
fn a_log_that_says_nothing_of_use_has_no_cause_and_a_line_without_end_is_bounded() {
    assert_eq!(told(""), "");
    assert_eq!(told("one\ntwo\n"), "");
    let long = "x".repeat(10 * LINE_BYTES_MAX);
    assert_eq!(in_build(&format!("{long}: command not found")), "");
    let cut = in_build(&format!("foo.c:1:1: error: {long}"));
    assert!(cut.len() < LINE_BYTES_MAX + 50, "{}", cut.len());
}

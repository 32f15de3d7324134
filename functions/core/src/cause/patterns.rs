//! How troubles are reported in logs: by rpm, dnf, compilers, build tools and the runner itself.

use super::{Kind, Phase};

/// The phase that begins with a line, if one does: `Executing(%build): /bin/sh …` of rpmbuild, or `==> title` of the runner. The
/// runner's last words about a task that failed are no phase of it.
pub(super) fn begins(text: &str) -> Option<Phase> {
    if let Some(title) = text.strip_prefix("==> ") {
        let last_words = title == "failed" || title.starts_with("the log ends here");
        return (!last_words).then_some(Phase::Other);
    }
    let name = text.strip_prefix("Executing(%")?.split(')').next()?;
    Some(match name {
        "prep" => Phase::Prep,
        "build" | "generate_buildrequires" | "conf" => Phase::Build,
        "install" => Phase::Install,
        "check" => Phase::Check,
        _ => Phase::Other,
    })
}

/// What a line tells of, in a phase.
pub(super) fn kind_of(text: &str, phase: Phase) -> Option<Kind> {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let told = |kind: Kind, words: &[&str]| says(words).then_some(kind);
    told(Kind::TimedOut, TIMED_OUT)
        .or_else(|| told(Kind::OutOfDisk, OUT_OF_DISK))
        .or_else(|| told(Kind::OutOfMemory, OUT_OF_MEMORY))
        .or_else(|| told(Kind::TooMuchOutput, TOO_MUCH_OUTPUT))
        .or_else(|| told(Kind::UnpackagedFiles, UNPACKAGED))
        .or_else(|| told(Kind::MissingFiles, MISSING_FILES).filter(|_| text.starts_with("error:")))
        .or_else(|| {
            (phase == Phase::Prep && does_not_apply(text)).then_some(Kind::PatchDoesNotApply)
        })
        .or_else(|| misses(text, phase).then_some(Kind::MissingBuildRequires))
        .or_else(|| told(Kind::NetworkWanted, NETWORK))
        .or_else(|| told(Kind::NetworkWanted, CONNECTION).filter(|_| phase != Phase::Check))
        .or_else(|| test_failed(text, phase).then_some(Kind::TestFailed))
        .or_else(|| does_not_compile(text).then_some(Kind::DoesNotCompile))
}

/// The runner's own words.
const TIMED_OUT: &[&str] = &[
    "stopped: it was not done after",
    "stopped: the task was not done after",
    "stopped: it printed nothing for",
];
const TOO_MUCH_OUTPUT: &[&str] = &[
    "stopped: it prints more than",
    "==> the log ends here: it may have",
];

/// The runner's, and the C library's for ENOSPC and EDQUOT.
const OUT_OF_DISK: &[&str] = &[
    "stopped: it fills more disk than",
    "No space left on device",
    "Disk quota exceeded",
];

/// The runner's, the C library's for ENOMEM, GCC's driver of a compiler that the kernel ended, and those of languages with an allocator
/// of their own.
const OUT_OF_MEMORY: &[&str] = &[
    "stopped: it needs more memory than",
    "Cannot allocate memory",
    "virtual memory exhausted",
    "fatal error: Killed signal terminated program",
    "ld terminated with signal 9",
    "std::bad_alloc",
    "java.lang.OutOfMemoryError",
    "JavaScript heap out of memory",
    "memory allocation of ",
];

/// rpmbuild's (build/files.c).
const UNPACKAGED: &[&str] = &["Installed (but unpackaged) file(s) found"];
const MISSING_FILES: &[&str] = &[
    "File not found:",
    "File not found by glob:",
    "Directory not found:",
];

/// What resolvers and sockets say if there is no network.
const NETWORK: &[&str] = &[
    "Could not resolve host",
    "Couldn't resolve host",
    "unable to resolve host address",
    "Temporary failure in name resolution",
    "Name or service not known",
    "nodename nor servname provided",
    "failed to lookup address information",
    "Network is unreachable",
    "getaddrinfo ENOTFOUND",
    "getaddrinfo EAI_AGAIN",
    "dial tcp: lookup ",
    "java.net.UnknownHostException",
];

/// The same outside of tests, which often talk to a server of their own that did not come up.
const CONNECTION: &[&str] = &["Connection refused", "ConnectionRefusedError"];

/// patch(1), git-apply(1), quilt(1).
fn does_not_apply(text: &str) -> bool {
    let hunk = text.contains("Hunk #") && text.contains("FAILED at");
    let hunks = text.contains("out of ") && text.contains("FAILED") && text.contains("hunk");
    let git = text.starts_with("error: patch failed:") || text.ends_with(": patch does not apply");
    let plain = [
        "can't find file to patch",
        "malformed patch at line",
        "Only garbage was found in the patch input",
    ];
    hunk || hunks || git || plain.iter().any(|words| text.contains(words))
}

/// Something that is needed is not there: by dnf, rpmbuild, compilers, shells, configure, pkg-config, CMake, Meson, Perl and Python.
fn misses(text: &str, phase: Phase) -> bool {
    let says = |word: &str| text.contains(word);
    let resolver = says("BuildRequires that no repository of the platform can satisfy")
        || says("No match for argument:")
        || says("nothing provides ")
        || text.starts_with("error: Failed build dependencies")
        || text.starts_with("No matching package to install:");
    // A test that looks for something is no cause of its own.
    resolver || (phase != Phase::Check && (header(text) || tool(text) || library(text)))
}

fn header(text: &str) -> bool {
    let included = text.contains("fatal error: ")
        && (text.ends_with("No such file or directory") || text.ends_with("file not found"));
    included && !text.contains("cannot execute")
}

/// A shell's words for a program that is not there; of `make` if it starts one itself.
fn tool(text: &str) -> bool {
    let shell = text.ends_with(": command not found") || text.ends_with(": not found");
    (shell && text.contains(": line "))
        || (text.starts_with("make")
            && text.ends_with(": No such file or directory")
            && text.contains(": exec"))
}

fn library(text: &str) -> bool {
    let says = |word: &str| text.contains(word);
    let linker = says("cannot find -l") || (says("unable to find library -l"));
    let packages = (text.starts_with("Package '") || text.starts_with("No package '"))
        && says("found")
        || (text.starts_with("Package ") && says(" was not found in the pkg-config search path"));
    let configure = says("configure: error:")
        && (says("not found") || says("missing") || says("is required") || says("could not find"));
    let cmake = says("Could NOT find ") && says("missing:")
        || says("Could not find a package configuration file provided by");
    let meson = says("ERROR: Dependency ") && says("not found")
        || says("ERROR: Program ") && says("not found");
    let scripts =
        says("ModuleNotFoundError: No module named") || (says("Can't locate ") && says(" in @INC"));
    linker || packages || configure || cmake || meson || scripts
}

/// Automake, CTest, Meson, pytest, TAP, cargo, Go; and rpmbuild of `%check`, whatever was run there.
fn test_failed(text: &str, phase: Phase) -> bool {
    let words = [
        "The following tests FAILED:",
        "test result: FAILED",
        "Bad exit status from",
    ];
    let begins = [
        "FAIL: ",
        "FAILED (",
        "FAILED ",
        "not ok ",
        "--- FAIL:",
        "# FAIL:  ",
    ];
    let none = text.starts_with("# FAIL:") && text.trim_end().ends_with(" 0");
    let told = begins.iter().any(|word| text.starts_with(word))
        || words[..2].iter().any(|word| text.contains(word));
    phase == Phase::Check
        && !none
        && (told || (text.contains(words[2]) && text.contains("(%check)")) || make_check(text))
        || text.starts_with("%check failed")
}

fn make_check(text: &str) -> bool {
    text.starts_with("make")
        && text.contains("*** [")
        && (text.contains(": check") || text.contains(": test"))
}

/// `file:line: error:` of GCC, Clang and those that follow them, linkers, rustc and Go.
fn does_not_compile(text: &str) -> bool {
    let compiler = text.contains(": error: ")
        || text.starts_with("error[E")
        || text.starts_with("error: could not compile");
    let linker = text.contains("undefined reference to ")
        || text.contains("collect2: error:")
        || text.contains("ld: error:");
    let java = text.starts_with("[ERROR] COMPILATION ERROR");
    (compiler && !text.starts_with("configure: ")) || linker || java
}

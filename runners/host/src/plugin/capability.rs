//! What a task may ask for. Every call of a plugin comes by here before anything is done; nothing in this file does IO.

use millrace_core::sources::is_inside;
use millrace_core::task::{ARTIFACTS_MAX, Artifact};
use millrace_core::{Digest, NameError};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most bytes of a command line with its environment: the sandbox hands it on as one argument, which Linux bounds at 128 KiB, with
/// up to twice the bytes for what must be quoted. The names of 400 packages fit.
pub const ARGUMENT_BYTES_MAX: usize = 48 << 10;

/// Most bytes for a command's standard input: a list of files; larger things go through the task's folder.
pub const STDIN_BYTES_MAX: usize = 1 << 20;

/// Most bytes of standard output that go back into the plugin's memory.
pub const CAPTURE_BYTES_MAX: u32 = 16 << 20;

/// Largest file that a plugin reads in one call, in bytes: a quarter of its memory.
pub const READ_BYTES_MAX: u64 = 64 << 20;

/// Most packages in one request for a root: TeX Live has 400 artifacts at most, and a spec's BuildRequires fewer.
pub const PACKAGES_MAX: usize = 1000;

/// Why something may not be done, in words for the plugin's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A path that is absolute, empty, or has `.` or `..` in it.
    #[error("`{0}` is no path inside the task's folder")]
    Path(String),
    /// The digest names no input of the task.
    #[error("{0} is no input of this task")]
    NoInput(String),
    /// An artifact's name that the line cannot keep.
    #[error("{0}")]
    Name(#[from] NameError),
    /// The name is taken.
    #[error("a result named `{0}` has been handed over already")]
    Twice(String),
    #[error("a task may hand over {ARTIFACTS_MAX} files; this would be one more")]
    TooMany,
    /// A command that cannot be run as given.
    #[error("the command {0}")]
    Command(&'static str),
    /// No name of a package, no capability and no path of one.
    #[error("`{0}` is no package")]
    Package(String),
    /// Too many packages at once.
    #[error("{0} packages in one request; there may be {PACKAGES_MAX}")]
    Packages(usize),
}

/// What one task may do.
#[derive(Debug, Clone)]
pub struct Grants {
    inputs: BTreeMap<Digest, Artifact>,
    published: Vec<String>,
}

/// What a plugin wants to have run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRequest {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub stdin: Vec<u8>,
    /// In seconds; 0 for the task's own time.
    pub timeout_s: u32,
    /// Standard output to hand back, in bytes.
    pub capture_bytes_max: u32,
}

impl Grants {
    /// The grants of a task with these inputs.
    pub fn new(inputs: &[Artifact]) -> Self {
        let inputs = inputs
            .iter()
            .map(|input| (input.digest, input.clone()))
            .collect();
        Self {
            inputs,
            published: Vec::new(),
        }
    }

    /// The input with a digest.
    pub fn input(&self, digest: &str) -> Result<&Artifact, Refusal> {
        let unknown = || Refusal::NoInput(shortened(digest));
        let digest: Digest = digest.parse().map_err(|_| unknown())?;
        self.inputs.get(&digest).ok_or_else(unknown)
    }

    /// The name under which a file is handed over: that of the file, new in this task, and one that may stand in a URL.
    pub fn result_name(&self, path: &str) -> Result<String, Refusal> {
        let name = path_inside(path)?.rsplit('/').next().unwrap_or(path);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~^:%@=".contains(c);
        if name.len() > FILE_NAME_BYTES_MAX || !name.chars().all(plain) {
            return Err(NameError {
                what: "result",
                name: shortened(name),
            }
            .into());
        }
        if self.published.iter().any(|other| other == name) {
            return Err(Refusal::Twice(name.to_owned()));
        }
        if self.published.len() >= ARTIFACTS_MAX {
            return Err(Refusal::TooMany);
        }
        Ok(name.to_owned())
    }

    /// Remembers that a file was handed over.
    pub fn publish(&mut self, name: String) {
        self.published.push(name);
    }
}

/// Longest name of a file on the file systems in use, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// A path that stays inside the task's folder as far as its text tells; links are the business of the code that opens it.
pub fn path_inside(path: &str) -> Result<&str, Refusal> {
    let path_without_slash = path.strip_suffix('/').unwrap_or(path);
    if is_inside(path_without_slash) {
        Ok(path_without_slash)
    } else {
        Err(Refusal::Path(shortened(path)))
    }
}

/// Checks a command, and bounds what it asks for: its time by what is left of the task's.
pub fn command(request: &CommandRequest, left: Duration) -> Result<Duration, Refusal> {
    let words = request
        .argv
        .iter()
        .chain(request.env.iter().flat_map(|(name, value)| [name, value]));
    let bytes: usize = words.clone().map(|word| word.len() + 1).sum();
    if request.argv.first().is_none_or(String::is_empty) {
        return Err(Refusal::Command("has no program"));
    }
    if words.chain([&request.cwd]).any(|word| word.contains('\0')) {
        return Err(Refusal::Command("has a NUL in it"));
    }
    if bytes > ARGUMENT_BYTES_MAX {
        return Err(Refusal::Command(
            "is longer than 48 KiB: hand lists over as a file or on standard input",
        ));
    }
    if request
        .env
        .iter()
        .any(|(name, _)| name.is_empty() || name.contains('='))
    {
        return Err(Refusal::Command(
            "sets a variable without a name, or with `=` in it",
        ));
    }
    if !request.cwd.starts_with('/') || request.cwd.split('/').any(|part| part == "..") {
        return Err(Refusal::Command(
            "starts in a folder that is not absolute, or has `..` in it",
        ));
    }
    if request.stdin.len() > STDIN_BYTES_MAX {
        return Err(Refusal::Command(
            "gets more than 1 MiB of standard input: write a file",
        ));
    }
    if request.capture_bytes_max > CAPTURE_BYTES_MAX {
        return Err(Refusal::Command(
            "hands back more than 16 MiB of output: have it write a file",
        ));
    }
    let own = if request.timeout_s == 0 {
        left
    } else {
        Duration::from_secs(u64::from(request.timeout_s))
    };
    Ok(own.min(left))
}

/// Checks what shall be in a root: names, capabilities and RPMs of the task's folder, and nothing that a package manager could take
/// for an option, a pattern or a place to download from.
pub fn check_packages(wanted: &[String]) -> Result<(), Refusal> {
    if wanted.len() > PACKAGES_MAX {
        return Err(Refusal::Packages(wanted.len()));
    }
    wanted.iter().try_for_each(|text| check_package(text))
}

fn check_package(text: &str) -> Result<(), Refusal> {
    let odd = |c: char| c.is_control() || "*?[]\\,;|&`$\"'".contains(c);
    if text.is_empty()
        || text.len() > 4096
        || text.starts_with('-')
        || text.contains("://")
        || text.chars().any(odd)
    {
        return Err(Refusal::Package(shortened(text)));
    }
    if text.ends_with(".rpm") {
        path_inside(text).map(drop)
    } else {
        Ok(())
    }
}

/// The beginning of a text of unknown length.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, bytes: &[u8]) -> Artifact {
        Artifact {
            name: name.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            rpm: None,
        }
    }

    fn request(argv: &[&str]) -> CommandRequest {
        CommandRequest {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            cwd: "/work".to_owned(),
            stdin: Vec::new(),
            timeout_s: 0,
            capture_bytes_max: 0,
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn paths_stay_inside_the_folder() {
        for inside in ["a", "a/b", "a/b/", "..a", "a..", "tree/.hidden"] {
            assert!(path_inside(inside).is_ok(), "{inside}");
        }
        for outside in [
            "", "/", "/etc", "..", "a/..", "a/../b", "./a", "a//b", "a\nb", "a\0",
        ] {
            assert!(path_inside(outside).is_err(), "{outside:?}");
        }
    }

    #[test]
    fn only_inputs_of_the_task_may_be_fetched() {
        let grants = Grants::new(&[artifact("tree.tar", b"tree")]);
        assert_eq!(
            grants.input(&Digest::of(b"tree").to_string()).unwrap().name,
            "tree.tar"
        );
        assert!(matches!(
            grants.input(&Digest::of(b"other").to_string()),
            Err(Refusal::NoInput(_))
        ));
        assert!(matches!(grants.input("tree.tar"), Err(Refusal::NoInput(_))));
    }

    #[test]
    fn results_have_names_of_their_own_and_there_is_an_end_of_them() {
        let mut grants = Grants::new(&[]);
        assert_eq!(
            grants
                .result_name("out/x86_64/zlib-1.3~rc1-1.el9.x86_64.rpm")
                .unwrap(),
            "zlib-1.3~rc1-1.el9.x86_64.rpm"
        );
        grants.publish("a".to_owned());
        assert_eq!(
            grants.result_name("b/a"),
            Err(Refusal::Twice("a".to_owned()))
        );
        assert!(matches!(grants.result_name("b/a b"), Err(Refusal::Name(_))));
        (1..ARTIFACTS_MAX).for_each(|n| grants.publish(format!("a{n}")));
        assert_eq!(grants.result_name("b"), Err(Refusal::TooMany));
    }

    #[test]
    fn a_command_gets_the_time_that_the_task_has_left_and_no_more() {
        let five_s = CommandRequest {
            timeout_s: 5,
            ..request(&["true"])
        };
        let long = CommandRequest {
            timeout_s: 1_000_000,
            ..request(&["true"])
        };
        assert_eq!(command(&request(&["true"]), HOUR), Ok(HOUR));
        assert_eq!(command(&five_s, HOUR), Ok(Duration::from_secs(5)));
        assert_eq!(command(&long, HOUR), Ok(HOUR));
    }

    #[test]
    fn a_command_that_cannot_be_run_is_refused() {
        let env = |name: &str| CommandRequest {
            env: vec![(name.to_owned(), String::new())],
            ..request(&["true"])
        };
        let cwd = |folder: &str| CommandRequest {
            cwd: folder.to_owned(),
            ..request(&["true"])
        };
        let refused = [
            request(&[]),
            request(&[""]),
            request(&["a\0b"]),
            request(&["a", &"x".repeat(ARGUMENT_BYTES_MAX)]),
            env(""),
            env("A=B"),
            cwd("work"),
            cwd("/work/../etc"),
            CommandRequest {
                stdin: vec![0; STDIN_BYTES_MAX + 1],
                ..request(&["cat"])
            },
            CommandRequest {
                capture_bytes_max: CAPTURE_BYTES_MAX + 1,
                ..request(&["cat"])
            },
        ];
        for case in refused {
            assert!(
                matches!(command(&case, HOUR), Err(Refusal::Command(_))),
                "{:?} {:?}",
                case.argv.first(),
                case.env
            );
        }
    }

    #[test]
    fn packages_are_names_capabilities_or_files_and_never_options() {
        let check = |text: &str| check_packages(&[text.to_owned()]);
        for fine in [
            "zlib-devel",
            "pkgconfig(zlib) >= 1.3",
            "@buildsys-build",
            "/usr/bin/bats",
            "in/a.rpm",
            "gcc-c++",
            "perl(A::B)",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for refused in [
            "",
            "-y",
            "--nogpgcheck",
            "/etc/a.rpm",
            "../a.rpm",
            "http://example.org/a.rpm",
            "file:///a",
            "a\nb",
            "*",
            "a;b",
        ] {
            assert!(check(refused).is_err(), "{refused:?}");
        }
        assert_eq!(
            check_packages(&vec!["a".to_owned(); PACKAGES_MAX + 1]),
            Err(Refusal::Packages(PACKAGES_MAX + 1))
        );
    }
}

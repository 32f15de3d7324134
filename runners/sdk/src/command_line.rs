//! Commands, put together a word at a time.

use crate::buildroot::Root;
use crate::command::{self, Exit, Spec};
use crate::{Failure, tail_of};

/// Lines of output that a failure quotes: a compiler's error with its context; the log has the rest.
const LINES_QUOTED: usize = 12;

/// Standard output that [`Command::output`] takes, in bytes: the file list of the largest packages.
const OUTPUT_BYTES_MAX: u32 = 16 << 20;

/// A command to run in a root.
#[derive(Debug, Clone)]
pub struct Command(Spec);

impl Command {
    /// A program and its arguments; there is no shell in between.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self(Spec {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: "/work".to_owned(),
            stdin: Vec::new(),
            timeout_s: 0,
            capture_bytes_max: 0,
            as_root: false,
        })
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.0.argv.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.argv.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts in this folder of the root; `/work` unless it is set.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<String>) -> Self {
        self.0.cwd = folder.into();
        self
    }

    /// What it reads.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.stdin = bytes.into();
        self
    }

    /// Stops it after so many seconds; what is left of the task's own time unless it is set.
    #[must_use]
    pub fn timeout_s(mut self, seconds: u32) -> Self {
        self.0.timeout_s = seconds;
        self
    }

    /// Keeps this much of what it prints on standard output, in bytes.
    #[must_use]
    pub fn capture(mut self, bytes_max: u32) -> Self {
        self.0.capture_bytes_max = bytes_max;
        self
    }

    /// Runs as root of the sandbox.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.0.as_root = true;
        self
    }

    /// Runs it, whatever status it ends with.
    pub fn run(&self, root: &Root) -> Result<Exit, command::Error> {
        command::run(root, &self.0)
    }

    /// Runs it; a status other than 0 is the package's failure, with the last lines that it printed. `what` says what was tried.
    pub fn run_checked(&self, root: &Root, what: &str) -> Result<Exit, Failure> {
        let exit = self
            .run(root)
            .map_err(|error| Failure::from(error).while_doing(what))?;
        if exit.status == 0 {
            return Ok(exit);
        }
        Err(Failure::package(format!(
            "{what}: `{}` ended with status {}\n{}",
            self.program(),
            exit.status,
            tail_of(&exit.tail, LINES_QUOTED)
        )))
    }

    /// Like [`run_checked`](Self::run_checked), and hands back standard output, which must be UTF-8 and at most 16 MiB.
    pub fn output(self, root: &Root, what: &str) -> Result<String, Failure> {
        let exit = self.capture(OUTPUT_BYTES_MAX).run_checked(root, what)?;
        if exit.cut {
            return Err(Failure::package(format!(
                "{what}: more than {OUTPUT_BYTES_MAX} bytes of output"
            )));
        }
        String::from_utf8(exit.stdout)
            .map_err(|_| Failure::package(format!("{what}: its output is not UTF-8")))
    }

    fn program(&self) -> &str {
        self.0.argv.first().map_or("", String::as_str)
    }
}

/// A script for the root's `/bin/sh`, which stops at the first command that fails. Values belong into `arguments`, where the
/// script finds them as `$1`, `$2`, and no quoting can go wrong.
pub fn shell<S: Into<String>>(script: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    Command::new(["/bin/sh", "-euc", script, "sh"]).args(arguments)
}

//! Roots that mock makes, by a configuration of this machine's (mock(1)). It runs as it always does, outside of every sandbox: its
//! configuration is the keeper's of the machine. What it has made becomes a layer like any other, and nothing foreign but its own
//! scriptlets has run in it.

use super::dnf::last_words;
use super::error::RootError;
use super::layer::from_nothing;
use super::maker::LayerMaker;
use super::origin::mock_config;
use super::recipe::Recipe;
use super::session::RootSession;
use super::store::{Layer, LayerStore};
use crate::machine::subordinate;
use millrace_core::Digest;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How soon a task that was given up ends mock.
const LOOK: Duration = Duration::from_millis(100);

/// The program, as it is found.
pub(super) const MOCK: &str = "mock";

impl LayerMaker {
    /// A root that mock has made, with packages on top of what its configuration says. It is made again when the configuration or the
    /// platform's repositories have changed.
    pub(super) fn of_mock(
        &self,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<Layer, RootError> {
        if subordinate::in_namespace() {
            return Err(RootError::Refused(
                "mock needs a runner that is root: this one is an ordinary user".to_owned(),
            ));
        }
        let mock = MockCommand::of(&self.mock, &self.recipe);
        let says = mock.run(&["--debug-config-expanded"], false, session)?;
        let key = LayerStore::key_of(&(
            "mock",
            self.recipe.arch,
            packages,
            Digest::of(says.as_bytes()),
            &self.repositories.platform,
        ));
        let mock = mock.named(&key);
        let made = self.store.once(&key, |new| {
            let overlay = from_nothing(new)?;
            let filled = mock.fill(&overlay.upper, packages, session);
            // Whatever came of it, nothing of it stays in mock's own folders.
            let cleaned = mock.run(&["--scrub=chroot"], false, session);
            filled?;
            cleaned?;
            self.is_root(&overlay, session)?;
            self.settle(new, &overlay, session)?;
            Ok(true)
        })?;
        made.ok_or_else(|| {
            RootError::Refused(format!(
                "mock made no root by its configuration {}",
                mock_config(&self.recipe)
            ))
        })
    }
}

/// mock with one configuration.
struct MockCommand {
    program: String,
    common: Vec<String>,
}

impl MockCommand {
    fn of(program: &Path, recipe: &Recipe) -> Self {
        let arch = recipe.arch.to_string();
        let forced = (std::env::consts::ARCH != arch).then(|| ["--forcearch".to_owned(), arch]);
        let common = ["--root".to_owned(), mock_config(recipe)]
            .into_iter()
            .chain(forced.into_iter().flatten())
            .collect();
        Self {
            program: program.display().to_string(),
            common,
        }
    }

    /// The same with a root of its own, since others may use the configuration too.
    fn named(self, key: &str) -> Self {
        let own = ["--uniqueext".to_owned(), format!("millrace-{key}")];
        Self {
            common: self.common.into_iter().chain(own).collect(),
            ..self
        }
    }

    /// Lets mock make its root, and takes a copy.
    fn fill(
        &self,
        to: &Path,
        packages: &[String],
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        self.run(&["--init"], true, session)?;
        if !packages.is_empty() {
            let arguments: Vec<&str> = std::iter::once("--install")
                .chain(packages.iter().map(String::as_str))
                .collect();
            self.run(&arguments, true, session)?;
        }
        let said = self.run(&["--print-root-path"], false, session)?;
        let root = said
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| line.starts_with('/'))
            .map(PathBuf::from);
        let root = root.filter(|root| root.is_dir() && root != Path::new("/"));
        let root = root.ok_or_else(|| {
            RootError::Refused(
                "mock does not say where its root is (`--print-root-path`)".to_owned(),
            )
        })?;
        // What mock has mounted in it, and device nodes, are the machine's; a sandbox brings its own.
        let copy = ["cp", "--archive", "--one-file-system", "--reflink=auto"]
            .map(str::to_owned)
            .into_iter();
        let from = format!("{}/.", root.display());
        let argv: Vec<String> = copy.chain([from, to.display().to_string()]).collect();
        std::fs::create_dir_all(to)?;
        run(&argv, false, session).map(drop)
    }

    fn run(
        &self,
        arguments: &[&str],
        aloud: bool,
        session: &mut RootSession<'_>,
    ) -> Result<String, RootError> {
        let arguments = arguments.iter().map(|text| (*text).to_owned());
        let argv: Vec<String> = std::iter::once(self.program.clone())
            .chain(self.common.iter().cloned())
            .chain(arguments)
            .collect();
        if aloud {
            (session.output)(format!("$ {}\n", argv.join(" ")).as_bytes());
        }
        run(&argv, aloud, session)
    }
}

/// Runs a program of the machine to its end, unless the task is given up; what it has printed.
fn run(argv: &[String], aloud: bool, session: &mut RootSession<'_>) -> Result<String, RootError> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(&argv[0]);
    command
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RootError::Refused(format!(
            "this runner has no `{}`: install it, or let a step require a feature that only runners with it have",
            argv[0]
        )),
        _ => error.into(),
    })?;
    drop(command);
    let (give, take) = channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(&mut reader);
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
            && give.send(std::mem::take(&mut line)).is_ok()
        {}
    });
    let began = Instant::now();
    let mut said = String::new();
    loop {
        match take.recv_timeout(LOOK) {
            Ok(line) => {
                if aloud {
                    (session.output)(&line);
                }
                said.push_str(&String::from_utf8_lossy(&line));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if session.cancelled.load(Ordering::SeqCst) || began.elapsed() >= session.time_left {
            end(&mut child);
            return Err(RootError::Stopped);
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(said);
    }
    let last = last_words(&said);
    Err(RootError::Refused(format!(
        "`{}` failed ({status}):\n{last}",
        argv.join(" ")
    )))
}

/// Ends a program and what it has started.
fn end(child: &mut std::process::Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(id),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    let _ = child.wait();
}

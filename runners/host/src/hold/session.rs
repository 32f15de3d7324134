//! Somebody at a held sandbox: a shell at a terminal of its own, or one command; what is typed comes from the line, what is printed goes
//! there.
//!
//! Three threads beside the one that waits for the end: one listens to the line, one reads the terminal, one tells the line.

use super::channel::{LOOK, SessionChannel};
use super::listen::Listener;
use super::tell::Teller;
use crate::plugin::failed::{AGAIN_HISTORY, FailedSandbox};
use crate::plugin::services::HostServices;
use crate::sandbox::{Command, CommandEnd, SandboxError, Terminal, used};
use millrace_core::hold::{Session, SessionEnd, Size, Wants};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Bytes read from a terminal at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// How much a shell may write if the task has used up its disk, in bytes: a person who looks at why it is full must be able to.
const SPARE_BYTES: u64 = 256 << 20;

/// A shell, as somebody has it who logs in: bash if the root has one.
const SHELL: &str = "if command -v bash >/dev/null; then exec bash -l; fi; exec sh -l";

/// A session that goes on.
pub(super) struct RunningSession {
    channel: Arc<SessionChannel>,
    thread: JoinHandle<()>,
}

impl RunningSession {
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, and waits until nothing of it is left.
    pub(super) fn end(self, why: SessionEnd) {
        self.channel.end(why);
        let _ = self.thread.join();
    }
}

/// Begins a session in a sandbox that is held until then.
pub(super) fn begin(
    services: Arc<HostServices>,
    sandbox: Arc<FailedSandbox>,
    session: Session,
    until: Instant,
) -> RunningSession {
    let channel = Arc::new(SessionChannel::new(&session.wants));
    let own = channel.clone();
    // The sandbox dies with the thread that has started it (prctl(2), PR_SET_PDEATHSIG), which goes on to its end.
    let thread = std::thread::spawn(move || {
        let driver = SessionDriver {
            services: &services,
            sandbox: &sandbox,
            session: &session,
            until,
            channel: &own,
        };
        driver.go_through();
    });
    RunningSession { channel, thread }
}

/// A session, with all that it needs.
struct SessionDriver<'a> {
    services: &'a HostServices,
    sandbox: &'a FailedSandbox,
    session: &'a Session,
    until: Instant,
    channel: &'a SessionChannel,
}

impl SessionDriver<'_> {
    /// From its beginning to its end.
    fn go_through(&self) {
        let desk = &self.services.desk;
        let lease = &self.sandbox.lease;
        std::thread::scope(|threads| {
            threads.spawn(|| {
                Teller::new(desk, lease, self.session.number, self.channel).tell();
            });
            let (give, take) = std::sync::mpsc::channel::<Terminal>();
            threads.spawn(move || {
                Listener::new(desk, lease, self.session, self.until, self.channel).listen(&take);
            });
            let ended = match &self.session.wants {
                Wants::Terminal { term, size } => {
                    let mut reader = None;
                    let mut opened = |terminal: Terminal| {
                        if let Ok(own) = terminal.try_clone() {
                            reader = Some(threads.spawn(move || self.read(&own)));
                        }
                        let _ = give.send(terminal);
                    };
                    let ended = self.shell(term, *size, &mut opened);
                    // What was printed last is there when the end is reported.
                    let _ = reader.map(std::thread::ScopedJoinHandle::join);
                    ended
                }
                Wants::Command { argv } => self.command(argv),
            };
            self.channel.finish(session_end(ended));
        });
    }

    fn shell(
        &self,
        term: &str,
        size: Size,
        opened: &mut dyn FnMut(Terminal),
    ) -> Result<CommandEnd, SandboxError> {
        let own = [
            ("TERM", term.to_owned()),
            ("HISTFILE", format!("/work/{AGAIN_HISTORY}")),
        ];
        let mut command = self.prepared(["/bin/sh", "-c", SHELL].map(str::to_owned).to_vec());
        command
            .env
            .retain(|(name, _)| !own.iter().any(|(own, _)| own == name));
        command
            .env
            .extend(own.map(|(name, value)| (name.to_owned(), value)));
        let cancelled = self.channel.cancelled();
        let mut output = |bytes: &[u8]| self.channel.print(bytes);
        self.services
            .sandbox
            .run_at_terminal(&command, size, cancelled, opened, &mut output)
    }

    fn command(&self, argv: &[String]) -> Result<CommandEnd, SandboxError> {
        let command = self.prepared(argv.to_vec());
        let mut output = |bytes: &[u8]| self.channel.print(bytes);
        self.services
            .sandbox
            .run(&command, self.channel.cancelled(), &mut output)
    }

    /// What runs where the command failed, as that did.
    fn prepared(&self, argv: Vec<String>) -> Command<'_> {
        let sandbox = self.sandbox;
        let failed = &sandbox.run;
        let mut options = sandbox.options;
        let disk_bytes = used(&sandbox.folder).saturating_add(SPARE_BYTES);
        options.limits.disk_bytes = options.limits.disk_bytes.max(disk_bytes);
        Command {
            view: sandbox.root.view(),
            argv,
            env: failed.env.clone(),
            cwd: failed.cwd.clone(),
            stdin: Vec::new(),
            timeout: self.until.saturating_duration_since(Instant::now()),
            as_root: failed.as_root,
            options,
            work: &sandbox.work,
            capture_bytes_max: 0,
        }
    }

    /// Reads the terminal until nobody is there any more.
    fn read(&self, terminal: &Terminal) {
        let mut bytes = vec![0; PIECE_BYTES];
        loop {
            if !terminal.is_readable_within(LOOK) {
                if self.channel.is_ending() {
                    return;
                }
                continue;
            }
            match terminal.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => self.channel.print(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// How a session ended whose command has ended by itself.
fn session_end(ended: Result<CommandEnd, SandboxError>) -> SessionEnd {
    let stopped = |reason: &str| SessionEnd::Stopped {
        reason: reason.to_owned(),
    };
    match ended {
        Ok(CommandEnd::Exited { status, .. }) => SessionEnd::Exited { status },
        Ok(CommandEnd::TimedOut) => SessionEnd::GivenUp {
            reason: "its time was over".to_owned(),
        },
        Ok(CommandEnd::OutOfMemory) => stopped("it needed more memory than the task may have"),
        Ok(CommandEnd::OutOfSpace) => stopped("it filled the disk that the task may use"),
        Ok(CommandEnd::OutputLimit) => stopped("it printed more than the task may"),
        Ok(CommandEnd::Cancelled) => SessionEnd::Left,
        Err(error) => stopped(&error.to_string()),
    }
}

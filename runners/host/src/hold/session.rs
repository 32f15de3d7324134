//! Somebody at a held sandbox: a shell at a terminal of its own, or one command; what is typed comes from the line, what is printed goes
//! there.
//!
//! Three threads beside the one that waits for the end: one listens to the line, one reads the terminal, one tells the line.

use crate::hold::{AGAIN_HISTORY, Kept};
use crate::line::client::{DeskError, pause};
use crate::plugin::machine::Machine;
use crate::sandbox::{Command, Ended, SandboxError, Terminal, used};
use millrace_core::hold::{Printed, Session, SessionEnd, Size, Stream, Wants, warning};
use millrace_core::protocol::{Listen, Print};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most bytes printed that wait for the line here; whoever prints more waits.
const PRINTED_BYTES_MAX: usize = 64 * 1024;

/// Most bytes told at a time: 64 KiB of JSON.
const PIECE_BYTES: usize = 32 * 1024;

/// Longest that the line is let wait for something to be typed, in milliseconds.
const WAIT_MS: u32 = 5_000;

/// How often the line hears at least that this session is there.
const BEAT: Duration = Duration::from_secs(10);

/// How long nothing may be heard of whoever sits there: a terminal says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the line may be away before a session is given up: it is restarted in less.
const AWAY: Duration = Duration::from_secs(120);

/// How long the last words are tried to be told.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// How soon threads here see that something has changed.
const LOOK: Duration = Duration::from_millis(50);

/// How long to wait for what is printed right after something: most programs write a line in pieces.
const GATHER: Duration = Duration::from_millis(2);

/// How long a terminal that takes no keys is left alone.
const KEYS: Duration = Duration::from_millis(5);

/// How much a shell may write where the task has used up its disk, in bytes: whoever looks at why it is full must be able to.
const SPARE_BYTES: u64 = 256 << 20;

/// A shell, as somebody has it who logs in: bash where the root has one.
const SHELL: &str = "if command -v bash >/dev/null; then exec bash -l; fi; exec sh -l";

/// A session that goes on.
pub(crate) struct Running {
    talk: Arc<Talk>,
    thread: JoinHandle<()>,
}

impl Running {
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, and waits until nothing of it is left.
    pub(crate) fn end(self, why: SessionEnd) {
        self.talk.end(why);
        let _ = self.thread.join();
    }
}

/// Begins a session in a sandbox that is held until then.
pub(crate) fn begin(
    machine: Arc<Machine>,
    kept: Arc<Kept>,
    session: Session,
    until: Instant,
) -> Running {
    let talk = Arc::new(Talk::new(&session.wants));
    let own = talk.clone();
    // The sandbox dies with the thread that has started it (prctl(2), PR_SET_PDEATHSIG), which goes on to its end.
    let thread = std::thread::spawn(move || {
        At {
            machine: &machine,
            kept: &kept,
            session: &session,
            until,
            talk: &own,
        }
        .go_through()
    });
    Running { talk, thread }
}

/// What the threads of a session share.
struct Talk {
    said: Mutex<Said>,
    changed: Condvar,
    /// Raised where the command is to end.
    cancelled: AtomicBool,
    /// Why.
    why: OnceLock<SessionEnd>,
}

#[derive(Default)]
struct Said {
    output: Stream,
    typed: u64,
    size: Size,
    ended: Option<SessionEnd>,
}

impl Talk {
    fn new(wants: &Wants) -> Self {
        let size = match wants {
            Wants::Terminal { size, .. } => *size,
            Wants::Command { .. } => Size::default(),
        };
        let said = Mutex::new(Said {
            size,
            ..Said::default()
        });
        Self {
            said,
            changed: Condvar::new(),
            cancelled: AtomicBool::new(false),
            why: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the command. The first word on why counts.
    fn end(&self, why: SessionEnd) {
        let _ = self.why.set(why);
        self.cancelled.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn is_ending(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Adds to what was printed, as soon as there is room for it. What nobody waits for any more is lost.
    fn print(&self, mut bytes: &[u8]) {
        let mut said = self.lock();
        while !bytes.is_empty() && !self.is_ending() {
            let room = PRINTED_BYTES_MAX.saturating_sub(said.output.bytes.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let from = said.output.end();
            said.output.add(from, now, PRINTED_BYTES_MAX);
            bytes = later;
            self.changed.notify_all();
            if !bytes.is_empty() {
                said = self
                    .changed
                    .wait_timeout(said, LOOK)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
    }
}

/// A session, with all that it needs.
struct At<'a> {
    machine: &'a Machine,
    kept: &'a Kept,
    session: &'a Session,
    until: Instant,
    talk: &'a Talk,
}

impl At<'_> {
    /// From its beginning to its end.
    fn go_through(&self) {
        std::thread::scope(|threads| {
            threads.spawn(|| self.tell());
            let (give, take) = std::sync::mpsc::channel::<Terminal>();
            threads.spawn(move || self.listen(&take));
            let end = match &self.session.wants {
                Wants::Terminal { term, size } => {
                    let mut reader = None;
                    let mut opened = |terminal: Terminal| {
                        if let Ok(own) = terminal.try_clone() {
                            reader = Some(threads.spawn(move || self.read(&own)));
                        }
                        let _ = give.send(terminal);
                    };
                    let ended = self.shell(term, *size, &mut opened);
                    // What was printed last is there when the end is said.
                    let _ = reader.map(std::thread::ScopedJoinHandle::join);
                    ended
                }
                Wants::Command { argv } => self.command(argv),
            };
            let end = self.talk.why.get().cloned().unwrap_or_else(|| ended(end));
            self.talk.lock().ended = Some(end);
            self.talk.changed.notify_all();
        });
    }

    fn shell(
        &self,
        term: &str,
        size: Size,
        opened: &mut dyn FnMut(Terminal),
    ) -> Result<Ended, SandboxError> {
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
        let sandbox = &self.machine.sandbox;
        sandbox.run_at_terminal(&command, size, &self.talk.cancelled, opened, &mut |bytes| {
            self.talk.print(bytes)
        })
    }

    fn command(&self, argv: &[String]) -> Result<Ended, SandboxError> {
        let command = self.prepared(argv.to_vec());
        self.machine
            .sandbox
            .run(&command, &self.talk.cancelled, &mut |bytes| {
                self.talk.print(bytes)
            })
    }

    /// What runs where the command failed, as that did.
    fn prepared(&self, argv: Vec<String>) -> Command<'_> {
        let (kept, failed) = (self.kept, &self.kept.failed);
        let mut options = kept.options;
        options.limits.disk_bytes = options
            .limits
            .disk_bytes
            .max(used(&kept.folder).saturating_add(SPARE_BYTES));
        Command {
            view: kept.root.view(),
            argv,
            env: failed.env.clone(),
            cwd: failed.cwd.clone(),
            stdin: Vec::new(),
            timeout: self.until.saturating_duration_since(Instant::now()),
            as_root: failed.as_root,
            options,
            work: &kept.work,
            capture_bytes_max: 0,
        }
    }

    /// Reads the terminal until nobody is there any more.
    fn read(&self, terminal: &Terminal) {
        let mut bytes = vec![0; PIECE_BYTES];
        loop {
            if !terminal.is_readable_within(LOOK) {
                if self.talk.is_ending() {
                    return;
                }
                continue;
            }
            match terminal.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => self.talk.print(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Hears what is typed, and types it.
    fn listen(&self, opened: &std::sync::mpsc::Receiver<Terminal>) {
        let (mut terminal, mut told, mut beat) = (None, 0, (0, Instant::now()));
        let mut heard = Instant::now();
        while !self.talk.has_ended() {
            terminal = terminal.or_else(|| opened.try_recv().ok());
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.talk.end(SessionEnd::GivenUp {
                    reason: "its time was over".to_owned(),
                });
            }
            if let (Some((before, now_told)), Wants::Terminal { .. }) =
                (warning(left, told), &self.session.wants)
            {
                told = now_told;
                self.warn(before, left);
            }
            let is_pending =
                terminal.is_none() && matches!(self.session.wants, Wants::Terminal { .. });
            let wait_ms = if is_pending {
                0
            } else {
                WAIT_MS.min(u32::try_from(left.as_millis()).unwrap_or(WAIT_MS))
            };
            let (seen, size) = {
                let said = self.talk.lock();
                (said.typed, said.size)
            };
            let (holding, session) = (self.kept.holding.clone(), self.session.number);
            let answer = self.machine.desk.listen(&Listen {
                holding,
                session,
                seen,
                size,
                wait_ms,
            });
            match answer {
                Ok(typing) => {
                    heard = Instant::now();
                    if typing.typed.beat != beat.0 {
                        beat = (typing.typed.beat, Instant::now());
                    }
                    if let Some(over) = typing.over {
                        self.talk.end(over);
                    } else if typing.typed.left {
                        self.talk.end(SessionEnd::Left);
                    } else if beat.1.elapsed() > SILENCE {
                        self.talk.end(SessionEnd::Silent);
                    }
                    match &terminal {
                        Some(terminal) => {
                            self.type_in(terminal, typing.typed.keys.after(seen), typing.typed.size)
                        }
                        // Nobody reads what is typed: it waits for the terminal, or is not for this command.
                        None => std::thread::sleep(LOOK),
                    }
                    std::thread::sleep(Duration::from_millis(
                        typing.pause_ms.unwrap_or_default().min(WAIT_MS).into(),
                    ));
                }
                Err(error) => self.bear(&error, heard),
            }
            if self.talk.is_ending() {
                // The line would answer at once, again and again.
                std::thread::sleep(LOOK);
            }
        }
    }

    /// What to make of a line that does not answer: it may come back, or has nothing to do with this session any more.
    fn bear(&self, error: &DeskError, heard: Instant) {
        if !error.is_passing() || heard.elapsed() > AWAY {
            self.talk.end(SessionEnd::Stopped {
                reason: error.to_string(),
            });
        }
        std::thread::sleep(pause(1));
    }

    /// Types keys, as soon as the terminal takes them.
    fn type_in(&self, terminal: &Terminal, mut keys: &[u8], size: Size) {
        if self.talk.lock().size != size && terminal.resize(size).is_ok() {
            self.talk.lock().size = size;
        }
        while !keys.is_empty() && !self.talk.is_ending() && !self.talk.has_ended() {
            match terminal.write(keys) {
                Ok(0) => std::thread::sleep(KEYS),
                Ok(count) => {
                    self.talk.lock().typed += count as u64;
                    self.talk.changed.notify_all();
                    keys = &keys[count..];
                }
                // Its end is about to be seen.
                Err(_) => return,
            }
        }
    }

    /// Tells whoever sits there that the end is near.
    fn warn(&self, before: Duration, left: Duration) {
        let time = match before.min(left).as_secs() {
            seconds @ 0..90 => format!("{seconds} s"),
            seconds => format!("{} min", seconds.div_ceil(60)),
        };
        let words = format!("\r\n[millrace: this sandbox is held for {time} more]\r\n");
        // Where there is no room nobody reads, and this must not wait for them.
        let mut said = self.talk.lock();
        let from = said.output.end();
        said.output.add(from, words.as_bytes(), PRINTED_BYTES_MAX);
        self.talk.changed.notify_all();
    }

    /// Tells the line what was printed, until all is told and how it ended.
    fn tell(&self) {
        let (mut told_typed, mut told, mut beat) = (0, Instant::now(), 0);
        let mut ended_since: Option<Instant> = None;
        loop {
            let mut said = self.talk.lock();
            let is_news = |said: &Said| {
                !said.output.bytes.is_empty() || said.typed != told_typed || said.ended.is_some()
            };
            while beat > 0 && !is_news(&said) && told.elapsed() < BEAT {
                said = self
                    .talk
                    .changed
                    .wait_timeout(said, LOOK)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            if said.ended.is_none() && !said.output.bytes.is_empty() {
                drop(said);
                std::thread::sleep(GATHER);
                said = self.talk.lock();
            }
            beat += 1;
            let is_over = said.ended.is_some();
            // Who does not read the last words must not be taken to be there for ever.
            let gives_up =
                is_over && ended_since.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS;
            let length = if gives_up {
                0
            } else {
                said.output.bytes.len().min(PIECE_BYTES)
            };
            let piece = &said.output.bytes[..length];
            let is_all = gives_up || length == said.output.bytes.len();
            let output = Stream {
                from: said.output.from,
                bytes: piece.to_vec(),
            };
            let ended = said.ended.clone().filter(|_| is_all);
            let printed = Printed {
                output,
                typed: said.typed,
                beat,
                ended,
            };
            drop(said);
            let print = Print {
                holding: self.kept.holding.clone(),
                session: self.session.number,
                printed,
            };
            match self.machine.desk.print(&print) {
                Ok(shown) => {
                    (told_typed, told) = (print.printed.typed, Instant::now());
                    let before = print.printed.output.from;
                    self.talk.lock().output.acknowledge(shown.end);
                    self.talk.changed.notify_all();
                    let has_said_all =
                        print.printed.ended.is_some() && shown.end >= print.printed.output.end();
                    if has_said_all || gives_up || (shown.over && is_over) {
                        return;
                    }
                    let pause_ms = shown.pause_ms.unwrap_or_default().min(WAIT_MS);
                    std::thread::sleep(Duration::from_millis(pause_ms.into()));
                    if shown.end == before && !print.printed.output.bytes.is_empty() {
                        // There is no room: whoever sits there has not read what was printed before.
                        std::thread::sleep(LOOK);
                    }
                }
                Err(error) if gives_up || (is_over && !error.is_passing()) => return,
                Err(_) => std::thread::sleep(pause(1)),
            }
        }
    }
}

/// How a session ended whose command has come to an end of its own.
fn ended(ended: Result<Ended, SandboxError>) -> SessionEnd {
    let stopped = |reason: &str| SessionEnd::Stopped {
        reason: reason.to_owned(),
    };
    match ended {
        Ok(Ended::Exited { status, .. }) => SessionEnd::Exited { status },
        Ok(Ended::TimedOut) => SessionEnd::GivenUp {
            reason: "its time was over".to_owned(),
        },
        Ok(Ended::OutOfMemory) => stopped("it needed more memory than the task may have"),
        Ok(Ended::OutOfSpace) => stopped("it filled the disk that the task may use"),
        Ok(Ended::OutputLimit) => stopped("it printed more than the task may"),
        Ok(Ended::Cancelled) => SessionEnd::Left,
        Err(error) => stopped(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_prints_more_than_there_is_room_for_waits_and_loses_nothing() {
        let talk = Arc::new(Talk::new(&Wants::Command { argv: Vec::new() }));
        let bytes: Vec<u8> = (0..PRINTED_BYTES_MAX * 3)
            .map(|at| (at % 251) as u8)
            .collect();
        let (printer, all) = (talk.clone(), bytes.clone());
        let printing = std::thread::spawn(move || printer.print(&all));
        let mut read = Vec::new();
        while read.len() < bytes.len() {
            let mut said = talk.lock();
            assert!(said.output.bytes.len() <= PRINTED_BYTES_MAX);
            read.extend_from_slice(said.output.after(read.len() as u64));
            said.output.acknowledge(read.len() as u64);
            talk.changed.notify_all();
        }
        printing.join().unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn the_end_of_a_session_lets_go_of_whoever_still_prints() {
        let talk = Arc::new(Talk::new(&Wants::Command { argv: Vec::new() }));
        let printer = talk.clone();
        let printing = std::thread::spawn(move || printer.print(&vec![0; PRINTED_BYTES_MAX * 2]));
        talk.end(SessionEnd::Left);
        talk.end(SessionEnd::Silent);
        printing.join().unwrap();
        assert_eq!(talk.why.get(), Some(&SessionEnd::Left));
    }
}

//! What is typed in a session: heard from the line, and typed into the sandbox's terminal.

use super::channel::{LOOK, SessionChannel};
use crate::line::client::{Desk, DeskError};
use crate::line::patience::pause;
use crate::sandbox::Terminal;
use millrace_core::hold::{SessionEnd, Size, Wants, warning};
use millrace_core::protocol::{Listen, Typing};
use millrace_core::task::LeaseId;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Longest that the line is let wait for something to be typed, in milliseconds.
const WAIT_MS: u32 = 5_000;

/// How long nothing may be heard of the person who sits there: a terminal says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the line may be away before a session is given up: it is restarted in less.
const AWAY: Duration = Duration::from_secs(120);

/// How long a terminal that takes no keys is left alone.
const KEYS: Duration = Duration::from_millis(5);

pub(super) struct Listener<'a> {
    desk: &'a Desk,
    lease: &'a LeaseId,
    session: u32,
    /// Whether there is a terminal, or will be.
    at_terminal: bool,
    /// When the sandbox is held no more.
    until: Instant,
    channel: &'a SessionChannel,
    terminal: Option<Terminal>,
    /// Warnings of the end that were given.
    warned: usize,
    /// The last sign of the person who sits there, and when it came.
    beat: (u32, Instant),
    /// When the line answered last.
    heard: Instant,
}

impl<'a> Listener<'a> {
    pub(super) fn new(
        desk: &'a Desk,
        lease: &'a LeaseId,
        session: &millrace_core::hold::Session,
        until: Instant,
        channel: &'a SessionChannel,
    ) -> Self {
        let now = Instant::now();
        Self {
            desk,
            lease,
            session: session.number,
            at_terminal: matches!(session.wants, Wants::Terminal { .. }),
            until,
            channel,
            terminal: None,
            warned: 0,
            beat: (0, now),
            heard: now,
        }
    }

    /// Listens until the command has ended. The terminal comes when the sandbox has opened it.
    pub(super) fn listen(&mut self, opened: &Receiver<Terminal>) {
        while !self.channel.has_ended() {
            if self.terminal.is_none() {
                self.terminal = opened.try_recv().ok();
            }
            let left = self.until.saturating_duration_since(Instant::now());
            self.mind_the_time(left);
            let question = self.question(left);
            match self.desk.listen(&question) {
                Ok(typing) => self.hear(typing, question.seen),
                Err(error) => self.bear(&error),
            }
            if self.channel.is_ending() {
                // The line would answer at once, again and again.
                std::thread::sleep(LOOK);
            }
        }
    }

    fn question(&self, left: Duration) -> Listen {
        let is_pending = self.at_terminal && self.terminal.is_none();
        let wait_ms = if is_pending {
            0
        } else {
            WAIT_MS.min(u32::try_from(left.as_millis()).unwrap_or(WAIT_MS))
        };
        let state = self.channel.lock();
        Listen {
            lease_id: self.lease.clone(),
            session: self.session,
            seen: state.typed,
            size: state.size,
            wait_ms,
        }
    }

    /// Ends the session with the time of its sandbox, and says before that it will end.
    fn mind_the_time(&mut self, left: Duration) {
        if left.is_zero() {
            self.channel.end(SessionEnd::GivenUp {
                reason: "its time was over".to_owned(),
            });
        }
        if let (Some((before, warned)), true) = (warning(left, self.warned), self.at_terminal) {
            self.warned = warned;
            let time = match before.min(left).as_secs() {
                seconds @ 0..90 => format!("{seconds} s"),
                seconds => format!("{} min", seconds.div_ceil(60)),
            };
            let words = format!("\r\n[millrace: this sandbox is held for {time} more]\r\n");
            self.channel.print_now(words.as_bytes());
        }
    }

    fn hear(&mut self, typing: Typing, seen: u64) {
        self.heard = Instant::now();
        if typing.typed.beat != self.beat.0 {
            self.beat = (typing.typed.beat, Instant::now());
        }
        if let Some(over) = typing.over {
            self.channel.end(over);
        } else if typing.typed.left {
            self.channel.end(SessionEnd::Left);
        } else if self.beat.1.elapsed() > SILENCE {
            self.channel.end(SessionEnd::Silent);
        }
        match &self.terminal {
            Some(terminal) => {
                self.type_in(terminal, typing.typed.keys.after(seen), typing.typed.size);
            }
            // Nobody reads what is typed: it waits for the terminal, or is not for this command.
            None => std::thread::sleep(LOOK),
        }
        let pause_ms = typing.pause_ms.unwrap_or_default().min(WAIT_MS);
        std::thread::sleep(Duration::from_millis(pause_ms.into()));
    }

    /// The line does not answer: it may come back, or has nothing to do with this session any more.
    fn bear(&self, error: &DeskError) {
        if !error.is_passing() || self.heard.elapsed() > AWAY {
            self.channel.end(SessionEnd::Stopped {
                reason: error.to_string(),
            });
        }
        std::thread::sleep(pause(1));
    }

    /// Types keys, as soon as the terminal takes them.
    fn type_in(&self, terminal: &Terminal, mut keys: &[u8], size: Size) {
        if self.channel.lock().size != size && terminal.resize(size).is_ok() {
            self.channel.lock().size = size;
        }
        while !keys.is_empty() && !self.channel.is_ending() && !self.channel.has_ended() {
            match terminal.write(keys) {
                Ok(0) => std::thread::sleep(KEYS),
                Ok(count) => {
                    self.channel.change(|state| state.typed += count as u64);
                    keys = &keys[count..];
                }
                // Its end is about to be seen.
                Err(_) => return,
            }
        }
    }
}

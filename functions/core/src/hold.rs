//! A sandbox in which a task failed, held for its author for a while: until when, who sits at it, and how it ends.
//!
//! The build knows nothing of it: it has failed, and waits for nobody.

mod stream;

pub use stream::{PRINTED_BYTES_MAX, Printed, Stream, TYPED_BYTES_MAX, Typed};

use crate::access::Actor;
use crate::task::{LeaseId, cut};
use crate::{RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longest that a sandbox is held, in seconds: a working day. What nobody has looked at by then, nobody looks at; and a root with a build in
/// it keeps some gigabytes of its runner's disk.
pub const HOLD_S_MAX: u32 = 8 * 3600;

/// Shortest, in seconds: less than that is over before somebody has typed the command.
pub const HOLD_S_MIN: u32 = 10;

/// Most sessions that a hold remembers: each is 150 bytes, and nobody asks who was there before the last of them.
pub const SESSIONS_MAX: usize = 20;

/// Longest name of a kind of terminal, in bytes: the longest in use has 30 (terminfo(5)).
const TERM_BYTES_MAX: usize = 64;

/// Longest command line of a session, in bytes: a sandbox takes 120 KiB, and a hold must stay a small record.
pub const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// For how long to hold, as people write it: `30m`, `1h`, `90s`, `600`.
pub fn hold_s(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no time: 30m, 1h, or a number of seconds");
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    match number.checked_mul(factor) {
        Some(seconds @ HOLD_S_MIN..=HOLD_S_MAX) => Ok(seconds),
        Some(0..HOLD_S_MIN) => Err(format!(
            "a sandbox is held for {HOLD_S_MIN} s at least: less is over before you are there"
        )),
        Some(_) | None => Err(format!(
            "a sandbox is held for {} h at most: it keeps its runner's disk. Take it to pieces by then, or fail again",
            HOLD_S_MAX / 3600
        )),
    }
}

/// The command that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCommand {
    /// As one would type it, on one line.
    pub line: String,
    pub cwd: String,
    /// How it ended: `ended with status 1`.
    pub ended: String,
}

/// A sandbox that is held, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Of which attempt at which task.
    #[serde(flatten)]
    pub lease_id: LeaseId,
    pub runner: RunnerName,
    pub since: Timestamp,
    /// Until when at most.
    pub until: Timestamp,
    /// What failed in it.
    pub failed: FailedCommand,
    /// Who wants it given up now, if somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwanted_by: Option<Actor>,
    /// When and why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<HoldEnd>,
    /// Who was at it, the last [`SESSIONS_MAX`] times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
}

/// The end of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldEnd {
    pub at: Timestamp,
    pub reason: String,
}

/// Somebody at a held sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Grows by one with every session of a hold, so that what is still said in an earlier one can be told apart.
    pub number: u32,
    pub by: Actor,
    pub since: Timestamp,
    #[serde(flatten)]
    pub wants: Wants,
    /// When and how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(Timestamp, SessionEnd)>,
}

/// What somebody wants of a held sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wants", rename_all = "kebab-case")]
pub enum Wants {
    /// A shell at a terminal.
    Terminal {
        /// The kind of terminal, as terminfo(5) names it.
        term: String,
        /// How large it is.
        size: Size,
    },
    /// One command, without a terminal.
    Command { argv: Vec<String> },
}

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// How many in a line.
    pub columns: u16,
    pub rows: u16,
}

impl Default for Size {
    /// That of a VT100, for clients that do not say theirs.
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum SessionEnd {
    /// The shell or the command ended by itself.
    Exited { status: u8 },
    /// It was ended for what it used up, in these words.
    Stopped { reason: String },
    /// The person who sat there has left.
    Left,
    /// The terminal was not heard of any more.
    Silent,
    /// Somebody else sits there now.
    Taken { by: Actor },
    /// The sandbox is not held any more, for this reason.
    GivenUp { reason: String },
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { status } => write!(f, "it ended with status {status}"),
            Self::Stopped { reason } => write!(f, "it was stopped: {reason}"),
            Self::Left => write!(f, "you have left it"),
            Self::Silent => write!(f, "this terminal was not heard of for too long"),
            Self::Taken { by } => write!(f, "{by} has taken it over"),
            Self::GivenUp { reason } => write!(f, "{reason}"),
        }
    }
}

/// Why nobody gets into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldRefused {
    /// It is not there any more.
    #[error("the sandbox is held no more since {}: {reason}", .at.rfc3339())]
    Over { at: Timestamp, reason: String },
    #[error("{by} is at it since {}: --take takes it over. A terminal that was cut off is let go after a minute", .since.rfc3339())]
    Taken { by: Actor, since: Timestamp },
    /// What is wanted is nothing that a sandbox could be asked for.
    #[error("{0}")]
    Odd(String),
}

/// What is said of a hold whose time is over, though nobody has said so yet.
const TIME_IS_OVER: &str = "its time was over";

impl Hold {
    /// A sandbox that is held from now on.
    pub fn new(
        lease_id: LeaseId,
        runner: RunnerName,
        now: Timestamp,
        hold_s: u32,
        failed: FailedCommand,
    ) -> Self {
        let until = now.plus_ms(u64::from(hold_s.min(HOLD_S_MAX)) * 1000);
        let failed = FailedCommand {
            line: cut(&failed.line),
            cwd: cut(&failed.cwd),
            ended: cut(&failed.ended),
        };
        Self {
            lease_id,
            runner,
            since: now,
            until,
            failed,
            unwanted_by: None,
            end: None,
            sessions: Vec::new(),
        }
    }

    /// When and why it is over; none while it is held.
    pub fn over(&self, now: Timestamp) -> Option<HoldEnd> {
        let by_time = || {
            (now >= self.until).then(|| HoldEnd {
                at: self.until,
                reason: TIME_IS_OVER.to_owned(),
            })
        };
        self.end.clone().or_else(by_time)
    }

    /// The session that goes on, if there is one.
    pub fn session(&self) -> Option<&Session> {
        self.sessions
            .last()
            .filter(|session| session.ended.is_none())
    }

    /// Lets somebody in; answers the session's number. A person who is there already has to go if `take` says so.
    pub fn let_in(
        &mut self,
        by: &Actor,
        wants: Wants,
        take: bool,
        now: Timestamp,
    ) -> Result<u32, HoldRefused> {
        check(&wants)?;
        if let Some(HoldEnd { at, reason }) = self.over(now) {
            return Err(HoldRefused::Over { at, reason });
        }
        if let Some(by) = &self.unwanted_by {
            return Err(HoldRefused::Over {
                at: now,
                reason: format!("{by} wants it given up"),
            });
        }
        if let Some(there) = self.session().filter(|_| !take) {
            return Err(HoldRefused::Taken {
                by: there.by.clone(),
                since: there.since,
            });
        }
        let number = self
            .sessions
            .last()
            .map_or(1, |last| last.number.saturating_add(1));
        self.end_session(SessionEnd::Taken { by: by.clone() }, now);
        self.sessions.push(Session {
            number,
            by: by.clone(),
            since: now,
            wants,
            ended: None,
        });
        let too_many = self.sessions.len().saturating_sub(SESSIONS_MAX);
        self.sessions.drain(..too_many);
        Ok(number)
    }

    fn end_session(&mut self, end: SessionEnd, now: Timestamp) {
        if let Some(session) = self
            .sessions
            .last_mut()
            .filter(|session| session.ended.is_none())
        {
            session.ended = Some((now, end));
        }
    }

    /// A session has ended; one that is over already stays as it ended.
    pub fn session_ended(&mut self, number: u32, end: SessionEnd, now: Timestamp) {
        if self
            .session()
            .is_some_and(|session| session.number == number)
        {
            self.end_session(end, now);
        }
    }

    /// How a session ended, if it did, or if the hold is over with it.
    pub fn end_of_session(&self, number: u32) -> Option<SessionEnd> {
        let given_up = || {
            self.end.as_ref().map(|end| SessionEnd::GivenUp {
                reason: end.reason.clone(),
            })
        };
        match self
            .sessions
            .iter()
            .find(|session| session.number == number)
        {
            Some(session) => session
                .ended
                .as_ref()
                .map(|(_, end)| end.clone())
                .or_else(given_up),
            None => given_up().or(Some(SessionEnd::GivenUp {
                reason: "there were many sessions since".to_owned(),
            })),
        }
    }

    /// It is held no more, and nobody is in it. The first word on why stays.
    pub fn give_up(&mut self, reason: &str, now: Timestamp) {
        if self.end.is_none() {
            self.end_session(
                SessionEnd::GivenUp {
                    reason: cut(reason),
                },
                now,
            );
            self.end = Some(HoldEnd {
                at: now,
                reason: cut(reason),
            });
        }
    }
}

fn check(wants: &Wants) -> Result<(), HoldRefused> {
    let odd = |what: String| Err(HoldRefused::Odd(what));
    match wants {
        Wants::Terminal { term, .. } => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
            match !term.is_empty() && term.len() <= TERM_BYTES_MAX && term.chars().all(plain) {
                true => Ok(()),
                false => {
                    odd("the terminal's kind ($TERM) is no name: set it to `xterm`".to_owned())
                }
            }
        }
        Wants::Command { argv } => {
            let bytes: usize = argv.iter().map(String::len).sum();
            match argv.first() {
                None => odd("an empty command".to_owned()),
                Some(_) if bytes > COMMAND_BYTES_MAX => odd(format!(
                    "the command has {bytes} bytes, at most {COMMAND_BYTES_MAX} fit"
                )),
                Some(_) if argv.iter().any(|word| word.contains('\0')) => {
                    odd("no command has a zero byte in it".to_owned())
                }
                Some(_) => Ok(()),
            }
        }
    }
}

/// How long before its end the person at a held sandbox is told of it, the longest first.
pub const WARNINGS: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(60)];

/// The next warning that is due with so much time left, given how many were told; and how many are told with it. A hold that was shorter
/// from the beginning makes no noise about what is past.
pub fn warning(left: Duration, told: usize) -> Option<(Duration, usize)> {
    let due = WARNINGS.iter().filter(|before| left <= **before).count();
    (due > told).then(|| (WARNINGS[due - 1], due))
}

#[cfg(test)]
mod tests;

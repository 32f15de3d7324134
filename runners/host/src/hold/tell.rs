//! What is printed in a session: reported to the line, with how it ended.

use super::channel::{LOOK, SessionChannel};
use crate::line::client::Desk;
use crate::line::patience::pause;
use millrace_core::hold::{Printed, Stream};
use millrace_core::protocol::{Print, Shown};
use millrace_core::task::LeaseId;
use std::time::{Duration, Instant};

/// Most bytes reported at a time: 64 KiB of JSON.
const PIECE_BYTES: usize = 32 * 1024;

/// How often the line hears at least that this session is there.
const BEAT: Duration = Duration::from_secs(10);

/// How long the runner tries to report the last words.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// How long to wait for what is printed right after something: most programs write a line in pieces.
const GATHER: Duration = Duration::from_millis(2);

/// Longest pause that the line may ask for, in milliseconds.
const PAUSE_MS_MAX: u32 = 5_000;

pub(super) struct Teller<'a> {
    desk: &'a Desk,
    lease: &'a LeaseId,
    session: u32,
    channel: &'a SessionChannel,
    /// What the line was told last: how much was typed, and when.
    told_typed: u64,
    told: Instant,
    beat: u32,
    ended_since: Option<Instant>,
}

/// What is reported at a time.
struct Piece {
    print: Print,
    /// Whether the command has ended.
    is_over: bool,
    /// Whether nobody reads the last words: these are told without them.
    gives_up: bool,
}

impl<'a> Teller<'a> {
    pub(super) fn new(
        desk: &'a Desk,
        lease: &'a LeaseId,
        session: u32,
        channel: &'a SessionChannel,
    ) -> Self {
        Self {
            desk,
            lease,
            session,
            channel,
            told_typed: 0,
            told: Instant::now(),
            beat: 0,
            ended_since: None,
        }
    }

    /// Reports until all is reported and how it ended.
    pub(super) fn tell(&mut self) {
        loop {
            let piece = self.next_piece();
            match self.desk.print(&piece.print) {
                Ok(shown) => {
                    if self.has_told_all(&piece, &shown) {
                        return;
                    }
                }
                Err(error) if piece.gives_up || (piece.is_over && !error.is_passing()) => return,
                Err(_) => std::thread::sleep(pause(1)),
            }
        }
    }

    /// Waits for something to tell.
    fn next_piece(&mut self) -> Piece {
        let mut state = self.channel.lock();
        while self.beat > 0
            && state.output.bytes.is_empty()
            && state.typed == self.told_typed
            && state.ended.is_none()
            && self.told.elapsed() < BEAT
        {
            state = self.channel.wait(state);
        }
        if state.ended.is_none() && !state.output.bytes.is_empty() {
            drop(state);
            std::thread::sleep(GATHER);
            state = self.channel.lock();
        }
        self.beat += 1;
        let is_over = state.ended.is_some();
        // Who does not read the last words must not be taken to be there for ever.
        let gives_up =
            is_over && self.ended_since.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS;
        let length = if gives_up {
            0
        } else {
            state.output.bytes.len().min(PIECE_BYTES)
        };
        let is_all = gives_up || length == state.output.bytes.len();
        let output = Stream {
            from: state.output.from,
            bytes: state.output.bytes[..length].to_vec(),
        };
        let printed = Printed {
            output,
            typed: state.typed,
            beat: self.beat,
            ended: state.ended.clone().filter(|_| is_all),
        };
        drop(state);
        let print = Print {
            lease_id: self.lease.clone(),
            session: self.session,
            printed,
        };
        Piece {
            print,
            is_over,
            gives_up,
        }
    }

    /// Takes the line's word on how much it has, and pauses as long as it wants; whether there is no more to tell.
    fn has_told_all(&mut self, piece: &Piece, shown: &Shown) -> bool {
        let printed = &piece.print.printed;
        self.told_typed = printed.typed;
        self.told = Instant::now();
        self.channel
            .change(|state| state.output.acknowledge(shown.end));
        let was_last = printed.ended.is_some() && shown.end >= printed.output.end();
        if was_last || piece.gives_up || (shown.over && piece.is_over) {
            return true;
        }
        let pause_ms = shown.pause_ms.unwrap_or_default().min(PAUSE_MS_MAX);
        std::thread::sleep(Duration::from_millis(pause_ms.into()));
        if shown.end == printed.output.from && !printed.output.bytes.is_empty() {
            // There is no room: the person who sits there has not read what was printed before.
            std::thread::sleep(LOOK);
        }
        false
    }
}

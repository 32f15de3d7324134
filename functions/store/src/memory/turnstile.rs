//! A turnstile before one caller's operations: it tells who waits for what, and lets through what it is told to.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fare {
    Pass,
    /// It is not done, and its caller hears that the store does not answer.
    Fail,
    /// It is done, and its caller hears that the store does not answer.
    Lose,
}

/// Holds up every operation of a caller until it is let through. A test that drops the caller while it waits has killed it between
/// two operations; nothing else decides about time, so that threads may work in between and the result is always the same.
#[derive(Debug, Clone, Default)]
pub struct Turnstile(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fares: VecDeque<Fare>,
    /// Who waits, the first in front: a caller may have several operations under way at once.
    waiting: VecDeque<Waiting>,
    tickets: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    operation: &'static str,
    waker: Waker,
}

impl State {
    /// Wakes the first who waits, if it may pass.
    fn call_next(&self) {
        if let Some(next) = self.waiting.front().filter(|_| !self.fares.is_empty()) {
            next.waker.wake_by_ref();
        }
    }
}

/// A place in the line before the turnstile, which is given up with the operation.
struct Place<'a> {
    turnstile: &'a Turnstile,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turnstile.state();
        state
            .waiting
            .retain(|waiting| waiting.ticket != self.ticket);
        state.call_next();
    }
}

impl Turnstile {
    /// A closed one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides about the next operation, or about the first that waits.
    pub fn admit(&self, fare: Fare) {
        let mut state = self.state();
        state.fares.push_back(fare);
        state.call_next();
    }

    /// The operation that waits here, by its name in the ports; the first, if there are several.
    pub fn waits(&self) -> Option<&'static str> {
        self.state()
            .waiting
            .front()
            .map(|waiting| waiting.operation)
    }

    pub(super) async fn pass(&self, operation: &'static str) -> Fare {
        let ticket = {
            let mut state = self.state();
            state.tickets += 1;
            state.tickets
        };
        let place = Place {
            turnstile: self,
            ticket,
        };
        let fare = poll_fn(|context| {
            let mut state = self.state();
            let at = state
                .waiting
                .iter()
                .position(|waiting| waiting.ticket == ticket);
            let is_first = at == Some(0) || at.is_none() && state.waiting.is_empty();
            if is_first && let Some(fare) = state.fares.pop_front() {
                return Poll::Ready(fare);
            }
            let waiting = Waiting {
                ticket,
                operation,
                waker: context.waker().clone(),
            };
            match at {
                Some(at) => state.waiting[at] = waiting,
                None => state.waiting.push_back(waiting),
            }
            Poll::Pending
        })
        .await;
        drop(place);
        fare
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    waits: Option<&'static str>,
    waker: Option<Waker>,
}

impl Turnstile {
    /// A closed one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides about the next operation, or about the one that waits.
    pub fn admit(&self, fare: Fare) {
        let mut state = self.state();
        state.fares.push_back(fare);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// The operation that waits here, by its name in the ports.
    pub fn waits(&self) -> Option<&'static str> {
        self.state().waits
    }

    pub(super) async fn pass(&self, operation: &'static str) -> Fare {
        poll_fn(|context| {
            let mut state = self.state();
            match state.fares.pop_front() {
                Some(fare) => {
                    state.waits = None;
                    Poll::Ready(fare)
                }
                None => {
                    state.waits = Some(operation);
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

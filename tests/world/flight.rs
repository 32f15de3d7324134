//! A function under way, of which every operation on the store is let through by hand: so that others get on in between, and
//! it can be killed between any two of them.

use crate::world::World;
use millrace_store::memory::{Fare, MemoryStore, Turnstile};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A function under way. Dropping it kills it where it stands.
pub struct Flight<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    turnstile: Turnstile,
}

/// How far a function is.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// It waits to do this operation.
    At(&'static str),
    /// It has ended.
    Done(T),
}

impl World {
    /// Starts a function over a store of its own making; it has not done any operation yet.
    pub fn start<T, F: Future<Output = T> + 'static>(
        &self,
        function: impl FnOnce(MemoryStore) -> F,
    ) -> Flight<T> {
        let turnstile = Turnstile::new();
        let store = self.store.through(&turnstile);
        Flight {
            future: Box::pin(function(store)),
            turnstile,
        }
    }

    /// Lets a function go on to its next operation, or to its end. What it does on other threads in between is waited for.
    pub fn drive<T>(&self, flight: &mut Flight<T>) -> Progress<T> {
        self.run(poll_fn(|context| {
            match flight.future.as_mut().poll(context) {
                Poll::Ready(result) => Poll::Ready(Progress::Done(result)),
                Poll::Pending => match flight.turnstile.waits() {
                    Some(operation) => Poll::Ready(Progress::At(operation)),
                    None => Poll::Pending,
                },
            }
        }))
    }

    /// Lets a function do the operation that it waits for, and go on to the next.
    pub fn drive_past<T>(&self, flight: &mut Flight<T>, fare: Fare) -> Progress<T> {
        flight.turnstile.admit(fare);
        self.drive(flight)
    }

    /// Starts a function, and kills it before it does an operation of this name for the first time.
    pub fn kill_before<T, F: Future<Output = T> + 'static>(
        &self,
        operation: &str,
        function: impl FnOnce(MemoryStore) -> F,
    ) {
        let mut flight = self.start(function);
        let mut progress = self.drive(&mut flight);
        loop {
            match progress {
                Progress::At(name) if name == operation => return,
                Progress::At(_) => progress = self.drive_past(&mut flight, Fare::Pass),
                Progress::Done(_) => panic!("it came to its end without `{operation}`"),
            }
        }
    }
}

//! One task after the other, as the line offers them.

use super::attempt::{self, lease_of};
use super::config::WorkerError;
use super::report::{GOODBYE, TaskResult, report};
use super::runner::Runner;
use crate::line::client::{DeskError, LeaseReply};
use crate::line::patience::{pause, wait};
use crate::machine::capacity::capacity;
use crate::plugin::outcome;
use millrace_core::chain;
use millrace_core::protocol::{Ask, Offer, WAIT_S_MAX};
use millrace_core::{Arch, FeatureName};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use tracing::{Span, info, warn};

/// How soon a runner that waits for work sees that it shall stop.
const LOOK: Duration = Duration::from_millis(50);

/// What the line is told by a runner that asks for work.
pub(super) struct Asking {
    pub(super) emulates: Vec<Arch>,
    pub(super) features: BTreeSet<FeatureName>,
    /// Where the disk is that tasks fill.
    pub(super) folder: PathBuf,
}

/// Does one task after the other until the runner stops or is let go.
pub(super) fn serve(runner: &Arc<Runner>, asking: &Arc<Asking>) -> Result<(), WorkerError> {
    let mut failed = 0;
    while !runner.stops() {
        match next_offer(runner, asking) {
            Ok(LeaseReply::Offer(offer)) => {
                failed = 0;
                attempt::work(runner, *offer);
            }
            Ok(LeaseReply::Nothing(ask_again)) => {
                failed = 0;
                wait(ask_again, &runner.stop);
            }
            Err(error @ DeskError::Unauthorized(_)) => {
                return Err(WorkerError::Unauthorized(error));
            }
            Err(error @ DeskError::Draining(_)) => {
                info!("{error}");
                return Ok(());
            }
            Err(error) => {
                failed += 1;
                // Once, when it begins: a line that is away for a night fills no disk.
                if failed == 1 {
                    warn!(
                        problem = chain(&error),
                        "the line is asked again until it answers"
                    );
                }
                wait(pause(failed), &runner.stop);
            }
        }
    }
    Ok(())
}

/// Waits for work on the line. In a thread, since a stop must not wait as long as the desk does; an offer that comes after the stop is
/// handed back at once.
fn next_offer(runner: &Arc<Runner>, asking: &Arc<Asking>) -> Result<LeaseReply, DeskError> {
    let (give, take) = channel();
    let (asker, asking) = (runner.clone(), asking.clone());
    let span = Span::current();
    std::thread::spawn(move || {
        let _span = span.entered();
        let ask = Ask {
            runner: asker.name.clone(),
            arch: asker.services.arch,
            emulates: asking.emulates.clone(),
            wait_s: WAIT_S_MAX,
            capacity: capacity(&asking.folder, &asking.features),
        };
        if let Err(unheard) = give.send(asker.services.desk.lease(&ask))
            && let Ok(LeaseReply::Offer(offer)) = unheard.0
        {
            hand_back(&asker, &offer);
        }
    });
    loop {
        match take.recv_timeout(LOOK) {
            Ok(reply) => return reply,
            Err(RecvTimeoutError::Timeout) if runner.stops() => {
                return Ok(LeaseReply::Nothing(Duration::ZERO));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(LeaseReply::Nothing(Duration::ZERO));
            }
        }
    }
}

fn hand_back(runner: &Runner, offer: &Offer) {
    let result = TaskResult::of(outcome::handed_back());
    report(runner, &lease_of(offer), result, GOODBYE);
}

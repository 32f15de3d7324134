//! Sandboxes that stay when a task has failed in them, for its author to look at: root and folder as the command that failed left them.
//!
//! They cost no lease, and the runner nothing but some of its disk. Each ends: with its time, when its author or the line has done with
//! it, when the disk is short or others come, and with the runner.

mod channel;
mod listen;
mod session;
mod tell;

use crate::doctor::FREE_BYTES_MIN;
use crate::line::client::DeskError;
use crate::line::log::TaskLog;
use crate::line::patience::{patiently, pause, wait};
use crate::machine::capacity::free_bytes;
use crate::machine::removal::remove_folder;
use crate::plugin::command_line::one_line;
use crate::plugin::failed::FailedSandbox;
use crate::plugin::services::HostServices;
use millrace_core::RunnerName;
use millrace_core::chain;
use millrace_core::hold::{FailedCommand, SessionEnd};
use millrace_core::protocol::{Attend, Attended, GivenUp, Held, WantedSession};
use millrace_core::task::LeaseId;
use millrace_core::task::cut;
use session::RunningSession;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{Span, info, warn};

/// Most sandboxes held at a time: each keeps a root and a tree, some gigabytes with a large package, and who looks at more failures than
/// these at once looks at logs.
const HOLDS_MAX: usize = 4;

/// Below this many free bytes sandboxes are given up, the oldest first: twice what a task needs at least, so that there is room for one
/// before there is none.
const FREE_BYTES: u64 = 2 * FREE_BYTES_MIN;

/// Longest that the line is let wait in one question, in milliseconds: so soon it hears of a sandbox that is held since it was asked.
const WAIT_MS: u32 = 2_000;

/// How soon it is seen that the first sandbox is held, or that the runner stops.
const LOOK: Duration = Duration::from_secs(1);

/// How long the runner tries to report a new hold to the line before that hears of the task's failure: people see both at once.
const TELL: Duration = Duration::from_secs(5);

/// A sandbox that is held.
struct HeldSandbox {
    sandbox: Arc<FailedSandbox>,
    until: Instant,
    /// The number of the last session: the line shall not name that again.
    session: u32,
    running: Option<RunningSession>,
}

impl HeldSandbox {
    fn record(&self) -> Held {
        let run = &self.sandbox.run;
        let failed = FailedCommand {
            line: cut(&one_line(&run.argv)),
            cwd: run.cwd.clone(),
            ended: run.how.clone(),
        };
        Held {
            lease_id: self.sandbox.lease.clone(),
            failed,
            session: self.session,
        }
    }

    fn is_busy(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| !running.has_ended())
    }
}

/// All that a runner holds.
pub(crate) struct HeldSandboxes {
    name: RunnerName,
    /// The runner's folder, on the disk that is watched.
    folder: PathBuf,
    services: Arc<HostServices>,
    stop: Arc<AtomicBool>,
    held: Mutex<Vec<HeldSandbox>>,
    /// What the line has not been told of yet.
    given_up: Mutex<Vec<GivenUp>>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HeldSandboxes {
    /// Nothing yet; the line is told so, since it may remember what an earlier runner of this name held.
    pub(crate) fn begin(
        name: RunnerName,
        folder: PathBuf,
        services: Arc<HostServices>,
        stop: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let held = Arc::new(Self {
            name,
            folder,
            services,
            stop,
            held: Mutex::default(),
            given_up: Mutex::default(),
            changed: Condvar::new(),
        });
        let attending = held.clone();
        // A question is out as long as the line likes, so nobody waits for the end of this.
        let span = Span::current();
        std::thread::spawn(move || span.in_scope(|| attending.attend()));
        held
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn is_empty(&self) -> bool {
        lock(&self.held).is_empty()
    }

    /// Holds a sandbox from now on. The line hears of it before it hears that the task has failed, if it answers.
    pub(crate) fn hold(&self, sandbox: FailedSandbox, log: &TaskLog) {
        let build = &sandbox.lease.build;
        let task = &sandbox.lease.task;
        log.line(&format!(
            "the sandbox is held for {} s: `millrace shell {build} {task}` gives a terminal in it",
            sandbox.hold.as_secs()
        ));
        self.make_room();
        let until = Instant::now() + sandbox.hold;
        lock(&self.held).push(HeldSandbox {
            sandbox: Arc::new(sandbox),
            until,
            session: 0,
            running: None,
        });
        self.changed.notify_all();
        if let Err(error) = self.tell(TELL, &self.stop) {
            warn!(
                problem = chain(&error),
                "the line was not told of a held sandbox; it is told later"
            );
        }
    }

    /// Tells the line what is held and what is not any more, within this time.
    fn tell(&self, time: Duration, stop: &AtomicBool) -> Result<Attended, DeskError> {
        patiently(time, stop, || {
            self.services.desk.attend(&self.question(0, false))
        })
    }

    fn question(&self, wait_ms: u32, started: bool) -> Attend {
        let holds = lock(&self.held).iter().map(HeldSandbox::record).collect();
        Attend {
            runner: self.name.clone(),
            started,
            holds,
            given_up: lock(&self.given_up).clone(),
            wait_ms,
        }
    }

    /// Asks the line again and again, as long as something is held, and does what is wanted.
    fn attend(self: Arc<Self>) {
        let mut started = true;
        let mut failed = 0;
        while !self.stops() {
            self.end_what_is_over();
            let is_idle = self.is_empty() && lock(&self.given_up).is_empty() && !started;
            if is_idle {
                // No question, and so no cost: nothing is held.
                drop(self.changed.wait_timeout(lock(&self.held), LOOK));
                continue;
            }
            let question = self.question(self.wait_ms(), started);
            match self.services.desk.attend(&question) {
                Ok(attended) => {
                    started = false;
                    failed = 0;
                    lock(&self.given_up).retain(|given_up| !question.given_up.contains(given_up));
                    let pause_ms = attended.pause_ms.unwrap_or_default().min(WAIT_MS);
                    self.act(attended);
                    wait(Duration::from_millis(pause_ms.into()), &self.stop);
                }
                // A line that is older than held sandboxes: nobody will want anything.
                Err(DeskError::Refused {
                    status: 404 | 405, ..
                }) if self.is_empty() => {
                    started = false;
                    lock(&self.given_up).clear();
                }
                Err(error) => {
                    failed += 1;
                    if failed == 1 && !self.is_empty() {
                        warn!(
                            problem = chain(&error),
                            "nobody can be let into the held sandboxes"
                        );
                    }
                    wait(pause(failed), &self.stop);
                }
            }
        }
    }

    /// How long the line may wait: until the next sandbox's time is over. What was given up is reported at once.
    fn wait_ms(&self) -> u32 {
        if !lock(&self.given_up).is_empty() {
            return 0;
        }
        let next = lock(&self.held)
            .iter()
            .map(|held| held.until.saturating_duration_since(Instant::now()))
            .min();
        let next = next.map_or(0, |next| u32::try_from(next.as_millis()).unwrap_or(WAIT_MS));
        next.min(WAIT_MS)
    }

    fn act(&self, attended: Attended) {
        for GivenUp { lease_id, reason } in attended.unwanted {
            self.end_if(&reason, |held| held.sandbox.lease == lease_id);
        }
        for wanted in attended.sessions {
            self.begin_session(wanted);
        }
    }

    fn begin_session(&self, WantedSession { lease_id, session }: WantedSession) {
        let mut all = lock(&self.held);
        let Some(held) = all
            .iter_mut()
            .find(|held| held.sandbox.lease == lease_id && held.session < session.number)
        else {
            return;
        };
        // Two who change one root at once are more than overlayfs takes: the first goes before the second comes.
        if let Some(running) = held.running.take() {
            running.end(SessionEnd::Taken {
                by: session.by.clone(),
            });
        }
        held.session = session.number;
        held.running = Some(session::begin(
            self.services.clone(),
            held.sandbox.clone(),
            session,
            held.until,
        ));
    }

    /// Gives up what is over, and if the disk is short, the oldest at which nobody is.
    fn end_what_is_over(&self) {
        let now = Instant::now();
        self.end_if("its time was over", |held| held.until <= now);
        if !self.is_empty() && free_bytes(&self.folder) < FREE_BYTES {
            self.end_oldest("its runner's disk was short");
        }
    }

    /// Makes room for one more.
    fn make_room(&self) {
        while lock(&self.held).len() >= HOLDS_MAX {
            self.end_oldest("its runner holds others, which failed later");
        }
    }

    /// Gives up the oldest; one at which somebody is only if there is no other.
    fn end_oldest(&self, reason: &str) {
        let oldest = {
            let all = lock(&self.held);
            all.iter()
                .find(|held| !held.is_busy())
                .or_else(|| all.first())
                .map(|held| held.sandbox.lease.clone())
        };
        if let Some(oldest) = oldest {
            self.end_if(reason, |held| held.sandbox.lease == oldest);
        }
    }

    fn end_if(&self, reason: &str, is_meant: impl Fn(&HeldSandbox) -> bool) {
        let meant: Vec<HeldSandbox> = lock(&self.held)
            .extract_if(.., |held| is_meant(held))
            .collect();
        for held in meant {
            self.end(held, reason);
        }
    }

    fn end(&self, held: HeldSandbox, reason: &str) {
        let folder = held.sandbox.folder.clone();
        let given_up = GivenUp {
            lease_id: held.sandbox.lease.clone(),
            reason: reason.to_owned(),
        };
        if let Some(running) = held.running {
            running.end(SessionEnd::GivenUp {
                reason: reason.to_owned(),
            });
        }
        // The root goes with the last who has it.
        drop(held.sandbox);
        if let Err(error) = remove_folder(&folder) {
            warn!(folder = %folder.display(), problem = chain(&error), "a folder stays");
        }
        let LeaseId {
            build,
            task,
            number,
        } = &given_up.lease_id;
        info!(%build, %task, lease = %number, reason, "a sandbox is held no more");
        lock(&self.given_up).push(given_up);
    }

    /// Gives all up and tells the line, if that answers in time.
    pub(crate) fn end_all(&self, reason: &str, time: Duration) {
        self.end_if(reason, |_| true);
        if lock(&self.given_up).is_empty() {
            return;
        }
        let never = AtomicBool::new(false);
        if let Err(error) = self.tell(time, &never) {
            warn!(
                problem = chain(&error),
                "the line was not told that sandboxes are held no more"
            );
        }
    }
}

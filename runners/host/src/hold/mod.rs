//! Sandboxes that stay when a task has failed in them, for its author to look at: root and folder as the command that failed left them.
//!
//! They cost no lease and keep the runner from nothing but some of its disk. Each ends: with its time, when its author or the line has
//! done with it, when the disk is short or others come, and with the runner.

mod session;

use crate::buildroot::Root;
use crate::doctor::FREE_BYTES_MIN;
use crate::line::client::{DeskError, patiently, pause, wait};
use crate::line::log::TaskLog;
use crate::machine::removal::remove_folder;
use crate::plugin::imports::{TaskRoot, shown};
use crate::plugin::job::Job;
use crate::plugin::machine::Machine;
use crate::sandbox::Command;
use millrace_core::RunnerName;
use millrace_core::hold::{FailedCommand, HOLD_S_MAX, SessionEnd};
use millrace_core::platform::SandboxOptions;
use millrace_core::protocol::{Attend, Attended, GivenUp, Held, Holding, Wanted};
use millrace_core::task::cut;
use session::Running;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::component::Resource;

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

/// How long the line is tried to be told of a new hold before the task's failure is: people see both at once.
const TELL: Duration = Duration::from_secs(5);

/// What runs the command again, as its author finds it in `/work`.
pub(crate) const AGAIN: &str = "again.sh";
const AGAIN_STDIN: &str = "again.stdin";
pub(crate) const AGAIN_HISTORY: &str = "again.history";

/// A command that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) as_root: bool,
    stdin: Vec<u8>,
    how: String,
    /// The number of its root.
    root: u32,
}

impl Failed {
    pub(crate) fn of(command: &Command<'_>, root: u32, how: String) -> Self {
        Self {
            argv: command.argv.clone(),
            env: command.env.clone(),
            cwd: command.cwd.clone(),
            as_root: command.as_root,
            stdin: command.stdin.clone(),
            how,
            root,
        }
    }
}

/// The command that failed last, and its root where the plugin has let go of that.
pub(crate) struct Noted {
    failed: Failed,
    root: Option<Root>,
}

impl Job {
    /// Remembers what failed, where its sandbox is wanted for that.
    pub(crate) fn note_failure(&mut self, failed: Failed) {
        if self.work.hold_s.is_some() {
            self.noted = Some(Noted { failed, root: None });
        }
    }

    /// The plugin is done with a root: it goes, unless something failed in it.
    pub(crate) fn root_is_let_go(&mut self, number: u32, root: Root) {
        match &mut self.noted {
            Some(noted) if noted.failed.root == number && noted.root.is_none() => {
                noted.root = Some(root)
            }
            _ => drop(root),
        }
    }

    /// The sandbox in which a command failed, with what runs that again; `folder` is around the task's own.
    pub(crate) fn take_kept(&mut self, folder: &Path) -> Option<Kept> {
        let Noted { failed, root } = self.noted.take()?;
        let root = match root {
            Some(root) => root,
            None => {
                self.table
                    .delete(Resource::<TaskRoot>::new_own(failed.root))
                    .ok()?
                    .root
            }
        };
        let line = format!("sh /work/{AGAIN}\n");
        for (name, bytes) in [
            (AGAIN, again(&failed).as_bytes()),
            (AGAIN_STDIN, failed.stdin.as_slice()),
            (AGAIN_HISTORY, line.as_bytes()),
        ] {
            // Whatever a command has left there; and where the disk is full, the rest can be looked at all the same.
            let _ = self
                .folder
                .remove(name)
                .and_then(|()| self.folder.write(name, bytes, false));
        }
        Some(Kept {
            root,
            failed,
            folder: folder.to_owned(),
            work: self.folder.path().to_owned(),
            holding: self.holding.clone(),
            options: self.work.sandbox,
            hold: Duration::from_secs(self.work.hold_s.unwrap_or_default().min(HOLD_S_MAX).into()),
        })
    }
}

/// A script that does what failed once more.
fn again(failed: &Failed) -> String {
    let quoted = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    let words: Vec<String> = failed.argv.iter().map(quoted).collect();
    format!(
        "#!/bin/sh\n# What failed, once more.\ncd {} && exec {} </work/{AGAIN_STDIN}\n",
        quoted(&failed.cwd),
        words.join(" ")
    )
}

/// A sandbox in which a task has failed.
pub(crate) struct Kept {
    pub(crate) root: Root,
    pub(crate) failed: Failed,
    /// All that the task has on the disk.
    pub(crate) folder: PathBuf,
    /// What commands see as `/work`.
    pub(crate) work: PathBuf,
    pub(crate) holding: Holding,
    pub(crate) options: SandboxOptions,
    hold: Duration,
}

impl Kept {
    fn name(&self) -> String {
        format!("{}/{}", self.holding.build, self.holding.task)
    }
}

/// One that is held.
struct Own {
    kept: Arc<Kept>,
    until: Instant,
    /// Who was there last: the line is not to name them again.
    session: u32,
    running: Option<Running>,
}

impl Own {
    fn told(&self) -> Held {
        let failed = &self.kept.failed;
        let failed = FailedCommand {
            line: cut(&shown(&failed.argv)),
            cwd: failed.cwd.clone(),
            ended: failed.how.clone(),
        };
        Held {
            holding: self.kept.holding.clone(),
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
pub(crate) struct Holds {
    name: RunnerName,
    machine: Arc<Machine>,
    stop: Arc<AtomicBool>,
    own: Mutex<Vec<Own>>,
    /// What the line has not been told of yet.
    given_up: Mutex<Vec<GivenUp>>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holds {
    /// Nothing yet; the line is told so, since it may remember what an earlier runner of this name held.
    pub(crate) fn begin(
        name: RunnerName,
        machine: Arc<Machine>,
        stop: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let (own, given_up, changed) = (Mutex::default(), Mutex::default(), Condvar::new());
        let holds = Arc::new(Self {
            name,
            machine,
            stop,
            own,
            given_up,
            changed,
        });
        let attending = holds.clone();
        // A question is out as long as the line likes, so nobody waits for the end of this.
        std::thread::spawn(move || attending.attend());
        holds
    }

    fn say(&self, what: &str) {
        eprintln!("runner {}: {what}", self.name);
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Holds a sandbox from now on. The line hears of it before it hears that the task has failed, where it is there.
    pub(crate) fn hold(&self, kept: Kept, log: &TaskLog) {
        let words = format!(
            "millrace shell {} {}",
            kept.holding.build, kept.holding.task
        );
        log.line(&format!(
            "the sandbox is held for {} s: `{words}` gives a terminal in it",
            kept.hold.as_secs()
        ));
        self.make_room();
        let until = Instant::now() + kept.hold;
        lock(&self.own).push(Own {
            kept: Arc::new(kept),
            until,
            session: 0,
            running: None,
        });
        self.changed.notify_all();
        let told = patiently(TELL, &self.stop, || {
            self.machine.desk.attend(&self.ask(0, false))
        });
        if let Err(error) = told {
            self.say(&format!(
                "the line was not told of a sandbox that is held: {error}; it is told later"
            ));
        }
    }

    fn ask(&self, wait_ms: u32, started: bool) -> Attend {
        let holds = lock(&self.own).iter().map(Own::told).collect();
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
        let (mut started, mut failed) = (true, 0);
        while !self.stops() {
            self.end_what_is_over();
            let idle = lock(&self.own).is_empty() && lock(&self.given_up).is_empty() && !started;
            if idle {
                // No question, and so no cost: nothing is held.
                drop(self.changed.wait_timeout(lock(&self.own), LOOK));
                continue;
            }
            let ask = self.ask(self.wait_ms(), started);
            match self.machine.desk.attend(&ask) {
                Ok(attended) => {
                    (started, failed) = (false, 0);
                    lock(&self.given_up).retain(|told| !ask.given_up.contains(told));
                    let pause_ms = attended.pause_ms.unwrap_or_default();
                    self.act(attended);
                    wait(
                        Duration::from_millis(pause_ms.min(WAIT_MS).into()),
                        &self.stop,
                    );
                }
                // A line of before there were holds: nobody will want anything.
                Err(DeskError::Refused {
                    status: 404 | 405, ..
                }) if lock(&self.own).is_empty() => {
                    started = false;
                    lock(&self.given_up).clear();
                }
                Err(error) => {
                    failed += 1;
                    if failed == 1 && !lock(&self.own).is_empty() {
                        self.say(&format!(
                            "nobody can be let into the sandboxes that are held: {error}"
                        ));
                    }
                    wait(pause(failed), &self.stop);
                }
            }
        }
    }

    /// How long the line may wait: until the next time is over. What was given up is told at once.
    fn wait_ms(&self) -> u32 {
        if !lock(&self.given_up).is_empty() {
            return 0;
        }
        let next = lock(&self.own)
            .iter()
            .map(|own| own.until.saturating_duration_since(Instant::now()))
            .min();
        let next = next.map_or(0, |next| u32::try_from(next.as_millis()).unwrap_or(WAIT_MS));
        next.min(WAIT_MS)
    }

    fn act(&self, attended: Attended) {
        for GivenUp { holding, reason } in attended.unwanted {
            self.end_if(&reason, |own| own.kept.holding == holding);
        }
        for Wanted { holding, session } in attended.sessions {
            let mut own = lock(&self.own);
            let Some(own) = own
                .iter_mut()
                .find(|own| own.kept.holding == holding && own.session < session.number)
            else {
                continue;
            };
            // Two who change one root at once are more than overlayfs takes: the first goes before the second comes.
            if let Some(running) = own.running.take() {
                running.end(SessionEnd::Taken {
                    by: session.by.clone(),
                });
            }
            own.session = session.number;
            own.running = Some(session::begin(
                self.machine.clone(),
                own.kept.clone(),
                session,
                own.until,
            ));
        }
    }

    /// Gives up what is over, and where the disk is short, the oldest at which nobody is.
    fn end_what_is_over(&self) {
        let now = Instant::now();
        self.end_if("its time was over", |own| own.until <= now);
        if !lock(&self.own).is_empty() && self.machine.capacity().disk_bytes < FREE_BYTES {
            self.end_oldest("its runner's disk was short");
        }
    }

    /// Makes room for one more.
    fn make_room(&self) {
        while lock(&self.own).len() >= HOLDS_MAX {
            self.end_oldest("its runner holds others, which failed later");
        }
    }

    /// Gives up the oldest; one at which somebody is only where there is no other.
    fn end_oldest(&self, reason: &str) {
        let oldest = {
            let own = lock(&self.own);
            own.iter()
                .find(|own| !own.is_busy())
                .or_else(|| own.first())
                .map(|own| own.kept.holding.clone())
        };
        if let Some(oldest) = oldest {
            self.end_if(reason, |own| own.kept.holding == oldest);
        }
    }

    fn end_if(&self, reason: &str, is_meant: impl Fn(&Own) -> bool) {
        let meant: Vec<Own> = lock(&self.own)
            .extract_if(.., |own| is_meant(own))
            .collect();
        for own in meant {
            let (name, folder) = (own.kept.name(), own.kept.folder.clone());
            let given_up = GivenUp {
                holding: own.kept.holding.clone(),
                reason: reason.to_owned(),
            };
            if let Some(running) = own.running {
                running.end(SessionEnd::GivenUp {
                    reason: reason.to_owned(),
                });
            }
            // The root goes with the last who has it.
            drop(own.kept);
            if let Err(error) = remove_folder(&folder) {
                self.say(&format!("{} stays: {error}", folder.display()));
            }
            self.say(&format!("the sandbox of {name} is held no more: {reason}"));
            lock(&self.given_up).push(given_up);
        }
    }

    /// Gives all up and tells the line, where that answers in time.
    pub(crate) fn end_all(&self, reason: &str, time: Duration) {
        self.end_if(reason, |_| true);
        if !lock(&self.given_up).is_empty() {
            let never = AtomicBool::new(false);
            if let Err(error) = patiently(time, &never, || {
                self.machine.desk.attend(&self.ask(0, false))
            }) {
                self.say(&format!(
                    "the line was not told that sandboxes are held no more: {error}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_does_what_failed_whatever_its_words_are() {
        let failed = Failed {
            argv: ["rpmbuild", "--define", "it's 1", "$HOME"]
                .map(str::to_owned)
                .to_vec(),
            env: Vec::new(),
            cwd: "/work".to_owned(),
            as_root: false,
            stdin: Vec::new(),
            how: "ended with status 1".to_owned(),
            root: 0,
        };
        let script = again(&failed);
        assert!(
            script.ends_with(
                "cd '/work' && exec 'rpmbuild' '--define' 'it'\\''s 1' '$HOME' </work/again.stdin\n"
            ),
            "{script}"
        );
    }
}

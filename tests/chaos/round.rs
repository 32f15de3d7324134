//! Plays a round: pushes, lets go wrong what its plan says, waits until every build has ended, and looks after the invariants.

use crate::invariants::{self, Met, Repositories, attempts, children, tasks};
use crate::packages::{End, Kind};
use crate::place::{ChaosLine, runner_name};
use crate::plan::{Fault, Plan, Push, SandboxProcess, Trouble, seconds};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often everybody is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often the line is asked about builds.
const ASK: Duration = Duration::from_millis(200);

/// How often a forge tries to deliver, and a person to cancel.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a sandbox that is to be killed is waited for.
const FOUND: Duration = Duration::from_secs(10);

/// How long builds may take to end after the last trouble: two leases that run out, a pause, and the work itself.
const PATIENCE: Duration = Duration::from_secs(240);

/// And how long besides if a task has paused, for the second time for five minutes.
const PAUSED: Duration = Duration::from_secs(330);

/// How long what is left of a round may take to go, once every build has ended.
const SETTLES: Duration = Duration::from_secs(30);

/// What is reported of a round.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RoundReport {
    pub round: u64,
    /// What was pushed, and how it ended after how many seconds.
    pub builds: Vec<(String, String, f64)>,
    /// What went wrong, from when to when.
    pub troubles: Vec<String>,
    /// How often each trouble was there.
    pub counts: BTreeMap<String, u64>,
    /// How leases ended that had no answer.
    pub unanswered: BTreeMap<String, u64>,
    /// What requests met on muddled ways.
    pub muddled: BTreeMap<String, u64>,
    /// How long tasks of killed runners were without one, in seconds.
    pub recovered_s: Vec<f64>,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// Invariants that were broken.
    pub broken: Vec<String>,
}

/// A push under way.
struct Pushed {
    push: Push,
    commit: String,
    delivery: String,
    /// Times that the webhook is still to be taken.
    deliveries: u8,
    next: Duration,
    builds: Vec<Value>,
    ended: Option<Duration>,
}

/// A trouble, and how far it is.
struct Under {
    trouble: Trouble,
    runner: Option<usize>,
    begun: Option<Duration>,
    ended: Option<Duration>,
    /// A sandbox that was to be killed was not there.
    missed: bool,
}

/// A task whose runner was killed.
struct Orphan {
    build: String,
    task: String,
    lease: u64,
    since: Duration,
}

struct Play<'a> {
    place: &'a mut ChaosLine,
    begin: Instant,
    pushed: Vec<Pushed>,
    under: Vec<Under>,
    orphans: Vec<Orphan>,
    asked: Duration,
    told: RoundReport,
}

/// Plays one, the `at`th of its run.
pub fn play(
    place: &mut ChaosLine,
    repositories: &mut Repositories,
    plan: &Plan,
    round: u64,
    at: u64,
) -> Result<RoundReport> {
    // What no other run, place and round has in a command line, in digits that `sleep` takes.
    let mark = format!(".{:07}{at:04}9", std::process::id());
    let pushed = plan
        .pushes
        .iter()
        .map(|push| prepared(place, push, at, &mark))
        .collect::<Result<_>>()?;
    let waits = |trouble: &Trouble| Under {
        trouble: trouble.clone(),
        runner: None,
        begun: None,
        ended: None,
        missed: false,
    };
    let under = plan.troubles.iter().map(waits).collect();
    let told = RoundReport {
        round,
        ..RoundReport::default()
    };
    let asked = Duration::ZERO;
    let mut play = Play {
        place,
        begin: Instant::now(),
        pushed,
        under,
        orphans: Vec::new(),
        asked,
        told,
    };
    let is_over = play.until_all_is_over()?;
    play.tell(is_over);
    if is_over {
        play.check_invariants(repositories, &mark)?;
    }
    play.told.took_s = play.begin.elapsed().as_secs_f64();
    Ok(play.told)
}

/// Commits, and does not tell anybody yet.
fn prepared(place: &ChaosLine, push: &Push, at: u64, mark: &str) -> Result<Pushed> {
    let files = push.kind.files(at + 1, &format!("{}{mark}", push.sleeps_s));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    let commit = millrace_tests::up::commit(&place.folder.join("forge"), push.kind.name(), &files);
    let delivery = millrace_core::Digest::of(format!("{at} {commit}").as_bytes()).hex();
    let (deliveries, next) = (1 + u8::from(push.twice), Duration::from_millis(push.at_ms));
    Ok(Pushed {
        push: push.clone(),
        commit,
        delivery,
        deliveries,
        next,
        builds: Vec::new(),
        ended: None,
    })
}

impl Pushed {
    fn build(&self) -> Option<&Value> {
        self.builds.first()
    }
}

impl Play<'_> {
    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Whether every build has ended in time.
    fn until_all_is_over(&mut self) -> Result<bool> {
        let (mut calm_since, mut paused) = (Duration::ZERO, false);
        loop {
            self.place.look_after()?;
            self.deliver()?;
            self.trouble()?;
            self.ask();
            self.cancel();
            let troubled = self.under.iter().any(|under| under.ended.is_none());
            if troubled {
                calm_since = self.now();
            } else if self
                .pushed
                .iter()
                .all(|pushed| pushed.ended.is_some() && pushed.deliveries == 0)
            {
                return Ok(true);
            }
            // What comes after a pause takes its time, too.
            paused |= self
                .pushed
                .iter()
                .flat_map(|pushed| &pushed.builds)
                .flat_map(tasks)
                .any(|task| task["state"] == "paused");
            if self.now() > calm_since + PATIENCE + if paused { PAUSED } else { Duration::ZERO } {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn deliver(&mut self) -> Result<()> {
        let now = self.now();
        for pushed in self
            .pushed
            .iter_mut()
            .filter(|pushed| pushed.deliveries > 0 && pushed.next <= now)
        {
            if self
                .place
                .deliver(pushed.push.kind, &pushed.commit, &pushed.delivery)?
            {
                pushed.deliveries -= 1;
            }
            pushed.next = now + AGAIN;
        }
        Ok(())
    }

    /// Asks the line about builds. It may be away, and then what was known last is as good as anything.
    fn ask(&mut self) {
        let now = self.now();
        if now < self.asked + ASK {
            return;
        }
        self.asked = now;
        for pushed in &mut self.pushed {
            let Ok(answer) = self
                .place
                .get(&format!("/api/v1/builds?commit={}", pushed.commit))
            else {
                continue;
            };
            let Ok(Value::Object(mut answer)) = serde_json::from_slice(&answer) else {
                continue;
            };
            pushed.builds = answer
                .remove("builds")
                .and_then(|builds| serde_json::from_value(builds).ok())
                .unwrap_or_default();
            let has_ended = pushed.builds.iter().all(|build| !build["ended"].is_null())
                && !pushed.builds.is_empty();
            pushed.ended = if has_ended {
                pushed.ended.or(Some(now))
            } else {
                None
            };
        }
        self.recover(now);
    }

    /// Notes which tasks of killed runners have another lease by now.
    fn recover(&mut self, now: Duration) {
        let builds: Vec<&Value> = self
            .pushed
            .iter()
            .flat_map(|pushed| &pushed.builds)
            .collect();
        let (told, mut recovered) = (&mut self.told, Vec::new());
        self.orphans.retain(|orphan| {
            let build = builds
                .iter()
                .find(|build| build["id"] == orphan.build.as_str());
            let task = build
                .and_then(|build| tasks(build).find(|task| task["task"] == orphan.task.as_str()));
            let Some(task) = task else { return true };
            let has_another = attempts(task)
                .iter()
                .any(|attempt| attempt["number"].as_u64() > Some(orphan.lease));
            if has_another {
                recovered.push((now - orphan.since).as_secs_f64());
            }
            // One that was answered for just before, or whose build has ended, wants nobody.
            let is_settled = ["passed", "failed", "dropped", "excluded", "quarantined"]
                .iter()
                .any(|word| task["state"] == *word);
            !has_another && !is_settled
        });
        told.recovered_s.extend(recovered);
    }

    /// Somebody cancels what is unwanted, once it is being built.
    fn cancel(&mut self) {
        let now = self.now();
        for pushed in self
            .pushed
            .iter_mut()
            .filter(|pushed| pushed.push.kind == Kind::Unwanted && pushed.ended.is_none())
        {
            let Some(build) = pushed.builds.first() else {
                continue;
            };
            let is_built =
                tasks(build).any(|task| task["step"] == "rpm" && task["state"] == "running");
            if let (true, true, Some(id)) = (is_built, pushed.next <= now, build["id"].as_str()) {
                // A disk that is full now is not later; what was refused is seen by how the build ends.
                let _ = self.place.say(&["cancel", id]);
                pushed.next = now + AGAIN;
            }
        }
    }

    // What goes wrong.

    fn trouble(&mut self) -> Result<()> {
        let now = self.now();
        for number in 0..self.under.len() {
            let under = &self.under[number];
            let begins = Duration::from_millis(under.trouble.at_ms);
            match (under.begun, under.ended) {
                (None, _) if begins <= now => self.begin(number, now - begins)?,
                (Some(begun), None)
                    if begun + Duration::from_millis(under.trouble.lasts_ms) <= now =>
                {
                    self.end(number)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The runner that a trouble meets.
    fn runner(&self, what: Fault) -> Option<usize> {
        let whom = what.whom()?;
        let builds = self.pushed.iter().flat_map(|pushed| &pushed.builds);
        let at_work: Vec<&Value> = builds
            .flat_map(tasks)
            .filter(|task| task["state"] == "running")
            .map(|task| &task["runner"])
            .collect();
        let works = |number: usize| {
            at_work
                .iter()
                .any(|runner| **runner == runner_name(number).as_str())
        };
        let other = || (0..self.place.runners.len()).find(|number| works(*number));
        Some(if whom.at_work && !works(whom.number) {
            other().unwrap_or(whom.number)
        } else {
            whom.number
        })
    }

    fn begin(&mut self, number: usize, late: Duration) -> Result<()> {
        let what = self.under[number].trouble.what;
        let runner = self.runner(what);
        let its = |name: &str| runner.with_context(|| format!("{name} meets a runner"));
        match what {
            Fault::KillRunner(_) => {
                let killed = its("a kill")?;
                self.place.runners[killed].kill()?;
                self.orphan(killed);
            }
            Fault::KillSandbox(_, within) => {
                let its = self.place.runners[its("a kill")?].process();
                match its.and_then(|runner| sandbox(runner, within)) {
                    Some(process) => drop(kill(
                        Pid::from_raw(i32::try_from(process)?),
                        Signal::SIGKILL,
                    )),
                    None if late < FOUND => return Ok(()),
                    None => self.under[number].missed = true,
                }
            }
            Fault::KillLine => self.place.line.kill()?,
            Fault::Cut(_) => self.place.link(its("a cut")?, false)?,
            Fault::Muddle => self.place.muddle.switch(true),
            Fault::Freeze(_) => self.place.runners[its("a freeze")?].signal(Signal::SIGSTOP)?,
            Fault::FillRunner(_) => self.place.disks[its("a full disk")?].fill(true)?,
            Fault::FillLine => self.place.line_disk.fill(true)?,
            Fault::JumpRunner(_, hours) => self.place.clocks[its("a jump")?].set(hours)?,
            Fault::JumpLine(hours) => self.place.line_clock.set(hours)?,
        }
        let now = self.now();
        let under = &mut self.under[number];
        (under.runner, under.begun) = (runner, Some(now));
        Ok(())
    }

    fn end(&mut self, number: usize) -> Result<()> {
        let (what, runner) = (self.under[number].trouble.what, self.under[number].runner);
        let place = &mut *self.place;
        match (what, runner) {
            (Fault::KillRunner(_), Some(runner)) => place.runners[runner].come_back()?,
            (Fault::KillLine, _) => place.line.come_back()?,
            (Fault::Cut(_), Some(runner)) => place.link(runner, true)?,
            (Fault::Muddle, _) => place.muddle.switch(false),
            (Fault::Freeze(_), Some(runner)) => place.runners[runner].signal(Signal::SIGCONT)?,
            (Fault::FillRunner(_), Some(runner)) => place.disks[runner].fill(false)?,
            (Fault::FillLine, _) => place.line_disk.fill(false)?,
            (Fault::JumpRunner(..), Some(runner)) => place.clocks[runner].set(0)?,
            (Fault::JumpLine(_), _) => place.line_clock.set(0)?,
            (Fault::KillSandbox(..), _) => {}
            (what, None) => bail!("{what:?} has met no runner"),
        }
        let now = self.now();
        self.under[number].ended = Some(now);
        Ok(())
    }

    /// Notes what a killed runner was at.
    fn orphan(&mut self, runner: usize) {
        let since = self.now();
        for build in self.pushed.iter().flat_map(|pushed| &pushed.builds) {
            let its = tasks(build).filter(|task| {
                task["state"] == "running" && task["runner"] == runner_name(runner).as_str()
            });
            self.orphans.extend(its.filter_map(|task| {
                let (build, name) = (
                    build["id"].as_str()?.to_owned(),
                    task["task"].as_str()?.to_owned(),
                );
                Some(Orphan {
                    build,
                    task: name,
                    lease: task["attempt"].as_u64()?,
                    since,
                })
            }));
        }
    }

    // What came of it.

    fn met(&self) -> Vec<Met> {
        self.under
            .iter()
            .filter(|under| !under.missed)
            .map(|under| (under.trouble.clone(), under.runner))
            .collect()
    }

    fn tell(&mut self, is_over: bool) {
        for pushed in &self.pushed {
            let name = pushed.push.kind.name().to_owned();
            let end = pushed
                .build()
                .map_or_else(|| "no build".to_owned(), invariants::end_of);
            self.told.builds.push((
                name,
                end,
                (pushed.ended.unwrap_or(self.begin.elapsed())).as_secs_f64(),
            ));
            for attempt in pushed.builds.iter().flat_map(tasks).flat_map(attempts) {
                let how = attempt["how"].as_str().unwrap_or("?");
                if !matches!(
                    how,
                    "passed" | "failed" | "excluded" | "dropped" | "running"
                ) {
                    *self.told.unanswered.entry(how.to_owned()).or_default() += 1;
                }
            }
            if !is_over && pushed.ended.is_none() {
                let build = pushed.build().map_or_else(String::new, ToString::to_string);
                self.told.broken.push(format!(
                    "{} has not ended: {build}",
                    pushed.push.kind.name()
                ));
            }
        }
        for under in &self.under {
            let from = under
                .begun
                .map_or(seconds(under.trouble.at_ms), |at| at.as_secs_f64());
            let to = under
                .ended
                .filter(|_| under.trouble.lasts_ms > 0)
                .map_or_else(String::new, |at| format!("-{:.1}", at.as_secs_f64()));
            let missed = if under.missed {
                " (nothing ran there)"
            } else {
                ""
            };
            self.told.troubles.push(format!(
                "{} {from:.1}{to} s{missed}",
                under.trouble.what.words(under.runner)
            ));
            if !under.missed {
                *self
                    .told
                    .counts
                    .entry(under.trouble.what.name().to_owned())
                    .or_default() += 1;
            }
        }
        self.told.muddled = self
            .place
            .muddle
            .met()
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
    }

    fn check_invariants(&mut self, repositories: &mut Repositories, mark: &str) -> Result<()> {
        let met = self.met();
        let of_builds = self
            .pushed
            .iter()
            .flat_map(|pushed| invariants::of_builds(&pushed.push, &pushed.builds, &met));
        self.told.broken.extend(of_builds);
        let crashed = self
            .place
            .runners
            .iter()
            .chain([&self.place.line])
            .filter_map(|service| service.crashed());
        self.told.broken.extend(crashed.map(|status| {
            format!("a runner or the line ended by itself with {status}: its log says why")
        }));
        self.told.broken.extend(repositories.look(self.place)?);
        // Processes die, and runners sweep up, a moment after the build has ended.
        let until = Instant::now() + SETTLES;
        loop {
            self.place.look_after()?;
            let left = invariants::left_over(self.place, &[mark.to_owned()])?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                self.told
                    .broken
                    .extend(left.into_iter().map(|what| format!("left over: {what}")));
                return Ok(());
            }
            std::thread::sleep(LOOK * 4);
        }
    }
}

/// A process of a runner's sandbox. Launchers are those of its own children that have one: the starter's are the runner's.
fn sandbox(runner: u32, within: SandboxProcess) -> Option<u32> {
    let own = children(runner)
        .into_iter()
        .filter(|(_, words)| words.contains("__sandbox"));
    let (launcher, first) = own
        .map(|(own, _)| (own, children(own)))
        .find(|(_, below)| !below.is_empty())?;
    match within {
        SandboxProcess::Launcher => Some(launcher),
        SandboxProcess::First => first.first().map(|(process, _)| *process),
    }
}

/// Whether a build ended as its package asked for.
pub fn is_as_asked(name: &str, end: &str) -> bool {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    kind.is_some_and(|kind| match kind.end() {
        End::Released => end == "released",
        End::Failed(..) => end == "failed",
        End::Cancelled => end == "cancelled",
    })
}

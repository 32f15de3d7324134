//! The simulation: the world, functions under way, runners, and a random number that decides what happens next.

mod invariants;

use crate::counts::Counts;
use crate::workload::{SimulatedRunner, script};
use axum::http::StatusCode;
use invariants::Invariants;
use millrace_cli::pump;
use millrace_core::build::{Build, Event};
use millrace_core::order::Effect;
use millrace_core::protocol::Offer;
use millrace_core::task::{LEASE_MS, TaskId};
use millrace_core::{Arch, BuildId, PushId};
use millrace_store::memory::{Fare, MemoryStore};
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{AdvanceError, Message, MessageId, StateStore, advance, chain};
use millrace_tests::flight::{Flight, Progress};
use millrace_tests::forge::Delivery;
use millrace_tests::runner::{Runner, TaskAnswer};
use millrace_tests::world::{OUT_MS, World, words};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

/// Steps with trouble; after them the world calms down and everything must end.
const TROUBLED_STEPS: usize = 700;

/// Steps without trouble that any trouble must be over after: each lets five seconds pass, a lease lasts a minute, a task has
/// three, and a message comes ten times at most.
const CALM_STEPS_MAX: usize = 1_000;

/// Functions under way at the same time.
const UNDER_WAY_MAX: usize = 6;

/// Pushes of a seed, at most.
const PUSHES_MAX: usize = 8;

/// How far the line's clock may be ahead, in milliseconds, before it is set back: beyond a lease and the longest pause.
const AHEAD_MS: std::ops::Range<u64> = 70_000..1_200_000;

/// Packages, and what their specs say besides.
const PACKAGES: [(&str, &str); 4] = [
    ("zlib", ""),
    ("pigz", ""),
    ("lcov", "BuildArch: noarch"),
    ("grub2", "ExclusiveArch: x86_64"),
];

/// Something that goes on.
struct Under {
    what: Action,
    flight: Flight<ActionOutcome>,
    at: &'static str,
}

/// What goes on.
#[derive(Clone)]
enum Action {
    Hear(Delivery),
    Carry(Message),
    GiveUp(Message),
    GiveUpDeadLetters,
    Tick,
    Cancel(BuildId),
    Retry(BuildId, Option<TaskId>),
    Ask(usize),
    Renew(usize),
    TaskAnswer(usize),
    AnswerLate(usize, TaskAnswer),
}

/// What came of it.
enum ActionOutcome {
    Status(StatusCode),
    Offered(StatusCode, Option<Box<Offer>>),
    Done(Result<(), String>),
}

/// Everything.
pub struct Simulation {
    pub world: World,
    /// What happened, in order, in a few words each.
    pub history: Vec<String>,
    /// How often what happened.
    pub counts: Counts,
    pub invariants: Invariants,
    chance: fastrand::Rng,
    under_way: Vec<Under>,
    workload: Vec<SimulatedRunner>,
    commits: Vec<(usize, String)>,
    deliveries: Vec<Delivery>,
    unanswered: Vec<Delivery>,
    late: Vec<Message>,
    late_answers: Vec<(usize, TaskAnswer)>,
    /// Messages whose bearer dies each time before it does this.
    unlucky: BTreeMap<MessageId, &'static str>,
    /// Builds whose releaser dies each time before it can tell that their packages are out.
    pub untold: BTreeSet<BuildId>,
    /// How far the clock is ahead, in milliseconds.
    ahead_ms: u64,
    /// Whether somebody who may release has done something since the repositories were read last.
    pub may_have_released: bool,
    troubled: bool,
}

impl Simulation {
    /// A simulation where nothing has happened yet.
    pub fn new(seed: u64) -> Self {
        let mut world = World::new(r#""x86_64", "aarch64""#);
        let names = [
            ("r1", Arch::X86_64, false),
            ("r2", Arch::X86_64, false),
            ("r3", Arch::Aarch64, false),
        ];
        let doomed = [("r4", Arch::X86_64, true), ("r5", Arch::Aarch64, true)];
        let add =
            |(name, arch, vanishes)| SimulatedRunner::new(world.add_runner(name, arch), vanishes);
        let workload = names.into_iter().chain(doomed).map(add).collect();
        Self {
            world,
            history: Vec::new(),
            counts: Counts::default(),
            invariants: Invariants::default(),
            chance: fastrand::Rng::with_seed(seed),
            under_way: Vec::new(),
            workload,
            commits: Vec::new(),
            deliveries: Vec::new(),
            unanswered: Vec::new(),
            late: Vec::new(),
            late_answers: Vec::new(),
            unlucky: BTreeMap::new(),
            untold: BTreeSet::new(),
            ahead_ms: 0,
            may_have_released: false,
            troubled: true,
        }
    }

    /// Trouble first, then calm, and the invariants all the time.
    pub fn live(&mut self) {
        for _ in 0..TROUBLED_STEPS {
            self.step();
        }
        self.calm();
        self.check_the_end();
    }

    fn step(&mut self) {
        let passed = self.chance.u64(0..1_000);
        self.world.pass_ms(passed);
        let free = self.under_way.len() < UNDER_WAY_MAX;
        match self.chance.u8(0..100) {
            0..3 if free => self.somebody_pushes(),
            3..5 if free => self.repeat_a_delivery(),
            5..20 if free => self.deliver(),
            20..23 if free => self.deliver_late(),
            23..40 if free => self.a_runner_speaks(),
            40..42 if free => self.answer_late(),
            42..45 if free => self.begin(Action::Tick),
            45 if free => self.give_up_dead_letters(),
            46 if free => match self.chance.u8(0..4) {
                0 => self.cancel(),
                1 | 2 => self.retry(),
                _ => {}
            },
            47 => self.lose_a_runner(),
            48 if self.chance.u8(0..8) == 0 => self.set_the_clock(),
            48 => self.world.pass_ms(self.chance.clone().u64(0..OUT_MS)),
            49..53 => self.kill(),
            _ => self.go_on(),
        }
    }

    /// No more trouble: everything is delivered, everybody works, until nothing is left to do.
    fn calm(&mut self) {
        self.history.push("it is calm now".to_owned());
        self.troubled = false;
        while !self.under_way.is_empty() {
            self.go(0, usize::MAX);
        }
        for _ in 0..CALM_STEPS_MAX {
            self.world.pass_ms(5_000);
            for delivery in std::mem::take(&mut self.unanswered) {
                self.finish(Action::Hear(delivery));
            }
            let now = self.world.now();
            let messages = self
                .world
                .run(self.world.store.take(4, now, now.plus_ms(OUT_MS)))
                .unwrap();
            messages
                .into_iter()
                .for_each(|message| self.finish(Action::Carry(message)));
            self.finish(Action::GiveUpDeadLetters);
            self.finish(Action::Tick);
            let stay = (0..self.workload.len())
                .filter(|number| !self.workload[*number].vanishes)
                .collect::<Vec<_>>();
            for number in stay {
                self.finish(if self.workload[number].offer.is_some() {
                    Action::TaskAnswer(number)
                } else {
                    Action::Ask(number)
                });
            }
            if self.nothing_is_left() {
                return;
            }
        }
    }

    fn finish(&mut self, what: Action) {
        self.begin(what);
        while !self.under_way.is_empty() {
            self.go(0, usize::MAX);
        }
    }

    fn nothing_is_left(&self) -> bool {
        let idle = self.world.store.messages() == 0 && self.unanswered.is_empty();
        idle && self.world.builds().iter().all(Build::is_ended)
    }

    // What may begin.

    fn somebody_pushes(&mut self) {
        if self.deliveries.len() >= PUSHES_MAX {
            return;
        }
        let delivery = match self.chance.u8(0..12) {
            // The same commit once more, as when somebody pushes a tag, or the forge was set up again.
            0 if !self.commits.is_empty() => {
                let (package, commit) =
                    self.commits[self.chance.usize(0..self.commits.len())].clone();
                self.world
                    .forge
                    .delivery(PACKAGES[package].0, "main", &commit)
            }
            1 => self.world.commit("zlib", "wip", ""),
            _ => {
                let package = self.chance.usize(0..PACKAGES.len());
                let delivery = self
                    .world
                    .commit(PACKAGES[package].0, "main", PACKAGES[package].1);
                self.commits.push((package, delivery.commit.clone()));
                delivery
            }
        };
        self.history
            .push(format!("{} is pushed: {}", delivery.package, delivery.id));
        self.invariants
            .made
            .insert(PushId::of_delivery("gitea", &delivery.id));
        self.deliveries.push(delivery.clone());
        self.begin(Action::Hear(delivery));
    }

    fn repeat_a_delivery(&mut self) {
        if let Some(delivery) = self.unanswered.pop() {
            self.begin(Action::Hear(delivery));
        } else if !self.deliveries.is_empty() {
            let delivery = self.deliveries[self.chance.usize(0..self.deliveries.len())].clone();
            self.counts.happened("delivery repeated");
            self.begin(Action::Hear(delivery));
        }
    }

    fn deliver(&mut self) {
        let (now, most) = (self.world.now(), self.chance.usize(1..4));
        let mut messages = self
            .world
            .run(self.world.store.take(most, now, now.plus_ms(OUT_MS)))
            .unwrap();
        self.chance.shuffle(&mut messages);
        for message in messages {
            if message.deliveries == 1 && self.chance.u8(0..4) == 0 {
                self.late.push(message.clone());
            }
            self.curse(&message);
            self.begin(Action::Carry(message));
        }
    }

    /// Some messages kill the function that has them, each time at the same place.
    fn curse(&mut self, message: &Message) {
        let places: &[&str] = match &message.effect {
            Effect::Fetch(_) => &["put_file", "save"],
            Effect::Plan(_) => &["list", "save", "settle"],
            Effect::Sign(_) => &["compose", "save", "settle"],
            Effect::Release(_) => &["swap", "save", "settle"],
            Effect::FetchNames { .. } | Effect::ClaimReleased { .. } => &["load", "save", "settle"],
            Effect::Ready { .. } | Effect::Ended { .. } | Effect::Unreadable(_) => return,
        };
        if message.deliveries == 1 && self.chance.u8(0..10) == 0 {
            let place = places[self.chance.usize(0..places.len())];
            self.unlucky.insert(message.id, place);
            if let (Effect::Release(order), "save") = (&message.effect, place) {
                self.untold.insert(order.build.clone());
            }
        }
    }

    /// An effect that was acted on long ago comes once more.
    fn deliver_late(&mut self) {
        if !self.late.is_empty() {
            let message = self.late.swap_remove(self.chance.usize(0..self.late.len()));
            self.begin(Action::Carry(message));
        }
    }

    fn is_out(&self, id: MessageId) -> bool {
        self.under_way.iter().any(|under| matches!(&under.what, Action::Carry(message) | Action::GiveUp(message) if message.id == id))
    }

    fn give_up_dead_letters(&mut self) {
        let dead = self
            .world
            .run(self.world.store.dead_letters(usize::MAX))
            .unwrap();
        if !dead.iter().any(|message| self.is_out(message.id)) {
            self.begin(Action::GiveUpDeadLetters);
        }
    }

    fn cancel(&mut self) {
        let builds = self.world.builds();
        if !builds.is_empty() {
            let build = builds[self.chance.usize(0..builds.len())].id.clone();
            self.begin(Action::Cancel(build));
        }
    }

    /// Somebody wants a task done again, or all of a build: mostly of a build that failed or was cancelled, if there is one.
    fn retry(&mut self) {
        let mut builds = self.world.builds();
        let came_to_nothing = |build: &Build| matches!(build.word(), "failed" | "cancelled");
        if builds.iter().any(came_to_nothing) && self.chance.u8(0..4) != 0 {
            builds.retain(came_to_nothing);
        }
        if builds.is_empty() {
            return;
        }
        let build = &builds[self.chance.usize(0..builds.len())];
        let task = self.chance.bool().then(|| {
            build.tasks[self.chance.usize(0..build.tasks.len())]
                .id
                .clone()
        });
        self.invariants.may_go_on(build.id.clone());
        self.begin(Action::Retry(build.id.clone(), task));
    }

    /// The line's clock is ahead from now on, or is set back.
    fn set_the_clock(&mut self) {
        if self.ahead_ms == 0 {
            self.ahead_ms = self.chance.u64(AHEAD_MS);
            self.history
                .push(format!("the clock is ahead by {} s", self.ahead_ms / 1000));
            self.world.pass_ms(self.ahead_ms);
        } else {
            self.history.push("the clock is set back".to_owned());
            self.world.set_back_ms(std::mem::take(&mut self.ahead_ms));
            self.counts.happened("clock set back");
            self.check();
        }
    }

    fn a_runner_speaks(&mut self) {
        let number = self.chance.usize(0..self.workload.len());
        let runner_at_work = &self.workload[number];
        if runner_at_work.busy || (runner_at_work.vanishes && runner_at_work.offer.is_some()) {
            return;
        }
        let what = match (&runner_at_work.offer, self.chance.u8(0..4)) {
            (None, _) => Action::Ask(number),
            (Some(_), 0) => Action::Renew(number),
            (Some(_), _) => Action::TaskAnswer(number),
        };
        self.begin(what);
    }

    /// Something that a runner said long ago arrives once more.
    fn answer_late(&mut self) {
        if !self.late_answers.is_empty() {
            let (number, answer) = self
                .late_answers
                .swap_remove(self.chance.usize(0..self.late_answers.len()));
            self.begin(Action::AnswerLate(number, answer));
        }
    }

    /// A runner's machine is gone; when it comes back it knows nothing. Or it only slept, and knows too much.
    fn lose_a_runner(&mut self) {
        let number = self.chance.usize(0..self.workload.len());
        self.history
            .push(format!("{} is lost", self.workload[number].runner.name));
        match self.chance.u8(0..3) {
            0 => self.world.pass_ms(LEASE_MS),
            _ if self.workload[number].vanishes => {}
            _ => self.workload[number].forget(),
        }
    }

    // How it goes on.

    fn begin(&mut self, what: Action) {
        let flight = self.flight(&what);
        if let Action::Ask(number) | Action::Renew(number) | Action::TaskAnswer(number) = what {
            self.workload[number].busy = true;
        }
        if let Action::Carry(message) | Action::GiveUp(message) = &what {
            self.invariants.see(&message.effect);
        }
        self.history.push(self.tell(&what));
        self.may_have_released |= releases(&what);
        let mut flight = flight;
        match self.world.drive(&mut flight) {
            Progress::At(at) => self.under_way.push(Under { what, flight, at }),
            Progress::Done(came) => self.ended(what, came),
        }
    }

    /// Whether anybody under way may release.
    pub fn somebody_releases(&self) -> bool {
        self.under_way.iter().any(|under| releases(&under.what))
    }

    fn flight(&self, what: &Action) -> Flight<ActionOutcome> {
        let world = &self.world;
        let start = |number: usize| {
            (
                self.workload[number].runner.clone(),
                self.workload[number].clone(),
            )
        };
        match what.clone() {
            Action::Hear(delivery) => world.start(|store| {
                let heard = world.hear(store, &delivery);
                async move { ActionOutcome::Status(heard.await.0) }
            }),
            Action::Carry(message) => self.on_the_line(|line| async move {
                pump::carry_out(&line, &message)
                    .await
                    .map_err(|error| chain(&error))
            }),
            Action::GiveUp(message) => self.on_the_line(|line| async move {
                pump::give_up(&line, &message, "the store does not answer")
                    .await
                    .map_err(|error| chain(&error))
            }),
            Action::GiveUpDeadLetters => self.on_the_line(|line| async move {
                if pump::give_up_dead_letters(&line).await {
                    Ok(())
                } else {
                    Err("not all were given up".to_owned())
                }
            }),
            Action::Tick => self.on_the_line(|line| async move {
                let now = (line.clock)();
                millrace_orchestrator::tick(&line.store, now)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }),
            Action::Cancel(build) => self.on_the_line(|line| async move {
                match advance::<Build>(
                    &line.store,
                    &build,
                    Event::Cancel {
                        by: "dana".parse().unwrap(),
                    },
                    (line.clock)(),
                )
                .await
                {
                    Ok(_) | Err(AdvanceError::Refused(_)) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }),
            Action::Retry(build, task) => self.on_the_line(|line| async move {
                let event = Event::Retry {
                    task,
                    by: "dana".parse().unwrap(),
                    hold_s: None,
                };
                match advance::<Build>(&line.store, &build, event, (line.clock)()).await {
                    Ok(_) => Ok(()),
                    // Another word for it than trouble: it was heard, and nothing was to be done.
                    Err(AdvanceError::Refused(refused)) => Err(format!("refused: {refused}")),
                    Err(error) => Err(error.to_string()),
                }
            }),
            Action::Ask(number) => {
                let (runner, _) = start(number);
                self.at_the_desk(|desk| async move {
                    let (status, offer) = runner.ask(desk).await;
                    ActionOutcome::Offered(status, offer.map(Box::new))
                })
            }
            Action::Renew(number) => {
                let (runner, runner_at_work) = start(number);
                // Some have been silent for long by then, and some speak again.
                let silent_s = self.world.now().0.is_multiple_of(2).then_some(30);
                self.at_the_desk(|desk| async move {
                    ActionOutcome::Status(
                        runner
                            .renew_after(desk, &runner_at_work.offer.unwrap(), silent_s)
                            .await,
                    )
                })
            }
            Action::TaskAnswer(number) => {
                let (runner, runner_at_work) = start(number);
                self.at_the_desk(|desk| async move {
                    ActionOutcome::Status(
                        runner.answer(desk, &runner_at_work.answer.unwrap()).await,
                    )
                })
            }
            Action::AnswerLate(number, answer) => {
                let (runner, _): (Runner, _) = start(number);
                self.at_the_desk(|desk| async move {
                    ActionOutcome::Status(runner.report(desk, &answer).await)
                })
            }
        }
    }

    fn on_the_line<F>(
        &self,
        function: impl FnOnce(millrace_tests::world::Line) -> F,
    ) -> Flight<ActionOutcome>
    where
        F: Future<Output = Result<(), String>> + 'static,
    {
        self.world.start(|store| {
            let done = function(self.world.line(store));
            async move { ActionOutcome::Done(done.await) }
        })
    }

    fn at_the_desk<F>(&self, request: impl FnOnce(axum::Router) -> F) -> Flight<ActionOutcome>
    where
        F: Future<Output = ActionOutcome> + 'static,
    {
        self.world
            .start(|store: MemoryStore| request(self.world.desk(store)))
    }

    fn go_on(&mut self) {
        if !self.under_way.is_empty() {
            let number = self.chance.usize(0..self.under_way.len());
            // Most get on by a few operations, so that others come in between; some run to their end.
            let operations = match self.chance.u8(0..4) {
                0 => usize::MAX,
                _ => self.chance.usize(1..12),
            };
            self.go(number, operations);
        }
    }

    /// Lets a function do some operations.
    fn go(&mut self, number: usize, operations: usize) {
        for _ in 0..operations {
            if self.is_cursed(&self.under_way[number]) {
                return self.die(number);
            }
            let fare = match self.chance.u16(0..400) {
                0 if self.troubled => Fare::Fail,
                1 if self.troubled => Fare::Lose,
                _ => Fare::Pass,
            };
            let under = &mut self.under_way[number];
            if fare != Fare::Pass {
                self.history
                    .push(format!("  {fare:?} {} of {}", under.at, kind(&under.what)));
            }
            match self.world.drive_past(&mut under.flight, fare) {
                Progress::At(at) => under.at = at,
                Progress::Done(came) => {
                    let under = self.under_way.swap_remove(number);
                    return self.ended(under.what, came);
                }
            }
        }
    }

    fn is_cursed(&self, under: &Under) -> bool {
        matches!(&under.what, Action::Carry(message) if self.unlucky.get(&message.id) == Some(&under.at))
    }

    /// Kills somebody, now or a few operations later.
    fn kill(&mut self) {
        let before = self.under_way.len();
        self.go_on();
        if !self.under_way.is_empty() && self.under_way.len() == before {
            self.die(self.chance.clone().usize(0..before));
        }
    }

    fn die(&mut self, number: usize) {
        let Under { what, at, flight } = self.under_way.swap_remove(number);
        drop(flight);
        self.history
            .push(format!("  killed before {at}: {}", self.tell(&what)));
        self.counts.killed(kind(&what), at);
        match what {
            Action::Hear(delivery) => self.unanswered.push(delivery),
            Action::Ask(number) | Action::Renew(number) | Action::TaskAnswer(number) => {
                self.workload[number].busy = false
            }
            Action::Carry(_)
            | Action::GiveUp(_)
            | Action::GiveUpDeadLetters
            | Action::Tick
            | Action::AnswerLate(..) => {}
            Action::Cancel(_) | Action::Retry(..) => {}
        }
        self.check();
    }

    fn ended(&mut self, what: Action, came: ActionOutcome) {
        let said = match &came {
            ActionOutcome::Status(status) | ActionOutcome::Offered(status, None) => {
                status.as_str().to_owned()
            }
            ActionOutcome::Offered(_, Some(offer)) => format!(
                "{} of {} under {}",
                offer.work.task, offer.work.build, offer.lease.number
            ),
            ActionOutcome::Done(Ok(())) => "done".to_owned(),
            ActionOutcome::Done(Err(problem)) => {
                problem.replace(&self.world.forge.place(), "FORGE")
            }
        };
        self.history.push(format!("  {}: {said}", self.tell(&what)));
        match (what, came) {
            (Action::Hear(delivery), ActionOutcome::Status(status)) => self.heard(delivery, status),
            (Action::Carry(message), ActionOutcome::Done(Err(_)))
                if message.deliveries >= DELIVERIES_MAX && !self.is_out(message.id) =>
            {
                self.begin(Action::GiveUp(message));
            }
            (Action::GiveUp(message), ActionOutcome::Done(Ok(()))) => self.given_up(&message),
            (Action::Retry(_, task), ActionOutcome::Done(Ok(()))) => {
                self.counts.happened(if task.is_some() {
                    "task done again"
                } else {
                    "build done again"
                });
            }
            (Action::Ask(number), ActionOutcome::Offered(status, offer)) => {
                self.offered(number, status, offer.map(|offer| *offer))
            }
            (Action::Renew(number) | Action::TaskAnswer(number), ActionOutcome::Status(status))
                if status == StatusCode::SERVICE_UNAVAILABLE =>
            {
                self.workload[number].busy = false;
            }
            (Action::Renew(number), ActionOutcome::Status(status)) => {
                self.workload[number].busy = false;
                match status {
                    StatusCode::OK => {}
                    StatusCode::CONFLICT => self.workload[number].forget(),
                    status => panic!("a runner that renews hears {status}"),
                }
            }
            (Action::TaskAnswer(number), ActionOutcome::Status(status)) => {
                assert!(
                    matches!(status, StatusCode::OK | StatusCode::CONFLICT),
                    "a runner that answers hears {status}"
                );
                self.workload[number].busy = false;
                let answer = self.workload[number].answer.take();
                if let (StatusCode::OK, Some(answer)) = (status, &answer) {
                    self.check_taken(answer.lease_id());
                }
                self.late_answers
                    .extend(answer.map(|answer| (number, answer)));
                self.workload[number].forget();
            }
            (Action::AnswerLate(..), ActionOutcome::Status(StatusCode::CONFLICT)) => {
                self.counts.happened("late answer refused")
            }
            _ => {}
        }
        self.check();
    }

    fn heard(&mut self, delivery: Delivery, status: StatusCode) {
        match status {
            StatusCode::ACCEPTED => {
                self.invariants
                    .accepted
                    .insert(PushId::of_delivery("gitea", &delivery.id));
            }
            StatusCode::SERVICE_UNAVAILABLE => self.unanswered.push(delivery),
            status => panic!("the forge hears {status}"),
        }
    }

    fn given_up(&mut self, message: &Message) {
        self.history
            .push(format!("  given up: {}", words(&message.effect)));
    }

    fn offered(&mut self, number: usize, status: StatusCode, offer: Option<Offer>) {
        self.workload[number].busy = false;
        let right = matches!(
            status,
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(right, "a runner that asks hears {status}");
        let Some(offer) = offer else { return };
        let script = script(&mut self.chance, self.troubled);
        let desk = self.world.desk(self.world.store.clone());
        let answer = self
            .world
            .run(self.workload[number].runner.work(desk, &offer, script))
            .unwrap()
            .with_its_lease();
        self.workload[number].answer = Some(answer);
        self.workload[number].offer = Some(offer);
    }

    fn tell(&self, what: &Action) -> String {
        let name = |number: usize| &self.workload[number].runner.name;
        match what {
            Action::Hear(delivery) => format!("hear {}", delivery.id),
            Action::Carry(message) => {
                format!("{} ({})", words(&message.effect), message.deliveries)
            }
            Action::GiveUp(message) => format!("give up {}", words(&message.effect)),
            Action::GiveUpDeadLetters => "give up dead letters".to_owned(),
            Action::Tick => "tick".to_owned(),
            Action::Cancel(build) => format!("cancel {build}"),
            Action::Retry(build, None) => format!("retry {build}"),
            Action::Retry(build, Some(task)) => format!("retry {task} of {build}"),
            Action::Ask(number) => format!("{} asks", name(*number)),
            Action::Renew(number) => format!("{} renews", name(*number)),
            Action::TaskAnswer(number) => format!("{} answers", name(*number)),
            Action::AnswerLate(number, _) => format!("{} has answered once more", name(*number)),
        }
    }
}

/// Whether it may change what is in the repositories.
fn releases(what: &Action) -> bool {
    match what {
        Action::Carry(message) | Action::GiveUp(message) => {
            matches!(message.effect, Effect::Release(_))
        }
        Action::GiveUpDeadLetters => true,
        Action::Hear(_) | Action::Tick | Action::Cancel(_) | Action::Retry(..) => false,
        Action::Ask(_) | Action::Renew(_) | Action::TaskAnswer(_) | Action::AnswerLate(..) => false,
    }
}

/// Which function it is.
fn kind(what: &Action) -> &'static str {
    match what {
        Action::Hear(_) => "hear",
        Action::Carry(message) => match &message.effect {
            Effect::Fetch(_) => "fetch",
            Effect::Plan(_) => "plan",
            Effect::Ready { .. } => "ready",
            Effect::Sign(_) => "sign",
            Effect::Release(_) => "release",
            Effect::FetchNames { .. } => "fetch names",
            Effect::ClaimReleased { .. } => "claim released",
            Effect::Ended { .. } => "ended",
            Effect::Unreadable(_) => "unreadable",
        },
        Action::GiveUp(_) | Action::GiveUpDeadLetters => "give up",
        Action::Tick => "tick",
        Action::Cancel(_) => "cancel",
        Action::Retry(..) => "retry",
        Action::Ask(_) => "ask",
        Action::Renew(_) => "renew",
        Action::TaskAnswer(_) => "answer",
        Action::AnswerLate(..) => "late answer",
    }
}

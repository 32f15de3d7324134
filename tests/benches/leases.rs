//! How soon a task that has become ready is somebody's, and how many leases one desk serves, against bare requests to the same line.

use crate::row::{Better, Figures, Row, seconds};
use millrace_core::protocol::{Ask, Offer, Report};
use millrace_core::task::{LeaseId, Outcome};
use millrace_core::{Arch, RunnerName};
use millrace_host::line::client::{Desk, LeaseReply};
use millrace_tests::up::Up;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Runners that wait while a task becomes ready, in turn.
const IDLE: [usize; 3] = [1, 10, 100];

/// Times that a task becomes ready for each: builds, and times that each is handed back. A task has twenty attempts at most.
const BUILDS: usize = 6;
const TIMES: usize = 17;

/// From ready to leased, at most, for 99 of 100 tasks, in milliseconds.
const READY_GOAL_MS: f64 = 1000.0;

/// How long a runner asks for. They must have ended soon after they were told to stop.
const WAIT_S: u32 = 2;

/// So long all runners wait again before the next task becomes ready.
const SETTLE: Duration = Duration::from_millis(30);

/// Longest that a lease may take to come before the line is taken to stand still.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured, in this order.
pub const ROWS: [&str; 4] = [
    "handed back to leased, 99th of 100, 1 idle",
    "handed back to leased, 99th of 100, 10 idle",
    "handed back to leased, 99th of 100, 100 idle",
    "leases, each taken and handed back",
];

pub fn rows() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let mut place = RunnerlessLine::new(folder.path());
    let mut rows = Vec::new();
    for (row, idle) in ROWS.into_iter().zip(IDLE) {
        let mut times = place.times(idle);
        times.sort_by(f64::total_cmp);
        let ours = Figures::new(vec![times[times.len() * 99 / 100]]);
        let (theirs, goal) = (Figures::new(times), Some(READY_GOAL_MS));
        rows.push(Row {
            row,
            ours,
            unit: "ms",
            peer: "all of the same: their median",
            theirs,
            goal,
            better: Better::Less,
        });
    }
    rows.push(place.leases());
    rows
}

/// A line without a runner, and a token for any number of them.
struct RunnerlessLine {
    up: Up,
    token: String,
    builds: usize,
}

impl RunnerlessLine {
    fn new(folder: &std::path::Path) -> Self {
        let up = Up::start_without_runner(folder);
        let added = up.millrace(&[
            "runner",
            "add",
            "bench",
            "--shared",
            "--arch",
            std::env::consts::ARCH,
            "--json",
        ]);
        let added: Value = serde_json::from_str(&added).unwrap();
        let token = added["token"].as_str().unwrap().to_owned();
        Self {
            up,
            token,
            builds: 0,
        }
    }

    fn desk(&self) -> Desk {
        Desk::new(&self.up.url(""), &self.token)
    }

    /// A push, whose first task is ready at once.
    fn push(&mut self) {
        self.builds += 1;
        let name = format!("empty-{}", self.builds);
        let spec = format!(
            "Name: {name}\nVersion: 1\nRelease: 1\nSummary: Nothing\nLicense: MIT\n%description\n%files\n"
        );
        self.up.push_new(&name, &[(&format!("{name}.spec"), &spec)]);
    }

    /// Ends what was pushed last.
    fn cancel(&self) {
        let builds = self.up.builds();
        let newest = builds
            .iter()
            .find(|build| build["package"] == format!("empty-{}", self.builds))
            .unwrap();
        self.up
            .millrace(&["cancel", newest["id"].as_str().unwrap()]);
    }

    /// How long it takes from handing a task back to its next lease, by one of so many runners that wait, in milliseconds.
    fn times(&mut self, idle: usize) -> Vec<f64> {
        let (stop, (give, take), desk) = (AtomicBool::new(false), channel(), self.desk());
        let (token, url) = (self.token.clone(), self.up.url(""));
        std::thread::scope(|threads| {
            let _ended = Ended(&stop);
            for _ in 0..idle {
                let (give, stop, desk) = (give.clone(), &stop, Desk::new(&url, &token));
                threads.spawn(move || wait_for_work(&desk, stop, &give));
            }
            let mut times = Vec::new();
            for _ in 0..BUILDS {
                self.push();
                let (_, mut offer) = next(&take);
                for _ in 0..TIMES {
                    std::thread::sleep(SETTLE);
                    let began = Instant::now();
                    hand_back(&desk, &offer);
                    let (at, again) = next(&take);
                    times.push(1e3 * at.saturating_duration_since(began).as_secs_f64());
                    offer = again;
                }
                self.cancel();
            }
            times
        })
    }

    /// Leases a second of a runner that takes and hands back.
    fn leases(&mut self) -> Row {
        let (mut ours, mut theirs, desk) = (Vec::new(), Vec::new(), self.desk());
        for _ in 0..BUILDS {
            self.push();
            let mut offer = take_one(&desk);
            let took = seconds(|| {
                for _ in 0..TIMES {
                    hand_back(&desk, &offer);
                    offer = take_one(&desk);
                }
            });
            ours.push(TIMES as f64 / took);
            self.cancel();
            let took = seconds(|| {
                (0..TIMES)
                    .for_each(|_| assert_eq!(self.up.http("GET", "/no-such-page", "", "").0, 404))
            });
            theirs.push(TIMES as f64 / took);
        }
        let (ours, theirs) = (Figures::new(ours), Figures::new(theirs));
        Row {
            row: ROWS[3],
            ours,
            unit: "lease/s",
            peer: "requests for a page that is not there",
            theirs,
            goal: None,
            better: Better::More,
        }
    }
}

/// Each time as another runner: one that asks while it has a lease has been started again, and its lease is over.
fn ask() -> Ask {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let (arch, number): (Arch, _) = (
        std::env::consts::ARCH.parse().unwrap(),
        ASKED.fetch_add(1, Ordering::Relaxed),
    );
    let (runner, capacity) = (
        RunnerName::new(&format!("bench.{number}")).unwrap(),
        Default::default(),
    );
    Ask {
        runner,
        arch,
        emulates: Vec::new(),
        wait_s: WAIT_S,
        capacity,
    }
}

/// Tells the idle runners that it is over, however it ended.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An idle runner: what it is leased, it says, and waits for the next.
fn wait_for_work(desk: &Desk, stop: &AtomicBool, give: &Sender<(Instant, Box<Offer>)>) {
    while !stop.load(Ordering::SeqCst) {
        if let LeaseReply::Offer(offer) = desk.lease(&ask()).unwrap() {
            let _ = give.send((Instant::now(), offer));
        }
    }
}

fn next(take: &Receiver<(Instant, Box<Offer>)>) -> (Instant, Box<Offer>) {
    take.recv_timeout(PATIENCE)
        .expect("a task that is ready is leased")
}

fn take_one(desk: &Desk) -> Box<Offer> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let LeaseReply::Offer(offer) = desk.lease(&ask()).unwrap() {
            return offer;
        }
    }
    panic!("no lease within {PATIENCE:?}")
}

fn hand_back(desk: &Desk, offer: &Offer) {
    let lease_id = LeaseId {
        build: offer.work.build.clone(),
        task: offer.work.task.clone(),
        number: offer.lease.number,
    };
    desk.report(&Report {
        lease_id,
        outcome: Outcome::HandedBack {
            reason: "as asked".to_owned(),
        },
        roots: None,
    })
    .unwrap();
}

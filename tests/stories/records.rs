//! Records and messages as earlier versions wrote them: each can still be read, loses nothing, and goes on from where it was.

use millrace_core::access::Actor;
use millrace_core::build::{Build, Event, Refused};
use millrace_core::hold::{Hold, Printed, Typed, Wants};
use millrace_core::log::LogIndex;
use millrace_core::order::{Effect, OrderedFile, SignedFile};
use millrace_core::platform::Platform;
use millrace_core::protocol::{
    Ask, Attend, Attended, Listen, Logged, Offer, Print, Problem, Renewal, Renewed, Report, Shown,
    Typing, Upload, UploadTarget,
};
use millrace_core::push::{Package, PushRecord};
use millrace_core::roots::Lock;
use millrace_core::runner::Runner;
use millrace_core::task::TaskState;
use millrace_core::{Digest, LeaseNumber, Timestamp};
use millrace_store::orders::Order;
use millrace_store::runner_status::LastAsk;
use millrace_tests::line::{Line, id, passed, rpm};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, to_value};
use std::path::{Path, PathBuf};

type Reread = fn(Value) -> serde_json::Result<Value>;

/// What each file holds, by the beginning of its name.
const KINDS: [(&str, Reread); 30] = [
    ("build-", reread::<Build>),
    ("effects", reread::<Vec<Effect>>),
    ("hold", reread::<Hold>),
    ("lock", reread::<Lock>),
    ("log", reread::<LogIndex>),
    ("machine", reread::<LastAsk>),
    ("package", reread::<Package>),
    ("platform", reread::<Platform>),
    ("printed", reread::<Printed>),
    ("pushes", reread::<Vec<PushRecord>>),
    ("release-order", reread::<Order>),
    ("runner", reread::<Runner>),
    ("sign-order", reread::<Order>),
    ("typed", reread::<Typed>),
    ("wire-ask", reread::<Ask>),
    ("wire-attended", reread::<Attended>),
    ("wire-attend.", reread::<Attend>),
    ("wire-listen", reread::<Listen>),
    ("wire-logged", reread::<Logged>),
    ("wire-offer", reread::<Offer>),
    ("wire-places", reread::<Vec<UploadTarget>>),
    ("wire-print", reread::<Print>),
    ("wire-problem", reread::<Problem>),
    ("wire-renewal", reread::<Renewal>),
    ("wire-renewed", reread::<Renewed>),
    ("wire-reports", reread::<Vec<Report>>),
    ("wire-shown", reread::<Shown>),
    ("wire-typing", reread::<Typing>),
    ("wire-upload", reread::<Upload>),
    ("wire-", |_| {
        panic!("a message of a kind that is not known here")
    }),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stories/records")
}

fn kept(name: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    from_value(kept(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn reread<T: DeserializeOwned + Serialize>(old: Value) -> serde_json::Result<Value> {
    to_value(from_value::<T>(old)?)
}

/// Where something of `old` is missing in `new` or is another there. Later versions add to records, and may say more of who did
/// something.
fn lost(old: &Value, new: &Value, at: &str) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "by" | "unwanted_by"))
            .flat_map(|(key, value)| {
                let at = format!("{at}.{key}");
                match new.get(key) {
                    Some(new) => lost(value, new, &at),
                    None => vec![at],
                }
            })
            .collect(),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => old
            .iter()
            .zip(new)
            .enumerate()
            .flat_map(|(n, (old, new))| lost(old, new, &format!("{at}[{n}]")))
            .collect(),
        (old, new) if old == new => Vec::new(),
        (_, _) => vec![at.to_owned()],
    }
}

#[test]
fn every_old_record_is_read_and_loses_nothing() {
    let files = std::fs::read_dir(folder()).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let old = kept(name.trim_end_matches(".json"));
        let (_, reread) = KINDS
            .iter()
            .find(|(kind, _)| name.starts_with(kind))
            .unwrap_or_else(|| panic!("{name} is of no known kind"));
        let new = reread(old.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(lost(&old, &new, ""), Vec::<String>::new(), "{name}");
    }
}

/// A build of an earlier version, a minute after it was written.
fn resumed(name: &str) -> Line {
    let build: Build = read(name);
    let now = Timestamp(1_000_000);
    Line::resumed(build, now)
}

fn release(line: &mut Line) {
    line.signed();
    line.released();
    assert_eq!(line.build.word(), "released", "{}", line.told());
}

fn build_and_release(line: &mut Line) {
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    release(line);
}

#[test]
fn an_old_build_that_waits_is_built_and_released() {
    let mut line = resumed("build-planned");
    let refused = line.event(Event::Take {
        task: id("rpm@x86_64"),
        runner: "r9".parse().unwrap(),
        machine: millrace_tests::line::MACHINE,
    });
    assert!(matches!(refused, Err(Refused::NotReady { .. })));
    build_and_release(&mut line);
}

#[test]
fn an_old_build_that_pauses_waits_again_in_time() {
    let mut line = resumed("build-paused");
    assert_eq!(line.build.next_expiry(), Some(Timestamp(91_000)));
    line.event(Event::Tick).unwrap();
    build_and_release(&mut line);
}

#[test]
fn an_old_build_that_failed_is_retried() {
    for name in ["build-quarantined", "build-failed", "build-cancelled"] {
        let mut line = resumed(name);
        let before = line.build.tasks[0].attempts.len();
        line.event(Event::Retry {
            task: None,
            by: Actor::Local("dana".to_owned()),
            hold_s: None,
        })
        .unwrap();
        assert_eq!(line.build.tasks[0].attempts.len(), before);
        if line.build.tasks[0].is_good() {
            line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
            line.passes("check@x86_64", &[]);
            release(&mut line);
        } else {
            build_and_release(&mut line);
        }
    }
}

#[test]
fn a_runner_of_before_answers_under_its_old_lease() {
    let mut line = resumed("build-leased");
    line.now = Timestamp(120_000);
    let lease = line.build.task(&id("rpm@x86_64")).unwrap().lease().unwrap();
    assert_eq!(
        (lease.number, lease.runner.as_str(), lease.until),
        (LeaseNumber(1), "r3", Timestamp(164_000))
    );
    assert!(lease.silent_since.is_some() && lease.emulated_on.is_some());
    let stale = line.report("rpm@x86_64", LeaseNumber(2), passed(&[]));
    assert!(matches!(stale, Err(Refused::StaleLease { .. })));
    line.report(
        "rpm@x86_64",
        LeaseNumber(1),
        passed(&[rpm("zlib", "x86_64")]),
    )
    .unwrap();
    line.passes("check@x86_64", &[]);
    release(&mut line);
}

#[test]
fn an_old_lease_that_nobody_renews_is_lost() {
    let mut line = resumed("build-leased");
    line.event(Event::Tick).unwrap();
    assert_eq!(
        line.build.task(&id("rpm@x86_64")).unwrap().state,
        TaskState::Waiting
    );
    let options = &line.build.push.announced.options;
    assert_eq!(options.hold_s, Some(600));
    assert_eq!(
        options.not_by.get(&id("rpm@x86_64")).unwrap().as_str(),
        "r9"
    );
}

#[test]
fn old_orders_are_vouched_for_and_answered() {
    let mut line = resumed("build-signing");
    let Order::Sign(order) = read("sign-order") else {
        panic!("it was an order to the signer");
    };
    assert!(order.is_as_named());
    line.build.vouches_for_signing(&order).unwrap();
    let signed = |file: &OrderedFile| SignedFile {
        unsigned: file.digest,
        signed: Digest::of(format!("signed {}", file.digest).as_bytes()),
        size: file.size,
    };
    let files = order.files.iter().map(signed).collect();
    let order = order.id;
    line.event(Event::Signed { order, files }).unwrap();
    assert_eq!(line.build, read::<Build>("build-releasing"));

    let Order::Release(order) = read("release-order") else {
        panic!("it was an order to the releaser");
    };
    assert!(order.is_as_named());
    assert_eq!(line.release_order(), order);
    line.build.vouches_for_release(&order).unwrap();
    line.released();
    let released: Build = read("build-released");
    assert_eq!(line.build.stage, released.stage);
}

#[test]
fn an_old_effect_asks_for_what_it_asked_for() {
    let effects: Vec<Effect> = read("effects");
    let mut line = resumed("build-released");
    line.effects = effects;
    assert_eq!(
        line.wanted(),
        "fetch 343d94ea6257\n\
         plan 343d94ea6257\n\
         ready source\nready source\nready source\nready source\n\
         ended\n\
         ready source\nready source\nready rpm@x86_64\nready check@x86_64\n\
         sign zlib-1-1.el9.src.rpm zlib-1-1.el9.x86_64.rpm zlib-debuginfo-1-1.el9.x86_64.rpm\n\
         release\n  \
         zlib-1-1.el9.src.rpm into source\n  \
         zlib-1-1.el9.x86_64.rpm into x86_64/os\n  \
         zlib-debuginfo-1-1.el9.x86_64.rpm into x86_64/debug\n\
         ended"
    );
}

#[test]
fn an_old_hold_lets_the_next_one_in() {
    let mut hold: Hold = read("hold");
    let now = hold.since;
    let erin = Actor::Local("erin".to_owned());
    let command = || Wants::Command {
        argv: vec!["ls".to_owned()],
    };
    let refused = hold.let_in(&erin, command(), false, now).unwrap_err();
    assert!(refused.to_string().starts_with("dana is at it since"));
    assert_eq!(hold.let_in(&erin, command(), true, now), Ok(4));
    hold.give_up("erin ended it", now);
    assert!(hold.over(now).is_some());
    let ended: Hold = read("hold-ended");
    assert_eq!(ended.over(now).unwrap().reason, "erin ended it");
}

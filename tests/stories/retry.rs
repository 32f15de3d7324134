//! Tasks that a person wants done again.

use insta::assert_snapshot;
use millrace_core::build::{Event, Refused};
use millrace_core::task::{ATTEMPTS_MAX, AttemptEnd, Blame, LEASES_MAX, Outcome, PAUSES_MS};
use millrace_tests::line::{Line, failed, id, passed, rpm};

fn retry(task: Option<&str>) -> Event {
    Event::Retry {
        task: task.map(id),
        by: "dana".parse().unwrap(),
        hold_s: None,
    }
}

#[test]
fn what_failed_is_done_again_and_what_passed_is_not() {
    let mut line = Line::of("zlib", r#""x86_64", "aarch64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.fails("rpm@aarch64", "no space left on device");
    line.passes("check@x86_64", &[]);
    assert!(line.build.is_ended() && line.build.ended.is_some());
    line.event(retry(None)).unwrap();
    assert!(line.build.ended.is_none());
    assert_snapshot!(line.told(), @"
    source passed: 1 packages
    rpm@x86_64 passed: 1 packages
    rpm@aarch64 waiting
    check@x86_64 passed: 0 packages
    check@aarch64 waiting
    build running
    ");
    line.passes("rpm@aarch64", &[rpm("zlib", "aarch64")]);
    line.passes("check@aarch64", &[]);
    line.signed();
    line.released();
    let again = line.build.task(&id("rpm@aarch64")).unwrap();
    let numbers: Vec<u32> = again
        .attempts
        .iter()
        .map(|attempt| attempt.number.0)
        .collect();
    assert_eq!(
        numbers,
        [1, 2],
        "the attempt that failed is kept, and no number is given twice"
    );
    assert_eq!(
        (again.retried[0].by.name(), again.retried[0].attempts),
        ("dana", 1)
    );
    assert_snapshot!(line.wanted().lines().skip(4).take(4).collect::<Vec<_>>().join("\n"), @"
    ended
    ready rpm@aarch64
    ready check@aarch64
    sign zlib-1-1.el9.aarch64.rpm zlib-1-1.el9.src.rpm zlib-1-1.el9.x86_64.rpm
    ");
}

#[test]
fn one_task_is_done_again_while_the_others_run() {
    let mut line = Line::of("zlib", r#""x86_64", "aarch64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    let lease = line.take("rpm@x86_64", "r1");
    line.fails("rpm@aarch64", "a flaky test");
    let not = |word: &str| {
        Err(Refused::NotFailed {
            task: id("rpm@x86_64"),
            word: word.to_owned(),
        })
    };
    assert_eq!(line.event(retry(Some("rpm@x86_64"))), not("running"));
    line.event(retry(Some("rpm@aarch64"))).unwrap();
    assert_eq!(
        line.event(retry(Some("rpm@aarch64"))),
        Err(Refused::NotFailed {
            task: id("rpm@aarch64"),
            word: "waiting".to_owned()
        })
    );
    line.report("rpm@x86_64", lease, passed(&[rpm("zlib", "x86_64")]))
        .unwrap();
    assert_eq!(line.event(retry(Some("rpm@x86_64"))), not("passed"));
    assert_eq!(
        line.event(retry(Some("bake@x86_64"))),
        Err(Refused::UnknownTask(id("bake@x86_64")))
    );
    assert_eq!(line.event(retry(None)), Err(Refused::NothingFailed));
    assert!(!line.build.is_ended());
}

#[test]
fn a_build_of_which_one_task_alone_is_done_again_fails_for_the_others() {
    let mut line = Line::of("zlib", r#""x86_64", "aarch64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.fails("rpm@x86_64", "first");
    line.fails("rpm@aarch64", "second");
    line.event(retry(Some("rpm@x86_64"))).unwrap();
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    assert_eq!(line.build.reason(), Some("rpm@aarch64: second"));
}

#[test]
fn a_cancelled_build_goes_on_where_it_was() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    let lease = line.take("rpm@x86_64", "r1");
    line.event(Event::Cancel {
        by: "dana".parse().unwrap(),
    })
    .unwrap();
    line.event(retry(None)).unwrap();
    assert!(
        line.report("rpm@x86_64", lease, passed(&[])).is_err(),
        "a runner whose task was cancelled has no say any more"
    );
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    line.signed();
    line.released();
    assert_eq!(
        line.event(retry(None)),
        Err(Refused::WrongStage("released".to_owned()))
    );
}

#[test]
fn who_cancels_and_retries_all_day_makes_no_build_larger() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    for _ in 0..100 {
        line.event(Event::Cancel {
            by: "dana".parse().unwrap(),
        })
        .unwrap();
        line.event(retry(None)).unwrap();
    }
    assert!(line.build.tasks.iter().all(|task| task.retried.is_empty()));
}

#[test]
fn a_task_that_was_quarantined_has_all_its_leases_again_and_tells_only_of_those() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let lose = |line: &mut Line, runner: &str| {
        for pause_ms in PAUSES_MS.into_iter().chain([0]) {
            let lease = line.take("source", runner);
            line.report("source", lease, failed(Blame::Environment, "no mirror"))
                .unwrap();
            line.pass_ms(pause_ms);
            let _ = line.event(Event::Tick);
        }
    };
    lose(&mut line, "r1");
    assert_eq!(
        line.build.task(&id("source")).unwrap().word(),
        "quarantined"
    );
    line.event(retry(Some("source"))).unwrap();
    lose(&mut line, "r2");
    let task = line.build.task(&id("source")).unwrap();
    assert_eq!(task.attempts.len(), 2 * LEASES_MAX);
    assert_snapshot!(task.reason().unwrap(), @"3 leases ended without a verdict: r2: no mirror; r2: no mirror; r2: no mirror");
}

#[test]
fn there_is_an_end_to_doing_it_again() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    for _ in 0..ATTEMPTS_MAX - 1 {
        line.fails("source", "the spec is wrong");
        line.event(retry(None)).unwrap();
    }
    line.fails("source", "the spec is wrong");
    assert_eq!(line.event(retry(None)), Err(Refused::Spent(id("source"))));
    assert_eq!(
        line.build.task(&id("source")).unwrap().attempts.len(),
        ATTEMPTS_MAX
    );
}

#[test]
fn a_task_that_was_dropped_too_often_holds_up_the_one_that_was_not() {
    let mut line = Line::of("zlib", r#""x86_64", "aarch64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    for _ in 0..ATTEMPTS_MAX - 1 {
        line.take("rpm@aarch64", "r1");
        line.event(Event::Cancel {
            by: "dana".parse().unwrap(),
        })
        .unwrap();
        line.event(retry(Some("rpm@x86_64"))).unwrap();
    }
    line.take("rpm@aarch64", "r1");
    line.event(Event::Cancel {
        by: "dana".parse().unwrap(),
    })
    .unwrap();
    assert_eq!(
        line.event(retry(Some("rpm@x86_64"))),
        Err(Refused::Spent(id("rpm@aarch64")))
    );
    assert_eq!(
        line.build.task(&id("rpm@aarch64")).unwrap().attempts.len(),
        ATTEMPTS_MAX
    );
}

#[test]
fn an_answer_that_is_said_again_after_that_is_one_that_was_said() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    let lease = line.take("source", "r1");
    line.report("source", lease, failed(Blame::Package, "no"))
        .unwrap();
    line.event(retry(None)).unwrap();
    assert_eq!(
        line.report("source", lease, failed(Blame::Package, "no")),
        Err(Refused::Already)
    );
    let next = line.take("source", "r2");
    assert!(matches!(
        line.report("source", lease, passed(&[])),
        Err(Refused::StaleLease { .. })
    ));
    line.report(
        "source",
        next,
        Outcome::Excluded {
            reason: "nothing to do".to_owned(),
        },
    )
    .unwrap();
    assert_eq!(
        line.build.task(&id("source")).unwrap().attempts[0].end,
        AttemptEnd::Answered
    );
}

/// A build whose tasks are done, and which waits for the signer.
fn ready_to_sign() -> Line {
    let mut line = Line::of("zlib", r#""x86_64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    line
}

#[test]
fn what_was_not_signed_is_ordered_again_as_the_same_order() {
    let mut line = ready_to_sign();
    let order = line.sign_order();
    let refused = Event::SignRefused {
        order: order.id,
        reason: "given up".to_owned(),
    };
    line.event(refused).unwrap();
    assert!(line.build.is_ended());
    line.event(retry(None)).unwrap();
    assert_eq!(line.build.word(), "signing");
    assert_eq!(line.sign_order(), order);
    line.signed();
    line.released();
    assert_eq!(line.build.word(), "released");
}

#[test]
fn what_was_not_released_is_ordered_again_and_what_was_taken_back_stays_so() {
    let mut line = ready_to_sign();
    line.signed();
    let first = line.release_order();
    let refused = Event::ReleaseRefused {
        order: first.id,
        reason: "given up".to_owned(),
    };
    line.event(refused).unwrap();
    line.event(retry(None)).unwrap();
    line.signed();
    let second = line.release_order();
    assert_ne!(
        second.id, first.id,
        "the first one may have been taken back for ever"
    );
    assert_eq!(second.placements, first.placements);
    assert!(second.is_as_named() && first.is_as_named());
    line.released();
    assert_eq!(line.build.word(), "released");
}

#[test]
fn an_order_that_waits_is_given_again_at_once_and_one_that_does_not_is_not() {
    let mut line = ready_to_sign();
    let order = line.sign_order();
    assert_eq!(
        line.event(retry(None)),
        Err(Refused::WrongStage("signing".to_owned()))
    );
    let waits = Event::OrderWaits {
        order: order.id,
        reason: "there is no key `default`".to_owned(),
    };
    line.event(waits.clone()).unwrap();
    assert_eq!(line.build.reason(), Some("there is no key `default`"));
    let orders = line.effects.len();
    line.event(retry(None)).unwrap();
    assert_eq!(line.effects.len(), orders + 1, "and no more than that");
    assert_eq!(line.sign_order(), order);
    assert_eq!(line.build.waits, None);
    line.signed();
    assert_eq!(
        line.event(waits),
        Err(Refused::WrongOrder { given: order.id })
    );
}

#[test]
fn a_build_of_before_that_ended_at_the_signer_is_retried_too() {
    let mut line = ready_to_sign();
    let order = line.sign_order();
    let refused = Event::SignRefused {
        order: order.id,
        reason: "there is no key `default`".to_owned(),
    };
    line.event(refused).unwrap();
    let mut record = serde_json::to_value(&line.build).unwrap();
    let fields = record.as_object_mut().unwrap();
    assert!(fields.remove("waits").is_none() && fields.remove("order_retries").is_none());
    line.build = serde_json::from_value(record).unwrap();
    line.event(retry(None)).unwrap();
    assert_eq!(line.sign_order(), order);
}

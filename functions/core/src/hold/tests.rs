//! What holds of a hold: who is let in, and how it ends.

use super::*;
use crate::LeaseNumber;

const MINUTE: u64 = 60_000;

fn at(minute: u64) -> Timestamp {
    Timestamp(1_700_000_000_000 + minute * MINUTE)
}

fn held() -> Hold {
    let lease_id = LeaseId {
        build: "b1".parse().unwrap(),
        task: "rpm@x86_64".parse().unwrap(),
        number: LeaseNumber(2),
    };
    let failed = FailedCommand {
        line: "rpmbuild --rebuild in/a.src.rpm".to_owned(),
        cwd: "/work".to_owned(),
        ended: "ended with status 1".to_owned(),
    };
    Hold::new(lease_id, "r1".parse().unwrap(), at(0), 1800, failed)
}

fn terminal() -> Wants {
    Wants::Terminal {
        term: "xterm-256color".to_owned(),
        size: Size::default(),
    }
}

#[test]
fn times_are_written_as_people_do() {
    assert_eq!(
        ["30m", "1h", "90s", "600"].map(hold_s),
        [Ok(1800), Ok(3600), Ok(90), Ok(600)]
    );
    for (text, words) in [
        ("9h", "8 h at most"),
        ("4000000h", "8 h at most"),
        ("5", "10 s at least"),
        ("", "is no time"),
        ("h", "is no time"),
        ("ten", "is no time"),
        ("-5m", "is no time"),
        ("1é", "is no time"),
    ] {
        assert!(hold_s(text).unwrap_err().contains(words), "{text}");
    }
}

#[test]
fn one_at_a_time_is_let_in_and_the_next_when_the_first_has_gone() {
    let mut hold = held();
    assert_eq!(
        hold.let_in(&"dana".parse().unwrap(), terminal(), false, at(1)),
        Ok(1)
    );
    let refused = hold
        .let_in(&"erin".parse().unwrap(), terminal(), false, at(2))
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("dana is at it since 2023-11-14T22:14:20Z: --take takes it over"),
        "{refused}"
    );
    hold.session_ended(1, SessionEnd::Exited { status: 0 }, at(3));
    assert_eq!(
        hold.let_in(&"erin".parse().unwrap(), terminal(), false, at(4)),
        Ok(2)
    );
    // What is still said in the first changes nothing.
    hold.session_ended(1, SessionEnd::Silent, at(5));
    assert_eq!(hold.session().map(|session| session.number), Some(2));
    assert_eq!(
        hold.end_of_session(1),
        Some(SessionEnd::Exited { status: 0 })
    );
}

#[test]
fn whoever_is_taken_over_from_is_told_by_whom() {
    let mut hold = held();
    hold.let_in(&"dana".parse().unwrap(), terminal(), false, at(1))
        .unwrap();
    assert_eq!(
        hold.let_in(
            &"erin".parse().unwrap(),
            Wants::Command {
                argv: vec!["ls".to_owned()]
            },
            true,
            at(2)
        ),
        Ok(2)
    );
    assert_eq!(
        hold.end_of_session(1).unwrap().to_string(),
        "erin has taken it over"
    );
    assert_eq!(hold.end_of_session(2), None);
}

#[test]
fn a_hold_ends_by_its_time_or_before_and_the_first_word_on_why_stays() {
    let mut hold = held();
    assert_eq!((hold.until, hold.over(at(29))), (at(30), None));
    let refused = hold
        .let_in(&"dana".parse().unwrap(), terminal(), false, at(30))
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the sandbox is held no more since 2023-11-14T22:43:20Z: its time was over"
    );
    hold.let_in(&"dana".parse().unwrap(), terminal(), false, at(1))
        .unwrap();
    hold.give_up("the runner is stopped", at(2));
    hold.give_up("its time was over", at(30));
    assert_eq!(
        hold.over(at(40)).unwrap(),
        HoldEnd {
            at: at(2),
            reason: "the runner is stopped".to_owned()
        }
    );
    assert_eq!(
        hold.end_of_session(1).unwrap().to_string(),
        "the runner is stopped"
    );
    assert!(hold.session().is_none());
}

#[test]
fn a_sandbox_that_somebody_wants_given_up_lets_nobody_in() {
    let mut hold = held();
    hold.unwanted_by = Some("dana".parse().unwrap());
    let refused = hold
        .let_in(&"erin".parse().unwrap(), terminal(), true, at(1))
        .unwrap_err();
    assert!(
        refused.to_string().ends_with("dana wants it given up"),
        "{refused}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_before_a_runner_hears_of_it() {
    let wants = [
        Wants::Terminal {
            term: "x;reboot".to_owned(),
            size: Size::default(),
        },
        Wants::Terminal {
            term: String::new(),
            size: Size::default(),
        },
        Wants::Command { argv: Vec::new() },
        Wants::Command {
            argv: vec!["a\0b".to_owned()],
        },
        Wants::Command {
            argv: vec!["x".repeat(COMMAND_BYTES_MAX + 1)],
        },
    ];
    for wants in wants {
        assert!(
            matches!(
                held().let_in(&"dana".parse().unwrap(), wants.clone(), false, at(1)),
                Err(HoldRefused::Odd(_))
            ),
            "{wants:?}"
        );
    }
}

#[test]
fn a_hold_remembers_its_last_sessions() {
    let mut hold = held();
    for number in 1..=30 {
        assert_eq!(
            hold.let_in(&"dana".parse().unwrap(), terminal(), true, at(1)),
            Ok(number)
        );
    }
    assert_eq!(
        (hold.sessions.len(), hold.sessions[0].number),
        (SESSIONS_MAX, 11)
    );
    assert!(
        hold.end_of_session(3)
            .unwrap()
            .to_string()
            .contains("many sessions")
    );
}

#[test]
fn the_end_is_announced_five_minutes_and_one_minute_before_each_once() {
    let seconds = Duration::from_secs;
    assert_eq!(warning(seconds(301), 0), None);
    assert_eq!(warning(seconds(299), 0), Some((seconds(300), 1)));
    assert_eq!(warning(seconds(200), 1), None);
    assert_eq!(warning(seconds(60), 1), Some((seconds(60), 2)));
    assert_eq!(warning(seconds(1), 2), None);
    // A person who comes late gets the last warning only.
    assert_eq!(warning(seconds(30), 0), Some((seconds(60), 2)));
}

#[test]
fn a_hold_is_kept_as_it_was_written_down_first() {
    let mut hold = held();
    hold.let_in(&"dana".parse().unwrap(), terminal(), false, at(1))
        .unwrap();
    let json = serde_json::to_string(&hold).unwrap();
    assert_eq!(
        json,
        r#"{"build":"b1","task":"rpm@x86_64","lease":2,"runner":"r1","since":1700000000000,"until":1700001800000,"failed":{"line":"rpmbuild --rebuild in/a.src.rpm","cwd":"/work","ended":"ended with status 1"},"sessions":[{"number":1,"by":"dana","since":1700000060000,"wants":"terminal","term":"xterm-256color","size":{"columns":80,"rows":24}}]}"#
    );
    assert_eq!(serde_json::from_str::<Hold>(&json).unwrap(), hold);
}

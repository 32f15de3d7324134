//! The life of a function's processes.

use crate::lambda::RESPONSE_BYTES_MAX;
use crate::lambda::function::Failure;
use crate::lambda::tests::child::{Alone, TIMEOUT};
use millrace_tests::wait::wait_until_async;
use serde_json::{Value, json};
use std::time::Duration;

fn words(answer: Result<Value, Failure>) -> (String, String) {
    let failure = answer.unwrap_err();
    let Failure::Error(words) = &failure else {
        panic!("there was no room")
    };
    (
        failure.kind().to_owned(),
        words["errorMessage"].as_str().unwrap().to_owned(),
    )
}

/// The letter of a process's state (proc(5)).
fn state(pid: &Value) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[tokio::test]
async fn a_process_stands_still_between_two_invocations_and_does_both() {
    let alone = Alone::new("handler", TIMEOUT, None);
    let first = alone
        .tell(json!({ "do": "late", "seconds": 0.3 }))
        .await
        .unwrap();
    alone.quiet().await;
    assert_eq!(state(&first["pid"]), 'T');
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(
        !alone.log().contains("late\n"),
        "what is left over after an answer stands still too"
    );
    let second = alone
        .tell(json!({ "do": "sleep", "seconds": 0.5 }))
        .await
        .unwrap();
    assert_eq!(
        (&second["pid"], alone.function.started()),
        (&first["pid"], 1)
    );
    assert!(
        alone.log().contains("late\n"),
        "and goes on with the next invocation"
    );
}

#[tokio::test]
async fn a_process_has_its_own_variables_and_no_others() {
    let alone = Alone::new("handler", TIMEOUT, None);
    let answer = alone.tell(json!({})).await.unwrap();
    let environment = answer["environment"].as_object().unwrap();
    for own in ["AWS_LAMBDA_RUNTIME_API", "PATH", "TMPDIR", "_HANDLER"] {
        assert!(environment.contains_key(own), "{own}");
    }
    for (name, _) in std::env::vars()
        .filter(|(name, _)| name.starts_with("CARGO") || name == "HOME" || name == "USER")
    {
        assert!(!environment.contains_key(&name), "{name} is the test's");
    }
}

#[tokio::test]
async fn invocations_at_once_have_a_process_each_and_no_more_than_may_run() {
    let alone = Alone::new("handler", TIMEOUT, Some(2));
    let sleep = json!({ "do": "sleep", "seconds": 1.0 });
    let (one, two, ()) = tokio::join!(alone.tell(sleep.clone()), alone.tell(sleep), async {
        wait_until_async(
            || "two processes".to_owned(),
            async || alone.function.started() >= 2,
        )
        .await;
        assert_eq!(alone.tell(json!({})).await, Err(Failure::Throttled));
    });
    assert_ne!(one.unwrap()["pid"], two.unwrap()["pid"]);
    alone.quiet().await;
    alone.tell(json!({})).await.unwrap();
    assert_eq!(alone.function.started(), 2);
}

#[tokio::test]
async fn an_error_is_told_in_the_functions_words_and_the_process_goes_on() {
    let alone = Alone::new("handler", TIMEOUT, None);
    let error = words(
        alone
            .tell(json!({ "do": "raise", "message": "no such thing" }))
            .await,
    );
    assert_eq!(error, ("ValueError".to_owned(), "no such thing".to_owned()));
    alone.quiet().await;
    alone.tell(json!({})).await.unwrap();
    assert_eq!(alone.function.started(), 1);
}

#[tokio::test]
async fn a_process_that_takes_too_long_is_ended() {
    let alone = Alone::new("handler", Duration::from_secs(1), None);
    let (kind, message) = words(alone.tell(json!({ "do": "sleep", "seconds": 60 })).await);
    assert_eq!(kind, "Sandbox.Timedout");
    assert_eq!(
        message,
        "RequestId: id Error: Task timed out after 1.00 seconds"
    );
    alone.quiet().await;
    let again = Alone::new("handler", TIMEOUT, None);
    again.tell(json!({})).await.unwrap();
}

#[tokio::test]
async fn a_process_that_exits_fails_its_invocation_and_the_next_has_a_new_one() {
    let alone = Alone::new("handler", TIMEOUT, None);
    let (kind, message) = words(alone.tell(json!({ "do": "exit", "code": 7 })).await);
    assert_eq!(kind, "Runtime.ExitError");
    assert_eq!(
        message,
        "RequestId: id Error: Runtime exited with error: exit status 7"
    );
    alone.tell(json!({})).await.unwrap();
    assert_eq!(alone.function.started(), 2);
}

#[tokio::test]
async fn a_process_may_be_ended_at_any_time() {
    let alone = Alone::new("handler", TIMEOUT, None);
    let (answer, ()) = tokio::join!(alone.tell(json!({ "do": "sleep", "seconds": 60 })), async {
        let log = &alone.function.program.log;
        wait_until_async(
            || format!("`sleep` in {}", log.display()),
            async || std::fs::read_to_string(log).is_ok_and(|log| log.contains("sleep")),
        )
        .await;
        alone.children.end("alone");
    });
    assert_eq!(
        words(answer).1,
        "RequestId: id Error: Runtime exited with error: signal: killed"
    );
    alone.tell(json!({})).await.unwrap();
    alone.quiet().await;
    alone.children.end("alone");
    alone.tell(json!({})).await.unwrap();
    assert_eq!(
        alone.function.started(),
        3,
        "one that stood still is gone as well"
    );
}

#[tokio::test]
async fn a_process_that_does_not_start_fails_the_invocation() {
    let alone = Alone::new("broken", TIMEOUT, None);
    assert_eq!(words(alone.tell(json!({})).await).0, "Runtime.ExitError");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error() {
    let alone = Alone::new("handler", TIMEOUT, None);
    let fits = alone
        .tell(json!({ "do": "large", "bytes": RESPONSE_BYTES_MAX - 2 }))
        .await
        .unwrap();
    assert_eq!(fits.as_str().unwrap().len(), RESPONSE_BYTES_MAX - 2);
    let (kind, _) = words(
        alone
            .tell(json!({ "do": "large", "bytes": RESPONSE_BYTES_MAX - 1 }))
            .await,
    );
    assert_eq!(kind, "Function.ResponseSizeTooLarge");
}

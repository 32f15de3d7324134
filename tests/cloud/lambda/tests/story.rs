//! A stack that was deployed, and everything that invokes its functions.

use crate::lambda::deployed::Deployed;
use crate::lambda::faults::Faults;
use crate::lambda::tests::stack::{Stack, lines, send};
use crate::lambda::{EVENT_BYTES_MAX, Lambda, Options, REQUEST_BYTES_MAX};
use axum::Router;
use axum::http::Method;
use millrace_tests::wait::wait_until_async;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long it must be quiet; readings of streams are waited for besides.
const A_MOMENT: Duration = Duration::from_millis(50);

const STREAM: (&str, &str) = ("dynamodb:*", "${Table.StreamArn}");
const QUEUE: (&str, &str) = ("sqs:SendMessage", "${Dead.Arn}");
const FRIEND: (&str, &str) = (
    "lambda:InvokeFunction",
    "arn:aws:lambda:*:*:function:${AWS::StackName}-friend",
);

async fn tell(lambda: &Lambda, event: Value) -> Value {
    lambda.invoke("worker", &event).await.unwrap()
}

fn call(function: &str, kind: &str, payload: Value) -> Value {
    json!({ "do": "invoke", "function": function, "type": kind, "payload": payload })
}

#[tokio::test]
async fn what_was_deployed_is_read() {
    let stack = Stack::deploy(&[]).await;
    let deployed = Deployed::read(&stack.account, &stack.name).await.unwrap();
    let names: Vec<&str> = deployed
        .functions
        .iter()
        .map(|function| function.name.rsplit('-').next().unwrap())
        .collect();
    assert_eq!(names, ["friend", "stranger", "worker"]);
    let worker = &deployed.functions[2];
    assert_eq!(
        (worker.handler.as_str(), worker.timeout, worker.memory_mb),
        ("worker", Duration::from_secs(20), 256)
    );
    assert_eq!((worker.retries_max, worker.environment.len()), (1, 1));
    assert!(worker.on_failure.as_ref().unwrap().ends_with("-dead"));
    assert!(worker.url.is_some() && deployed.functions[0].url.is_none());
    let mapping = &deployed.mappings[0];
    assert_eq!(
        (
            mapping.batch_max,
            mapping.bisect,
            mapping.partial,
            mapping.retries_max
        ),
        (10, true, true, Some(2))
    );
    assert_eq!(
        (mapping.age_max, mapping.start.as_str()),
        (Some(Duration::from_secs(3600)), "TRIM_HORIZON")
    );
    assert_eq!(deployed.apis[0].routes.len(), 2);
    assert_eq!(deployed.schedules.len(), 2);
    assert_eq!(
        deployed.schedules[1].targets[0].1,
        Some(json!({ "do": "daily" }))
    );
}

#[tokio::test]
async fn records_that_are_wanted_reach_the_function_and_the_one_that_fails_is_told_to_the_queue() {
    let stack = Stack::deploy(&[STREAM, QUEUE]).await;
    stack.put("letter", "before").await;
    let lambda = Lambda::start(Options {
        auth: true,
        ..stack.options()
    })
    .await
    .unwrap();
    for (pk, sk) in [
        ("letter", "1"),
        ("record", "2"),
        ("letter", "poison"),
        ("letter", "4"),
    ] {
        stack.put(pk, sk).await;
    }
    lambda.quiet(A_MOMENT).await;
    let seen = lines(&lambda, "worker", "record");
    let well: Vec<&String> = seen.iter().filter(|sk| *sk != "poison").collect();
    assert_eq!(well, ["before", "1", "4"]);
    assert!(seen.len() >= 6, "what fails is tried again: {seen:?}");
    let failed = stack.failed().await;
    assert_eq!(failed.len(), 1);
    let (context, info) = (
        &failed[0]["requestContext"],
        &failed[0]["DDBStreamBatchInfo"],
    );
    assert_eq!(
        (&context["condition"], &context["approximateInvokeCount"]),
        (&json!("RetryAttemptsExhausted"), &json!(3))
    );
    assert_eq!(info["batchSize"], 1);
    assert_eq!(info["startSequenceNumber"], info["endSequenceNumber"]);
    assert_eq!(lambda.troubles(), [""; 0]);
}

#[tokio::test]
async fn records_may_come_twice_and_in_another_order() {
    let stack = Stack::deploy(&[]).await;
    let late = Some(Duration::from_millis(50));
    let faults = Faults {
        twice: true,
        shuffled: Some(3),
        shards: 2,
        late,
        ..Faults::default()
    };
    let lambda = Lambda::start(Options {
        faults,
        ..stack.options()
    })
    .await
    .unwrap();
    for sk in 0..12 {
        stack.put("letter", &sk.to_string()).await;
    }
    lambda.quiet(A_MOMENT).await;
    let mut seen = lines(&lambda, "worker", "record");
    seen.sort_unstable_by_key(|sk| sk.parse::<u32>().unwrap());
    assert_eq!(
        seen,
        (0..24)
            .map(|delivery| (delivery / 2).to_string())
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn an_event_that_nobody_waits_for_is_tried_again_and_then_told_to_the_queue() {
    let stack = Stack::deploy(&[]).await;
    let lambda = stack.start().await;
    let event = json!({ "do": "raise", "message": "no" });
    let answer = tell(
        &lambda,
        call(&format!("{}-worker", stack.name), "Event", event.clone()),
    )
    .await;
    assert_eq!(answer["status"], 202);
    lambda.quiet(A_MOMENT).await;
    let ids = lines(&lambda, "worker", "raise");
    assert_eq!(
        (ids.len(), &ids[0]),
        (2, &ids[1]),
        "one retry, as deployed, of the same invocation"
    );
    let failed = stack.failed().await.remove(0);
    let context = &failed["requestContext"];
    assert_eq!(
        (&context["condition"], &context["approximateInvokeCount"]),
        (&json!("RetriesExhausted"), &json!(2))
    );
    assert_eq!(
        (&context["requestId"], &failed["requestPayload"]),
        (&json!(ids[0]), &event)
    );
    assert_eq!(failed["responseContext"]["functionError"], "Unhandled");
    assert_eq!(failed["responsePayload"]["errorMessage"], "no");
}

#[tokio::test]
async fn functions_call_those_that_their_role_names_and_no_others() {
    let stack = Stack::deploy(&[STREAM, FRIEND]).await;
    let lambda = Lambda::start(Options {
        auth: true,
        ..stack.options()
    })
    .await
    .unwrap();
    let name = |short: &str| format!("{}-{short}", stack.name);
    let answer = tell(
        &lambda,
        call(&name("friend"), "RequestResponse", json!({ "value": 7 })),
    )
    .await;
    assert_eq!(answer["status"], 200);
    let inner: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(inner["value"], 7);
    let environment = &inner["environment"];
    assert_eq!(
        (&environment["OWN"], &environment["_HANDLER"]),
        (&json!("as deployed"), &json!("friend"))
    );
    let answer = tell(
        &lambda,
        call(&name("friend"), "RequestResponse", json!({ "do": "raise" })),
    )
    .await;
    assert_eq!(
        (&answer["status"], &answer["error"]),
        (&json!(200), &json!("Unhandled"))
    );
    let answer = tell(&lambda, call(&name("stranger"), "Event", json!({}))).await;
    assert_eq!(answer["status"], 403, "{answer}");
    assert_eq!(
        tell(&lambda, call(&name("nobody"), "Event", json!({}))).await["status"],
        404
    );
    let large = json!({ "value": "x".repeat(EVENT_BYTES_MAX) });
    assert_eq!(
        tell(&lambda, call(&name("friend"), "Event", large)).await["status"],
        413
    );
}

#[tokio::test]
async fn a_role_that_may_not_read_the_stream_is_no_role_for_it() {
    let stack = Stack::deploy(&[FRIEND]).await;
    let Err(refused) = Lambda::start(Options {
        auth: true,
        ..stack.options()
    })
    .await
    else {
        panic!("nobody looked")
    };
    assert!(
        refused
            .to_string()
            .contains("lacks dynamodb:DescribeStream"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_world_asks_through_an_api_and_through_an_address() {
    let stack = Stack::deploy(&[]).await;
    let lambda = stack.start().await;
    let (status, cookies, event) = send(
        Method::POST,
        format!("{}/hook/a+b?q=c%20d", lambda.api()),
        b"hi".to_vec(),
    )
    .await;
    assert_eq!(
        (status.as_u16(), cookies),
        (201, vec!["a=1".to_owned(), "b=2".to_owned()])
    );
    assert_eq!(
        (&event["rawPath"], &event["rawQueryString"], &event["body"]),
        (&json!("/hook/a+b"), &json!("q=c%20d"), &json!("hi"))
    );
    assert_eq!(
        (&event["routeKey"], &event["pathParameters"]["proxy"]),
        (&json!("POST /hook/{proxy+}"), &json!("a+b"))
    );
    assert_eq!(event["requestContext"]["accountId"], "000000000000");
    let api = |path: &str| format!("{}{path}", lambda.api());
    assert_eq!(send(Method::GET, api("/none"), vec![]).await.0, 404);
    let failed = send(Method::POST, api("/hook/raise"), vec![]).await;
    assert_eq!(
        (failed.0.as_u16(), &failed.2),
        (500, &json!({ "message": "Internal Server Error" }))
    );
    let large = vec![b'x'; REQUEST_BYTES_MAX];
    assert_eq!(send(Method::POST, api("/hook/large"), large).await.0, 413);
    let url = lambda.url("worker");
    let (status, _, event) = send(Method::GET, format!("{url}/a%2Bb"), vec![]).await;
    assert_eq!(
        (status.as_u16(), &event["rawPath"], &event["routeKey"]),
        (201, &json!("/a%2Bb"), &json!("$default"))
    );
    assert_eq!(
        send(Method::GET, format!("{url}/raise"), vec![]).await.0,
        502
    );
}

#[tokio::test]
async fn the_clock_invokes_a_function_when_a_test_says_so() {
    let stack = Stack::deploy(&[]).await;
    let lambda = stack.start().await;
    lambda.fire("Tick").await;
    lambda.fire("stranger").await;
    lambda.quiet(A_MOMENT).await;
    assert_eq!(lines(&lambda, "friend", "answer").len(), 1);
    assert_eq!(lines(&lambda, "stranger", "daily").len(), 1);
}

#[tokio::test]
async fn a_function_may_be_ended_after_any_of_its_requests() {
    let stack = Stack::deploy(&[]).await;
    let (mut options, count) = (stack.options(), Arc::new(AtomicUsize::new(0)));
    let (children, name) = (options.children.clone(), format!("{}-worker", stack.name));
    let answer = move || {
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            children.end(&name);
        }
        std::future::ready("well")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let services = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(axum::serve(listener, Router::new().fallback(answer)).into_future());
    options.services = Box::new(move |_| services.clone());
    let lambda = Lambda::start(options).await.unwrap();
    let event = json!({ "do": "ask", "times": 3 });
    let called = lambda
        .invoke(
            "friend",
            &call(&format!("{}-worker", stack.name), "Event", event),
        )
        .await
        .unwrap();
    assert_eq!(called["status"], 202);
    lambda.quiet(A_MOMENT).await;
    assert_eq!(
        lines(&lambda, "worker", "asked"),
        ["0", "0", "1", "2"],
        "it was ended at the second, and tried again"
    );
    serving.abort();
}

#[tokio::test]
async fn all_processes_end_with_lambda() {
    let stack = Stack::deploy(&[]).await;
    let lambda = stack.start().await;
    let first = tell(&lambda, json!({})).await["pid"].take();
    lambda.quiet(A_MOMENT).await;
    lambda.end("worker");
    let second = tell(&lambda, json!({})).await["pid"].take();
    assert_ne!(first, second);
    lambda.quiet(A_MOMENT).await;
    lambda.stop();
    for pid in [first, second] {
        wait_until_async(
            || format!("the end of process {pid}"),
            async || {
                std::fs::read_to_string(format!("/proc/{pid}/stat"))
                    .map_or(true, |stat| stat.contains(") Z "))
            },
        )
        .await;
    }
}

#[tokio::test]
async fn who_is_let_in_by_nobody_stays_outside() {
    let stack = Stack::deploy(&[STREAM]).await;
    let lambda = Lambda::start(Options {
        auth: true,
        ..stack.options()
    })
    .await
    .unwrap();
    assert_eq!(
        send(Method::GET, format!("{}/page", lambda.api()), vec![])
            .await
            .0,
        201,
        "the template lets it in"
    );
    assert_eq!(
        send(Method::POST, format!("{}/hook/a", lambda.api()), vec![])
            .await
            .0,
        500
    );
    assert_eq!(send(Method::GET, lambda.url("worker"), vec![]).await.0, 403);
    lambda.fire("Tick").await;
    lambda.fire("stranger").await;
    lambda.quiet(A_MOMENT).await;
    assert_eq!(lambda.troubles().len(), 2, "{:?}", lambda.troubles());
    assert!(!lambda.log("friend").exists() && !lambda.log("stranger").exists());
}

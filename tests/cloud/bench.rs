//! `cargo xtask bench cloud`: what the functions weigh, how soon they answer, and what a build asks of the services.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made ends the run"
)]
#![allow(
    dead_code,
    reason = "what the tests use of these modules is more than this"
)]

mod lambda;
mod meter;
mod owner;
mod price;
mod script;
mod services;
mod stack;

use lambda::{Children, Lambda, Options};
use serde_json::{Value, json};
use stack::{Stack, variable};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Processes that are started of each function, and answers of one that runs.
const COLD: usize = 20;
const WARM: usize = 200;

/// A function, its program, and the least that it can be asked.
struct Probe {
    function: &'static str,
    program: &'static str,
    with: Value,
}

#[tokio::main]
async fn main() {
    functions().await;
    let folder = tempfile::tempdir().unwrap();
    price::of_a_build("bench", folder.path()).await.print();
}

async fn functions() {
    let stack = Stack::here();
    stack.let_plain_http_in().await;
    let programs = PathBuf::from(variable("MILLRACE_FUNCTIONS"));
    let children = Children::default();
    let place = programs.clone();
    let mut options = Options::new(&stack.endpoint, &stack.name, move |function, _| {
        place.join(format!("millrace-{}", program(function)))
    });
    (options.auth, options.children) = (true, children.clone());
    let lambda = Lambda::start(options).await.unwrap();
    println!(
        "| function | program | size | spawn to first answer, min / median | answer when warm, median | resident |"
    );
    println!("|---|---|---|---|---|---|");
    for Probe {
        function,
        program,
        with,
    } in asked()
    {
        let name = format!("{}-{function}", stack.name);
        let mut cold = Vec::new();
        for _ in 0..COLD {
            children.end(&name);
            cold.push(timed(&lambda, function, &with).await);
        }
        let mut warm = Vec::new();
        for _ in 0..WARM {
            // As on AWS, a process that has answered must be asking for work again.
            tokio::time::sleep(Duration::from_millis(2)).await;
            warm.push(timed(&lambda, function, &with).await);
        }
        let resident = children
            .of(&name)
            .into_iter()
            .map(resident_kb)
            .max()
            .unwrap_or_default();
        let size = std::fs::metadata(programs.join(format!("millrace-{program}")))
            .unwrap()
            .len();
        println!(
            "| {function} | {program} | {:.2} MB | {:.1} / {:.1} ms | {:.2} ms | {:.1} MB |",
            size as f64 / 1e6,
            least(&cold),
            median(&mut cold),
            median(&mut warm),
            resident as f64 / 1e3,
        );
    }
}

/// The program of a function.
fn program(function: &str) -> &'static str {
    let name = function.rsplit('-').next().unwrap_or_default();
    asked()
        .into_iter()
        .find(|asked| asked.function == name)
        .unwrap_or_else(|| panic!("{name} is not measured"))
        .program
}

fn asked() -> Vec<Probe> {
    let get = |path: &str| {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": { "host": "line.example" },
            "requestContext": {
                "accountId": "0", "apiId": "a", "domainName": "line.example", "domainPrefix": "line", "stage": "$default",
                "routeKey": "$default", "requestId": "r", "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 0,
                "http": { "method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench" },
            },
            "isBase64Encoded": false,
        })
    };
    // A message that was never posted: it is looked for, and that is all.
    let message = json!({ "letter": 1 });
    vec![
        Probe {
            function: "hooks",
            program: "listener",
            with: get("/hooks/nobody"),
        },
        Probe {
            function: "fetch",
            program: "source",
            with: message.clone(),
        },
        Probe {
            function: "desk",
            program: "orchestrator",
            with: get("/runner/v1/nothing"),
        },
        Probe {
            function: "messages",
            program: "orchestrator",
            with: json!({ "Records": [] }),
        },
        Probe {
            function: "sweep",
            program: "orchestrator",
            with: json!({}),
        },
        Probe {
            function: "sign",
            program: "signer",
            with: message.clone(),
        },
        Probe {
            function: "release",
            program: "releaser",
            with: message,
        },
        Probe {
            function: "repository",
            program: "releaser",
            with: get("/repo/nothing"),
        },
        Probe {
            function: "web",
            program: "web",
            with: get("/style.css"),
        },
    ]
}

/// Milliseconds until an answer.
async fn timed(lambda: &Lambda, function: &str, with: &Value) -> f64 {
    let began = Instant::now();
    lambda
        .invoke(function, with)
        .await
        .unwrap_or_else(|failure| panic!("{function}: {failure:?}"));
    began.elapsed().as_secs_f64() * 1e3
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Memory that a process has, in kilobytes (proc(5), `VmRSS`).
fn resident_kb(process: i32) -> u64 {
    let said = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = said.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

//! What a build asks of the services and what that costs. It is counted by a proxy before them, and priced by the list prices of us-east-1
//! (the pages "Amazon DynamoDB pricing", "Amazon S3 pricing", "AWS KMS pricing", "AWS Lambda pricing", "Amazon API Gateway pricing" and
//! "AWS Secrets Manager pricing", as remembered in November 2026), in USD. Nothing that is free for a year or up to some amount is taken
//! off.

use crate::lambda::{Lambda, Options};
use crate::meter::{Bill, Meter};
use crate::script::{Habits, Scripted};
use crate::stack::Stack;
use std::collections::BTreeMap;
use std::path::Path;

/// What a build on four architectures may cost, without its runners' hours: a fifth of a cent.
#[cfg(test)]
const BUILD_USD_MAX: f64 = 0.002;

/// What most packages have besides themselves, -devel and -doc: libraries, and what debuggers want.
const SUBPACKAGES: &str = "Subpackages: libs debuginfo debugsource";

/// Bytes of log in each second of a task.
const LOG_BYTES_S: u64 = 2_000;

/// What one of them costs, by its name on the bill.
const PRICES: [(&str, f64); 12] = [
    ("API Gateway requests", 1.00e-6),
    ("Auto Scaling requests, free", 0.0),
    ("DynamoDB read units", 0.125e-6),
    ("DynamoDB write units", 0.625e-6),
    ("KMS other requests", 0.03e-4),
    ("KMS signatures", 0.15e-4),
    ("Lambda GB-seconds", 16.6667e-6),
    ("Lambda requests", 0.20e-6),
    ("S3 DELETE requests, free", 0.0),
    ("S3 GET, HEAD requests", 0.4e-6),
    ("S3 PUT, POST, COPY requests", 5.0e-6),
    ("Secrets Manager requests", 0.05e-4),
];

/// Functions behind the HTTP API. The desk has an address of its own, which costs nothing.
const BEHIND_API: [&str; 3] = ["hooks", "repository", "web"];

/// Seconds that a task takes: ten minutes to build, one to do anything else.
fn task_s(step: &str) -> u64 {
    match step {
        "rpm" => 600,
        _ => 60,
    }
}

/// What a function has done: how often it was invoked, and for how many milliseconds.
type FunctionUse = BTreeMap<&'static str, (usize, usize)>;

/// What every function has done so far.
fn done(lambda: &Lambda) -> FunctionUse {
    let functions = [
        "hooks",
        "fetch",
        "desk",
        "messages",
        "sweep",
        "sign",
        "release",
        "repository",
        "web",
    ];
    functions
        .map(|function| (function, lambda.function(function).billed()))
        .into()
}

/// Adds what functions have done since to what the services were asked.
fn with_functions(mut bill: Bill, lambda: &Lambda, before: &FunctionUse) -> Bill {
    for (function, (invoked, ms)) in done(lambda) {
        let (invoked_before, ms_before) = before[function];
        let invoked = (invoked - invoked_before) as f64;
        let gb = lambda.function(function).settings.memory_mb as f64 / 1024.0;
        *bill.entry("Lambda requests").or_default() += invoked;
        *bill.entry("Lambda GB-seconds").or_default() += (ms - ms_before) as f64 / 1000.0 * gb;
        if BEHIND_API.contains(&function) {
            *bill.entry("API Gateway requests").or_default() += invoked;
        }
    }
    bill
}

/// What a build has cost.
pub struct Price {
    bill: Bill,
    about: String,
}

impl Price {
    /// What each item costs, in USD.
    fn items(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        self.bill.iter().map(|(item, count)| {
            let (_, price) = PRICES
                .iter()
                .find(|(name, _)| name == item)
                .unwrap_or_else(|| panic!("nobody knows what {item} cost"));
            (*item, *count, count * price)
        })
    }

    /// All of it, in USD.
    pub fn usd(&self) -> f64 {
        self.items().map(|(_, _, usd)| usd).sum()
    }

    /// Prints it as a table.
    pub fn print(&self) {
        println!("\n| {} | how many | USD |\n|---|---|---|", self.about);
        for (item, count, usd) in self.items() {
            println!("| {item} | {count:.1} | {usd:.6} |");
        }
        println!("| **together** | | **{:.6}** |", self.usd());
    }
}

/// Lets a line do a build on four architectures, whose runners renew and send logs as often as the host's own rules say for tasks of this
/// length; they do not wait for it. It is the second of its package: functions run, and the platform has released something.
pub async fn of_a_build(name: &'static str, folder: &Path) -> Price {
    let meter = Meter::before(&Stack::here().endpoint).await;
    let counted = meter.endpoint.clone();
    let mut line = Scripted::start(
        folder,
        name,
        r#""x86_64", "aarch64", "ppc64le", "s390x""#,
        |_| (),
    )
    .await;
    line.habits = Some(Habits {
        task_s,
        log_bytes_s: LOG_BYTES_S,
    });
    line.again(move |options: &mut Options| options.services = Box::new(move |_| counted.clone()))
        .await;
    let package = format!("{name}-package");
    let first = line.commit(&package, SUBPACKAGES).await;
    line.deliver(&first).await;
    line.released(&first).await;
    line.is_done().await;
    let second = line.commit(&package, SUBPACKAGES).await;
    meter.read();
    let before = done(&line.cloud.lambda);
    line.deliver(&second).await;
    let build = line.released(&second).await;
    line.is_done().await;
    let bill = with_functions(meter.read(), &line.cloud.lambda, &before);
    let packages: usize = build.tasks.iter().map(|task| task.artifacts().len()).sum();
    let bytes = serde_json::to_vec(&build).unwrap().len();
    let about = format!(
        "a build of {} tasks and {packages} packages, whose record has {bytes} bytes at its end",
        build.tasks.len()
    );
    Price { bill, about }
}

#[cfg(test)]
#[tokio::test(flavor = "multi_thread")]
async fn a_build_on_four_architectures_costs_less_than_a_fifth_of_a_cent() {
    let folder = tempfile::tempdir().unwrap();
    let price = of_a_build("price", folder.path()).await;
    price.print();
    assert!(price.usd() < BUILD_USD_MAX, "{} USD", price.usd());
}

//! What a cloud does to a line that is deployed there: it delivers twice, late and in any order, ends functions between any two of
//! their requests, throttles, fails and loses answers. Nothing is lost, and nothing is done twice.

use crate::faults::trouble;
use crate::lambda::{Children, Faults, Options};
use crate::proxy::{Fate, ProxiedRequest, Proxy};
use crate::script::Scripted;
use crate::stack::Stack;
use millrace_core::Arch;
use millrace_core::build::Build;
use millrace_core::push::PushState;
use millrace_core::task::AttemptEnd;
use millrace_tests::forge::Delivery;
use millrace_tests::wait::wait_until_async;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Architectures of a platform, as TOML has them.
const ONE: &str = r#""x86_64""#;
const TWO: &str = r#""x86_64", "aarch64""#;

/// Delivers pushes, and waits until all of them are released and nothing is left to do.
async fn all_released(line: &Scripted, deliveries: &[&Delivery]) -> Vec<Build> {
    for delivery in deliveries {
        line.deliver(delivery).await;
    }
    let mut builds = Vec::new();
    for delivery in deliveries {
        builds.push(line.released(delivery).await);
    }
    line.is_done().await;
    assert_eq!(
        line.releases().await,
        deliveries.len(),
        "releases are not what was pushed"
    );
    builds
}

/// Pushes the same two packages on a calm day and then to a line in trouble, for a platform of each; the outcome must be equal.
async fn comes_to_the_same(
    name: &'static str,
    folder: &Path,
    options: impl FnOnce(&mut Options),
) -> (Scripted, Vec<Build>) {
    let mut line = Scripted::start(folder, name, TWO, |_| ()).await;
    let (one, other) = (format!("{name}-one"), format!("{name}-other"));
    let (first, second) = (line.commit(&one, "").await, line.commit(&other, "").await);
    all_released(&line, &[&first, &second]).await;
    let calm = line.repositories().await;
    assert_eq!(
        calm.len(),
        2 * (1 + 2 * 3),
        "source packages, and three packages on each architecture, one of which is noarch: {calm:?}"
    );
    line.again(options).await;
    line.new_platform("second").await;
    let (first, second) = (
        line.delivery(&one, &first.commit).await,
        line.delivery(&other, &second.commit).await,
    );
    let builds = all_released(&line, &[&first, &second]).await;
    assert_eq!(line.repositories().await, calm);
    (line, builds)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_twice_late_and_out_of_order_comes_to_the_same_release() {
    let folder = tempfile::tempdir().unwrap();
    let (line, builds) = comes_to_the_same("twice", folder.path(), |options| {
        let late = Some(Duration::from_millis(300));
        options.faults = Faults {
            twice: true,
            shuffled: Some(7),
            late,
            shards: 3,
            ..Faults::default()
        };
    })
    .await;
    for build in builds {
        for task in &build.tasks {
            let ends: Vec<&AttemptEnd> = task.attempts.iter().map(|attempt| &attempt.end).collect();
            assert_eq!(
                ends,
                [&AttemptEnd::Answered],
                "{} was done more than once",
                task.id
            );
        }
    }
    let invoked = |function: &str| line.cloud.lambda.function(function).billed().0;
    // Two orders, each of which is posted once; the platform's repositories are sealed when it is made and at each release.
    assert!(
        invoked("fetch") >= 4 && invoked("release") >= 4,
        "events came once: {} {}",
        invoked("fetch"),
        invoked("release")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_failed_reset_and_lost_calls_come_to_the_same_release() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&Stack::here().endpoint, trouble(11)).await;
    let services = proxy.endpoint.clone();
    comes_to_the_same("calls", folder.path(), move |options| {
        options.services = Box::new(move |_| services.clone());
        options.faults = Faults {
            calls: Some(5),
            ..Faults::default()
        };
    })
    .await;
    for fate in [Fate::Throttle, Fate::Break, Fate::Reset, Fate::Lose] {
        assert!(
            proxy.met(fate) > 20,
            "{fate:?} hardly happened: {} of {} requests",
            proxy.met(fate),
            proxy.fates.lock().unwrap().len()
        );
    }
}

/// Ends every process of a function after so many of its writes, each of which is done, and of whose answer it never hears.
#[derive(Clone, Default)]
struct Reaper {
    left: Arc<Mutex<Option<usize>>>,
    ended: Arc<AtomicUsize>,
}

impl Reaper {
    fn decide(
        &self,
        function: String,
        children: Children,
    ) -> impl FnMut(&ProxiedRequest<'_>) -> Fate + Send + 'static {
        let reaper = self.clone();
        move |asked| {
            if !asked.changes {
                return Fate::Pass;
            }
            let mut left = reaper.left.lock().unwrap();
            match left.as_mut() {
                None => return Fate::Pass,
                Some(left) if *left > 1 => {
                    *left -= 1;
                    return Fate::Pass;
                }
                Some(_) => *left = None,
            }
            reaper.ended.fetch_add(1, Ordering::Relaxed);
            children.end(&function);
            Fate::Lose
        }
    }

    /// From now on.
    fn after(&self, writes: usize) {
        *self.left.lock().unwrap() = Some(writes);
    }

    /// Whether there were fewer writes than that.
    fn is_waiting(&self) -> bool {
        self.left.lock().unwrap().take().is_some()
    }
}

/// Pushes again and again, each time for a build of so many steps, and ends a function after one more write each time, until it comes
/// to its end before that.
async fn dies_after_every_write(function: &'static str, folder: &Path, steps: usize) -> usize {
    let (stack, reaper, children) = (Stack::here(), Reaper::default(), Children::default());
    let whole = format!("{}-{function}", stack.name);
    let proxy = Proxy::before(
        &stack.endpoint,
        reaper.decide(whole.clone(), children.clone()),
    )
    .await;
    let (through, direct) = (proxy.endpoint.clone(), stack.endpoint.clone());
    let mut line = Scripted::start(folder, function, ONE, move |options| {
        options.services = Box::new(move |asks| {
            if asks == whole {
                through.clone()
            } else {
                direct.clone()
            }
        });
        options.children = children;
    })
    .await;
    line.steps = steps;
    line.new_platform("short").await;
    let package = format!("{function}-dies");
    for writes in 1.. {
        let delivery = line.commit(&package, "").await;
        reaper.after(writes);
        line.deliver(&delivery).await;
        let build = line.released(&delivery).await;
        line.is_done().await;
        assert_eq!(
            line.releases().await,
            writes,
            "releases are not what was pushed"
        );
        for task in &build.tasks {
            let answers = task
                .attempts
                .iter()
                .filter(|attempt| attempt.end == AttemptEnd::Answered)
                .count();
            assert_eq!(
                answers, 1,
                "{} was answered more than once, or never",
                task.id
            );
        }
        if reaper.is_waiting() {
            let ended = reaper.ended.load(Ordering::Relaxed);
            assert_eq!(ended, writes - 1);
            return ended;
        }
    }
    unreachable!("it never ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_dies_after_any_of_its_writes_loses_no_push() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        dies_after_every_write("hooks", folder.path(), 1).await,
        1,
        "the push and its message are one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_that_dies_after_any_of_its_writes_fetches_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ended = dies_after_every_write("fetch", folder.path(), 1).await;
    assert!(
        ended >= 3,
        "the tree, the push with its message, the end of the message: {ended}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_dies_after_any_of_its_writes_plans_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ended = dies_after_every_write("messages", folder.path(), 1).await;
    assert!(
        ended >= 4,
        "the build with its messages, the push, the ends of messages: {ended}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_that_dies_after_any_of_its_writes_signs_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ended = dies_after_every_write("sign", folder.path(), 2).await;
    assert!(
        ended >= 6,
        "four packages, the build with its order, the end of the message: {ended}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn release_that_dies_after_any_of_its_writes_releases_once() {
    let folder = tempfile::tempdir().unwrap();
    let ended = dies_after_every_write("release", folder.path(), 2).await;
    assert!(
        ended >= 10,
        "metadata, the generation, the root, the build, the end of the message: {ended}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_that_dies_after_any_of_its_writes_loses_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let ended = dies_after_every_write("desk", folder.path(), 2).await;
    assert!(
        ended >= 6,
        "two tasks are leased, answered, and their logs are ended: {ended}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_orchestrators_and_many_runners_at_one_build_lease_each_task_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Scripted::start(folder.path(), "crowd", TWO, |options| {
        options.faults = Faults {
            twice: true,
            shards: 2,
            ..Faults::default()
        };
    })
    .await;
    for which in ["2", "3", "4"] {
        line.runner(which, Arch::X86_64).await;
        line.runner(which, Arch::Aarch64).await;
    }
    let delivery = line.push("crowd-package").await;
    wait_until_async(
        || format!("the end of {}\n{}", delivery.id, line.cloud.logs()),
        async || {
            tokio::join!(
                line.cloud.lambda.fire("sweep"),
                line.cloud.lambda.fire("sweep")
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            let build = line.build_of(&delivery).await;
            build.is_some_and(|build| build.is_ended())
        },
    )
    .await;
    let build = line.released(&delivery).await;
    line.is_done().await;
    let processes = line.cloud.lambda.function("desk").started();
    assert!(processes > 1, "one desk answered all of them");
    let given = line.given.lock().unwrap().clone();
    assert_eq!(given.len(), build.tasks.len(), "{given:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_message_is_a_dead_letter_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Scripted::start(folder.path(), "poison", ONE, |options| {
        // So that others are in one batch with it.
        options.faults.late = Some(Duration::from_millis(400));
    })
    .await;
    let (first, second) = (
        line.commit("poison-one", "").await,
        line.commit("poison-other", "").await,
    );
    let dance = serde_json::json!({ "effect": "dance" });
    let delivered = tokio::join!(
        line.deliver(&first),
        line.cloud.stack.post(1, &dance),
        line.deliver(&second)
    );
    let ((), (), ()) = delivered;
    let (build, _) = tokio::join!(line.released(&first), line.released(&second));
    line.quiet().await;
    assert_eq!(line.cloud.stack.dead().await, 1, "{}", line.cloud.logs());
    let told = line.cloud.millrace(&["messages", "list"]).await;
    assert!(
        told.lines().count() == 1 && told.contains("cannot be read") && told.contains("dance"),
        "{told}"
    );
    let again = line.cloud.millrace(&["messages", "retry"]).await;
    assert_eq!(again.trim(), "one message is delivered again");
    line.quiet().await;
    let dead = line.cloud.stack.dead_letters().await;
    assert_eq!(
        dead.len(),
        1,
        "it is as bad as it was, and what was told before is forgotten: {dead:?}"
    );
    for word in ["RetryAttemptsExhausted", "\"batchSize\":1", "-messages"] {
        assert!(dead[0].contains(word), "{word} is not in {}", dead[0]);
    }
    // A newer line knows what it is.
    line.cloud
        .stack
        .post(
            1,
            &serde_json::json!({ "effect": "ended", "build": build.id }),
        )
        .await;
    line.is_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_which_its_function_always_dies_can_be_retried() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, children, is_bad) = (
        Stack::here(),
        Children::default(),
        Arc::new(Mutex::new(false)),
    );
    let whole = format!("{}-sign", stack.name);
    let (name, family, bad) = (whole.clone(), children.clone(), Arc::clone(&is_bad));
    let reap = move |_: &ProxiedRequest<'_>| {
        if !*bad.lock().unwrap() {
            return Fate::Pass;
        }
        family.end(&name);
        Fate::Reset
    };
    let proxy = Proxy::before(&stack.endpoint, reap).await;
    let (through, direct) = (proxy.endpoint.clone(), stack.endpoint.clone());
    let mut line = Scripted::start(folder.path(), "dying", ONE, move |options| {
        options.services = Box::new(move |asks| {
            if asks == whole {
                through.clone()
            } else {
                direct.clone()
            }
        });
        options.children = children;
    })
    .await;
    *is_bad.lock().unwrap() = true;
    let first = line.push("dying-one").await;
    wait_until_async(
        || format!("a dead letter\n{}", line.cloud.logs()),
        async || line.cloud.stack.dead().await > 0,
    )
    .await;
    line.quiet().await;
    assert_eq!(line.build_of(&first).await.unwrap().word(), "signing");
    *is_bad.lock().unwrap() = false;
    let second = line.push("dying-other").await;
    line.released(&second).await;
    line.quiet().await;
    let told = line.cloud.millrace(&["messages", "list"]).await;
    assert!(told.lines().count() == 1 && told.contains("sign"), "{told}");
    assert_eq!(
        line.cloud.millrace(&["messages", "retry"]).await.trim(),
        "one message is delivered again"
    );
    line.released(&first).await;
    line.is_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_near_the_largest_item_is_released_and_a_larger_one_refused_while_planning_in_words()
 {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Scripted::start(folder.path(), "large", ONE, |_| ()).await;
    let files = |release: u64, bytes: usize| {
        let config = format!("[config.check]\ntests = [\"{}\"]\n", "x".repeat(bytes));
        let spec = millrace_tests::runner::spec("large-package", release, "");
        [
            ("large-package.spec".to_owned(), spec),
            ("millrace.toml".to_owned(), config),
        ]
    };
    let fits = line.commit_files("large-package", &files(1, 125_000)).await;
    line.deliver(&fits).await;
    let build = line.released(&fits).await;
    let bytes = serde_json::to_vec(&build).unwrap().len();
    assert!(bytes > 250_000, "{bytes} bytes are not near the limit");
    let larger = line.commit_files("large-package", &files(2, 135_000)).await;
    line.deliver(&larger).await;
    line.is_done().await;
    let state = line.push_of(&larger).await.unwrap().state;
    let PushState::Refused { reason } = state else {
        panic!("{state:?}")
    };
    assert!(
        reason.contains("put long configuration into a file of the repository"),
        "{reason}"
    );
    let (status, page) = line
        .cloud
        .get(&format!("/pushes/{}", crate::script::push_id(&larger)))
        .await;
    assert!(
        status == 200 && page.contains("put long configuration into a file"),
        "{status} {page}"
    );
}

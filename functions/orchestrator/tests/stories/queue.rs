//! Who is next, for whom a runner is kept, and how it drains.

use crate::world::{Runner, World, lease_id, passed, push};
use millrace_core::build::Build;
use millrace_core::platform::Requires;
use millrace_core::protocol::Offer;
use millrace_core::queue::{Capacity, Priority, QueueWait, Reservation};
use millrace_core::task::{Outcome, TaskState};
use millrace_core::{Arch, RunnerName, Timestamp};
use millrace_store::index::ready_index;
use millrace_store::memory::MemoryStore;
use millrace_store::queue::{heads, outlook, running};
use millrace_store::runner_status::{PRESENT_MS, runner_statuses};
use millrace_store::runners::change_runner;

/// A build of a package in a project, which waits.
async fn build(world: &World, project: &str, package: &str, priority: Priority) -> Build {
    let mut build = world.planned(package);
    build.rank.project = project.parse().unwrap();
    build.rank.priority = priority;
    world.keep(&build).await;
    build
}

async fn normal(world: &World, project: &str, package: &str) -> Build {
    build(world, project, package, Priority::Normal).await
}

async fn drain(store: &MemoryStore, name: &RunnerName, hand_back: bool) -> bool {
    let drain = change_runner(store, name, |runner| runner.drain(name, hand_back));
    drain.await.unwrap()
}

async fn reserve(store: &MemoryStore, name: &RunnerName, reserved: &Reservation) -> bool {
    let reserve = change_runner(store, name, |runner| runner.reserved = reserved.clone());
    reserve.await.unwrap()
}

/// A build whose source wants something of its machine.
async fn wanting(world: &World, package: &str, requires: Requires) -> Build {
    let mut build = world.planned(package);
    build.platform.steps[0].requires = requires;
    world.keep(&build).await;
    build
}

async fn package_of(offer: Option<Offer>) -> String {
    offer.map_or_else(
        || "nothing".to_owned(),
        |offer| offer.work.package.to_string(),
    )
}

async fn takes(runner: &Runner) -> String {
    package_of(runner.takes().await).await
}

#[tokio::test]
async fn a_mass_rebuild_holds_up_nobody() {
    let world = World::new();
    for n in 0..300 {
        build(&world, "mass", &format!("m{n:03}"), Priority::Background).await;
        normal(&world, "big", &format!("b{n:03}")).await;
    }
    normal(&world, "small", "mine").await;
    build(&world, "mass", "fix", Priority::Urgent).await;
    let mut taken = Vec::new();
    for n in 0..5 {
        let runner = world.runner(&format!("intel-{n}"), Arch::X86_64).await;
        taken.push(takes(&runner).await);
    }
    assert_eq!(taken, ["fix", "b000", "mine", "b001", "b002"]);
    let running = running(&world.store).await.unwrap();
    let running: Vec<String> = running
        .into_iter()
        .map(|(project, count)| format!("{project} {count}"))
        .collect();
    assert_eq!(running, ["big 3", "mass 1", "small 1"]);
}

#[tokio::test]
async fn of_each_project_the_first_are_found_however_many_there_are_and_however_it_is_called() {
    let world = World::new();
    let projects = ["a", "a-b", "a.b", "a0", "ab", "0", "z"];
    for project in projects {
        for n in 0..70 {
            normal(&world, project, &format!("{project}-{n:02}")).await;
        }
    }
    let (found, more) = heads(&world.store, &[ready_index(None)], 16).await.unwrap();
    assert!(more);
    for project in projects {
        let first: Vec<Timestamp> = found
            .iter()
            .filter(|queued| queued.rank.project.as_str() == project)
            .map(|queued| queued.since)
            .collect();
        assert!(
            first.len() >= 16 && first.len() < 40 && first.is_sorted(),
            "{project}: {first:?}"
        );
    }
    assert_eq!(found[0].rank.project.as_str(), "0");
    let (all, more) = heads(&world.store, &[ready_index(None)], 1000)
        .await
        .unwrap();
    assert_eq!((all.len(), more), (7 * 70, false));
}

#[tokio::test]
async fn a_task_goes_to_a_machine_that_has_what_it_wants() {
    let world = World::new();
    let features = std::collections::BTreeSet::from(["secure-boot".parse().unwrap()]);
    let boot = Requires {
        features: features.clone(),
        ..Requires::default()
    };
    // More of them than are looked at at first.
    for n in 0..40 {
        wanting(&world, &format!("boot-{n:02}"), boot.clone()).await;
    }
    wanting(
        &world,
        "large",
        Requires {
            memory_bytes: Some(32 << 30),
            ..Requires::default()
        },
    )
    .await;
    normal(&world, "rpms", "small").await;
    let plain = world.runner("intel-1", Arch::X86_64).await;
    assert_eq!(takes(&plain).await, "small");
    assert_eq!(
        takes(&plain).await,
        "small",
        "it asks again, so it has come back without it"
    );
    let mut able = world.runner("intel-2", Arch::X86_64).await;
    able.capacity = Capacity {
        memory_bytes: 64 << 30,
        disk_bytes: 0,
        features,
    };
    assert_eq!(takes(&able).await, "boot-00");
    let mut large = world.runner("intel-3", Arch::X86_64).await;
    large.capacity.memory_bytes = 64 << 30;
    assert_eq!(takes(&large).await, "large");
}

#[tokio::test]
async fn what_is_kept_for_some_is_not_given_to_others() {
    let world = World::new();
    let build = normal(&world, "theirs", "zlib").await;
    let (runner, name) = (
        world.runner("arm-1", Arch::Aarch64).await,
        "arm-1".parse().unwrap(),
    );
    let kept = |reserved: Reservation| {
        let (store, name) = (world.store.clone(), &name);
        async move { assert!(reserve(&store, name, &reserved).await) }
    };
    kept(Reservation {
        own_arch: true,
        ..Reservation::default()
    })
    .await;
    assert_eq!(takes(&runner).await, "nothing", "any runner may do it");
    kept(Reservation {
        projects: vec!["ours".parse().unwrap()],
        ..Reservation::default()
    })
    .await;
    assert_eq!(takes(&runner).await, "nothing");
    kept(Reservation {
        at_least: Some(Priority::Urgent),
        ..Reservation::default()
    })
    .await;
    assert_eq!(takes(&runner).await, "nothing");
    kept(Reservation::default()).await;
    assert_eq!(lease_id(&runner.takes().await.unwrap()).build, build.id);
    assert!(
        !reserve(
            &world.store,
            &"nobody".parse().unwrap(),
            &Reservation::default()
        )
        .await
    );
}

#[tokio::test]
async fn a_runner_that_is_to_leave_finishes_and_is_given_no_more() {
    let world = World::new();
    normal(&world, "p", "zlib").await;
    let build = normal(&world, "p", "pigz").await;
    let (runner, name) = (
        world.runner("intel-1", Arch::X86_64).await,
        "intel-1".parse().unwrap(),
    );
    let lease = runner.leases().await;
    assert!(drain(&world.store, &name, false).await);
    assert!(!runner.is_told_to_hand_back(&lease).await, "it finishes");
    assert_eq!(
        runner
            .report(
                &lease,
                Outcome::Excluded {
                    reason: "nothing".to_owned()
                }
            )
            .await
            .status,
        200
    );
    let told = runner.ask(20).await.told();
    assert_eq!(
        told,
        (
            410,
            "leave: runner intel-1 is draining; `millrace runner resume intel-1` cancels that"
                .to_owned()
        )
    );
    let resumed = change_runner(&world.store, &name, |runner| runner.resume(&name));
    assert!(resumed.await.unwrap());
    assert_eq!(lease_id(&runner.takes().await.unwrap()).build, build.id);
}

#[tokio::test]
async fn a_runner_that_drains_at_once_hands_back_and_hears_of_it() {
    let world = World::new();
    let build = normal(&world, "p", "zlib").await;
    let [first, second] = world.shared("pool", Arch::X86_64, ["i-1", "i-2"]).await;
    let lease = first.leases().await;
    assert!(drain(&world.store, &"pool.i-1".parse().unwrap(), true).await);
    assert!(first.is_told_to_hand_back(&lease).await);
    assert_eq!(
        first
            .report(
                &lease,
                Outcome::HandedBack {
                    reason: "it leaves".to_owned()
                }
            )
            .await
            .status,
        200
    );
    let waiting = tokio::spawn(async move { first.ask(20).await });
    assert_eq!(waiting.await.unwrap().status, 410);
    assert_eq!(
        lease_id(&second.takes().await.unwrap()).build,
        build.id,
        "the other of its kind goes on"
    );
    assert!(drain(&world.store, &"pool".parse().unwrap(), false).await);
    assert_eq!(
        second.ask(0).await.status,
        410,
        "all that share the token are draining"
    );
    assert!(!drain(&world.store, &"pool2.i-1".parse().unwrap(), true).await);
}

#[tokio::test]
async fn a_task_that_says_nothing_is_told_of_and_so_is_one_that_speaks_again() {
    let world = World::new();
    let build = normal(&world, "p", "zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let lease = runner.leases().await;
    let source = || async { world.now_is(&build).await.tasks[0].clone() };
    world.pass_ms(50_000);
    assert_eq!(runner.renew_after(&lease, Some(40)).await.status, 200);
    assert_eq!(source().await.word(), "stalled");
    assert_eq!(
        source().await.lease().unwrap().silent_since,
        Some(Timestamp(world.now().0 - 40_000))
    );
    world.pass_ms(10_000);
    assert_eq!(runner.renew_after(&lease, Some(51)).await.status, 200);
    assert_eq!(
        source().await.lease().unwrap().silent_since,
        Some(Timestamp(world.now().0 - 50_000)),
        "when it began stays"
    );
    assert_eq!(runner.renew(&lease).await.status, 200);
    assert_eq!(source().await.word(), "running");
    runner
        .upload(&lease, &millrace_core::Digest::of(b""), b"")
        .await;
    assert_eq!(runner.report(&lease, passed("a", b"")).await.status, 200);
    assert!(matches!(source().await.state, TaskState::Passed { .. }));
}

#[tokio::test]
async fn what_waits_is_told_how_long_and_for_what() {
    let world = World::new();
    let told = || async {
        let all = outlook(&world.store, 100, world.now()).await.unwrap();
        let words = |wait: QueueWait| match wait {
            QueueWait::Nothing => "now".to_owned(),
            QueueWait::Turn { ms, ahead, hosts } => {
                format!("{} s, {ahead} ahead, {hosts} hosts", ms / 1000)
            }
            QueueWait::Runner { reason } => reason,
        };
        all.into_iter()
            .map(|one| {
                format!(
                    "{} {}: {}",
                    one.package,
                    one.queued.task,
                    words(one.forecast.wait)
                )
            })
            .collect::<Vec<_>>()
    };
    normal(&world, "p", "zlib").await;
    normal(&world, "p", "pigz").await;
    let nobody =
        "no runner is there: `millrace up` brings its own, `millrace runner add` lets others in";
    assert_eq!(
        told().await,
        [
            format!("zlib source: {nobody}"),
            format!("pigz source: {nobody}")
        ]
    );
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let lease = runner.leases().await;
    assert_eq!(
        told().await,
        ["pigz source: 180 s, 0 ahead, 1 hosts"],
        "of which nothing is known takes three minutes"
    );
    world.pass_ms(20_000);
    runner
        .upload(&lease, &millrace_core::Digest::of(b""), b"")
        .await;
    assert_eq!(runner.report(&lease, passed("a", b"")).await.status, 200);
    let arm = "no runner for aarch64 is there: `millrace runner add --arch aarch64` lets one in";
    assert_eq!(
        told().await,
        [
            format!("zlib rpm@aarch64: {arm}"),
            "zlib rpm@x86_64: now".to_owned(),
            "pigz source: 180 s, 1 ahead, 1 hosts".to_owned()
        ]
    );
    // The next build of it is known to take as long as the last; its project has nothing running, so it is before what is older.
    let mut again = world.planned("zlib");
    again.id = "zlib-again".parse().unwrap();
    world.keep(&again).await;
    assert_eq!(
        lease_id(&runner.takes().await.unwrap()).task.to_string(),
        "rpm@x86_64"
    );
    assert_eq!(
        told().await[1..],
        [
            "zlib source: 180 s, 0 ahead, 1 hosts",
            "pigz source: 200 s, 1 ahead, 1 hosts"
        ]
    );
    assert_eq!(
        push("zlib", "").announced.rank(None).project.as_str(),
        "rpms"
    );
    world.pass_ms(PRESENT_MS + 1);
    let machine = runner_statuses(&world.store, world.now()).await.unwrap();
    assert!(
        machine[0].is_present && machine[0].at.is_some(),
        "it works, so it is there"
    );
}

#[tokio::test]
async fn a_part_of_a_long_queue_is_its_front_and_not_one_project() {
    let world = World::new();
    for n in 0..20 {
        normal(&world, "a", &format!("a{n:02}")).await;
    }
    normal(&world, "y", "mine").await;
    build(&world, "z", "fix", Priority::Urgent).await;
    assert!(
        world
            .runner("intel-1", Arch::X86_64)
            .await
            .takes()
            .await
            .is_some()
    );
    let told = outlook(&world.store, 3, world.now()).await.unwrap();
    let packages: Vec<String> = told
        .into_iter()
        .map(|one| one.package.to_string())
        .collect();
    assert_eq!(packages, ["a00", "mine", "a01"], "the fix runs");
}

#[tokio::test]
async fn a_machine_that_was_not_heard_of_for_minutes_is_away_and_after_a_week_forgotten() {
    let world = World::new();
    let runner = world.runner("intel-1", Arch::X86_64).await;
    assert!(runner.takes().await.is_none());
    let seen = || async { runner_statuses(&world.store, world.now()).await.unwrap() };
    assert!(seen().await[0].is_present);
    world.pass_ms(PRESENT_MS + 1);
    assert!(!seen().await[0].is_present);
    world.pass_ms(8 * 24 * 3_600_000);
    assert!(
        world
            .runner("intel-2", Arch::X86_64)
            .await
            .takes()
            .await
            .is_none()
    );
    let names: Vec<String> = seen()
        .await
        .into_iter()
        .map(|machine| machine.last_ask.name.to_string())
        .collect();
    assert_eq!(names, ["intel-2"]);
}

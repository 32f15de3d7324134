//! Who gets work, when, and who loses it.

use crate::world::{World, lease_id, passed, under};
use axum::http::Method;
use millrace_core::protocol::{Renewed, WAIT_S_MAX};
use millrace_core::task::LEASE_MS;
use millrace_core::{Arch, Digest, LeaseNumber};
use millrace_orchestrator::tick;
use millrace_store::builds::load_build;
use millrace_store::runners::delete_runner;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn who_is_not_known_gets_nothing() {
    let world = World::new();
    world.build("zlib").await;
    let known = world.runner("intel-1", Arch::X86_64).await;
    let lease = known.leases().await;
    let digest = Digest::of(b"bytes");
    let mut stranger = known.clone();
    for token in ["", "mrt_0000", "intel-1"] {
        stranger.token = token.to_owned();
        let answers = [
            stranger.ask(0).await,
            stranger.renew(&lease).await,
            stranger.log(&lease, 0, b"bytes").await,
            stranger.upload(&lease, &digest, b"bytes").await,
            stranger.download(&digest, &[]).await,
            stranger.report(&lease, passed("a", b"")).await,
        ];
        let told = (
            401,
            "unknown-token: the token is not known: `millrace runner add` makes one".to_owned(),
        );
        for answer in answers {
            assert_eq!(answer.told(), told);
        }
    }
    assert!(!world.keeps(b"bytes").await);
    assert_eq!(
        known
            .send(Method::GET, "lease", &[], Vec::new())
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn a_token_is_good_for_its_own_runner_and_architecture_only() {
    let world = World::new();
    world.build("zlib").await;
    let known = world.runner("intel-1", Arch::X86_64).await;
    let (mut named, mut built) = (known.clone(), known.clone());
    named.name = "intel-2".to_owned();
    built.arch = Arch::Aarch64;
    let words = |what: &str| {
        (
            400,
            format!("bad-request: the token is for runner intel-1 on x86_64, not for {what}"),
        )
    };
    assert_eq!(named.ask(0).await.told(), words("intel-2 on x86_64"));
    assert_eq!(built.ask(0).await.told(), words("intel-1 on aarch64"));
    assert!(known.takes().await.is_some());
}

#[tokio::test]
async fn a_removed_runner_is_a_stranger_and_what_it_had_ends_with_its_lease() {
    let world = World::new();
    world.build("zlib").await;
    let (gone, stays) = (
        world.runner("intel-1", Arch::X86_64).await,
        world.runner("intel-2", Arch::X86_64).await,
    );
    let lease = gone.leases().await;
    assert!(
        delete_runner(&world.store, &"intel-1".parse().unwrap())
            .await
            .unwrap()
    );
    assert_eq!(gone.renew(&lease).await.status, 401);
    assert_eq!(gone.ask(0).await.status, 401);
    assert!(stays.takes().await.is_none());
    world.pass_ms(LEASE_MS);
    tick(&world.store, world.now()).await.unwrap();
    assert_eq!(stays.leases().await, under(&lease, 2));
}

#[tokio::test]
async fn a_runner_takes_the_oldest_task_of_its_architecture() {
    let world = World::new();
    let (old, young) = (world.build("zlib").await, world.build("pigz").await);
    let intel = world.runner("intel-1", Arch::X86_64).await;
    let arm = world.runner("arm-1", Arch::Aarch64).await;
    let lease = intel.leases().await;
    assert_eq!(lease.build, old.id);
    assert_eq!(
        intel.report(&lease, passed("a", b"")).await.status,
        400,
        "the empty file was not uploaded"
    );
    intel.upload(&lease, &Digest::of(b""), b"").await;
    assert_eq!(intel.report(&lease, passed("a", b"")).await.status, 200);
    let offer = arm.takes().await.unwrap();
    assert_eq!(
        (&offer.work.build, offer.work.task.to_string()),
        (&old.id, "rpm@aarch64".to_owned())
    );
    let next = world
        .runner("arm-2", Arch::Aarch64)
        .await
        .takes()
        .await
        .unwrap();
    assert_eq!(
        (&next.work.build, next.work.task.to_string()),
        (&young.id, "source".to_owned())
    );
    assert_eq!(intel.leases().await.task.to_string(), "rpm@x86_64");
}

#[tokio::test]
async fn a_runner_emulates_only_what_no_task_of_its_own_architecture_keeps_it_from() {
    let world = World::new();
    let old = world.build("zlib").await;
    world.build("pigz").await;
    let both = world
        .emulating("intel-1", Arch::X86_64, &[Arch::Aarch64])
        .await;
    let hand_in = async |lease| {
        both.upload(&lease, &Digest::of(b""), b"").await;
        assert_eq!(both.report(&lease, passed("a", b"")).await.status, 200);
    };
    let mut taken = Vec::new();
    while let Some(offer) = both.takes().await {
        let package = if offer.work.build == old.id {
            "zlib"
        } else {
            "pigz"
        };
        taken.push(format!("{package} {}", offer.work.task));
        if let Some(arch) = offer.work.task.arch {
            assert_eq!(
                offer.work.arch,
                Some(arch),
                "the root is of the task's architecture"
            );
        }
        hand_in(lease_id(&offer)).await;
    }
    // The younger build's tasks come before the older one's that must be emulated.
    let expected = [
        "zlib source",
        "zlib rpm@x86_64",
        "pigz source",
        "pigz rpm@x86_64",
        "zlib rpm@aarch64",
        "pigz rpm@aarch64",
    ];
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn what_is_done_once_is_done_in_a_root_that_the_platform_has_packages_for() {
    let world = World::new();
    // The platform is for x86_64 and aarch64.
    let cases = [
        ("zlib", &[Arch::S390x, Arch::Aarch64][..], Arch::Aarch64),
        ("pigz", &[], Arch::Ppc64le),
    ];
    for (package, emulates, expected) in cases {
        world.build(package).await;
        let runner = world
            .emulating(&format!("power-for-{package}"), Arch::Ppc64le, emulates)
            .await;
        let offer = runner.takes().await.unwrap();
        assert_eq!(
            (offer.work.task.to_string().as_str(), offer.work.arch),
            ("source", Some(expected))
        );
    }
}

#[tokio::test]
async fn a_token_says_what_its_runner_may_emulate() {
    let world = World::new();
    world.build("zlib").await;
    let mut greedy = world
        .emulating("intel-1", Arch::X86_64, &[Arch::Aarch64])
        .await;
    greedy.emulates.push(Arch::S390x);
    let told = "bad-request: the token of intel-1 is not for s390x by emulation: remove it, and make one with \
                `millrace runner add intel-1 --arch x86_64 --emulate s390x`";
    assert_eq!(greedy.ask(0).await.told(), (400, told.to_owned()));
    // Who does not say that it emulates is given none of it, whatever its token is good for.
    greedy.emulates.clear();
    let offer = greedy.takes().await.unwrap();
    assert_eq!(offer.work.task.to_string(), "source");
}

#[tokio::test]
async fn a_lease_is_renewed_by_its_holder_under_its_number() {
    let world = World::new();
    world.build("zlib").await;
    let (holder, other) = (
        world.runner("intel-1", Arch::X86_64).await,
        world.runner("intel-2", Arch::X86_64).await,
    );
    let lease = holder.leases().await;
    world.pass_ms(20_000);
    let renewed: Renewed = serde_json::from_slice(&holder.renew(&lease).await.body).unwrap();
    assert_eq!(
        (renewed.now, renewed.until),
        (world.now(), world.now().plus_ms(LEASE_MS))
    );
    let over = |number: u32| {
        (
            409,
            format!(
                "stale-lease: lease {number} of task source of build {} is over",
                lease.build
            ),
        )
    };
    assert_eq!(other.renew(&lease).await.told(), over(1));
    assert_eq!(holder.renew(&under(&lease, 2)).await.told(), over(2));
    assert_eq!(holder.renew(&under(&lease, 0)).await.told(), over(0));
}

#[tokio::test]
async fn a_lease_lasts_while_its_holder_is_heard_of_and_its_build_is_not_written_for_that() {
    let world = World::new();
    let build = world.build("zlib").await;
    let (holder, next) = (
        world.runner("intel-1", Arch::X86_64).await,
        world.runner("intel-2", Arch::X86_64).await,
    );
    let lease = holder.leases().await;
    let version = async || {
        load_build(&world.store, &build.id)
            .await
            .unwrap()
            .unwrap()
            .1
    };
    let written = version().await;
    for _ in 0..3 {
        world.pass_ms(19_000);
        assert_eq!(holder.renew(&lease).await.status, 200);
    }
    assert_eq!(version().await, written);
    world.pass_ms(LEASE_MS - 57_000);
    tick(&world.store, world.now()).await.unwrap();
    assert!(
        next.takes().await.is_none(),
        "its holder was heard of a moment ago"
    );
    assert_eq!(
        tick(&world.store, world.now()).await.unwrap(),
        0,
        "time is asked again when it can decide something"
    );
    world.pass_ms(57_000);
    tick(&world.store, world.now()).await.unwrap();
    assert_eq!(holder.renew(&lease).await.status, 409);
    assert_eq!(next.leases().await.number, LeaseNumber(2));
}

#[tokio::test]
async fn a_runner_that_asks_again_loses_what_it_had() {
    let world = World::new();
    world.build("zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let first = runner.leases().await;
    let second = runner.leases().await;
    assert_eq!(second, under(&first, 2));
    assert_eq!(runner.renew(&first).await.status, 409);
    assert_eq!(runner.renew(&second).await.status, 200);
}

#[tokio::test]
async fn time_alone_frees_the_lease_of_a_runner_that_never_comes_back() {
    let world = World::new();
    world.build("zlib").await;
    let (gone, next) = (
        world.runner("intel-1", Arch::X86_64).await,
        world.runner("intel-2", Arch::X86_64).await,
    );
    let lease = gone.leases().await;
    world.pass_ms(LEASE_MS - 1);
    assert_eq!(tick(&world.store, world.now()).await.unwrap(), 0);
    assert!(next.takes().await.is_none(), "its lease still runs");
    world.pass_ms(1);
    assert_eq!(tick(&world.store, world.now()).await.unwrap(), 1);
    assert_eq!(next.leases().await.number, LeaseNumber(2));
    assert_eq!(gone.renew(&lease).await.status, 409);
    assert_eq!(
        tick(&world.store, world.now()).await.unwrap(),
        0,
        "nothing is left to free"
    );
}

/// How long after a task became ready a waiting runner has it.
async fn waits_for(world: &World, rings: bool) -> Duration {
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let waiting = tokio::spawn(async move {
        let answer = runner.ask(20).await;
        (Instant::now(), answer)
    });
    // Time stands still while anybody has something to do, so the runner waits by then.
    tokio::time::sleep(Duration::from_millis(1700)).await;
    let build = world.build("zlib").await;
    let since = Instant::now();
    if rings {
        world.ready.notify_waiters();
    }
    let (at, answer) = waiting.await.unwrap();
    assert_eq!(
        lease_id(&serde_json::from_slice(&answer.body).unwrap()).build,
        build.id
    );
    at - since
}

#[tokio::test(start_paused = true)]
async fn a_waiting_runner_gets_a_task_as_soon_as_the_bell_rings() {
    let waited = waits_for(&World::new(), true).await;
    assert!(waited < Duration::from_millis(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_runner_gets_a_task_within_a_second_where_another_process_wrote_and_no_bell_rings()
 {
    let waited = waits_for(&World::new(), false).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_waits_in_vain_hears_so_when_it_wanted_and_before_a_proxy_hangs_up() {
    let world = World::new();
    let runner = world.runner("intel-1", Arch::X86_64).await;
    for (asked_s, expected_s) in [(0, 0), (3, 3), (3600, WAIT_S_MAX)] {
        let since = Instant::now();
        assert_eq!(runner.ask(asked_s).await.status, 204);
        let (waited, expected) = (since.elapsed(), Duration::from_secs(u64::from(expected_s)));
        assert!(
            waited >= expected && waited < expected + Duration::from_millis(10),
            "{waited:?} for {asked_s} s"
        );
    }
}

#[tokio::test]
async fn machines_that_share_a_token_have_their_own_tasks() {
    let world = World::new();
    world.build("zlib").await;
    world.build("pigz").await;
    let [first, second] = world.shared("pool", Arch::X86_64, ["i-1", "i-2"]).await;
    let (one, other) = (first.leases().await, second.leases().await);
    assert_ne!(one.build, other.build);
    // That the second asked did not take from the first what it is at.
    assert_eq!(
        (
            first.renew(&one).await.status,
            second.renew(&other).await.status
        ),
        (200, 200)
    );
    assert_eq!(
        first.report(&one, passed("a", b"")).await.told().0,
        400,
        "its file did not come"
    );
    let mut stranger = first.clone();
    for name in ["pool", "pool.", "poolside.i-1", "intel-1"] {
        stranger.name = name.to_owned();
        if name.parse::<millrace_core::RunnerName>().is_ok() {
            let words = format!(
                "bad-request: the token is for runners pool.SOMETHING on x86_64, not for {name} on x86_64"
            );
            assert_eq!(stranger.ask(0).await.told(), (400, words));
        }
    }
}

#[tokio::test]
async fn a_desk_that_keeps_nobody_waiting_says_when_to_ask_again_and_ends_leases_that_are_over() {
    let world = World::new().that_keeps_nobody_waiting();
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let answer = runner.ask(WAIT_S_MAX).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (204, Some("10"))
    );
    let build = world.build("zlib").await;
    let first = runner.leases().await;
    world.pass_ms(LEASE_MS + 1);
    let other = world.runner("intel-2", Arch::X86_64).await;
    let second = other.leases().await;
    assert_eq!(
        (second.number, &second.build),
        (LeaseNumber(first.number.0 + 1), &build.id),
        "nothing else let the time pass"
    );
}

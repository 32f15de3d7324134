//! The page of the queue.

use crate::visit::{get, json};
use millrace_core::Arch;
use millrace_core::queue::{Capacity, Reservation};
use millrace_store::runner_status::{LastAsk, record_ask};
use millrace_view::testing::{NOW, World, story};

#[tokio::test]
async fn the_queue_lists_what_waits_and_the_runners() {
    let world = World::empty();
    assert!(
        get(&world, "/queue")
            .await
            .contains("No task waits for a runner.")
    );
    let build = story("zlib", "Update", 3).build;
    world.keep(&build).await;
    let page = get(&world, "/queue").await;
    assert!(
        page.contains("no runner is there") && page.contains("No runner has asked for work yet."),
        "{page}"
    );
    let capacity = Capacity {
        memory_bytes: 8 << 30,
        disk_bytes: 90 << 30,
        features: ["kvm".parse().unwrap()].into(),
    };
    let (name, reserved) = (
        "intel-1".parse().unwrap(),
        Reservation {
            own_arch: true,
            ..Reservation::default()
        },
    );
    record_ask(
        &world.store,
        &LastAsk {
            name,
            arches: vec![Arch::X86_64],
            capacity,
            reserved,
            at: NOW,
        },
    )
    .await
    .unwrap();
    let page = get(&world, "/queue").await;
    assert!(
        page.contains("runner intel-1 is reserved for its own architecture")
            && page.contains("has kvm"),
        "{page}"
    );
    let queue = json(&world, "/api/v1/queue").await;
    assert_eq!(
        (
            &queue["waiting"][0]["task"],
            &queue["waiting"][0]["project"]
        ),
        (&"source".into(), &"rpms".into()),
        "{queue}"
    );
    assert_eq!(queue["runners"][0]["state"], "waiting", "{queue}");
}

//! Logs as they come in.

use crate::world::{HttpAnswer, LOG_BYTES, Runner, World, passed, under};
use millrace_core::log::LogIndex;
use millrace_core::protocol::Logged;
use millrace_core::task::LeaseId;
use millrace_core::{Arch, Digest};
use millrace_store::Table;
use millrace_store::records::get;

async fn holder(world: &World) -> (Runner, LeaseId) {
    world.build("zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let lease = runner.leases().await;
    (runner, lease)
}

async fn index(world: &World, lease: &LeaseId) -> LogIndex {
    let id = format!("{}/{}/{}", lease.build, lease.task, lease.number);
    get(&world.store, Table::Log, &id)
        .await
        .unwrap()
        .map(|(index, _)| index)
        .unwrap_or_default()
}

fn end(answer: &HttpAnswer) -> u64 {
    serde_json::from_slice::<Logged>(&answer.body).unwrap().end
}

#[tokio::test]
async fn a_log_grows_chunk_by_chunk_and_is_whole_with_the_answer() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    assert_eq!(end(&runner.log(&lease, 0, b"first\n").await), 6);
    assert_eq!(end(&runner.log(&lease, 6, b"second\n").await), 13);
    assert!(!index(&world, &lease).await.ended);
    runner.upload(&lease, &Digest::of(b"file"), b"file").await;
    runner.report(&lease, passed("file", b"file")).await;
    let index = index(&world, &lease).await;
    assert_eq!(
        (index.chunks.len(), index.size(), index.ended),
        (2, 13, true)
    );
    assert!(world.keeps(b"first\n").await && world.keeps(b"second\n").await);
}

#[tokio::test]
async fn a_chunk_said_again_since_its_answer_was_lost_is_there_once() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    runner.log(&lease, 0, b"first\n").await;
    assert_eq!(end(&runner.log(&lease, 0, b"first\n").await), 6);
    assert_eq!(index(&world, &lease).await.size(), 6);
}

#[tokio::test]
async fn a_chunk_that_does_not_continue_the_log_is_refused_and_not_kept() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    runner.log(&lease, 0, b"first\n").await;
    for offset in [0, 5, 7, u64::MAX, u64::MAX - 6] {
        let words =
            format!("bad-request: the log has 6 bytes; a chunk at {offset} does not continue it");
        assert_eq!(
            runner.log(&lease, offset, b"second\n").await.told(),
            (400, words)
        );
    }
    assert!(!world.keeps(b"second\n").await);
    assert_eq!(end(&runner.log(&lease, 6, b"second\n").await), 13);
}

#[tokio::test]
async fn a_log_has_the_bytes_of_its_task_and_room_for_the_runners_last_line() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let (all, spare) = (vec![b'a'; LOG_BYTES], vec![b'b'; 4096]);
    assert_eq!(runner.log(&lease, 0, &all).await.status, 200);
    assert_eq!(runner.log(&lease, 100, &spare).await.status, 200);
    let words =
        "bad-request: the log would have 4197 bytes; a log of this task may have 4196".to_owned();
    assert_eq!(runner.log(&lease, 4196, b"c").await.told(), (400, words));
    assert!(!world.keeps(b"c").await);
    assert_eq!(index(&world, &lease).await.size(), 4196);
}

#[tokio::test]
async fn nobody_writes_to_the_log_of_another_lease_or_of_one_that_is_over() {
    let world = World::new();
    let (runner, first) = holder(&world).await;
    let other = world.runner("intel-2", Arch::X86_64).await;
    runner.log(&first, 0, b"first\n").await;
    let second = runner.leases().await;
    for (who, lease) in [
        (&runner, &first),
        (&other, &second),
        (&runner, &under(&second, 3)),
    ] {
        assert_eq!(
            who.log(lease, 6, b"late\n").await.status,
            409,
            "{} under {}",
            who.name,
            lease.number
        );
        assert_eq!(
            who.log(lease, 0, b"late\n").await.status,
            409,
            "{} under {}",
            who.name,
            lease.number
        );
    }
    assert!(!world.keeps(b"late\n").await);
    assert_eq!(
        (
            index(&world, &first).await.size(),
            index(&world, &second).await.size()
        ),
        (6, 0)
    );
}

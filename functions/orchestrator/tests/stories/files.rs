//! Files on their way in and out.

use crate::world::{DISK_BYTES, Runner, World, under};
use millrace_core::task::LeaseId;
use millrace_core::{Arch, Digest};

async fn holder(world: &World) -> (Runner, LeaseId) {
    world.build("zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let lease = runner.leases().await;
    (runner, lease)
}

fn is_empty(world: &World) -> bool {
    world.incoming.path().read_dir().unwrap().next().is_none()
}

#[tokio::test]
async fn a_file_comes_in_and_goes_out_whole() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let digest = Digest::of(b"a package");
    assert_eq!(
        runner.upload(&lease, &digest, b"a package").await.status,
        201
    );
    assert!(is_empty(&world), "nothing is left on the way");
    let answer = runner.download(&digest, &[]).await;
    assert_eq!(
        (
            answer.status,
            answer.header("content-length"),
            &answer.body[..]
        ),
        (200, Some("9"), &b"a package"[..])
    );
    let missing = runner.download(&Digest::of(b"another"), &[]).await;
    assert_eq!(
        missing.told(),
        (
            404,
            format!("not-found: no blob {}", Digest::of(b"another"))
        )
    );
}

#[tokio::test]
async fn a_file_with_another_digest_than_was_announced_is_refused_and_not_kept() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let (announced, found) = (Digest::of(b"a package"), Digest::of(b"a pakcage"));
    let words = format!("bad-request: the file's digest is {found}, and {announced} was announced");
    assert_eq!(
        runner.upload(&lease, &announced, b"a pakcage").await.told(),
        (400, words)
    );
    assert!(
        !world.keeps(b"a pakcage").await && !world.keeps(b"a package").await && is_empty(&world)
    );
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_and_not_kept() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let (fits, large) = (vec![1; DISK_BYTES], vec![1; DISK_BYTES + 1]);
    let words = format!("bad-request: the file is larger than the task's {DISK_BYTES} bytes");
    assert_eq!(
        runner
            .upload(&lease, &Digest::of(&large), &large)
            .await
            .told(),
        (400, words)
    );
    assert!(!world.keeps(&large).await && is_empty(&world));
    assert_eq!(
        runner
            .upload(&lease, &Digest::of(&fits), &fits)
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn only_the_holder_of_the_lease_hands_in_files() {
    let world = World::new();
    let (runner, first) = holder(&world).await;
    let other = world.runner("intel-2", Arch::X86_64).await;
    let second = runner.leases().await;
    let digest = Digest::of(b"a package");
    for (who, lease) in [
        (&runner, &first),
        (&other, &second),
        (&runner, &under(&second, 3)),
    ] {
        assert_eq!(
            who.upload(lease, &digest, b"a package").await.status,
            409,
            "{} under {}",
            who.name,
            lease.number
        );
    }
    assert!(!world.keeps(b"a package").await && is_empty(&world));
    assert_eq!(
        runner.upload(&second, &digest, b"a package").await.status,
        201
    );
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_where_it_was() {
    let world = World::new();
    let (runner, lease) = holder(&world).await;
    let digest = Digest::of(b"0123456789");
    runner.upload(&lease, &digest, b"0123456789").await;
    let tag = format!("\"{}\"", digest.hex());
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Headers<'_>, u16, &str, &[u8]); 7] = [
        (&[("range", "bytes=4-")], 206, "bytes 4-9/10", b"456789"),
        (&[("range", "bytes=0-0")], 206, "bytes 0-0/10", b"0"),
        (&[("range", "bytes=-3")], 206, "bytes 7-9/10", b"789"),
        (
            &[("range", "bytes=4-"), ("if-range", &tag)],
            206,
            "bytes 4-9/10",
            b"456789",
        ),
        (
            &[("range", "bytes=4-"), ("if-range", "\"another\"")],
            200,
            "",
            b"0123456789",
        ),
        (&[("range", "bytes=0-1,4-5")], 200, "", b"0123456789"),
        (&[("range", "bytes=10-")], 416, "bytes */10", b""),
    ];
    for (headers, status, place, body) in cases {
        let answer = runner.download(&digest, headers).await;
        let found = (
            answer.status,
            answer.header("content-range").unwrap_or_default(),
            &answer.body[..],
        );
        assert_eq!(found, (status, place, body), "{headers:?}");
        assert_eq!(answer.header("etag"), Some(&tag[..]), "{headers:?}");
    }
}

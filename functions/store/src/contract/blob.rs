//! What is promised of blobs and pointers.

use super::{RACERS, race};
use crate::blob::{
    BlobError, BlobStore, POINTER_BYTES_MAX, Part, PointerVersion, SwapError, pieces,
};
use futures_util::TryStreamExt;
use millrace_core::Digest;
use std::fs;
use std::ops::Range;

/// Bytes that are not the same anywhere, more than any adapter moves at once.
fn long() -> Vec<u8> {
    (0..2_500_000_u32)
        .flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 16).to_le_bytes()[..2].to_vec())
        .take(2_500_001)
        .collect()
}

fn part(digest: Digest, range: Range<u64>) -> Part {
    Part::Blob { digest, range }
}

fn is_missing<T>(result: &Result<T, BlobError>, digest: &Digest) -> bool {
    matches!(result, Err(BlobError::Missing(found)) if found == digest)
}

/// Digest, size and bytes agree.
pub async fn what_was_put_is_read_under_its_digest<B: BlobStore>(store: B) {
    let bytes = long();
    let digest = store.put(bytes.clone()).await.unwrap();
    assert_eq!(digest, Digest::of(&bytes));
    assert_eq!(store.size(&digest).await.unwrap(), Some(bytes.len() as u64));
    assert!(store.read(&digest, 0..bytes.len() as u64).await.unwrap() == bytes);
}

/// Zero bytes have a digest, and are read, fetched and put together like any other.
pub async fn nothing_at_all_is_a_blob_too<B: BlobStore>(store: B) {
    let digest = store.put(Vec::new()).await.unwrap();
    assert_eq!(digest, Digest::of(b""));
    assert_eq!(store.size(&digest).await.unwrap(), Some(0));
    assert_eq!(store.read(&digest, 0..0).await.unwrap(), b"");
    assert_eq!(store.compose(&[]).await.unwrap(), (digest, 0));
    assert_eq!(
        store
            .compose(&[part(digest, 0..0), Part::Bytes(Vec::new())])
            .await
            .unwrap(),
        (digest, 0)
    );
    let folder = tempfile::tempdir().unwrap();
    store
        .fetch(&digest, &folder.path().join("new"))
        .await
        .unwrap();
    assert_eq!(fs::read(folder.path().join("new")).unwrap(), b"");
}

/// Each way of putting makes the same blob.
pub async fn putting_twice_does_no_harm<B: BlobStore>(store: B) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"the same").unwrap();
    let first = store.put(b"the same".to_vec()).await.unwrap();
    assert_eq!(store.put(b"the same".to_vec()).await.unwrap(), first);
    assert_eq!(
        store.put_file(&folder.path().join("file")).await.unwrap(),
        (first, 8)
    );
    assert_eq!(
        store
            .compose(&[Part::Bytes(b"the same".to_vec())])
            .await
            .unwrap(),
        (first, 8)
    );
    assert_eq!(store.read(&first, 0..8).await.unwrap(), b"the same");
}

/// And all of them come back with the blob there.
pub async fn many_may_put_the_same_at_once<B: BlobStore>(store: B) {
    let results = race(RACERS, |racer| {
        let (store, bytes) = (store.clone(), format!("one of {}", racer % 4).into_bytes());
        async move {
            let digest = store.put(bytes.clone()).await.unwrap();
            store.read(&digest, 0..bytes.len() as u64).await.unwrap() == bytes
        }
    });
    assert!(results.await.into_iter().all(|same| same));
}

/// `put_file` answers digest and size, and takes nothing away.
pub async fn a_file_is_kept_and_stays_as_it_is<B: BlobStore>(store: B) {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), long());
    let path = folder.path().join("file");
    fs::write(&path, &bytes).unwrap();
    let (digest, size) = store.put_file(&path).await.unwrap();
    assert_eq!((digest, size), (Digest::of(&bytes), bytes.len() as u64));
    assert!(fs::read(&path).unwrap() == bytes);
    fs::write(&path, b"something else").unwrap();
    assert!(
        store.read(&digest, 0..size).await.unwrap() == bytes,
        "the blob is no second name of the file"
    );
}

/// It is the caller's trouble and says so.
pub async fn a_file_that_is_not_there_is_an_error<B: BlobStore>(store: B) {
    let folder = tempfile::tempdir().unwrap();
    let refused = store.put_file(&folder.path().join("nothing")).await;
    assert!(
        matches!(&refused, Err(BlobError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound),
        "{refused:?}"
    );
}

/// Its size is none; everything else is an error that names it.
pub async fn a_blob_that_is_not_there_is_missing<B: BlobStore>(store: B) {
    let digest = Digest::of(b"never put");
    assert_eq!(store.size(&digest).await.unwrap(), None);
    assert!(is_missing(&store.read(&digest, 0..1).await, &digest));
    assert!(is_missing(&store.read(&digest, 0..0).await, &digest));
    assert!(is_missing(&store.read_all(&digest, 100).await, &digest));
    assert!(is_missing(
        &store
            .compose(&[Part::Bytes(b"x".to_vec()), part(digest, 0..1)])
            .await,
        &digest
    ));
}

/// From the first to before the last; empty ranges are empty, at the end too.
pub async fn a_range_is_the_bytes_in_it<B: BlobStore>(store: B) {
    let digest = store.put(b"0123456789".to_vec()).await.unwrap();
    for (range, wanted) in [
        (0..10, "0123456789"),
        (0..1, "0"),
        (9..10, "9"),
        (3..7, "3456"),
        (0..0, ""),
        (5..5, ""),
        (10..10, ""),
    ] {
        assert_eq!(
            store.read(&digest, range.clone()).await.unwrap(),
            wanted.as_bytes(),
            "{range:?}"
        );
    }
}

/// The whole of it or an error; never fewer bytes.
pub async fn a_range_beyond_the_end_is_an_error<B: BlobStore>(store: B) {
    let digest = store.put(b"0123456789".to_vec()).await.unwrap();
    let backwards = Range { start: 7, end: 3 };
    for range in [
        0..11,
        10..11,
        11..11,
        100..200,
        0..u64::MAX,
        u64::MAX..u64::MAX,
        backwards,
    ] {
        let refused = store.read(&digest, range.clone()).await;
        let Err(BlobError::OutOfRange {
            digest: found,
            range: asked,
            size,
        }) = refused
        else {
            panic!("{range:?}: {refused:?}")
        };
        assert_eq!((found, asked, size), (digest, range, 10));
    }
}

/// It is the concatenation: its bytes, its digest, its size.
pub async fn a_blob_is_put_together_from_bytes_and_ranges<B: BlobStore>(store: B) {
    let bytes = long();
    let (one, other) = (
        store.put(bytes.clone()).await.unwrap(),
        store.put(b"0123456789".to_vec()).await.unwrap(),
    );
    let size = bytes.len() as u64;
    let parts = [
        Part::Bytes(b"head".to_vec()),
        part(other, 2..5),
        part(one, 0..size),
        part(other, 4..4),
        part(one, 7..2_000_000),
    ];
    let wanted = [b"head", &b"234"[..], &bytes, &bytes[7..2_000_000]].concat();
    assert_eq!(
        store.compose(&parts).await.unwrap(),
        (Digest::of(&wanted), wanted.len() as u64)
    );
    assert!(
        store
            .read_all(&Digest::of(&wanted), u64::MAX)
            .await
            .unwrap()
            == wanted
    );
    assert!(
        store.read_all(&one, u64::MAX).await.unwrap() == bytes,
        "its pieces are as they were"
    );
}

/// And leaves nothing behind.
pub async fn what_cannot_be_put_together_is_an_error<B: BlobStore>(store: B) {
    let digest = store.put(b"0123456789".to_vec()).await.unwrap();
    for range in [5..11, 11..12, Range { start: 7, end: 3 }] {
        let refused = store
            .compose(&[part(digest, 0..10), part(digest, range.clone())])
            .await;
        assert!(
            matches!(refused, Err(BlobError::OutOfRange { size: 10, .. })),
            "{range:?}: {refused:?}"
        );
    }
    assert_eq!(
        store.size(&Digest::of(b"012345678956789")).await.unwrap(),
        None
    );
}

/// The file has the blob's bytes.
pub async fn a_blob_is_fetched_into_a_new_file<B: BlobStore>(store: B) {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), long());
    let digest = store.put(bytes.clone()).await.unwrap();
    store
        .fetch(&digest, &folder.path().join("new"))
        .await
        .unwrap();
    assert!(fs::read(folder.path().join("new")).unwrap() == bytes);
    fs::write(folder.path().join("new"), b"mine now").unwrap();
    assert!(
        store.read_all(&digest, u64::MAX).await.unwrap() == bytes,
        "the file is no second name of the blob"
    );
}

/// It stays as it is.
pub async fn a_file_that_is_there_is_not_overwritten<B: BlobStore>(store: B) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("there");
    fs::write(&path, b"precious").unwrap();
    let digest = store.put(b"other".to_vec()).await.unwrap();
    let refused = store.fetch(&digest, &path).await;
    assert!(
        matches!(&refused, Err(BlobError::Io(error)) if error.kind() == std::io::ErrorKind::AlreadyExists),
        "{refused:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

/// The error names the blob.
pub async fn a_missing_blob_leaves_no_file<B: BlobStore>(store: B) {
    let (folder, digest) = (tempfile::tempdir().unwrap(), Digest::of(b"never put"));
    let path = folder.path().join("new");
    assert!(is_missing(&store.fetch(&digest, &path).await, &digest));
    assert!(!path.exists());
}

/// A larger one is refused before it is read.
pub async fn a_whole_blob_is_read_up_to_a_limit<B: BlobStore>(store: B) {
    let digest = store.put(b"0123456789".to_vec()).await.unwrap();
    assert_eq!(store.read_all(&digest, 10).await.unwrap(), b"0123456789");
    assert!(matches!(
        store.read_all(&digest, 9).await,
        Err(BlobError::OutOfRange { .. })
    ));
}

/// Together they are the range.
pub async fn a_blob_comes_in_pieces<B: BlobStore>(store: B) {
    let bytes = long();
    let digest = store.put(bytes.clone()).await.unwrap();
    let all: Vec<Vec<u8>> = pieces(store.clone(), digest, 5..2_400_000)
        .try_collect()
        .await
        .unwrap();
    assert!(all.len() > 1 && all.concat() == bytes[5..2_400_000]);
    let none: Vec<Vec<u8>> = pieces(store, digest, 7..7).try_collect().await.unwrap();
    assert!(none.is_empty());
}

fn is_conflict<T>(result: &Result<T, SwapError>, name: &str) -> bool {
    matches!(result, Err(SwapError::Conflict(found)) if found == name)
}

/// `None` holds only if there is none.
pub async fn a_pointer_is_made_once<B: BlobStore>(store: B) {
    assert_eq!(store.pointer("root").await.unwrap(), None);
    let first = store.swap("root", None, b"1".to_vec()).await.unwrap();
    assert!(is_conflict(
        &store.swap("root", None, b"2".to_vec()).await,
        "root"
    ));
    assert_eq!(
        store.pointer("root").await.unwrap(),
        Some((b"1".to_vec(), first))
    );
}

/// A version that is not the latest is refused, though the bytes may be the same again.
pub async fn a_pointer_is_swapped_by_who_read_it_last<B: BlobStore>(store: B) {
    let first = store.swap("root", None, b"1".to_vec()).await.unwrap();
    let second = store
        .swap("root", Some(&first), b"2".to_vec())
        .await
        .unwrap();
    assert_ne!(first, second);
    let refused = store.swap("root", Some(&first), b"3".to_vec()).await;
    assert!(is_conflict(&refused, "root"), "{refused:?}");
    let third = store
        .swap("root", Some(&second), b"1".to_vec())
        .await
        .unwrap();
    for stale in [&first, &second] {
        assert!(
            is_conflict(
                &store.swap("root", Some(stale), b"3".to_vec()).await,
                "root"
            ),
            "the bytes alone are no version"
        );
    }
    assert!(is_conflict(
        &store.swap("nothing", Some(&third), b"3".to_vec()).await,
        "nothing"
    ));
    assert_eq!(
        store.pointer("root").await.unwrap(),
        Some((b"1".to_vec(), third))
    );
    assert_eq!(store.pointer("nothing").await.unwrap(), None);
}

/// One's swap is not the other's.
pub async fn pointers_are_apart<B: BlobStore>(store: B) {
    store.swap("repo/a", None, b"a".to_vec()).await.unwrap();
    let version = store.swap("repo/a/b", None, b"b".to_vec()).await.unwrap();
    store
        .swap("repo/a/b", Some(&version), Vec::new())
        .await
        .unwrap();
    assert_eq!(store.pointer("repo/a").await.unwrap().unwrap().0, b"a");
    assert_eq!(
        store.pointer("repo/a/b").await.unwrap().unwrap().0,
        b"",
        "a pointer may be empty"
    );
    assert_eq!(store.pointer("repo").await.unwrap(), None);
}

/// The error says the size, and nothing is written.
pub async fn the_largest_pointer_fits_and_a_larger_one_is_refused<B: BlobStore>(store: B) {
    let version = store
        .swap("root", None, vec![7; POINTER_BYTES_MAX])
        .await
        .unwrap();
    let refused = store
        .swap("root", Some(&version), vec![7; POINTER_BYTES_MAX + 1])
        .await;
    let words = refused.unwrap_err().to_string();
    assert!(
        words.contains(&(POINTER_BYTES_MAX + 1).to_string()),
        "{words}"
    );
    assert_eq!(
        store.pointer("root").await.unwrap(),
        Some((vec![7; POINTER_BYTES_MAX], version))
    );
}

async fn one_wins<B: BlobStore>(store: &B, expected: Option<PointerVersion>) -> PointerVersion {
    let results = race(16, |racer| {
        let (store, expected) = (store.clone(), expected.clone());
        async move {
            store
                .swap("root", expected.as_ref(), racer.to_string().into_bytes())
                .await
        }
    });
    let results = results.await;
    assert!(
        results
            .iter()
            .all(|result| result.is_ok() || is_conflict(result, "root")),
        "{results:?}"
    );
    let won: Vec<usize> = results
        .iter()
        .enumerate()
        .filter(|(_, result)| result.is_ok())
        .map(|(racer, _)| racer)
        .collect();
    assert_eq!(won.len(), 1, "{won:?} won");
    let (bytes, version) = store.pointer("root").await.unwrap().unwrap();
    assert_eq!(
        (bytes, Some(&version)),
        (
            won[0].to_string().into_bytes(),
            results[won[0]].as_ref().ok()
        )
    );
    version
}

/// Of 16 that make it, and of 16 that read the same version.
pub async fn of_many_who_swap_a_pointer_one_wins<B: BlobStore>(store: B) {
    let first = one_wins(&store, None).await;
    one_wins(&store, Some(first)).await;
}

async fn append<B: BlobStore>(store: &B, byte: u8) {
    loop {
        let (mut bytes, version) = store.pointer("root").await.unwrap().unwrap();
        bytes.push(byte);
        match store.swap("root", Some(&version), bytes).await {
            Ok(_) => return,
            Err(SwapError::Conflict(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Read, add, swap, again on conflict: what each has added is there.
pub async fn no_swap_is_lost<B: BlobStore>(store: B) {
    store.swap("root", None, Vec::new()).await.unwrap();
    let all = race(20, |racer| {
        let store = store.clone();
        async move { append(&store, racer as u8).await }
    });
    all.await;
    let (mut bytes, _) = store.pointer("root").await.unwrap().unwrap();
    bytes.sort_unstable();
    assert_eq!(bytes, (0..20).collect::<Vec<u8>>());
}

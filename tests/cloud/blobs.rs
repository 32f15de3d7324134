//! Blobs and pointers in S3: the laws of every adapter, and what this one promises besides.

use crate::services::{Bucket, client, config};
use aws_sdk_s3::primitives::ByteStream;
use millrace_core::Digest;
use millrace_store::contract::run;
use millrace_store::{BlobError, BlobStore, Part};

mod laws {
    millrace_store::blob_contract!(crate::services::Bucket::new().await);
}

/// Bytes that are not the same anywhere, and more than one upload takes.
fn long(bytes: usize) -> Vec<u8> {
    let mut long = vec![0; bytes];
    fastrand::Rng::with_seed(7).fill(&mut long);
    long
}

#[test]
fn a_file_that_goes_up_in_parts_is_one_blob() {
    run(async {
        let (store, bucket) = Bucket::new().await;
        let (folder, bytes) = (tempfile::tempdir().unwrap(), long((20 << 20) + 3));
        std::fs::write(folder.path().join("file"), &bytes).unwrap();
        let expected = (Digest::of(&bytes), bytes.len() as u64);
        for _ in 0..2 {
            assert_eq!(store.put_file(&folder.path().join("file")).await.unwrap(), expected);
        }
        store.fetch(&expected.0, &folder.path().join("back")).await.unwrap();
        assert!(std::fs::read(folder.path().join("back")).unwrap() == bytes);
        assert_eq!((bucket.keys().await.len(), bucket.uploads().await), (1, 0));
    });
}

#[test]
fn what_is_large_is_put_together_where_it_lies() {
    run(async {
        let (store, bucket) = Bucket::new().await;
        let bytes = long(14 << 20);
        let digest = store.put(bytes.clone()).await.unwrap();
        let blob = |from: usize, to: usize| Part::Blob { digest, range: from as u64..to as u64 };
        // A short head before a long copy, as a signed package has; short pieces between long ones; and what just fits.
        let parts = [
            Part::Bytes(b"head".to_vec()),
            blob(9, 12 << 20),
            blob(1, 2),
            Part::Bytes(b"tail".to_vec()),
            blob(0, 5 << 20),
            blob(3, 5 << 20),
            Part::Bytes(b"end".to_vec()),
        ];
        let wanted = [b"head", &bytes[9..12 << 20], &bytes[1..2], b"tail", &bytes[..5 << 20], &bytes[3..5 << 20], b"end"].concat();
        let made = store.compose(&parts).await.unwrap();
        assert_eq!(made, (Digest::of(&wanted), wanted.len() as u64));
        assert!(store.read_all(&made.0, u64::MAX).await.unwrap() == wanted);
        assert_eq!((bucket.keys().await.len(), bucket.uploads().await), (2, 0));
    });
}

#[test]
fn a_damaged_blob_is_not_fetched() {
    run(async {
        let (store, bucket) = Bucket::new().await;
        let digest = store.put(b"as it was put".to_vec()).await.unwrap();
        let key = format!("blobs/{}", digest.hex());
        let other = ByteStream::from_static(b"as it was not");
        client(&config().await).put_object().bucket(&bucket.name).key(key).body(other).send().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let refused = store.fetch(&digest, &folder.path().join("new")).await.unwrap_err();
        assert!(matches!(refused, BlobError::Damaged { expected, .. } if expected == digest));
        assert!(!folder.path().join("new").exists(), "nobody may take it for the blob");
    });
}

#[test]
fn a_pointer_with_any_name_is_found_again() {
    run(async {
        let (store, _bucket) = Bucket::new().await;
        for name in ["gcc-c++", "gcc-c  ", "gcc-c%2B%2B", "a/b c"] {
            store.swap(name, None, name.as_bytes().to_vec()).await.unwrap();
        }
        assert_eq!(store.pointer("gcc-c++").await.unwrap().unwrap().0, b"gcc-c++");
        assert_eq!(store.pointer("gcc-c%2B%2B").await.unwrap().unwrap().0, b"gcc-c%2B%2B");
    });
}

//! Blobs and pointers in S3: the contract of every adapter, and what this one promises besides.

use crate::services::{Bucket, client, config, send};
use aws_sdk_s3::primitives::ByteStream;
use axum::http::{Method, StatusCode};
use millrace_core::Digest;
use millrace_store::contract::run;
use millrace_store::{Address, BlobError, BlobStore, Part};
use std::time::Duration;

mod contract {
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
            assert_eq!(
                store.put_file(&folder.path().join("file")).await.unwrap(),
                expected
            );
        }
        store
            .fetch(&expected.0, &folder.path().join("back"))
            .await
            .unwrap();
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
        let blob = |from: usize, to: usize| Part::Blob {
            digest,
            range: from as u64..to as u64,
        };
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
        let wanted = [
            b"head",
            &bytes[9..12 << 20],
            &bytes[1..2],
            b"tail",
            &bytes[..5 << 20],
            &bytes[3..5 << 20],
            b"end",
        ]
        .concat();
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
        client(&config().await)
            .put_object()
            .bucket(&bucket.name)
            .key(key)
            .body(other)
            .send()
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let refused = store
            .fetch(&digest, &folder.path().join("new"))
            .await
            .unwrap_err();
        assert!(matches!(refused, BlobError::Damaged { expected, .. } if expected == digest));
        assert!(
            !folder.path().join("new").exists(),
            "nobody may take it for the blob"
        );
    });
}

#[test]
fn a_pointer_with_any_name_is_found_again() {
    run(async {
        let (store, _bucket) = Bucket::new().await;
        for name in ["gcc-c++", "gcc-c  ", "gcc-c%2B%2B", "a/b c"] {
            store
                .swap(name, None, name.as_bytes().to_vec())
                .await
                .unwrap();
        }
        assert_eq!(
            store.pointer("gcc-c++").await.unwrap().unwrap().0,
            b"gcc-c++"
        );
        assert_eq!(
            store.pointer("gcc-c%2B%2B").await.unwrap().unwrap().0,
            b"gcc-c%2B%2B"
        );
    });
}

const A_WHILE: Duration = Duration::from_secs(60);

#[test]
fn whoever_knows_its_address_puts_exactly_a_blob_and_reads_it_without_credentials() {
    run(async {
        let (store, _bucket) = Bucket::new().await;
        let bytes = b"from a runner";
        let digest = Digest::of(bytes);
        let there = store
            .write_address(&digest, bytes.len() as u64, A_WHILE)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            send(Method::PUT, &there, b"from a runnes").await.0,
            StatusCode::BAD_REQUEST,
            "other bytes"
        );
        assert_eq!(store.size(&digest).await.unwrap(), None);
        assert_eq!(send(Method::PUT, &there, bytes).await.0, StatusCode::OK);
        assert_eq!(store.read_all(&digest, 100).await.unwrap(), bytes);
        let there = store
            .read_address(&digest, A_WHILE, None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            send(Method::GET, &there, b"").await,
            (StatusCode::OK, bytes.to_vec())
        );
        let other = Address {
            url: there
                .url
                .replace(&digest.hex(), &Digest::of(b"secret").hex()),
            ..there
        };
        assert_eq!(
            send(Method::GET, &other, b"").await.0,
            StatusCode::FORBIDDEN,
            "it is an address of one blob"
        );
    });
}

/// The digest alone would not do for that: a service that takes 5 GiB before it looks has taken them.
#[test]
fn an_address_to_write_names_the_size_among_what_is_signed() {
    run(async {
        let (store, _bucket) = Bucket::new().await;
        let digest = Digest::of(b"from a runner");
        let there = store
            .write_address(&digest, 13, A_WHILE)
            .await
            .unwrap()
            .unwrap();
        let signed = there
            .url
            .split('&')
            .find_map(|pair| pair.strip_prefix("X-Amz-SignedHeaders="))
            .unwrap();
        let named: Vec<&str> = signed.split("%3B").collect();
        assert!(named.contains(&"content-length"), "{named:?}");
        assert!(
            named.contains(&"x-amz-checksum-sha256")
                || there.url.contains("x-amz-checksum-sha256="),
            "{named:?}"
        );
        assert!(
            store
                .write_address(&digest, 6 << 30, A_WHILE)
                .await
                .is_err(),
            "no service takes that in one piece"
        );
        assert!(
            !format!("{there:?}").contains("X-Amz-Signature"),
            "who reads a log may not write blobs"
        );
    });
}

#[test]
fn an_address_is_good_for_its_time_and_no_longer() {
    run(async {
        let (store, _bucket) = Bucket::new().await;
        let digest = store.put(b"for a moment".to_vec()).await.unwrap();
        let there = store
            .read_address(&digest, Duration::from_secs(1), None)
            .await
            .unwrap()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(
            send(Method::GET, &there, b"").await.0,
            StatusCode::FORBIDDEN
        );
    });
}

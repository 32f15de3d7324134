//! Packages that are not signed, and what their builders are told.

use super::desk;
use super::rpms::{entry_of, packages, place_of, with_header};
use crate::header::{self, Legacy, with_signature};
use crate::{FileProblem, SignError, sign_files};
use millrace_core::Digest;
use millrace_core::header::{LEAD_BYTES, read_head, tag};
use millrace_store::BlobStore as _;
use millrace_store::local::LocalStore;
use std::path::{Path, PathBuf};

#[tokio::test]
async fn a_payload_that_was_altered_before_signing_is_refused_with_both_digests() {
    let desk = desk().await;
    let package = &packages().hello;
    let mut altered = package.clone();
    *altered.last_mut().unwrap() ^= 1;
    let head = read_head(package).unwrap();
    let payload = &altered[head.payload_at as usize..];
    let found = header::hexadecimal(&header::digest(
        sequoia_openpgp::types::HashAlgorithm::SHA256,
        payload,
    ));
    let expected = head.header.text(tag::PAYLOADDIGEST).unwrap();
    assert_eq!(
        desk.refusal(&altered, package).await,
        format!(
            "hello-1.0-1.noarch.rpm: its payload was altered: SHA256 is {found}, its header says {expected}"
        )
    );
}

#[tokio::test]
async fn a_header_that_was_altered_before_signing_is_refused() {
    let desk = desk().await;
    let package = &packages().hello;
    let head = read_head(package).unwrap();
    let summary = head.header_at as usize + place_of(&head.header, 1004);
    let mut altered = package.clone();
    altered[summary] ^= 0x20;
    let said = desk.refusal(&altered, package).await;
    assert!(said.contains("its header was altered: SHA"), "{said}");
}

#[tokio::test]
async fn a_package_whose_header_does_not_cover_its_payload_is_refused() {
    let desk = desk().await;
    let package = &packages().hello;
    let head = read_head(package).unwrap();
    let digest = entry_of(&head.header, tag::PAYLOADDIGEST);
    let without = with_header(package, |header| {
        header[digest..digest + 4].copy_from_slice(&5090_u32.to_be_bytes())
    });
    let said = desk.refusal(&without, package).await;
    assert!(said.contains("no PAYLOADDIGEST"), "{said}");
    let algorithm = place_of(&head.header, tag::PAYLOADDIGESTALGO);
    let weak = with_header(package, |header| header[algorithm + 3] = 1);
    let said = desk.refusal(&weak, package).await;
    assert!(said.contains("hash algorithm 1"), "{said}");
}

#[tokio::test]
async fn a_package_without_a_digest_of_its_header_is_refused() {
    let desk = desk().await;
    let package = &packages().hello;
    let head = read_head(package).unwrap();
    let mut without = package.clone();
    for tag in [269, 273, 279]
        .into_iter()
        .filter(|tag| head.signature.entry(*tag).is_some())
    {
        let at = LEAD_BYTES + entry_of(&head.signature, tag);
        without[at..at + 4].copy_from_slice(&(tag + 30_000).to_be_bytes());
    }
    assert!(
        desk.refusal(&without, package)
            .await
            .contains("no digest of the header")
    );
}

#[tokio::test]
async fn another_package_than_ordered_is_refused_with_both_names() {
    let desk = desk().await;
    let said = desk.refusal(&packages().long, &packages().hello).await;
    assert_eq!(
        said,
        "hello-1.0-1.noarch.rpm: it is hello-long-1.0-1.noarch, ordered was hello-1.0-1.noarch"
    );
}

#[tokio::test]
async fn what_is_cut_or_no_package_is_refused() {
    let desk = desk().await;
    let package = &packages().long;
    for cut in [200, 60_000, 70_000] {
        let said = desk.refusal(&package[..cut], package).await;
        assert!(said.contains("truncated"), "{said}");
    }
    assert!(
        desk.refusal(&package[..package.len() - 1], package)
            .await
            .contains("its payload was altered")
    );
    assert!(desk.refusal(b"", package).await.contains("truncated"));
    assert!(
        desk.refusal(&[b'x'; 500], package)
            .await
            .contains("no sound RPM")
    );
    let mut order = desk.order("release", &[package]).await;
    order.files[0].size += 1;
    let error = sign_files(&order, &desk.keys, &desk.store)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SignError::File {
                problem: FileProblem::Size { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn bytes_that_are_not_in_the_store_are_waited_for() {
    let desk = desk().await;
    let mut order = desk.order("release", &[&packages().hello]).await;
    order.files[0].digest = Digest::of(b"never kept");
    let error = sign_files(&order, &desk.keys, &desk.store)
        .await
        .unwrap_err();
    assert!(
        !error.is_refusal() && error.to_string().contains("no blob"),
        "{error}"
    );
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn bytes_that_were_altered_on_the_stores_disk_are_refused_with_both_digests() {
    let desk = desk().await;
    let folder = tempfile::tempdir().unwrap();
    let local = LocalStore::open(folder.path()).unwrap();
    let order = desk.order("release", &[&packages().hello]).await;
    local.put(packages().hello.clone()).await.unwrap();
    let signed = sign_files(&order, &desk.keys, &local).await.unwrap();
    assert_eq!(
        local.read_all(&signed[0].signed, u64::MAX).await.unwrap(),
        desk.signed("release", &packages().hello).await
    );

    let is_blob = |path: &PathBuf| std::fs::read(path).is_ok_and(|bytes| bytes == packages().hello);
    let path = files_below(folder.path())
        .into_iter()
        .find(is_blob)
        .unwrap();
    let mut altered = packages().hello.clone();
    *altered.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &altered).unwrap();
    let said = sign_files(&order, &desk.keys, &local)
        .await
        .unwrap_err()
        .to_string();
    let (found, expected) = (Digest::of(&altered).hex(), order.files[0].digest.hex());
    assert_eq!(
        said,
        format!(
            "hello-1.0-1.noarch.rpm: its bytes were altered: sha256 is {found}, ordered was {expected}"
        )
    );
}

/// What passes the check must be safe for the `rpm` crate, which allocates what an index claims.
#[test]
fn twenty_thousand_flipped_bytes_neither_panic_nor_take_the_process_down() {
    let package = &packages().hello;
    let end = read_head(package).unwrap().payload_at as usize;
    let mut random = fastrand::Rng::with_seed(1);
    let (mut sound, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = package[..end].to_vec();
        for _ in 0..random.usize(1..4) {
            bytes[random.usize(LEAD_BYTES..end)] = random.u8(..);
        }
        let Ok(head) = read_head(&bytes) else {
            refused += 1;
            continue;
        };
        sound += 1;
        let _ = head.header.rpm();
        let _ = with_signature(&head.signature, &[7; 119], Legacy::EdDsa);
        if let Ok(parsed) = rpm::PackageMetadata::parse(&mut bytes.as_slice()) {
            let _ = (
                parsed.get_name().is_ok(),
                parsed.get_file_entries().is_ok(),
                parsed.get_requires().is_ok(),
            );
            let _ = (
                parsed.get_changelog_entries().is_ok(),
                parsed.get_provides().is_ok(),
            );
        }
    }
    assert!(
        sound > 1000 && refused > 1000,
        "{sound} sound, {refused} refused"
    );
}

//! Stories: real packages from `rpmbuild`, signed, and what `rpmkeys` says of them.

mod rpms;

use super::*;
use crate::header::{Legacy, signatures, with_signature};
use crate::sign::{is_signed_by, sign_bytes};
use millrace_core::build::{Build, End, Stage};
use millrace_core::header::{LEAD_BYTES, read_head, tag};
use millrace_core::order::{Effect, OrderedFile, ReleaseOrder};
use millrace_core::platform::Platform;
use millrace_core::push::{Announced, Commit, Push, Wish};
use millrace_core::task::{Artifact, Task, TaskState};
use millrace_core::{KeyName, PackageName, PlatformName, PushId};
use millrace_store::local::LocalStore;
use millrace_store::memory::MemoryStore;
use millrace_store::orders::{Order, load_order};
use millrace_store::state::{Expect, Table};
use millrace_store::{BlobStore as _, StateStore as _, records};
use rpms::{entry_of, packages, place_of, rpmkeys, with_header};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::task::Poll;

const CREATED_S: u64 = 1_780_000_000;
const COMMITTED_S: u64 = 1_790_000_000;
const NOW: Timestamp = Timestamp(1_795_000_000_000);

struct Desk {
    _folder: tempfile::TempDir,
    keys: LocalKeys,
    store: MemoryStore,
}

fn key(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

fn build_id() -> BuildId {
    BuildId::of_push(
        &PushId::new("push").unwrap(),
        &PlatformName::new("test").unwrap(),
    )
}

/// A desk with the keys `release` and `other`, both Ed25519 because that takes no time.
fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let keys = LocalKeys::open(&folder.path().join("keys")).unwrap();
    for name in ["release", "other"] {
        keys.create(
            &key(name),
            "Test <test@example.org>",
            Algorithm::Ed25519,
            CREATED_S,
        )
        .unwrap();
    }
    Desk {
        _folder: folder,
        keys,
        store: MemoryStore::new(),
    }
}

impl Desk {
    /// Keeps a file and orders it as what its header says; `like` says it where the header is not to be read.
    async fn file(&self, bytes: &[u8], like: &[u8]) -> OrderedFile {
        let rpm = read_head(like).unwrap().header.rpm().unwrap();
        let digest = self.store.put(bytes.to_vec()).await.unwrap();
        OrderedFile {
            name: format!("{rpm}.rpm"),
            digest,
            size: bytes.len() as u64,
            rpm,
        }
    }

    async fn order(&self, name: &str, files: &[&[u8]]) -> SignOrder {
        let mut ordered = Vec::new();
        for bytes in files {
            ordered.push(self.file(bytes, bytes).await);
        }
        SignOrder::new(build_id(), key(name), COMMITTED_S, ordered)
    }

    async fn bytes(&self, signed: &SignedFile) -> Vec<u8> {
        self.store.read_all(&signed.signed, u64::MAX).await.unwrap()
    }

    async fn signed(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        let order = self.order(name, &[bytes]).await;
        let signed = sign_files(&order, &self.keys, &self.store).await.unwrap();
        self.bytes(&signed[0]).await
    }

    /// What the signer says of a file that it does not sign.
    async fn refusal(&self, bytes: &[u8], like: &[u8]) -> String {
        let order = SignOrder::new(
            build_id(),
            key("release"),
            COMMITTED_S,
            vec![self.file(bytes, like).await],
        );
        let error = sign_files(&order, &self.keys, &self.store)
            .await
            .unwrap_err();
        assert!(error.is_refusal(), "{error:?}");
        error.to_string()
    }
}

/// The end of the key id, which every version of rpm prints.
fn key_id(keys: &LocalKeys, name: &str) -> String {
    keys.certificate(&key(name))
        .unwrap()
        .keyid()
        .to_hex()
        .to_lowercase()
        .split_off(8)
}

/// Whether `rpmkeys -Kv` found a good header signature and good digests. Its exit code says nothing: it is 0 for unsigned
/// packages too. rpm 4 writes "Header V4 RSA/SHA256 Signature, key ID 23d8cbdd: OK", later ones with other words between.
fn is_well_signed(said: &str, algorithm: &str, key_id: &str) -> bool {
    let said = said.to_lowercase();
    let signature = format!("v4 {}/sha256 signature, ", algorithm.to_lowercase());
    let good =
        |line: &str| line.contains(&signature) && line.contains(key_id) && line.ends_with(": ok");
    let all_ok = said
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .all(|line| line.ends_with(": ok"));
    all_ok && said.lines().any(good) && said.contains("payload sha256 digest: ok")
}

#[tokio::test]
async fn rpmkeys_finds_every_kind_of_package_well_signed() {
    let desk = desk();
    desk.keys
        .create(
            &key("rsa"),
            "Test <test@example.org>",
            Algorithm::Rsa4096,
            CREATED_S,
        )
        .unwrap();
    let all = packages();
    for (name, algorithm) in [("rsa", "RSA"), ("release", "EdDSA")] {
        let order = desk
            .order(name, &[&all.hello, &all.long, &all.source, &all.tight])
            .await;
        for signed in sign_files(&order, &desk.keys, &desk.store).await.unwrap() {
            let said = rpmkeys(
                &desk.keys.public(&key(name)).unwrap(),
                &desk.bytes(&signed).await,
            );
            assert!(
                is_well_signed(&said, algorithm, &key_id(&desk.keys, name)),
                "{said}"
            );
        }
    }
    let said = rpmkeys(&desk.keys.public(&key("rsa")).unwrap(), &all.hello);
    assert!(
        !said.contains("ignature"),
        "an unsigned package is told apart: {said}"
    );
    let said = rpmkeys(
        &desk.keys.public(&key("other")).unwrap(),
        &desk.signed("release", &all.hello).await,
    );
    assert!(said.contains("NOKEY"), "{said}");
}

#[tokio::test]
async fn nothing_but_the_signature_header_is_rewritten() {
    let desk = desk();
    let all = packages();
    for (package, has_room) in [
        (&all.hello, true),
        (&all.long, true),
        (&all.source, true),
        (&all.tight, false),
    ] {
        let signed = desk.signed("release", package).await;
        let (before, after) = (read_head(package).unwrap(), read_head(&signed).unwrap());
        assert_eq!(before.lead, after.lead);
        assert_eq!(
            package[before.header_at as usize..],
            signed[after.header_at as usize..]
        );
        for entry in before
            .signature
            .entries
            .iter()
            .filter(|entry| ![999, 1008].contains(&entry.tag))
        {
            assert_eq!(after.signature.entry(entry.tag), Some(entry));
        }
        let (binary, listed) = signatures(&after.signature);
        assert!(binary.is_some() && listed.len() == 1);
        assert_eq!(signed.len() == package.len(), has_room);
    }
}

#[tokio::test]
async fn signing_twice_and_signing_what_is_signed_come_to_the_same_bytes() {
    let desk = desk();
    let all = packages();
    for package in [&all.hello, &all.tight] {
        let once = desk.signed("release", package).await;
        assert_eq!(desk.signed("release", package).await, once);
        assert_eq!(desk.signed("release", &once).await, once);
    }
}

#[tokio::test]
async fn a_signature_by_another_key_is_replaced() {
    let desk = desk();
    desk.keys
        .create(
            &key("rsa"),
            "Test <test@example.org>",
            Algorithm::Rsa4096,
            CREATED_S,
        )
        .unwrap();
    let by_others = desk
        .signed("other", &desk.signed("rsa", &packages().hello).await)
        .await;
    assert_eq!(by_others, desk.signed("other", &packages().hello).await);
    assert_eq!(
        desk.signed("release", &by_others).await,
        desk.signed("release", &packages().hello).await
    );
}

#[tokio::test]
async fn a_payload_that_was_altered_before_signing_is_refused_with_both_digests() {
    let desk = desk();
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
    let desk = desk();
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
    let desk = desk();
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
    let desk = desk();
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
    let desk = desk();
    let said = desk.refusal(&packages().long, &packages().hello).await;
    assert_eq!(
        said,
        "hello-1.0-1.noarch.rpm: it is hello-long-1.0-1.noarch, ordered was hello-1.0-1.noarch"
    );
}

#[tokio::test]
async fn what_is_cut_or_no_package_is_refused() {
    let desk = desk();
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
                problem: Problem::Size { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn bytes_that_are_not_in_the_store_are_a_refusal() {
    let desk = desk();
    let mut order = desk.order("release", &[&packages().hello]).await;
    order.files[0].digest = Digest::of(b"never kept");
    let error = sign_files(&order, &desk.keys, &desk.store)
        .await
        .unwrap_err();
    assert!(
        error.is_refusal() && error.to_string().contains("no blob"),
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
    let desk = desk();
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

#[tokio::test]
async fn a_seal_verifies_and_is_the_same_every_time() {
    use sequoia_openpgp::{PacketPile, parse::Parse as _, serialize::MarshalInto as _};
    let desk = desk();
    let seal_of = |bytes: &[u8]| seal(&desk.keys, &key("release"), bytes, COMMITTED_S).unwrap();
    let sealed = seal_of(b"<repomd/>");
    assert_eq!(sealed, seal_of(b"<repomd/>"));
    assert!(sealed.starts_with(b"-----BEGIN PGP SIGNATURE-----\n"));
    let packets = PacketPile::from_bytes(&sealed).unwrap();
    assert_eq!(packets.children().count(), 1);
    let packet = packets.children().next().unwrap().to_vec().unwrap();
    let certificate = desk.keys.certificate(&key("release")).unwrap();
    assert!(is_signed_by(&certificate, &packet, b"<repomd/>"));
    assert!(!is_signed_by(&certificate, &packet, b"<repomd />"));
    assert!(!is_signed_by(
        &desk.keys.certificate(&key("other")).unwrap(),
        &packet,
        b"<repomd/>"
    ));
    assert_eq!(
        sign_bytes(&desk.keys, &key("release"), b"<repomd/>", COMMITTED_S)
            .unwrap()
            .packet,
        packet
    );
}

const PLATFORM: &str = r#"
name = "test"
architectures = ["x86_64"]
releasever = "1"
key = "release"
repositories = []
buildroot = { packages = [], minimal = [] }
steps = [{ name = "rpm", plugin = "rpm", on = "each-arch", releases = true }]
"#;

/// A build whose tasks are done and which has ordered this.
async fn keep_build(desk: &Desk, order: &SignOrder) {
    let announced = Announced {
        id: PushId::new("push").unwrap(),
        package: PackageName::new("hello").unwrap(),
        clone_url: String::new(),
        reference: "refs/heads/main".to_owned(),
        commit: Commit::new(&"1".repeat(40)).unwrap(),
        pusher: "somebody".to_owned(),
        received: NOW,
        wish: Wish::default(),
    };
    let tree = Digest::of(b"");
    let (spec, config, subject) = ("hello.spec".to_owned(), String::new(), String::new());
    let push = Push {
        announced,
        committed_s: COMMITTED_S,
        subject,
        tree,
        tree_bytes: 0,
        spec,
        sources: vec![],
        config,
    };
    let build = Build {
        id: build_id(),
        push,
        platform: Platform::parse("test.toml", PLATFORM).unwrap(),
        plugins: BTreeMap::new(),
        tasks: vec![handed_over(order)],
        stage: Stage::Signing { order: order.id },
        created: NOW,
        ended: None,
        rank: Default::default(),
    };
    records::put(
        &desk.store,
        Table::Build,
        build.id.as_str(),
        Expect::Absent,
        &build,
        vec![],
    )
    .await
    .unwrap();
}

/// The task whose packages an order is about.
fn handed_over(order: &SignOrder) -> Task {
    let artifact = |file: &OrderedFile| Artifact {
        name: file.name.clone(),
        digest: file.digest,
        size: file.size,
        rpm: Some(file.rpm.clone()),
    };
    let artifacts = order.files.iter().map(artifact).collect();
    Task {
        state: TaskState::Passed {
            summary: String::new(),
            artifacts,
        },
        ..Task::new("rpm@x86_64".parse().unwrap())
    }
}

impl Desk {
    async fn stage(&self) -> Stage {
        load_build(&self.store, &build_id())
            .await
            .unwrap()
            .unwrap()
            .0
            .stage
    }

    /// The order that the build has given to the releaser.
    async fn release_order(&self) -> ReleaseOrder {
        let Stage::Releasing { order } = self.stage().await else {
            panic!("{:?}", self.stage().await)
        };
        match load_order(&self.store, &order).await.unwrap() {
            Some(Order::Release(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn deliver(&self, order: &SignOrder) -> Result<Answer, SignError> {
        sign(order, &self.keys, &self.store, &self.store, NOW).await
    }
}

#[tokio::test]
async fn an_order_moves_its_build_on_once_however_often_it_is_delivered() {
    let desk = desk();
    let order = desk
        .order("release", &[&packages().hello, &packages().source])
        .await;
    keep_build(&desk, &order).await;
    assert_eq!(desk.deliver(&order).await.unwrap(), Answer::Signed);
    let stage = desk.stage().await;
    let released = desk.release_order().await;
    let certificate = desk.keys.public(&key("release")).unwrap();
    for placement in &released.placements {
        let bytes = desk
            .store
            .read_all(&placement.file.digest, u64::MAX)
            .await
            .unwrap();
        assert!(
            is_well_signed(
                &rpmkeys(&certificate, &bytes),
                "EdDSA",
                &key_id(&desk.keys, "release")
            ),
            "{}",
            placement.file.name
        );
    }
    assert!(matches!(
        desk.deliver(&order).await.unwrap(),
        Answer::NotWanted(_)
    ));
    assert_eq!(desk.stage().await, stage);
    let messages = desk.store.take(10, NOW, NOW.plus_ms(1)).await.unwrap();
    let effects: Vec<&Effect> = messages.iter().map(|message| &message.effect).collect();
    assert_eq!(effects, [&Effect::Release(released.clone())]);
}

impl Desk {
    /// Another store with the files of an order, to find out there what the signer makes of them.
    async fn copy_of(&self, order: &SignOrder) -> MemoryStore {
        let copy = MemoryStore::new();
        for file in &order.files {
            copy.put(self.store.read_all(&file.digest, u64::MAX).await.unwrap())
                .await
                .unwrap();
        }
        copy
    }

    /// Asserts that no file of an order was signed.
    async fn assert_signed_nothing_of(&self, order: &SignOrder) {
        for signed in sign_files(order, &self.keys, &self.copy_of(order).await)
            .await
            .unwrap()
        {
            assert_eq!(
                self.store.size(&signed.signed).await.unwrap(),
                None,
                "a file was signed with the key {}",
                order.key
            );
        }
    }
}

#[tokio::test]
async fn an_order_that_no_build_gave_signs_nothing() {
    let desk = desk();
    let order = desk.order("release", &[&packages().hello]).await;
    assert!(matches!(
        desk.deliver(&order).await.unwrap_err(),
        SignError::UnknownBuild(_)
    ));
    desk.assert_signed_nothing_of(&order).await;
}

#[tokio::test]
async fn a_forged_order_is_refused_for_not_being_the_builds_before_anything_is_signed() {
    let desk = desk();
    let order = desk.order("release", &[&packages().hello]).await;
    keep_build(&desk, &order).await;
    let other = desk.order("other", &[&packages().hello]).await;
    let more = desk
        .order("release", &[&packages().hello, &packages().long])
        .await;
    let swapped = SignOrder {
        files: desk.order("release", &[&packages().long]).await.files,
        ..order.clone()
    };
    let rekeyed = SignOrder {
        key: key("other"),
        ..order.clone()
    };
    for forged in [other, more, swapped, rekeyed] {
        // Who compares ids alone, or leaves the comparison to the build's answer, has other words for it.
        let refusal = format!(
            "build {} ordered {}, and not what {} says",
            build_id(),
            order.id,
            forged.id
        );
        assert_eq!(
            desk.deliver(&forged).await.unwrap(),
            Answer::NotWanted(refusal)
        );
        desk.assert_signed_nothing_of(&forged).await;
        assert_eq!(desk.stage().await, Stage::Signing { order: order.id });
    }
}

/// Runs a future for this many of its pauses; what it came to where it came to its end.
async fn run_for<T>(steps: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = steps;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_signer_that_dies_anywhere_signs_again_to_the_same_bytes_and_its_build_hears_it_once() {
    let Desk { keys, _folder, .. } = desk();
    let (mut steps, mut written_and_not_told) = (0, 0);
    loop {
        let desk = Desk {
            _folder: tempfile::tempdir().unwrap(),
            keys: keys.clone(),
            store: MemoryStore::with_yields(),
        };
        let order = desk
            .order("release", &[&packages().hello, &packages().source])
            .await;
        keep_build(&desk, &order).await;
        let finished = run_for(steps, desk.deliver(&order)).await.is_some();

        let expected = sign_files(&order, &keys, &desk.copy_of(&order).await)
            .await
            .unwrap();
        let all_written = desk
            .store
            .size(&expected[1].signed)
            .await
            .unwrap()
            .is_some();
        written_and_not_told +=
            usize::from(all_written && matches!(desk.stage().await, Stage::Signing { .. }));
        assert!(
            all_written || matches!(desk.stage().await, Stage::Signing { .. }),
            "after {steps} steps"
        );

        let answer = desk.deliver(&order).await.unwrap();
        assert!(
            matches!(answer, Answer::Signed | Answer::NotWanted(_)),
            "after {steps} steps: {answer:?}"
        );
        let released = desk.release_order().await;
        let digests: Vec<Digest> = released
            .placements
            .iter()
            .map(|placement| placement.file.digest)
            .collect();
        assert_eq!(
            digests,
            expected.iter().map(|file| file.signed).collect::<Vec<_>>(),
            "after {steps} steps"
        );
        assert_eq!(
            sign_files(&order, &keys, &desk.store).await.unwrap(),
            expected,
            "after {steps} steps"
        );
        let messages = desk.store.take(10, NOW, NOW.plus_ms(1)).await.unwrap();
        let effects: Vec<Effect> = messages.into_iter().map(|message| message.effect).collect();
        assert_eq!(effects, [Effect::Release(released)], "after {steps} steps");
        if finished {
            break;
        }
        steps += 1;
    }
    // How many steps there are depends on whether the thread that signs is done when it is asked first; those at the store do not.
    assert!(
        written_and_not_told > 3,
        "{steps} steps, {written_and_not_told} of them between signing and telling"
    );
}

#[tokio::test]
async fn a_refusal_ends_the_build_with_a_reason_for_its_author() {
    let desk = desk();
    let mut altered = packages().hello.clone();
    *altered.last_mut().unwrap() ^= 1;
    let order = desk.order("release", &[&packages().source, &altered]).await;
    keep_build(&desk, &order).await;
    assert!(matches!(
        desk.deliver(&order).await.unwrap(),
        Answer::Refused(_)
    ));
    let Stage::Ended {
        end: End::Failed { reason },
    } = desk.stage().await
    else {
        panic!("{:?}", desk.stage().await)
    };
    assert!(
        reason.contains("hello-1.0-1.noarch.rpm: its payload was altered"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_key_that_nobody_made_is_named_in_the_builds_reason() {
    let desk = desk();
    let order = desk.order("none", &[&packages().hello]).await;
    keep_build(&desk, &order).await;
    let Answer::Refused(reason) = desk.deliver(&order).await.unwrap() else {
        panic!("signed with no key")
    };
    assert!(reason.contains("millrace key create none"), "{reason}");
}

/// A keeper of keys that is not well.
#[derive(Clone)]
enum Ailing {
    /// It signs with another key than its certificate shows.
    Confused(LocalKeys),
    /// It does not answer.
    Silent(LocalKeys),
}

impl Keys for Ailing {
    fn certificate(&self, key: &KeyName) -> Result<sequoia_openpgp::Cert, KeyError> {
        let (Self::Confused(keys) | Self::Silent(keys)) = self;
        keys.certificate(key)
    }

    fn sign_digest(
        &self,
        name: &KeyName,
        digest: &[u8],
    ) -> Result<sequoia_openpgp::crypto::mpi::Signature, KeyError> {
        match self {
            Self::Confused(keys) => keys.sign_digest(&key("other"), digest),
            Self::Silent(_) => Err(KeyError::Unavailable {
                key: name.clone(),
                source: std::io::ErrorKind::TimedOut.into(),
            }),
        }
    }
}

#[tokio::test]
async fn a_signature_that_does_not_verify_after_writing_is_not_handed_on() {
    let desk = desk();
    let order = desk.order("release", &[&packages().hello]).await;
    let confused = Ailing::Confused(desk.keys.clone());
    let error = sign_files(&order, &confused, &desk.store)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SignError::File {
                problem: Problem::Written(_),
                ..
            }
        ),
        "{error}"
    );
    let error = seal(&confused, &order.key, b"<repomd/>", COMMITTED_S).unwrap_err();
    assert!(error.to_string().contains("does not verify"), "{error}");
}

#[tokio::test]
async fn a_key_service_that_does_not_answer_leaves_the_build_as_it_was() {
    let desk = desk();
    let order = desk.order("release", &[&packages().hello]).await;
    keep_build(&desk, &order).await;
    let silent = Ailing::Silent(desk.keys.clone());
    let error = sign(&order, &silent, &desk.store, &desk.store, NOW)
        .await
        .unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    assert_eq!(desk.stage().await, Stage::Signing { order: order.id });
    assert_eq!(desk.deliver(&order).await.unwrap(), Answer::Signed);
}

//! What the metadata says, held against what createrepo_c says of the same packages.

use super::rpms::{self, Package, Variant, packages};
use super::{COMMITTED_S, order, platform, released};
use crate::generation::manifest::location;
use crate::{ReleaseError, publish};
use flate2::read::GzDecoder;
use millrace_core::header::read_head;
use millrace_store::BlobStore;
use millrace_store::memory::MemoryStore;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use super::{NOW, NamedSeal};

/// The files of one repository's metadata as text, by kind.
pub async fn served(store: &MemoryStore, repository: &str) -> BTreeMap<String, String> {
    let generation = released(store).await;
    let mut texts = BTreeMap::new();
    for (name, file) in &generation.repositories[repository].repodata {
        let bytes = store.read_all(&file.digest, u64::MAX).await.unwrap();
        assert_eq!(bytes.len() as u64, file.size);
        let text = if name.ends_with(".gz") {
            unpack(&bytes)
        } else {
            String::from_utf8(bytes).unwrap()
        };
        texts.insert(
            name.rsplit('-')
                .next()
                .unwrap()
                .trim_end_matches(".gz")
                .to_owned(),
            text,
        );
    }
    texts
}

fn unpack(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// A folder with these packages where a repository has them, and the metadata that createrepo_c makes for them.
pub fn createrepo(folder: &Path, packages: &[&Package]) {
    for package in packages {
        let path = folder.join(location(&package.name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &package.bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(COMMITTED_S))
            .unwrap();
    }
    let mut command = Command::new("createrepo_c");
    let output = command
        .args([
            "--quiet",
            "--simple-md-filenames",
            "--general-compress-type=gz",
        ])
        .arg(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "createrepo_c: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A tag or a text a line: attributes in order, no space between tags, packages by their names.
fn lines(xml: &str) -> String {
    let mut packages: Vec<String> = xml
        .split("<package ")
        .map(|package| tokens(&format!("<package {package}")).join("\n"))
        .collect();
    packages[1..].sort();
    packages[1..].join("\n\n")
}

fn tokens(xml: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in xml.split_inclusive('>') {
        let (text, tag) = piece.split_once('<').unwrap_or((piece, ""));
        if !text.trim().is_empty() {
            // In a text, a quotation mark may stand for itself.
            found.push(text.replace("&quot;", "\""));
        }
        let tag = tag.trim_end_matches('>');
        let (name, attributes) = tag
            .trim_end_matches('/')
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((tag.trim_end_matches('/'), ""));
        let mut attributes: Vec<&str> = attributes.split_inclusive("\" ").map(str::trim).collect();
        attributes.sort_unstable();
        // createrepo_c writes the letters of some attributes by their numbers.
        found.push(
            format!("<{name} {}>", attributes.join(" "))
                .replace(" >", ">")
                .replace("&#xC9;", "É"),
        );
        if tag.ends_with('/') {
            found.push(format!("</{name}>"));
        }
    }
    // The end of the last package is the end of the list.
    let end = found
        .iter()
        .position(|token| token == "</package>")
        .map_or(found.len(), |at| at + 1);
    found.truncate(end);
    found
}

#[tokio::test]
async fn the_metadata_says_what_createrepo_says() {
    let store = MemoryStore::new();
    let all: Vec<&Package> = packages(Variant::First)
        .iter()
        .chain(packages(Variant::Second))
        .collect();
    publish(&order(&store, "build", &all).await, &NamedSeal, &store, NOW)
        .await
        .unwrap();
    for repository in ["x86_64/os", "x86_64/debug", "aarch64/os", "source"] {
        let here: Vec<&Package> = all
            .iter()
            .copied()
            .filter(|package| released_has(&package.ordered(), repository))
            .collect();
        assert!(!here.is_empty());
        let folder = tempfile::tempdir().unwrap();
        createrepo(folder.path(), &here);
        let ours = served(&store, repository).await;
        for kind in ["primary.xml", "filelists.xml", "other.xml"] {
            let theirs =
                unpack(&std::fs::read(folder.path().join(format!("repodata/{kind}.gz"))).unwrap());
            let (ours, theirs) = (lines(&ours[kind]), lines(&theirs));
            let differ = ours
                .lines()
                .zip(theirs.lines())
                .find(|(ours, theirs)| ours != theirs);
            assert_eq!(
                (differ, ours.lines().count()),
                (None, theirs.lines().count()),
                "{kind} of {repository}"
            );
            assert!(theirs.lines().count() > 10, "{theirs}");
        }
    }
}

fn released_has(file: &millrace_core::order::OrderedFile, repository: &str) -> bool {
    let order = super::order_of("build", vec![file.clone()]);
    order.placements[0]
        .into
        .iter()
        .any(|into| into.to_string() == repository)
}

#[tokio::test]
async fn repomd_names_every_file_with_what_a_client_checks() {
    let store = MemoryStore::new();
    publish(
        &order(&store, "build", &[rpms::source(Variant::First)]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let generation = released(&store).await;
    let repodata = &generation.repositories["source"].repodata;
    let repomd = &served(&store, "source").await["repomd.xml"];
    assert!(repomd.contains("<revision>1</revision>"), "{repomd}");
    assert_eq!(
        repomd.matches("<timestamp>1800000000</timestamp>").count(),
        3,
        "{repomd}"
    );
    let mut named = 0;
    for (name, file) in repodata.iter().filter(|(name, _)| name.ends_with(".gz")) {
        let open = unpack(&store.read_all(&file.digest, u64::MAX).await.unwrap());
        let open_digest = millrace_core::Digest::of(open.as_bytes()).hex();
        for wanted in [
            format!("<location href=\"repodata/{name}\"/>"),
            format!("<checksum type=\"sha256\">{}</checksum>", file.digest.hex()),
            format!("<open-checksum type=\"sha256\">{open_digest}</open-checksum>"),
            format!("<size>{}</size>", file.size),
            format!("<open-size>{}</open-size>", open.len()),
        ] {
            assert!(repomd.contains(&wanted), "{wanted} is not in {repomd}");
            named += 1;
        }
    }
    assert_eq!(named, 15);
}

#[tokio::test]
async fn the_same_packages_give_the_same_bytes_whatever_the_order_they_came_in() {
    let (first, second) = (
        rpms::package(Variant::First, "tally"),
        rpms::package(Variant::Second, "tally"),
    );
    let mut all = Vec::new();
    for packages in [[first, second], [second, first]] {
        let store = MemoryStore::new();
        for (number, package) in packages.iter().enumerate() {
            publish(
                &order(&store, &format!("build{number}"), &[package]).await,
                &NamedSeal,
                &store,
                NOW,
            )
            .await
            .unwrap();
        }
        all.push(
            released(&store).await.repositories["x86_64/os"]
                .repodata
                .clone(),
        );
    }
    assert_eq!(all[0].len(), 5);
    assert_eq!(all[0], all[1]);
}

#[tokio::test]
async fn a_text_that_xml_cannot_hold_does_not_spoil_the_repository() {
    let store = MemoryStore::new();
    let mut odd = rpms::package(Variant::First, "tally").clone();
    // As changelogs of the nineties have it: a form feed, an escape, and an é in Latin-1.
    for (from, to) in [
        (
            &b"Count & <compare>"[..],
            &b"Count \x0c <\x1b\xe9\x00pare>"[..13],
        ),
        (b"First; see", b"First\x01 \xe9ee"),
    ] {
        let at = odd
            .bytes
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        let to = &to[..to.len().min(10)];
        odd.bytes[at..at + to.len()].copy_from_slice(to);
    }
    publish(
        &order(&store, "build", &[&odd]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let other = &served(&store, "x86_64/os").await["other.xml"];
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    assert!(!other.contains(control), "{other:?}");
    assert!(other.contains("First? ?ee"), "{other}");
}

#[tokio::test]
async fn what_is_no_sound_package_is_refused_by_name() {
    let store = MemoryStore::new();
    let good = rpms::package(Variant::First, "tally");
    let header_at = usize::try_from(read_head(&good.bytes).unwrap().header_at).unwrap();
    let refused = async |bytes: Vec<u8>| {
        let mut file = good.ordered();
        (file.digest, file.size) = (millrace_core::Digest::of(&bytes), bytes.len() as u64);
        store.put(bytes).await.unwrap();
        let refused = publish(
            &super::order_of("build", vec![file]),
            &NamedSeal,
            &store,
            NOW,
        )
        .await;
        let Err(ReleaseError::Refused(reason)) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            crate::current(&platform().name, &store)
                .await
                .unwrap()
                .is_none(),
            "something was released"
        );
        reason.to_string()
    };
    // The number of entries of the header, which a careless reader would make room for.
    let mut greedy = good.bytes.clone();
    greedy[header_at + 8..header_at + 12].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    let reason = refused(greedy).await;
    assert!(reason.starts_with(&good.name), "{reason}");
    let reason = refused(good.bytes[..header_at + 100].to_vec()).await;
    assert!(reason.contains("truncated"), "{reason}");
    assert!(
        refused(b"not a package".to_vec())
            .await
            .starts_with(&good.name)
    );
    let other = refused(rpms::package(Variant::Second, "tally").bytes.clone()).await;
    assert_eq!(
        other,
        format!(
            "{}: it is tally-1.0~rc1-2.el9.x86_64, ordered was tally-1.0~rc1-1.el9.x86_64",
            good.name
        )
    );
}

#[tokio::test]
async fn a_file_that_is_not_called_what_it_is_is_refused() {
    let store = MemoryStore::new();
    for name in [
        "../../../etc/passwd",
        "tally.rpm",
        "tally-1.0~rc1-1.el9.x86_64.rpm/x",
        "",
    ] {
        let mut file = rpms::package(Variant::First, "tally").ordered();
        file.name = name.to_owned();
        let refused = publish(
            &super::order_of("build", vec![file]),
            &NamedSeal,
            &store,
            NOW,
        )
        .await;
        let Err(ReleaseError::Refused(reason)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(
            reason.to_string(),
            format!("{name}: a package with this header is called tally-1.0~rc1-1.el9.x86_64.rpm")
        );
    }
    let mut file = rpms::package(Variant::First, "tally").ordered();
    file.rpm.version = "1\"/><x".to_owned();
    file.name = format!("tally-{}-1.el9.x86_64.rpm", file.rpm.version);
    let refused = publish(
        &super::order_of("build", vec![file]),
        &NamedSeal,
        &store,
        NOW,
    )
    .await;
    assert!(
        matches!(refused, Err(ReleaseError::Refused(reason)) if reason.to_string().contains("nothing else"))
    );
}

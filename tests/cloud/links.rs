//! Names with a plus sign in them, as gcc-c++ has, through every address that leads to them. Browsers and dnf send the sign as it is,
//! other clients as `%2B`, and neither may come out as a space.

use crate::script::Scripted;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use millrace_core::Digest;
use std::collections::BTreeSet;

/// Redirections that are followed.
const FOLLOWED_MAX: usize = 3;

/// Reads what is at an address, wherever it leads.
async fn read(line: &Scripted, path: &str) -> (u16, Vec<u8>) {
    let mut url = if path.starts_with("http") {
        path.to_owned()
    } else {
        format!("{}{path}", line.cloud.lambda.api())
    };
    for _ in 0..=FOLLOWED_MAX {
        let (status, place, body) = request_bytes(&url).await;
        match place {
            Some(place) if (301..=308).contains(&status) => url = place,
            _ => return (status, body),
        }
    }
    panic!("{path} leads in a circle")
}

async fn request_bytes(url: &str) -> (u16, Option<String>, Vec<u8>) {
    let answer = Client::builder(TokioExecutor::new())
        .build_http::<Body>()
        .get(url.parse().unwrap())
        .await
        .unwrap();
    let place = answer
        .headers()
        .get("location")
        .map(|place| place.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    (
        status,
        place,
        answer
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
}

/// Addresses on a page.
fn links(page: &str) -> impl Iterator<Item = String> {
    let found = page
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'));
    found
        .map(|(link, _)| link.replace("&amp;", "&"))
        .filter(|link| !link.starts_with('#'))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_to_a_package_with_plus_signs_leads_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Scripted::start(folder.path(), "plus", r#""x86_64""#, |_| ()).await;
    let delivery = line.push("libplus++").await;
    let build = line.released(&delivery).await;
    line.is_done().await;
    // Pages, from the package's own on, as far as they are about it.
    let start = [
        "/packages/libplus++",
        "/packages/libplus%2B%2B",
        "/packages/libplus%2b+",
        "/api/v1/packages/libplus++",
    ];
    let mut waiting: Vec<String> = start.map(str::to_owned).to_vec();
    let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        let (status, body) = read(&line, &path).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        let page = String::from_utf8_lossy(&body);
        assert!(
            !page.contains("libplus  ") && !page.contains("libplus%20"),
            "{path} has spaces for signs"
        );
        let ours = |link: &String| {
            link.contains("libplus")
                || link.contains(build.id.as_str())
                || link.contains("plus-first")
        };
        waiting.extend(
            links(&page)
                .filter(ours)
                .filter(|link| seen.insert(link.clone())),
        );
    }
    for wanted in ["/files/", "/repo/", "/log", "/pushes/", "/api/v1/builds/"] {
        let is_there = wanted == "/pushes/" || seen.iter().any(|link| link.contains(wanted));
        assert!(is_there, "no link to {wanted} among {seen:?}");
    }
    // The repositories' files, in the ways in which clients ask for them.
    let released = line.repositories().await;
    assert_eq!(released.len(), 4, "{released:?}");
    for (path, digest) in released {
        let (repository, name) = path.rsplit_once('/').unwrap();
        for name in [
            name.to_owned(),
            name.replace('+', "%2B"),
            name.replace('+', "%2b"),
        ] {
            let path = format!("/repo/plus-first/{repository}/Packages/l/{name}");
            let (status, body) = read(&line, &path).await;
            assert_eq!((status, Digest::of(&body)), (200, digest), "{path}");
        }
    }
    let told = line
        .cloud
        .millrace(&["builds", "--package", "libplus++", "--json"])
        .await;
    assert!(told.contains("libplus++"), "{told}");
}

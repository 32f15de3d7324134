//! The names in a platform's repositories.

use crate::forge::{Line, NOW, serve};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use millrace_core::Digest;
use millrace_core::order::Effect;
use millrace_core::ownership::RepositoryNames;
use millrace_core::platform::{Platform, Repository};
use millrace_core::testing;
use millrace_source::{Fetcher, PushFetcher};
use millrace_store::records::replace;
use millrace_store::repository_names::repository_names;
use millrace_store::{Deliver, Table};
use std::path::Path;

/// A list of packages: `patch`, with a program and a folder of settings, and a source package, which nothing is built from.
const PRIMARY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
<package type="rpm"><name>patch</name><arch>x86_64</arch><version epoch="0" ver="2.7" rel="1"/>
<checksum type="sha256" pkgid="YES">0000000000000000000000000000000000000000000000000000000000000000</checksum><summary/><description/><packager/><url/>
<time file="1" build="1"/><size package="1" installed="1" archive="1"/><location href="patch.rpm"/>
<format><rpm:license>GPL</rpm:license><rpm:vendor/><rpm:group/><rpm:buildhost/><rpm:sourcerpm>patch-2.7-1.src.rpm</rpm:sourcerpm>
<rpm:header-range start="1" end="2"/>
<file>/usr/bin/patch</file><file type="dir">/etc/patch</file></format></package>
</metadata>
"#;

/// Writes a repository below a folder; `primary` is what its `repomd.xml` promises.
fn write_repository(folder: &Path, primary: &str, written: &str) {
    let repodata = folder.join("repodata");
    std::fs::create_dir_all(&repodata).unwrap();
    std::fs::write(repodata.join("primary.xml"), written).unwrap();
    let digest = Digest::of(primary.as_bytes()).hex();
    let repomd = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>
<data type="primary"><checksum type="sha256">{digest}</checksum><open-checksum type="sha256">{digest}</open-checksum>
<location href="repodata/primary.xml"/><timestamp>1</timestamp><size>{size}</size><open-size>{size}</open-size></data></repomd>
"#,
        size = primary.len()
    );
    std::fs::write(repodata.join("repomd.xml"), repomd).unwrap();
}

fn platform(baseurl: Option<String>, mirrorlist: Option<String>) -> Platform {
    let repository = Repository {
        id: "base".to_owned(),
        baseurl,
        mirrorlist,
        gpgkey: None,
        priority: 99,
    };
    Platform {
        repositories: vec![repository],
        ..testing::platform(r#""x86_64", "aarch64""#)
    }
}

/// Fetches the names of a platform; what the line knows then, or what those are told who wait.
async fn fetched(platform: &Platform) -> Result<RepositoryNames, String> {
    let line = Line::new();
    let name = &platform.name;
    replace(&line.store, Table::Platform, name.as_str(), platform)
        .await
        .unwrap();
    let fetcher = PushFetcher {
        fetcher: &Fetcher::new(line.scratch.path(), Vec::new()),
        state: &line.store,
        blobs: &line.store,
        now: NOW,
    };
    let platform_name = name.clone();
    // That it failed is trouble that may pass; what is told to those who wait is kept.
    let _ = fetcher
        .act(&Effect::FetchNames {
            platform: platform_name,
        })
        .await;
    assert_eq!(std::fs::read_dir(line.scratch.path()).unwrap().count(), 0);
    let wanted = [
        "patch",
        "/usr/bin/patch",
        "/etc/patch",
        "zypper",
        "/usr/bin/zypper",
    ]
    .map(|name| name.parse().unwrap())
    .into();
    repository_names(platform, &wanted, &line.store, &line.store, NOW)
        .await
        .map_err(|error| error.to_string())
}

fn of_patch() -> RepositoryNames {
    let mut names = RepositoryNames::default();
    for name in ["patch", "/usr/bin/patch"] {
        names.add(&name.parse().unwrap(), "patch").unwrap();
    }
    names
}

#[tokio::test]
async fn names_come_with_their_source_packages_from_every_architectures_repository() {
    let folder = tempfile::tempdir().unwrap();
    write_repository(&folder.path().join("x86_64"), PRIMARY, PRIMARY);
    let other = PRIMARY.replace("patch", "zypper");
    write_repository(&folder.path().join("aarch64"), &other, &other);
    let url = format!("file://{}/$basearch", folder.path().display());
    let names = fetched(&platform(Some(url), None)).await.unwrap();
    let mut expected = of_patch();
    for name in ["zypper", "/usr/bin/zypper"] {
        expected.add(&name.parse().unwrap(), "zypper").unwrap();
    }
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_mirror_that_is_away_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    write_repository(folder.path(), PRIMARY, PRIMARY);
    let list = format!(
        "# mirrors\nfile:///nowhere\nfile://{}\n",
        folder.path().display()
    );
    let address = serve(Router::new().route("/list", get(|| async move { list }))).await;
    let names = fetched(&platform(None, Some(format!("{address}/list")))).await;
    assert_eq!(names, Ok(of_patch()));
}

#[tokio::test]
async fn those_who_wait_are_told_why_names_cannot_be_fetched() {
    let gone = Router::new().fallback(|| async { StatusCode::BAD_GATEWAY });
    let address = serve(gone).await;
    let problem = fetched(&platform(Some(address), None)).await.unwrap_err();
    assert!(
        problem.contains("repomd.xml cannot be read: HTTP status 502"),
        "{problem}"
    );

    let folder = tempfile::tempdir().unwrap();
    write_repository(folder.path(), PRIMARY, &PRIMARY.replace("patch", "trojan"));
    let url = format!("file://{}", folder.path().display());
    let problem = fetched(&platform(Some(url), None)).await.unwrap_err();
    assert!(
        problem.contains("it is not the list that repomd.xml names"),
        "{problem}"
    );
}

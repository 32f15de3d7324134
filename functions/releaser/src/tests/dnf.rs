//! Repositories over HTTP, as the real dnf sees them.

use super::http::{get, routes};
use super::metadata::createrepo;
use super::rpms::{Package, Variant, package, packages};
use super::{NOW, order, platform};
use crate::{Seal, SealError, prepare, publish};
use axum::Router;
use axum::http::HeaderMap;
use millrace_core::KeyName;
use millrace_store::memory::MemoryStore;
use std::path::Path;
use std::process::{Command, Stdio};

/// Signs with the real gpg, whose keys lie in a folder of their own.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Self {
        let gpg = Self(tempfile::tempdir().unwrap());
        gpg.run(
            &[
                "--passphrase",
                "",
                "--quick-generate-key",
                "tests@tally.example",
                "rsa2048",
                "sign",
            ],
            b"",
        );
        gpg
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("gpg");
        command
            .args([
                "--batch",
                "--quiet",
                "--no-tty",
                "--pinentry-mode",
                "loopback",
                "--homedir",
            ])
            .arg(self.0.path())
            .args(arguments);
        let mut running = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut running.stdin.take().unwrap(), input).unwrap();
        let output = running.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "gpg: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

impl Seal for Gpg {
    async fn seal(&self, _: &KeyName, repomd: &[u8], _: u64) -> Result<Vec<u8>, SealError> {
        Ok(self.run(&["--armor", "--detach-sign"], repomd))
    }

    async fn public_key(&self, _: &KeyName) -> Result<Vec<u8>, SealError> {
        Ok(self.run(&["--armor", "--export"], b""))
    }
}

/// What the real dnf says, with a state of its own.
fn dnf(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let of = |name: &str| folder.join(name).display().to_string();
    let settings = ["cachedir", "persistdir", "logdir", "reposdir", "varsdir"]
        .map(|name| format!("--setopt={name}={}", of(name)));
    let mut command = Command::new("dnf");
    command.args([
        "-y",
        "--quiet",
        "--setopt=plugins=0",
        "--forcearch=x86_64",
        "--releasever=9",
        "--config",
        &of("dnf.conf"),
    ]);
    command
        .arg(format!("--installroot={}", of("root")))
        .args(settings)
        .args(arguments);
    let output = command
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", folder)
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(said(&output.stdout) + &said(&output.stderr))
    }
}

/// A folder in which dnf knows these repositories.
fn dnf_folder(repos: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["logdir", "reposdir", "varsdir", "root"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("dnf.conf"), "[main]\n").unwrap();
    std::fs::write(folder.path().join("reposdir/tests.repo"), repos).unwrap();
    folder
}

/// Serves a store on a port of its own until the test ends.
async fn serve(store: &MemoryStore) -> String {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let routes = routes(store);
    tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
    format!("http://{address}/repo")
}

async fn fetch(url: String) -> String {
    let curl = move || Command::new("curl").args(["-sSf", &url]).output().unwrap();
    let output = tokio::task::spawn_blocking(curl).await.unwrap();
    assert!(
        output.status.success(),
        "curl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dnf_checks_the_signature_and_sees_what_it_sees_of_createrepo() {
    let (store, gpg) = (MemoryStore::new(), Gpg::new());
    prepare(&platform(), &gpg, &store, NOW).await.unwrap();
    let base = serve(&store).await;
    let folder = dnf_folder(&fetch(format!("{base}/el-9/el-9.repo")).await);
    let query = [
        "repoquery",
        "--qf",
        "%{name} %{evr} %{arch} %{size} %{location} %{sourcerpm} %{summary}\\n",
    ];
    assert_eq!(
        dnf(folder.path(), &query).unwrap().trim(),
        "",
        "an empty repository is a good one"
    );
    let all: Vec<&Package> = packages(Variant::First).iter().collect();
    publish(&order(&store, "first", &all).await, &gpg, &store, NOW)
        .await
        .unwrap();
    let theirs = tempfile::tempdir().unwrap();
    let os: Vec<&Package> = all
        .iter()
        .copied()
        .filter(|package| !package.name.contains("debuginfo") && !package.name.contains(".src."))
        .collect();
    createrepo(theirs.path(), &os);
    let plain = dnf_folder(&format!(
        "[plain]\nname=plain\nbaseurl=file://{}\ngpgcheck=0\n",
        theirs.path().display()
    ));
    let queries: [&[&str]; 8] = [
        &query,
        &["repoquery", "--requires"],
        &["repoquery", "--provides"],
        &["repoquery", "--conflicts"],
        &["repoquery", "--obsoletes"],
        &["repoquery", "--recommends"],
        &["repoquery", "--file", "/usr/share/tally/plus"],
        &["repoquery", "--whatprovides", "counter(x)"],
    ];
    for arguments in queries {
        let refreshed = [&["--refresh"], arguments].concat();
        let ours = dnf(folder.path(), &refreshed).unwrap();
        assert!(!ours.trim().is_empty(), "{arguments:?}");
        assert_eq!(ours, dnf(plain.path(), arguments).unwrap(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dnf_refuses_metadata_that_was_altered_on_the_way() {
    let (store, gpg) = (MemoryStore::new(), Gpg::new());
    publish(
        &order(&store, "first", &[package(Variant::First, "tally")]).await,
        &gpg,
        &store,
        NOW,
    )
    .await
    .unwrap();
    // Somebody in between: the same signature under another repomd.xml.
    let altered = Router::new()
        .route(
            "/repo/el-9/x86_64/os/mirrorlist",
            axum::routing::get(|headers: HeaderMap| async move {
                format!(
                    "http://{}/repo/el-9/x86_64/os/\n",
                    headers["host"].to_str().unwrap()
                )
            }),
        )
        .route(
            "/repo/el-9/x86_64/os/repodata/repomd.xml",
            axum::routing::get({
                let store = store.clone();
                move || async move {
                    get(&store, "/repo/el-9/x86_64/os/repodata/repomd.xml")
                        .await
                        .text()
                        .replace("<revision>1<", "<revision>2<")
                }
            }),
        )
        .fallback_service(routes(&store));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/repo", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, altered).await.unwrap() });
    let folder = dnf_folder(&fetch(format!("{base}/el-9/el-9.repo")).await);
    let refused = dnf(
        folder.path(),
        &["repoquery", "--disablerepo=*", "--enablerepo=millrace-el-9"],
    )
    .unwrap_err();
    assert!(refused.contains("GPG signature verification"), "{refused}");
}

//! Two packages from push to install, the second of which needs the first as the line just released it.

use crate::specs::{files, library, program};
use millrace_core::platform::{Platform, Repository};
use millrace_tests::up::{TestSetup, Up, run};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_push_ends_in_an_install_and_the_next_package_builds_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let first = up.push_new("tally", &files(&library("2.5")));
    let (told, released) = up.watch(&first);
    assert!(released, "{told}\n{}", up.log());
    let second = up.push_new("tallyctl", &files(&program("2.5")));
    let (told, released) = up.watch(&second);
    assert!(
        released && told.contains("1 test passed"),
        "{told}\n{}",
        up.log()
    );
    for task in ["source", "rpm@", "check@", "signing", "releasing"] {
        assert!(
            told.contains(task),
            "`millrace watch` does not tell of {task}:\n{told}"
        );
    }
    packages_are_signed(&up, folder.path());
    dnf_installs_it(&up, folder.path());
    the_repository_file_names_what_is_there(&up);
}

fn download(up: &Up, path: &str, to: &Path) {
    let from = up.url(path);
    run(Command::new("curl").args(["-fsS", "-o"]).arg(to).arg(from));
}

fn packages_are_signed(up: &Up, folder: &Path) {
    let arch = std::env::consts::ARCH;
    let path = format!("/repo/test-9/{arch}/os/Packages/t/tallyctl-1-1.t9.{arch}.rpm");
    download_signed(up, folder, &path, &folder.join("tallyctl.rpm"));
}

/// Downloads a package, and lets rpm check its signature with the key that the line gives to everybody.
pub fn download_signed(up: &Up, folder: &Path, path: &str, package: &Path) {
    let key = folder.join("key.asc");
    download(up, "/repo/test-9/RPM-GPG-KEY-millrace", &key);
    download(up, path, package);
    let database = format!("_dbpath {}", folder.join("rpmdb").display());
    run(Command::new("rpmkeys")
        .args(["--define", &database, "--import"])
        .arg(&key));
    let said = run(Command::new("rpmkeys")
        .args(["--define", &database, "-Kv"])
        .arg(package));
    // rpm 4 says `Signature, key ID`, rpm 6 `signature, key fingerprint`.
    let signature = said
        .lines()
        .find(|line| line.to_lowercase().contains("signature, key"));
    assert!(
        signature.is_some_and(|line| line.ends_with(": OK"))
            && !said.contains("BAD")
            && !said.contains("NOKEY"),
        "{said}"
    );
}

fn dnf_installs_it(up: &Up, folder: &Path) {
    let root = install(
        up,
        folder,
        &TestSetup::here().platform,
        std::env::consts::ARCH,
        "tallyctl",
    );
    assert_eq!(
        run(Command::new("chroot")
            .arg(&root)
            .args(["/usr/bin/tallyctl"])),
        "2 2.5\n"
    );
}

/// Installs a package that the line has released into a new root of an architecture, with what it needs from the platform's own
/// repositories; the root.
pub fn install(up: &Up, folder: &Path, platform: &str, arch: &str, package: &str) -> PathBuf {
    let (root, repos) = (folder.join("root"), folder.join("repos"));
    std::fs::create_dir_all(root.join("etc/rpm")).unwrap();
    std::fs::create_dir_all(&repos).unwrap();
    std::fs::write(
        folder.join(".rpmmacros"),
        "%_dbpath /var/lib/rpm\n%_db_backend sqlite\n",
    )
    .unwrap();
    let (_, released) = up.http("GET", "/repo/test-9/test-9.repo", "", "");
    assert!(
        released.contains("gpgcheck=1") && released.contains("repo_gpgcheck=1"),
        "{released}"
    );
    std::fs::write(repos.join("released.repo"), released).unwrap();
    std::fs::write(repos.join("platform.repo"), others(platform)).unwrap();
    let said = run(Command::new("dnf")
        .env("HOME", folder)
        .args([
            "-y",
            "--noplugins",
            "--releasever=9",
            "--setopt=varsdir=/dev/null",
            "--setopt=install_weak_deps=0",
        ])
        .args([
            format!("--installroot={}", root.display()),
            format!("--setopt=reposdir={}", repos.display()),
        ])
        .args([
            format!("--setopt=cachedir={}", folder.join("dnf").display()),
            format!("--forcearch={arch}"),
        ])
        .args(["install", "bash", package]));
    assert!(said.contains(package), "{said}");
    root
}

/// The platform's own repositories as dnf reads them, without what the line must bring.
fn others(platform: &str) -> String {
    let platform = Platform::parse("the tests' platform", platform).unwrap();
    let text = |repository: &Repository| {
        let from = [
            ("baseurl", &repository.baseurl),
            ("mirrorlist", &repository.mirrorlist),
            ("gpgkey", &repository.gpgkey),
        ];
        let from: String = from
            .iter()
            .filter_map(|(key, value)| Some(format!("{key}={}\n", value.as_ref()?)))
            .collect();
        let (id, check) = (&repository.id, u8::from(repository.gpgkey.is_some()));
        format!("[{id}]\nname={id}\n{from}gpgcheck={check}\nexcludepkgs=tally*\n")
    };
    platform.repositories.iter().map(text).collect()
}

fn the_repository_file_names_what_is_there(up: &Up) {
    let arch = std::env::consts::ARCH;
    for path in [
        format!("/repo/test-9/{arch}/os"),
        format!("/repo/test-9/{arch}/debug"),
        "/repo/test-9/source".to_owned(),
    ] {
        for file in ["repomd.xml", "repomd.xml.asc"] {
            let (status, body) = up.http("GET", &format!("{path}/repodata/{file}"), "", "");
            assert_eq!(status, 200, "{path} {file}");
            assert!(
                body.contains("<repomd") || body.contains("BEGIN PGP SIGNATURE"),
                "{body}"
            );
        }
    }
}

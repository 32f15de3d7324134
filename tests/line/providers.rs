//! Roots that something else than dnf has made: an archive, an image of a registry, mock, and the machine itself.

use millrace_core::platform::{Archive, Buildroot, Provider};
use millrace_core::roots::RootPackage;
use millrace_core::{Arch, Digest};
use millrace_host::buildroot::{Recipe, Root, RootError};
use millrace_tests::sandbox::{PATIENCE, SandboxFixture, recipe, status};
use millrace_tests::up::run;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

/// A minimal root of the tests' distribution as an archive, and what was in it.
fn archive(folder: &Path) -> (PathBuf, Vec<String>) {
    let fixture = SandboxFixture::apart(folder);
    let root = fixture.root();
    let nevras = root
        .record()
        .packages
        .iter()
        .map(|package| package.nevra.clone())
        .collect();
    let layers = fs::read_dir(folder.join("roots/layers"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("layer"));
    let layer = layers
        .into_iter()
        .find(|layer| layer.join("usr").is_dir())
        .unwrap();
    let archive = folder.join("root.tar.gz");
    run(Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(layer)
        .arg("."));
    (archive, nevras)
}

fn own() -> Arch {
    std::env::consts::ARCH.parse().unwrap()
}

/// The tests' recipe with its roots made by another.
fn by(buildroot: Buildroot) -> Recipe {
    Recipe {
        buildroot,
        ..recipe()
    }
}

fn of_archive(archive: &Path, digest: Digest) -> Recipe {
    let archives = vec![Archive {
        arch: own(),
        url: format!("file://{}", archive.display()),
        digest,
    }];
    by(Buildroot {
        provider: Provider::Rootfs,
        archives,
        ..Buildroot::default()
    })
}

fn said_in(fixture: &SandboxFixture, root: &Root, script: &str) -> String {
    let (ended, said) = fixture.run_in(
        root.view(),
        &["/bin/bash", "-c", script],
        PATIENCE,
        false,
        &AtomicBool::new(false),
    );
    assert_eq!(status(&ended), Some(0), "{said}");
    said
}

fn refused(root: Result<Root, RootError>) -> String {
    match root {
        Err(RootError::Refused(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_archive_becomes_a_root_that_a_lock_brings_back() {
    let (made, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (archive, nevras) = archive(made.path());
    let digest = Digest::of(&fs::read(&archive).unwrap());
    let fixture = SandboxFixture::apart(shared.path());
    let mut recipe = of_archive(&archive, digest);
    // The archive was made from another repository than the platform has.
    recipe.repositories[0].id = "own".to_owned();
    let (root, said) = fixture.try_recipe(&recipe, &["ed"]);
    let root = root.unwrap_or_else(|error| panic!("{error}\n{said}"));
    let said = said_in(
        &fixture,
        &root,
        "rpm -q ed >/dev/null && rpm -qa | wc -l && id -un && stat -c %u /usr/bin/bash",
    );
    assert_eq!(
        said,
        format!("{}\nmockbuild\n0\n", root.record().packages.len())
    );
    assert_eq!(root.record().from, Some(format!("archive {digest}")));
    let ed = root
        .record()
        .packages
        .iter()
        .find(|package| package.nevra.starts_with("ed-"))
        .unwrap();
    assert!(ed.repository == "own" && ed.digest.is_some(), "{ed:?}");
    assert!(
        nevras.iter().all(|nevra| root
            .record()
            .packages
            .iter()
            .any(|package| package.nevra == *nevra)),
        "{nevras:?}"
    );

    let loose = |package: &&RootPackage| !package.repository.is_empty() && package.digest.is_none();
    assert_eq!(
        root.record().packages.iter().find(loose),
        None,
        "no lock could name it"
    );

    let locked = Recipe {
        locked: Some(root.record().clone()),
        ..recipe
    };
    let (again, said) = fixture.try_recipe(&locked, &["ed"]);
    let again = again.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert_eq!(again.record(), root.record());
    said_in(&fixture, &again, "rpm -q ed");
}

#[test]
fn an_archive_that_is_no_root_is_refused_and_thrown_away() {
    let (made, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive = made.path().join("nothing.tar");
    fs::create_dir_all(made.path().join("tree/etc")).unwrap();
    run(Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(made.path().join("tree"))
        .arg("."));
    let fixture = SandboxFixture::apart(shared.path());
    let problem = refused(
        fixture
            .try_recipe(&of_archive(&archive, Digest::of(b"another")), &[])
            .0,
    );
    assert!(
        problem.contains("is not what the platform names"),
        "{problem}"
    );
    let digest = Digest::of(&fs::read(&archive).unwrap());
    let problem = refused(fixture.try_recipe(&of_archive(&archive, digest), &[]).0);
    assert!(
        problem.contains("is no root of") && problem.contains("/bin/sh does not run in it"),
        "{problem}"
    );
    fs::write(&archive, "no archive at all").unwrap();
    let problem = refused(
        fixture
            .try_recipe(&of_archive(&archive, Digest::of(b"no archive at all")), &[])
            .0,
    );
    assert!(
        problem.contains("cannot be unpacked") && problem.contains("tar"),
        "{problem}"
    );
    let left: Vec<_> = fs::read_dir(shared.path().join("roots/layers"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| name.to_string_lossy().ends_with(".lock")),
        "{left:?}"
    );
}

/// A registry that admits only clients that have fetched a token, and counts nothing: it knows blobs and manifests by their digests.
fn registry(things: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let own = address.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(count @ 1..) => asked.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let asked = String::from_utf8_lossy(&asked).to_lowercase();
            let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, more, body) = if path
                .starts_with("/token?service=registry&scope=repository%3abase%3apull")
            {
                (
                    "200 OK",
                    String::new(),
                    br#"{"token":"for-anybody"}"#.to_vec(),
                )
            } else if !asked.contains("authorization: bearer for-anybody") {
                let realm = format!(
                    "WWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"registry\",scope=\"repository:base:pull\"\r\n"
                );
                ("401 Unauthorized", realm, Vec::new())
            } else {
                let wanted = path.rsplit('/').next().unwrap_or_default();
                match things
                    .iter()
                    .find(|thing| Digest::of(thing).to_string() == wanted)
                {
                    Some(thing) => ("200 OK", String::new(), thing.clone()),
                    None => ("404 Not Found", String::new(), Vec::new()),
                }
            };
            let head = format!(
                "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
fn an_image_is_pulled_by_its_digest_with_its_whiteouts() {
    let (made, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (base, _) = archive(made.path());
    // What is taken away must have been there.
    let (packed, lower) = (made.path().join("below.tar"), made.path().join("lower"));
    fs::create_dir_all(lower.join("etc")).unwrap();
    fs::write(lower.join("etc/passwd-of-below"), "").unwrap();
    run(Command::new("tar")
        .arg("-cf")
        .arg(&packed)
        .arg("-C")
        .arg(&lower)
        .arg("."));
    let upper = made.path().join("upper");
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/of-the-image"), "yes\n").unwrap();
    fs::write(upper.join("etc/.wh.passwd-of-below"), "").unwrap();
    let top = made.path().join("top.tar");
    run(Command::new("tar")
        .arg("-cf")
        .arg(&top)
        .arg("-C")
        .arg(&upper)
        .arg("."));
    let (base, below, top) = (
        fs::read(base).unwrap(),
        fs::read(packed).unwrap(),
        fs::read(top).unwrap(),
    );
    let layer = |bytes: &[u8]| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}"#,
            Digest::of(bytes),
            bytes.len()
        )
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"layers":[{},{},{}]}}"#,
        layer(&base),
        layer(&below),
        layer(&top)
    )
    .into_bytes();
    let machine = if own() == Arch::X86_64 {
        "amd64"
    } else {
        "arm64"
    };
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","size":1,"platform":{{"architecture":"mips","os":"linux"}}}},
        {{"digest":"{}","size":{},"platform":{{"architecture":"{machine}","os":"linux"}}}}]}}"#,
        Digest::of(b"another"),
        Digest::of(&manifest),
        manifest.len()
    )
    .into_bytes();
    let digest = Digest::of(&index);
    let registry = registry(vec![index, manifest, base, below, top]);
    let image = |digest| Buildroot {
        provider: Provider::Rootfs,
        image: Some(format!("{registry}/base@{digest}")),
        ..Buildroot::default()
    };
    let fixture = SandboxFixture::apart(shared.path());
    let (root, said) = fixture.try_recipe(&by(image(digest)), &[]);
    let root = root.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert_eq!(root.record().from, Some(format!("image {digest}")));
    let script = "cat /etc/of-the-image; test ! -e /etc/passwd-of-below && ! compgen -G '/etc/.wh*' && echo 'and no more'";
    assert_eq!(said_in(&fixture, &root, script), "yes\nand no more\n");
    let problem = refused(fixture.try_recipe(&by(image(Digest::of(b"gone"))), &[]).0);
    assert!(
        problem.contains("the registry has no manifests/sha256:"),
        "{problem}"
    );
}

/// Does what mock does as far as it is seen from outside, and writes down how it was called: its root comes from an archive.
const STAND_IN: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
echo "INFO: mock.py version 5.6 starting (python version = 3.9)..." >&2
case " $* " in
    *" --debug-config-expanded "*) cat "$here/config" ;;
    *" --init "*)
        test -e "$here/broken" && { echo "ERROR: Command failed: dnf install" >&2; exit 30; }
        mkdir -p "$here/root" && tar -xzf "$here/root.tar.gz" -C "$here/root" ;;
    *" --install "*) echo installed >> "$here/root/etc/by-mock" ;;
    *" --print-root-path "*) echo "$here/root" ;;
    *" --scrub=chroot "*) rm -rf "$here/root" ;;
    *) echo "unknown: $*" >&2; exit 5 ;;
esac
"#;

#[test]
fn mock_makes_a_root_and_keeps_nothing_of_it() {
    let (made, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    archive(made.path());
    let mock = made.path().join("mock");
    fs::write(&mock, STAND_IN).unwrap();
    fs::set_permissions(&mock, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(
        made.path().join("config"),
        "config_opts['root'] = 'seed-9'\n",
    )
    .unwrap();
    let fixture = SandboxFixture::apart(shared.path()).with_mock(mock.clone());
    let config = Some("seed-$releasever-$basearch".to_owned());
    let buildroot = Buildroot {
        provider: Provider::Mock,
        config,
        minimal: vec!["ed".to_owned()],
        ..Buildroot::default()
    };
    let recipe = by(buildroot);
    let (root, said) = fixture.try_recipe(&recipe, &[]);
    let root = root.unwrap_or_else(|error| panic!("{error}\n{said}"));
    let name = format!("seed-9-{}", own());
    assert_eq!(root.record().from, Some(format!("mock {name}")));
    assert_eq!(
        said_in(
            &fixture,
            &root,
            "cat /etc/by-mock && rpm -q bash >/dev/null"
        ),
        "installed\n"
    );
    assert!(
        said.contains(&format!("--root {name} --uniqueext millrace-"))
            && said.contains("mock.py version 5.6"),
        "{said}"
    );
    let calls = || fs::read_to_string(made.path().join("calls")).unwrap();
    let what: Vec<String> = calls()
        .lines()
        .map(|line| {
            line.split("--")
                .filter(|part| !part.starts_with("root ") && !part.starts_with("uniqueext "))
                .collect::<Vec<_>>()
                .join("--")
                .trim()
                .to_owned()
        })
        .collect();
    assert_eq!(
        what,
        [
            "--debug-config-expanded",
            "--init",
            "--install ed",
            "--print-root-path",
            "--scrub=chroot"
        ]
    );
    assert!(!made.path().join("root").exists(), "mock's own copy stayed");

    // The same configuration gives the same root, without mock; another one does not.
    let (same, _) = fixture.try_recipe(&recipe, &[]);
    assert!(same.is_ok() && calls().lines().count() == 6, "{}", calls());
    fs::write(
        made.path().join("config"),
        "config_opts['root'] = 'another'\n",
    )
    .unwrap();
    fs::write(made.path().join("broken"), "").unwrap();
    let problem = refused(fixture.try_recipe(&recipe, &[]).0);
    assert!(
        problem.contains("--init` failed")
            && problem.contains("ERROR: Command failed: dnf install"),
        "{problem}"
    );
    assert!(
        calls().lines().last().unwrap().ends_with("--scrub=chroot"),
        "{}",
        calls()
    );
    let locked = Recipe {
        locked: Some(root.record().clone()),
        ..recipe.clone()
    };
    assert!(refused(fixture.try_recipe(&locked, &[]).0).contains("cannot be made again by a lock"));
    let without = SandboxFixture::apart(shared.path()).with_mock(made.path().join("no-mock"));
    let problem = refused(without.try_recipe(&recipe, &[]).0);
    assert!(
        problem.contains("this runner has no") && problem.contains("require a feature"),
        "{problem}"
    );
}

#[test]
fn the_machine_itself_is_built_on_and_not_changed() {
    let fixture = SandboxFixture::new();
    let (root, said) = fixture.try_recipe(
        &by(Buildroot {
            provider: Provider::Host,
            ..Buildroot::default()
        }),
        &[],
    );
    let mut root = root.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(
        root.record().from.as_ref().unwrap().starts_with("host "),
        "{:?}",
        root.record()
    );
    let script = "set -e\necho 'int main(void) { return 0; }' > /work/a.c\ngcc -o /work/a /work/a.c\n/work/a\necho built\n\
                  touch /usr/x 2>&1 | grep -o 'Read-only.*' || true\ntest ! -e /root && test ! -e /etc/shadow && echo 'and no more'\n\
                  echo $HOME && touch $HOME/x";
    assert_eq!(
        said_in(&fixture, &root, script),
        "built\nRead-only file system\nand no more\n/builddir\n"
    );
    let (done, _) = fixture.install(&mut root, &["ed"]);
    assert!(
        matches!(&done, Err(RootError::Refused(problem)) if problem.contains("provider is `host`")),
        "{done:?}"
    );
}

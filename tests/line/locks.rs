//! Roots and builds from exactly what was there the first time.

use crate::specs::{files, library, program};
use millrace_core::platform::Repository;
use millrace_core::roots::{Lock, RootKind, RootPackage};
use millrace_host::buildroot::{Recipe, RootError};
use millrace_tests::sandbox::{PATIENCE, SandboxFixture, recipe, status};
use millrace_tests::up::{TestSetup, Up, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

/// A repository of packages with a file each, which may be published to again.
struct Published {
    folder: tempfile::TempDir,
}

impl Published {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn publish(&self, version: &str) -> PathBuf {
        let top = self.folder.path();
        let spec = format!(
            "Name: moving\nEpoch: 2\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n%description\nx\n%install\n\
             mkdir -p %{{buildroot}}/etc\necho {version} > %{{buildroot}}/etc/moving\n%files\n/etc/moving\n"
        );
        fs::write(top.join("moving.spec"), spec).unwrap();
        let define = |name: &str, value: &Path| format!("{name} {}", value.display());
        run(Command::new("rpmbuild")
            .args(["-bb", "--define", &define("_topdir", &top.join("top"))])
            .args(["--define", &define("_rpmdir", &top.join("repository"))])
            .arg(top.join("moving.spec")));
        run(Command::new("createrepo_c")
            .arg("-q")
            .arg(top.join("repository")));
        top.join(format!("repository/noarch/moving-{version}-1.noarch.rpm"))
    }

    fn recipe(&self, gpgkey: Option<String>) -> Recipe {
        let mut recipe = recipe();
        let baseurl = Some(format!(
            "file://{}",
            self.folder.path().join("repository").display()
        ));
        recipe.repositories.push(Repository {
            id: "moving".to_owned(),
            baseurl,
            mirrorlist: None,
            gpgkey,
            priority: 1,
        });
        recipe
    }
}

fn moving(packages: &[RootPackage]) -> &RootPackage {
    packages
        .iter()
        .find(|package| package.nevra.starts_with("moving-"))
        .unwrap()
}

#[test]
fn a_root_is_made_again_from_its_lock() {
    let (shared, published) = (tempfile::tempdir().unwrap(), Published::new());
    let fixture = SandboxFixture::apart(shared.path());
    let first_file = published.publish("1");
    let plain = published.recipe(None);
    let (root, said) = fixture.try_recipe(&plain, &["moving"]);
    let record = root
        .unwrap_or_else(|error| panic!("{error}\n{said}"))
        .record()
        .clone();
    assert_eq!(record.kind, RootKind::Minimal);
    assert!(
        record
            .packages
            .iter()
            .all(|package| package.digest.is_some() && package.url.is_some()),
        "{record:?}"
    );
    assert_eq!(moving(&record.packages).nevra, "moving-2:1-1.noarch");
    assert_eq!(moving(&record.packages).repository, "moving");
    published.publish("2");
    let (newest, said) = fixture.try_recipe(&plain, &["moving"]);
    assert_eq!(
        moving(
            &newest
                .unwrap_or_else(|error| panic!("{error}\n{said}"))
                .record()
                .packages
        )
        .nevra,
        "moving-2:2-1.noarch"
    );

    let locked = Recipe {
        locked: Some(record.clone()),
        ..plain
    };
    let (again, said) = fixture.try_recipe(&locked, &["moving"]);
    let again = again.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert_eq!(again.record().packages, record.packages);
    let never = AtomicBool::new(false);
    let script = "cat /etc/moving && rpm -q moving && id -un";
    let (ended, said) = fixture.run_in(
        again.view(),
        &["/bin/bash", "-c", script],
        PATIENCE,
        false,
        &never,
    );
    assert_eq!(
        (status(&ended), said.as_str()),
        (Some(0), "1\nmoving-1-1.noarch\nmockbuild\n")
    );
    let (contents, _) = fixture.with_session(|session| again.contents(session));
    let contents = contents.unwrap();
    assert!(
        contents
            .iter()
            .any(|package| package.name == "moving" && package.repository == "moving"),
        "{contents:?}"
    );

    // Other bytes in its place are not taken, and neither is nothing; what was fetched before is.
    fs::write(&first_file, "something else").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (refused, _) = SandboxFixture::apart(elsewhere.path()).try_recipe(&locked, &[]);
    let Err(RootError::Refused(problem)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        problem.contains("moving-2:1-1.noarch") && problem.contains("is not what the lock names"),
        "{problem}"
    );
    fs::remove_file(&first_file).unwrap();
    let (away, _) = SandboxFixture::apart(elsewhere.path()).try_recipe(&locked, &[]);
    assert!(matches!(away, Err(RootError::Repository(_))), "{away:?}");
    let (kept, said) = fixture.try_recipe(&locked, &[]);
    assert!(kept.is_ok(), "{kept:?}\n{said}");
}

#[test]
fn a_locked_package_must_be_signed_by_a_known_repository() {
    let (shared, published) = (tempfile::tempdir().unwrap(), Published::new());
    let fixture = SandboxFixture::apart(shared.path());
    published.publish("1");
    let plain = published.recipe(None);
    let (root, said) = fixture.try_recipe(&plain, &["moving"]);
    let record = root
        .unwrap_or_else(|error| panic!("{error}\n{said}"))
        .record()
        .clone();

    // The key of some line: it has signed nothing of this.
    let line = tempfile::tempdir().unwrap();
    let up = Up::start_without_runner(line.path());
    let key = line.path().join("key");
    fs::write(&key, up.millrace(&["key", "show", "default"])).unwrap();
    let signed = published.recipe(Some(format!("file://{}", key.display())));
    let (unsigned, _) = fixture.try_recipe(
        &Recipe {
            locked: Some(record.clone()),
            ..signed
        },
        &[],
    );
    let Err(RootError::Refused(problem)) = unsigned else {
        panic!("{unsigned:?}")
    };
    assert!(
        problem.contains("not signed by the key of repository `moving`"),
        "{problem}"
    );

    let (unknown, _) = fixture.try_recipe(
        &Recipe {
            locked: Some(record),
            ..recipe()
        },
        &[],
    );
    let Err(RootError::Refused(problem)) = unknown else {
        panic!("{unknown:?}")
    };
    assert!(
        problem.contains("from the repository `moving`, which the platform does not have"),
        "{problem}"
    );
}

/// What `millrace lock` prints of the newest build of a package.
fn lock_of(up: &Up, package: &str) -> (String, String) {
    let build = up
        .builds()
        .into_iter()
        .find(|build| build["package"] == package)
        .unwrap();
    let id = build["id"].as_str().unwrap().to_owned();
    let text = up.millrace(&["lock", &id]);
    (id, text)
}

#[test]
fn a_build_is_built_again_from_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let push = |up: &mut Up, name: &str, package: &[(String, String)], new: bool| {
        let package = files(package);
        let commit = if new {
            up.push_new(name, &package)
        } else {
            up.push(name, &package)
        };
        let (told, released) = up.watch(&commit);
        assert!(released, "{told}\n{}", up.log());
    };
    push(&mut up, "tally", &library("1.0"), true);
    push(&mut up, "tallyctl", &program("1.0"), true);
    let (id, text) = lock_of(&up, "tallyctl");
    let lock = Lock::parse(text.as_bytes()).unwrap();
    let (status, shown) = up.http("GET", &format!("/api/v1/builds/{id}/lock"), "", "");
    assert_eq!(
        (status, Lock::parse(shown.as_bytes()).unwrap()),
        (200, lock.clone())
    );
    let rpm = format!("rpm@{}", std::env::consts::ARCH);
    let (status, page) = up.http(
        "GET",
        &format!("/builds/{id}/tasks/{rpm}/roots?attempt=1"),
        "",
        "",
    );
    assert!(
        status == 200 && page.contains("tally-devel-1.0") && page.contains("millrace-released"),
        "{status}: {page}"
    );
    let (_, log) = up.http(
        "GET",
        &format!("/builds/{id}/tasks/{rpm}/log?attempt=1"),
        "",
        "",
    );
    assert!(log.contains("what was in its roots"), "{log}");
    // A person who looks at its beginning only has seen enough.
    let piped = "set -o pipefail; \"$0\" --state \"$1\" lock \"$2\" | head -1";
    let first = run(Command::new("bash")
        .args(["-c", piped])
        .arg(TestSetup::here().program)
        .arg(up.state())
        .arg(&id));
    assert_eq!(first, "{\n");
    let tasks: Vec<String> = lock
        .tasks
        .iter()
        .map(|task| task.task.to_string())
        .collect();
    assert_eq!(
        tasks.len(),
        3,
        "source, rpm and check each had a root: {tasks:?}"
    );
    let rpm = lock
        .tasks
        .iter()
        .find(|task| task.task.to_string().starts_with("rpm@"))
        .unwrap();
    let devel = rpm.roots[0]
        .packages
        .iter()
        .find(|package| package.nevra.starts_with("tally-devel-1.0"))
        .unwrap();
    assert_eq!(devel.repository, "millrace-released");
    push(&mut up, "tally", &library("2.0"), false);

    let file = folder.path().join("lock.json");
    fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    up.millrace(&["build", "tallyctl", "--lock", file, "--scratch", "--watch"]);
    let (again, text) = lock_of(&up, "tallyctl");
    assert_ne!(again, id);
    let locked = Lock::parse(text.as_bytes()).unwrap();
    let of = |lock: &Lock, step: &str| {
        let task = lock
            .tasks
            .iter()
            .find(|task| task.task.to_string().starts_with(step))
            .unwrap();
        task.roots
            .iter()
            .flat_map(|root| root.packages.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&locked, "rpm@"),
        of(&lock, "rpm@"),
        "2.0 is newer, and was not in the lock"
    );
    let shown = |packages: Vec<RootPackage>| {
        packages
            .iter()
            .map(|package| package.nevra.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(of(&locked, "check@")), shown(of(&lock, "check@")));

    let other = up.try_millrace(&["build", "tally", "--lock", file]);
    let words = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        !other.status.success() && words.contains("the lock is of package tallyctl, not of tally"),
        "{words}"
    );
}

#[test]
fn a_build_is_verified_and_what_differs_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    up.runner("first");
    let commit = up.push_new("tally", &files(&library("1.0")));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
    // What it makes is another thing each time.
    let spec = "Name: chance\nVersion: 1\nRelease: 1%{?dist}\nSummary: For tests\nLicense: MIT\nBuildArch: noarch\n%description\nFor tests.\n\
                %prep\n%setup -q -c -T\n%build\ncat /proc/sys/kernel/random/uuid > chance\n%install\n\
                install -D -m 644 chance %{buildroot}/etc/chance\n%files\n/etc/chance\n";
    let commit = up.push_new("chance", &[("chance.spec", spec)]);
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
    let id = |up: &Up, package: &str| {
        let builds = up.builds();
        let build = builds
            .iter()
            .rev()
            .find(|build| build["package"] == package)
            .unwrap();
        build["id"].as_str().unwrap().to_owned()
    };
    let (tally, chance) = (id(&up, "tally"), id(&up, "chance"));
    up.runner("second");
    let said = up.millrace(&["verify", &tally]);
    assert!(
        said.starts_with("by other runners than first; if there are none, `--same-runner`"),
        "{said}"
    );
    assert!(
        said.lines().last().unwrap().starts_with("equal: all "),
        "{said}"
    );
    let again = up
        .builds()
        .into_iter()
        .find(|build| build["package"] == "tally")
        .unwrap();
    let runners: Vec<&Value> = again["pipeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| &task["runner"])
        .filter(|name| !name.is_null())
        .collect();
    assert!(
        !runners.is_empty() && runners.iter().all(|name| **name == "second"),
        "{runners:?}"
    );
    assert_eq!(
        (again["scratch"].clone(), again["state"].clone()),
        (Value::Bool(true), "passed".into())
    );

    let differs = up.try_millrace(&["--json", "verify", &chance, "--same-runner"]);
    let said = String::from_utf8_lossy(&differs.stdout).into_owned();
    assert_eq!(differs.status.code(), Some(1), "{said}");
    let verdict: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let differing = verdict["differing"].as_array().unwrap();
    assert_eq!(
        (verdict["equal"].clone(), differing.len()),
        (Value::Bool(false), 1),
        "{verdict}"
    );
    let what: Vec<&str> = differing[0]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    assert_eq!(what, ["/etc/chance"]);
}

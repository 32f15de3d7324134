//! How roots are made and found again; roots with packages that try to reach the next one, and of distributions whose rpm looks elsewhere.

use crate::specs::{files, generated};
use millrace_core::Digest;
use millrace_core::platform::Repository;
use millrace_host::buildroot::{Recipe, RootError};
use millrace_tests::sandbox::{PATIENCE, ROOT_BYTES_MAX, SandboxFixture, recipe, status};
use millrace_tests::up::{Up, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

/// Leaves its root, and writes to every file that it finds below two folders of the test: never to any other, for where a wall is
/// missing it reaches all that the machine has.
const ESCAPE: &str = r#"
#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
static int opened, written;
static int visit(const char *path, const struct stat *found, int kind, struct FTW *at) {
    if (kind != FTW_F || !S_ISREG(found->st_mode)) return 0;
    opened++;
    FILE *file = fopen(path, "a");
    if (file) { written++; fputs("poison", file); fclose(file); }
    return 0;
}
int main(void) {
    mkdir("/jail", 0755);
    if (chroot("/jail")) return 1;
    for (int n = 0; n < 64; n++) if (chdir("..")) return 2;
    if (chroot(".")) return 3;
    nftw(FIRST "/roots/dnf", visit, 32, FTW_PHYS);
    int n = nftw(SECOND, visit, 32, FTW_PHYS);
    printf(n || !opened ? "it is still inside\n" : "escaped, and wrote to %d of %d files\n", written, opened);
    return 0;
}
"#;

/// Makes a repository of one package; its address.
fn repository(folder: &Path, spec: &str) -> String {
    let (top, repository) = (folder.join("top"), folder.join("repository"));
    fs::create_dir_all(&repository).unwrap();
    fs::write(folder.join("package.spec"), spec).unwrap();
    let define = |name: &str, value: &Path| format!("{name} {}", value.display());
    run(Command::new("rpmbuild")
        .args([
            "-bb",
            "--define",
            &define("_topdir", &top),
            "--define",
            &define("_rpmdir", &repository),
        ])
        .arg("--define")
        .arg(define("_sourcedir", folder))
        .arg(folder.join("package.spec")));
    run(Command::new("createrepo_c").arg("-q").arg(&repository));
    format!("file://{}", repository.display())
}

fn with(url: String, gpgkey: Option<String>) -> Recipe {
    let mut recipe = recipe();
    recipe.repositories.push(Repository {
        id: "extra".to_owned(),
        baseurl: Some(url),
        mirrorlist: None,
        gpgkey,
        priority: 1,
    });
    recipe
}

/// Digests of all files below a folder.
fn digests(folder: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(digests(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            found.insert(entry.path(), Digest::of(&fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// Everything is in folders of this test alone, so that what gets through harms nobody else.
#[test]
fn a_scriptlet_that_leaves_its_root_changes_nothing_shared() {
    let (shared, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fixture = SandboxFixture::apart(shared.path());
    fs::write(folder.path().join("escape.c"), ESCAPE).unwrap();
    run(Command::new("gcc")
        .args(["-O", "-static", "-o"])
        .arg(folder.path().join("escape"))
        .arg(format!("-DFIRST=\"{}\"", shared.path().display()))
        .arg(format!("-DSECOND=\"{}\"", fixture.folder.path().display()))
        .arg(folder.path().join("escape.c")));
    let spec = "Name: escape\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nSource0: escape\nAutoReqProv: no\n\
                %global debug_package %{nil}\n%global __strip /bin/true\n%description\nx\n%install\n\
                install -D -m 755 %{SOURCE0} %{buildroot}/usr/bin/escape\n%post\n/usr/bin/escape; exit 0\n%files\n/usr/bin/escape\n";
    let key = folder.path().join("RPM-GPG-KEY");
    fs::write(&key, "a key").unwrap();
    let mut recipe = with(repository(folder.path(), spec), None);
    // Nothing is asked of it; its key is a file that dnf is told of.
    let signed = Repository {
        id: "signed".to_owned(),
        gpgkey: Some(format!("file://{}", key.display())),
        ..recipe.repositories[0].clone()
    };
    recipe.repositories.push(Repository {
        priority: 100,
        ..signed
    });
    let (root, said) = fixture.try_recipe(&recipe, &[]);
    assert!(root.is_ok(), "{root:?}\n{said}");
    let cache = shared.path().join("roots/dnf");
    let before = digests(&cache);
    assert!(
        !before.is_empty(),
        "dnf keeps nothing in {}",
        cache.display()
    );
    let (root, said) = fixture.try_recipe(&recipe, &["escape"]);
    assert!(root.is_ok(), "{root:?}\n{said}");
    assert!(
        said.contains("escaped, and wrote to"),
        "it did not get out, so that this shows nothing:\n{said}"
    );
    for (path, digest) in digests(&cache) {
        let same = before.get(&path).is_none_or(|known| *known == digest)
            || path.extension().is_some_and(|kind| kind == "json");
        assert!(
            same && !fs::read(&path).unwrap().ends_with(b"poison"),
            "{} was changed\n{said}",
            path.display()
        );
    }
    // Another package of the same task is installed as if nothing had been.
    let mut root = root.unwrap();
    let (done, said) = fixture.install(&mut root, &["ed"]);
    assert!(done.is_ok(), "{done:?}\n{said}");
}

#[test]
fn a_root_whose_rpm_looks_elsewhere_sees_what_dnf_installed() {
    let (fixture, folder) = (SandboxFixture::new(), tempfile::tempdir().unwrap());
    let spec = "Name: sysimage\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n%description\nx\n%install\n\
                mkdir -p %{buildroot}/etc/rpm\necho '%%_dbpath /usr/lib/sysimage/rpm' > %{buildroot}/etc/rpm/macros.sysimage\n\
                %files\n/etc/rpm/macros.sysimage\n";
    let mut recipe = with(repository(folder.path(), spec), None);
    recipe.buildroot.minimal.push("sysimage".to_owned());
    let (root, said) = fixture.try_recipe(&recipe, &["ed"]);
    let mut root = root.unwrap_or_else(|error| panic!("{error}\n{said}"));
    let never = AtomicBool::new(false);
    let script = "rpm --eval '%{_dbpath}' && rpm -q sysimage ed && rpm -qa | wc -l";
    let (ended, said) = fixture.run_in(
        root.view(),
        &["/bin/bash", "-c", script],
        PATIENCE,
        true,
        &never,
    );
    assert_eq!(status(&ended), Some(0), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0] == "/usr/lib/sysimage/rpm"
            && lines[1].starts_with("sysimage-1")
            && lines[2].starts_with("ed-"),
        "{said}"
    );
    let (contents, _) = fixture.with_session(|session| root.contents(session));
    assert_eq!(contents.unwrap().len().to_string(), lines[3]);
    let (removed, said) = fixture.with_session(|session| root.remove(&["ed".to_owned()], session));
    assert!(removed.is_ok(), "{removed:?}\n{said}");
    let (ended, said) = fixture.run_in(
        root.view(),
        &["/bin/rpm", "-q", "ed"],
        PATIENCE,
        true,
        &never,
    );
    assert_ne!(
        status(&ended),
        Some(0),
        "rpm inside does not see that it is gone: {said}"
    );
}

#[test]
fn a_root_that_fills_the_disk_while_it_is_made_is_stopped() {
    let (shared, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Half as much again as it may, and no more than that where nobody stops it.
    let files = ROOT_BYTES_MAX * 3 / 2 / (100 << 20);
    let spec = format!(
        "Name: big\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\nRequires(post): coreutils\n%description\nx\n\
         %post\nfor n in $(seq {files}); do head -c 100M /dev/zero > /big$n; sleep 0.2; done\n%files\n"
    );
    let mut recipe = with(repository(folder.path(), &spec), None);
    recipe.buildroot.minimal.push("big".to_owned());
    let (root, said) = SandboxFixture::apart(shared.path()).try_recipe(&recipe, &[]);
    let Err(RootError::Refused(problem)) = root else {
        panic!("{root:?}\n{said}")
    };
    assert!(problem.contains("do not fit into the disk"), "{problem}");
}

#[test]
fn a_missing_package_of_the_platform_is_the_platforms_fault() {
    let mut recipe = recipe();
    recipe.buildroot.minimal.push("no-such-package".to_owned());
    let (root, _) = SandboxFixture::new().try_recipe(&recipe, &[]);
    let Err(RootError::Refused(problem)) = root else {
        panic!("{root:?}")
    };
    assert!(
        problem.contains("`minimal` under `buildroot`") && problem.contains("no-such-package"),
        "{problem}"
    );
}

#[test]
fn what_a_spec_finds_out_that_it_needs_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let spec = generated(
        ("ed", "/usr/bin/ed"),
        ("chrpath >= 0.10", "/usr/bin/chrpath"),
    );
    let commit = up.push_new("generated", &files(&spec));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
}

#[test]
fn what_a_spec_finds_out_and_nobody_has_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let commit = up.push_new(
        "generated",
        &files(&generated(
            ("no-such-thing", "/nothing"),
            ("ed", "/nothing"),
        )),
    );
    let (told, released) = up.watch(&commit);
    assert!(
        !released && told.contains("no-such-thing") && told.contains("correct the spec"),
        "{told}\n{}",
        up.log()
    );
}

/// Puts another rpm in the place of the root's, which keeps its own database and cannot read what dnf wrote, as that of EL 8.
const OLD_RPM: &str = r#"Name: oldrpm
Version: 1
Release: 1
Summary: x
License: MIT
BuildArch: noarch
Requires(post): rpm bash coreutils
%description
x
%files
%post
mv /usr/bin/rpm /usr/bin/rpm.new
mv /usr/bin/rpmdb /usr/bin/rpmdb.new
cat > /usr/bin/rpm <<'END'
#!/bin/bash
for word; do
    if [ "$word" = --eval ]; then exec -a rpm /usr/bin/rpm.new "$@"; fi
done
exec -a rpm /usr/bin/rpm.new --dbpath /var/lib/oldrpm "$@"
END
cat > /usr/bin/rpmdb <<'END'
#!/bin/bash
rm -rf /var/lib/oldrpm
mkdir /var/lib/oldrpm
exec -a rpmdb /usr/bin/rpmdb.new --dbpath /var/lib/oldrpm "$@"
END
chmod 755 /usr/bin/rpm /usr/bin/rpmdb
"#;

#[test]
fn a_root_with_an_older_rpm_is_handed_every_change() {
    let (fixture, folder) = (SandboxFixture::new(), tempfile::tempdir().unwrap());
    let mut recipe = with(repository(folder.path(), OLD_RPM), None);
    recipe.buildroot.minimal.push("oldrpm".to_owned());
    let (root, said) = fixture.try_recipe(&recipe, &[]);
    let mut root = root.unwrap_or_else(|error| panic!("{error}\n{said}"));
    let knows = |root: &millrace_host::buildroot::Root, package: &str| {
        let argv = ["/usr/bin/rpm", "--query", package];
        let (ended, said) =
            fixture.run_in(root.view(), &argv, PATIENCE, false, &AtomicBool::new(false));
        status(&ended)
            .map(|status| status == 0)
            .unwrap_or_else(|| panic!("{ended:?} {said}"))
    };
    assert!(knows(&root, "oldrpm") && knows(&root, "bash") && !knows(&root, "ed"));
    let (done, said) = fixture.install(&mut root, &["ed"]);
    assert!(done.is_ok(), "{done:?}\n{said}");
    assert!(knows(&root, "ed"), "what was installed was not handed over");
    let (done, said) = fixture.with_session(|session| root.remove(&["ed".to_owned()], session));
    assert!(done.is_ok(), "{done:?}\n{said}");
    assert!(!knows(&root, "ed"), "what was removed was not handed over");
}

#[test]
fn a_package_that_nobody_has_is_named() {
    let (root, _) = SandboxFixture::new().try_root(&["no-such-package"]);
    let Err(RootError::Unresolved(problems)) = root else {
        panic!("{root:?}")
    };
    assert!(
        problems.join("\n").contains("no-such-package"),
        "{problems:?}"
    );
}

#[test]
fn a_root_is_made_once_and_then_found() {
    let fixture = SandboxFixture::new();
    fixture.root();
    let (root, said) = fixture.try_root(&[]);
    assert!(root.is_ok());
    assert_eq!(said, "", "it was made again");
}

#[test]
fn a_path_that_leads_out_of_the_folder_is_refused() {
    let fixture = SandboxFixture::new();
    std::os::unix::fs::symlink("/etc/passwd", fixture.work().join("link.rpm")).unwrap();
    for path in ["/work/../outside.rpm", "/work/link.rpm"] {
        let (root, _) = fixture.try_root(&[path]);
        assert!(
            matches!(root, Err(RootError::Refused(_))),
            "{path}: {root:?}"
        );
    }
}

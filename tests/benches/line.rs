//! From push to released for a package with nothing in it, against a shell script that does the same by hand in an equal root.

use crate::row::{Better, Figures, Row, seconds};
use millrace_tests::up::{TestSetup, Up, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const RUNS: usize = 5;

/// What the line may add to the work itself, in seconds.
const OWN_COST_GOAL_S: f64 = 2.0;

const PEER: &str = "a script: rpmbuild, rpmsign, createrepo_c in an equal root";

/// What is measured, in this order.
pub const ROWS: [&str; 2] = [
    "push to released, an empty package",
    "of that the line's own: less the script's time",
];

pub fn rows() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let first = up.push_new("empty", &[("empty.spec", &spec(1))]);
    let (told, released) = up.watch(&first);
    assert!(released, "{told}\n{}", up.log());
    let script = Script::new(folder.path());
    let (mut ours, mut theirs, mut difference) = (Vec::new(), Vec::new(), Vec::new());
    for release in 2..2 + RUNS {
        let commit = up.commit("empty", &[("empty.spec", &spec(release))]);
        let line_s = seconds(|| webhook_to_released(&mut up, &commit));
        let script_s = seconds(|| script.run(release));
        ours.push(line_s);
        theirs.push(script_s);
        difference.push(line_s - script_s);
    }
    let theirs = Figures::new(theirs);
    let row = |row, ours, goal| Row {
        row,
        ours: Figures::new(ours),
        unit: "s",
        peer: PEER,
        theirs: theirs.clone(),
        goal,
        better: Better::Less,
    };
    vec![
        row(ROWS[0], ours, None),
        row(ROWS[1], difference, Some(OWN_COST_GOAL_S)),
    ]
}

fn spec(release: usize) -> String {
    format!(
        "Name: empty\nVersion: 1\nRelease: {release}%{{?dist}}\nSummary: Nothing\nLicense: MIT\nBuildArch: noarch\n\
         %description\nNothing.\n%prep\n%build\n%install\n%files\n"
    )
}

/// Git's own work is in it on neither side: the time runs from the webhook on.
fn webhook_to_released(up: &mut Up, commit: &str) {
    up.announce("empty", commit);
    loop {
        let (_, body) = up.http("GET", &format!("/api/v1/builds?commit={commit}"), "", "");
        if body.contains("\"state\":\"released\"") {
            return;
        }
        assert!(
            !body.contains("\"state\":\"failed\""),
            "{body}\n{}",
            up.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a person would write.
struct Script {
    folder: PathBuf,
    root: PathBuf,
}

impl Script {
    fn new(folder: &Path) -> Self {
        let folder = folder.join("script");
        fs::create_dir_all(folder.join("gpg")).unwrap();
        fs::create_dir_all(folder.join("repo")).unwrap();
        run(Command::new("chmod").arg("700").arg(folder.join("gpg")));
        run(gpg(&folder).args([
            "--batch",
            "--passphrase",
            "",
            "--quick-generate-key",
            "bench@example.org",
            "ed25519",
            "sign",
            "never",
        ]));
        let layers = TestSetup::here().work.join("roots/layers");
        let mut built = fs::read_dir(layers)
            .unwrap()
            .map(|entry| entry.unwrap().path().join("layer"));
        let root = built.find(|layer| {
            layer.join("usr/bin/rpmbuild").exists() && layer.join("usr/bin/gcc").exists()
        });
        Self {
            folder,
            root: root.expect("the line has made a buildroot by now"),
        }
    }

    fn run(&self, release: usize) {
        let (folder, root) = (self.folder.display(), self.root.display());
        fs::write(self.folder.join("empty.spec"), spec(release)).unwrap();
        let script = format!(
            r#"set -e
cd {folder}; mkdir upper work root
mount -t overlay overlay -o lowerdir={root},upperdir={folder}/upper,workdir={folder}/work root
mkdir -p root/b; cp empty.spec root/b/
chroot root rpmbuild -bs --quiet --define '_topdir /b' --define 'dist .t9' /b/empty.spec
chroot root rpmbuild --rebuild --quiet --define '_topdir /b' --define 'dist .t9' /b/SRPMS/empty-1-{release}.t9.src.rpm
cp root/b/RPMS/noarch/*.rpm root/b/SRPMS/*.rpm repo/
umount root; rm -rf upper work root
export GNUPGHOME={folder}/gpg
rpmsign --define '__gpg /usr/bin/gpg' --define '_gpg_name bench@example.org' --addsign repo/empty-1-{release}.t9.*.rpm >/dev/null
createrepo_c -q --update repo
gpg --batch --yes --detach-sign --armor repo/repodata/repomd.xml
"#
        );
        run(Command::new("unshare").args(["--mount", "bash", "-c", &script]));
    }
}

fn gpg(folder: &Path) -> Command {
    let mut command = Command::new("gpg");
    command.env("GNUPGHOME", folder.join("gpg"));
    command
}

//! Machines that runners are put on: what the doctor says of them, and one on which nobody is root.

use crate::sandbox::{ELSEWHERE, again};
use crate::specs::{empty, files};
use millrace_tests::up::{TestSetup, Up};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the doctor says by the word that it is about, and its exit status.
struct DoctorReport {
    status: Option<i32>,
    findings: Vec<Value>,
    output: Output,
}

impl DoctorReport {
    /// Lets the doctor look, started by these words; the last of them is the program's place.
    fn when(before: &[&str], folder: &Path, more: &[&str]) -> Self {
        let program = TestSetup::here().program;
        let words: Vec<&str> = before
            .iter()
            .copied()
            .chain([program.to_str().unwrap()])
            .collect();
        let mut command = Command::new(words[0]);
        let output = command
            .args(&words[1..])
            .arg("--state")
            .arg(folder)
            .args(["--json", "runner", "doctor"])
            .args(more)
            .output()
            .unwrap();
        let findings = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        Self {
            status: output.status.code(),
            findings,
            output,
        }
    }

    /// Verdict and words.
    fn of(&self, about: &str) -> (&str, &str) {
        let finding = self
            .findings
            .iter()
            .find(|finding| finding["about"] == about);
        let finding = finding.unwrap_or_else(|| panic!("nothing of {about}: {:?}", self.output));
        (
            finding["verdict"].as_str().unwrap(),
            finding["says"].as_str().unwrap(),
        )
    }
}

#[test]
fn a_machine_that_can_run_these_tests_is_found_fit_by_building_a_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let said = DoctorReport::when(&[], folder.path(), &[]);
    assert_eq!(said.status, Some(0), "{:?}", said.output);
    for about in [
        "user",
        "sandbox",
        "network",
        "processes",
        "machine",
        "privileges",
    ] {
        assert_eq!(said.of(about).0, "good", "{:?}", said.of(about));
    }
    let left: Vec<_> = fs::read_dir(folder.path().join("runner"))
        .unwrap()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_machine_that_lets_nobody_make_namespaces_is_refused_with_words_by_doctor_and_runner() {
    let folder = tempfile::tempdir().unwrap();
    let without = [
        "setpriv",
        "--inh-caps=-sys_admin",
        "--bounding-set=-sys_admin",
    ];
    let said = DoctorReport::when(&without, folder.path(), &[]);
    assert_eq!(said.status, Some(1), "{:?}", said.output);
    let (verdict, words) = said.of("sandbox");
    assert!(
        verdict == "refused"
            && words.contains("none can be built, and nothing foreign runs without one"),
        "{words}"
    );
    assert!(words.contains("namespaces: EPERM"), "{words}");
    fs::write(folder.path().join("token"), "t").unwrap();
    let mut runner = Command::new(without[0]);
    runner
        .args(&without[1..])
        .arg(TestSetup::here().program)
        .arg("--state")
        .arg(folder.path());
    runner
        .args([
            "runner",
            "run",
            "r1",
            "--url",
            "http://127.0.0.1:9",
            "--token-file",
        ])
        .arg(folder.path().join("token"));
    let output = runner.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(
        told.contains("no task may run on this machine") && told.contains(words),
        "{told}"
    );
}

#[test]
fn a_machine_without_control_groups_is_said_to_bound_less_and_may_work() {
    let folder = tempfile::tempdir().unwrap();
    let none = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /sys/fs/cgroup && exec \"$0\" \"$@\"",
    ];
    let said = DoctorReport::when(&none, folder.path(), &[]);
    assert_eq!(said.status, Some(0), "{:?}", said.output);
    for about in ["memory", "number of processes"] {
        let (verdict, words) = said.of(about);
        assert!(
            verdict == "weaker" && words.contains("no control group can be made"),
            "{words}"
        );
    }
}

#[test]
fn a_folder_on_an_overlay_is_named_as_what_keeps_a_machine_from_working() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let overlay = format!(
        "cd {at} && mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m && exec \"$0\" \"$@\""
    );
    let said = DoctorReport::when(
        &["unshare", "--mount", "sh", "-c", &overlay],
        &folder.path().join("m/state"),
        &[],
    );
    assert_eq!(said.status, Some(1), "{:?}", said.output);
    assert!(
        said.of("sandbox")
            .1
            .contains("the runner's folder lies on overlayfs"),
        "{:?}",
        said.of("sandbox")
    );
}

#[test]
fn a_clock_is_compared_with_the_lines_and_a_line_that_is_away_is_no_reason_to_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start_without_runner(folder.path());
    let said = DoctorReport::when(&[], &folder.path().join("there"), &["--url", &up.url("")]);
    assert_eq!(
        (said.status, said.of("clock").0),
        (Some(0), "good"),
        "{:?}",
        said.output
    );
    let said = DoctorReport::when(
        &[],
        &folder.path().join("away"),
        &["--url", "http://127.0.0.1:9"],
    );
    assert_eq!(
        (said.status, said.of("clock").0),
        (Some(0), "weaker"),
        "{:?}",
        said.output
    );
}

/// What the log of a task says of it.
const OPEN: &str = "the platform opens the network for this step";

#[test]
fn a_platform_opens_the_network_for_a_step_and_the_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut up = Up::start(folder.path(), "");
    let ask = format!(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}'\ntest -s /etc/resolv.conf",
        somebody.local_addr().unwrap().port()
    );
    let closed = up.push_new(
        "closed",
        &files(&empty("closed", "BuildArch: noarch", &ask)),
    );
    let (told, released) = up.watch(&closed);
    assert!(!released && told.contains("Connection refused"), "{told}");
    let file = folder.path().join("platform.toml");
    let mut platform: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    let steps = platform["steps"].as_array_mut().unwrap();
    let build = steps
        .iter_mut()
        .find(|step| step["name"].as_str() == Some("rpm"))
        .unwrap();
    build
        .as_table_mut()
        .unwrap()
        .insert("network".to_owned(), true.into());
    fs::write(&file, platform.to_string()).unwrap();
    up.millrace(&["platform", "add", file.to_str().unwrap()]);
    let open = up.push_new("open", &files(&empty("open", "BuildArch: noarch", &ask)));
    let (told, released) = up.watch(&open);
    assert!(released, "{told}\n{}", up.log());
    let build = up
        .builds()
        .into_iter()
        .find(|build| build["package"] == "open")
        .unwrap();
    let log = |step: &str| {
        let task = build["pipeline"]
            .as_array()
            .unwrap()
            .iter()
            .find(|task| task["step"] == step)
            .unwrap();
        up.millrace(&[
            "logs",
            build["id"].as_str().unwrap(),
            task["task"].as_str().unwrap(),
        ])
    };
    assert!(log("rpm").contains(OPEN), "{}", log("rpm"));
    assert!(
        !log("source").contains(OPEN) && !log("check").contains(OPEN),
        "a step that asked for nothing got it"
    );
}

/// An ordinary user that nobody has, and the first of 65536 ids that nobody has either.
const USER: u32 = 47_110;
const FIRST_ID: u32 = 1_000_100_000;

/// A machine seen by an ordinary user, who cannot look into the folders of the user who runs the tests.
struct Elsewhere {
    folder: tempfile::TempDir,
    mounts: String,
}

impl Elsewhere {
    fn new(subordinate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = folder.path().display().to_string();
        for name in ["etc", "etc-work", "home", "home/work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            std::os::unix::fs::chown(folder.path().join(name), Some(USER), Some(USER)).unwrap();
        }
        let mut mounts = format!(
            "set -e
            mount -t overlay -o lowerdir=/etc,upperdir={at}/etc,workdir={at}/etc-work none /etc
            chown root:root /etc && chmod 755 /etc
            echo 'tester:x:{USER}:{USER}::{at}/home:/bin/bash' >> /etc/passwd
            echo 'tester:x:{USER}:' >> /etc/group
            echo '{subordinate}' > /etc/subuid
            echo '{subordinate}' > /etc/subgid\n"
        );
        let machine = TestSetup::here();
        let mut platform = machine.platform;
        let here: Vec<PathBuf> = local_repositories(&platform);
        for (number, repository) in here.iter().enumerate() {
            let seen = format!("{at}/repository-{number}");
            mounts += &format!(
                "mkdir -p {seen}; mount --bind {} {seen}\n",
                repository.display()
            );
            platform = platform.replace(repository.to_str().unwrap(), &seen);
        }
        fs::write(folder.path().join("platform.toml"), platform).unwrap();
        mounts += &format!(
            "mkdir -p {at}/plugins; mount --bind {} {at}/plugins\n",
            machine.plugins.display()
        );
        mounts += &format!(
            "touch {at}/millrace; mount --bind {} {at}/millrace\n",
            machine.program.display()
        );
        mounts += &format!(
            "touch {at}/test; mount --bind {} {at}/test\n",
            std::env::current_exe().unwrap().display()
        );
        Self { folder, mounts }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts a program there, as that user; its arguments follow.
    fn command(&self, program: &str) -> Command {
        let script = format!(
            "{}cd {home}; exec env HOME={home} TMPDIR={home} MILLRACE_BIN={bin} MILLRACE_PLUGINS={plugins} MILLRACE_TEST_WORK={home}/work \
             MILLRACE_TEST_PLATFORM={platform} setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all \"$0\" \"$@\"",
            self.mounts,
            home = self.at("home"),
            bin = self.at("millrace"),
            plugins = self.at("plugins"),
            platform = self.at("platform.toml"),
        );
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "bash", "-c", &script])
            .arg(self.at(program));
        command
    }
}

/// Folders of this machine that the platform's packages come from.
fn local_repositories(platform: &str) -> Vec<PathBuf> {
    let platform: toml::Table = platform.parse().unwrap();
    let repositories = platform["repositories"].as_array().unwrap();
    repositories
        .iter()
        .filter_map(|repository| {
            repository["baseurl"]
                .as_str()?
                .strip_prefix("file://")
                .map(PathBuf::from)
        })
        .collect()
}

#[test]
fn an_ordinary_user_with_ids_of_its_own_runs_the_line_from_push_to_release() {
    if std::env::var_os(ELSEWHERE).is_none() {
        let elsewhere = Elsewhere::new(&format!("tester:{FIRST_ID}:65536"));
        return again(
            elsewhere.command("test"),
            "machines::an_ordinary_user_with_ids_of_its_own_runs_the_line_from_push_to_release",
        );
    }
    assert_eq!(nix::unistd::geteuid().as_raw(), USER);
    let folder = tempfile::tempdir().unwrap();
    let said = DoctorReport::when(&[], &folder.path().join("looked"), &[]);
    assert_eq!(said.status, Some(0), "{:?}", said.output);
    assert!(
        said.of("user")
            .1
            .contains("an ordinary user, with ids of its own"),
        "{:?}",
        said.of("user")
    );
    let mut up = Up::start(folder.path(), "");
    let tries = "id -u; test $(id -u) = 1000; ! touch /usr/planted; ! cat /proc/1/environ; test $(ls /sys/class/net | wc -l) = 1";
    let commit = up.push_new("mine", &files(&empty("mine", "BuildArch: noarch", tries)));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
    let work = TestSetup::here().work;
    let layer = fs::read_dir(work.join("roots/layers"))
        .unwrap()
        .flatten()
        .find(|entry| entry.path().join("layer/usr").exists());
    let layer = layer.unwrap().path().join("layer");
    assert_eq!(
        fs::metadata(layer.join("usr")).unwrap().uid(),
        USER,
        "root of a root is its user outside"
    );
    assert_eq!(
        fs::read_dir(work.join("tasks")).unwrap().count(),
        0,
        "what tasks leave is removed, whosever it was"
    );
    up.kill();
}

#[test]
fn an_ordinary_user_without_ids_is_told_how_to_get_some() {
    let elsewhere = Elsewhere::new("somebody:1:65536");
    let output = elsewhere
        .command("millrace")
        .args(["--json", "runner", "doctor"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        said.contains(
            "/etc/subuid gives tester no 65534 ids of its own: let root run `usermod --add-subuids"
        ),
        "{said}"
    );
    let output = elsewhere
        .command("millrace")
        .args(["up", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(
        said.contains("for a line without a runner, use --no-runner")
            && said.contains("/etc/subuid gives tester no"),
        "{said}"
    );
}

//! What the sandbox costs: its start with everything switched on, and the rpmbuild of a real package in it, against what others would use.

use crate::row::{Better, Figures, Row, in_turn, seconds};
use millrace_core::platform::{Limits, SandboxOptions};
use millrace_host::buildroot::{Recipe, Root, RootKind, RootSession};
use millrace_host::sandbox::{Command, CommandEnd, View};
use millrace_tests::sandbox::{SandboxFixture, recipe};
use millrace_tests::up::{TestSetup, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Starts of each kind, in turn.
const STARTS: usize = 21;

/// Before each start: what one leaves to the kernel when it has ended, mounts, networks and control groups, is not to be waited for by the
/// next.
const REST: Duration = Duration::from_millis(300);

/// Builds on each side, in turn: some seconds each. Their times differ by a fifth on a machine in a cloud, the median of so many by less than
/// what is asked for.
const BUILDS: usize = 15;

/// Most that a start may take, in milliseconds, and how it shall compare: twice as long as bubblewrap, which does less, and so many times
/// faster than the others.
const START_GOAL_MS: f64 = 30.0;
const BUBBLEWRAP_GOAL: f64 = 2.0;
const NSPAWN_GOAL: f64 = 1.0 / 5.0;
const PODMAN_GOAL: f64 = 1.0 / 15.0;

/// What the sandbox may add to a build.
const BUILD_GOAL: f64 = 1.03;

/// What is measured, in this order.
pub const ROWS: [&str; 6] = [
    "warm start of a sandbox, all switched on",
    "the same, at most twice bubblewrap's",
    "the same, a fifth of systemd-nspawn's",
    "the same, a fifteenth of podman's",
    "the same, where the host has mock",
    "rpmbuild of zlib in it, 3 % over outside",
];

pub fn rows() -> Vec<Row> {
    let bench = SandboxBench::new();
    let mut rows = starts(&bench);
    rows.push(builds(&bench));
    rows
}

/// Where sandboxes and the others work.
struct SandboxBench {
    fixture: SandboxFixture,
    recipe: Recipe,
}

impl SandboxBench {
    fn new() -> Self {
        let program = std::env::current_exe().unwrap();
        Self {
            fixture: SandboxFixture::with_program(program, &TestSetup::here().work),
            recipe: recipe(),
        }
    }

    fn work(&self) -> PathBuf {
        self.fixture.work()
    }

    fn root(&self, kind: RootKind) -> Root {
        let work = self.work();
        let never = AtomicBool::new(false);
        let mut session = RootSession {
            work: &work,
            limits: Limits::default(),
            time_left: Duration::from_secs(600),
            cancelled: &never,
            output: &mut |_| {},
        };
        self.fixture
            .roots
            .create(&self.recipe, kind, &[], &mut session)
            .unwrap()
    }

    /// Runs a command to its good end, as tasks do.
    fn run(&self, root: &Root, argv: &[&str], cwd: &str) {
        let (work, mut said) = (self.work(), String::new());
        let command = Command {
            view: root.view(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            cwd: cwd.to_owned(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(600),
            as_root: false,
            options: SandboxOptions::default(),
            work: &work,
            capture_bytes_max: 0,
        };
        let ended = self
            .fixture
            .sandbox
            .run(&command, &AtomicBool::new(false), &mut |bytes| {
                said.push_str(&String::from_utf8_lossy(bytes))
            });
        assert!(
            matches!(ended, Ok(CommandEnd::Exited { status: 0, .. })),
            "{argv:?}: {ended:?}\n{said}"
        );
    }
}

/// The folders under a root, the upper first.
fn lowers(root: &Root) -> String {
    let View::Root(overlay) = root.view() else {
        unreachable!("a root has a view of its own")
    };
    overlay
        .lowers
        .iter()
        .map(|lower| lower.display().to_string())
        .collect::<Vec<_>>()
        .join(":")
}

/// Another way to run a program in a root.
struct Peer {
    name: &'static str,
    command: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Peer {
    fn output(&self) -> std::io::Result<Output> {
        let mut command = std::process::Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .output()
    }

    fn ms(&self) -> f64 {
        1e3 * seconds(|| {
            assert!(
                self.output().unwrap().status.success(),
                "{} stopped working",
                self.name
            )
        })
    }

    /// Whether it works here; if not, why.
    fn works(&self) -> Result<(), String> {
        match self.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .unwrap_or("it says nothing")
                .to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The program that is run everywhere.
const PROGRAM: &str = "/usr/bin/true";

fn bubblewrap(root: &str) -> Peer {
    let words = format!(
        "bwrap --unshare-all --ro-bind {root} / --proc /proc --dev /dev --tmpfs /tmp --die-with-parent --new-session --cap-drop ALL {PROGRAM}"
    );
    Peer {
        name: "bubblewrap, which does less",
        command: words.split(' ').map(str::to_owned).collect(),
        environment: Vec::new(),
    }
}

fn nspawn(root: &str) -> Peer {
    let words = format!(
        "systemd-nspawn --quiet --register=no --keep-unit --private-network --volatile=overlay --directory {root} {PROGRAM}"
    );
    Peer {
        name: "systemd-nspawn",
        command: words.split(' ').map(str::to_owned).collect(),
        environment: Vec::new(),
    }
}

/// podman with a store of its own, and an image of the root in it. Where control groups are of both versions, crun does not work, and where
/// nobody may raise a limit, podman's own are too high.
fn podman(root: &str, folder: &Path) -> Result<Peer, String> {
    let configuration = folder.join("containers.conf");
    fs::write(
        &configuration,
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
    )
    .unwrap();
    let at = folder.display();
    let common =
        format!("podman --root {at}/podman --runroot {at}/podman-run --cgroup-manager cgroupfs");
    let runtime = if std::process::Command::new("runc")
        .arg("--version")
        .output()
        .is_ok()
    {
        " --runtime runc"
    } else {
        ""
    };
    let import = format!("tar -C {root} -c . | {common} import --quiet - bench:1");
    let imported = std::process::Command::new("sh")
        .args(["-c", &import])
        .env("CONTAINERS_CONF", &configuration)
        .output();
    let imported = imported.map_err(|error| error.to_string())?;
    if !imported.status.success() {
        return Err(String::from_utf8_lossy(&imported.stderr)
            .lines()
            .last()
            .unwrap_or("it says nothing")
            .to_owned());
    }
    let words = format!("{common}{runtime} run --rm --network none bench:1 {PROGRAM}");
    let environment = vec![("CONTAINERS_CONF", configuration)];
    Ok(Peer {
        name: "podman",
        command: words.split(' ').map(str::to_owned).collect(),
        environment,
    })
}

/// mock as the machine has it: by its own configuration, in a root that it has made before.
fn mock() -> Result<Peer, String> {
    let made = std::process::Command::new("mock")
        .args(["--quiet", "--init"])
        .stdin(Stdio::null())
        .output();
    let made = made.map_err(|error| format!("mock: {error}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr)
            .lines()
            .last()
            .unwrap_or("it says nothing")
            .to_owned());
    }
    let command = ["mock", "--quiet", "--chroot", PROGRAM]
        .map(str::to_owned)
        .to_vec();
    Ok(Peer {
        name: "mock --chroot",
        command,
        environment: Vec::new(),
    })
}

/// A row, and the share of the other's time that is its goal; none if its goal stands by itself.
type Goal = (usize, Option<f64>);

fn starts(bench: &SandboxBench) -> Vec<Row> {
    let root = bench.root(RootKind::Minimal);
    let below = lowers(&root);
    let folder = bench.fixture.folder.path();
    let peers = [
        Ok(bubblewrap(&below)),
        Ok(nspawn(&below)),
        podman(&below, folder),
        mock(),
    ];
    let peers = peers.map(|peer| peer.and_then(|peer| peer.works().map(|()| peer)));
    let (mut ours, mut theirs) = (Vec::new(), [const { Vec::new() }; 4]);
    bench.run(&root, &[PROGRAM], "/");
    for _ in 0..STARTS {
        std::thread::sleep(REST);
        ours.push(1e3 * seconds(|| bench.run(&root, &[PROGRAM], "/")));
        for (peer, times) in peers.iter().zip(&mut theirs) {
            if let Ok(peer) = peer {
                std::thread::sleep(REST);
                times.push(peer.ms());
            }
        }
    }
    let ours = Figures::new(ours);
    let mut rows = Vec::new();
    let goals: [(&[Goal], &str); 4] = [
        (&[(0, None), (1, Some(BUBBLEWRAP_GOAL))], "bubblewrap"),
        (&[(2, Some(NSPAWN_GOAL))], "systemd-nspawn"),
        (&[(3, Some(PODMAN_GOAL))], "podman"),
        (&[(4, None)], "mock"),
    ];
    for ((peer, times), (goals, name)) in peers.into_iter().zip(theirs).zip(goals) {
        let peer = match peer {
            Ok(peer) => peer,
            Err(problem) => {
                eprintln!("runner: {name} is left out, it does not work here: {problem}");
                continue;
            }
        };
        let theirs = Figures::new(times);
        for (row, share) in goals {
            let goal = share.map_or(START_GOAL_MS, |share| theirs.median() * share);
            let (ours, theirs) = (ours.clone(), theirs.clone());
            rows.push(Row {
                row: ROWS[*row],
                ours,
                unit: "ms",
                peer: peer.name,
                theirs,
                goal: Some(goal),
                better: Better::Less,
            });
        }
    }
    rows
}

/// What a build of zlib is, in a folder that both sides have as `/work`.
const BUILD: [&str; 6] = [
    "rpmbuild",
    "-bb",
    "--quiet",
    "--define",
    "_topdir /work/rpm",
    "/work/rpm/SPECS/zlib.spec",
];

fn builds(bench: &SandboxBench) -> Row {
    let root = bench.root(RootKind::Build);
    let packages = std::env::var("MILLRACE_TEST_PACKAGES")
        .expect("MILLRACE_TEST_PACKAGES is set by `cargo xtask bench`");
    let packages = PathBuf::from(packages);
    let spec = fs::read_to_string(packages.join("zlib/zlib.spec")).unwrap();
    let version = spec
        .lines()
        .find_map(|line| line.strip_prefix("Version:"))
        .unwrap()
        .trim()
        .to_owned();
    let prepare = || {
        let top = bench.work().join("rpm");
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(top.join("SPECS")).unwrap();
        fs::create_dir_all(top.join("SOURCES")).unwrap();
        fs::write(top.join("SPECS/zlib.spec"), &spec).unwrap();
        fs::copy(
            packages.join("zlib.tar.gz"),
            top.join(format!("SOURCES/zlib-{version}.tar.gz")),
        )
        .unwrap();
        run(std::process::Command::new("chown")
            .args(["-R", "1000:1000"])
            .arg(&top));
    };
    let outside = Outside::new(bench, &lowers(&root));
    let (ours, theirs) = in_turn(
        BUILDS,
        || {
            prepare();
            seconds(|| bench.run(&root, &BUILD, "/work"))
        },
        || {
            prepare();
            seconds(|| outside.run())
        },
    );
    let goal = Some(theirs.median() * BUILD_GOAL);
    Row {
        row: ROWS[5],
        ours,
        unit: "s",
        peer: "the same command in a chroot",
        theirs,
        goal,
        better: Better::Less,
    }
}

/// The same root without a sandbox: an overlay and a chroot.
struct Outside {
    script: String,
}

impl Outside {
    fn new(bench: &SandboxBench, lowers: &str) -> Self {
        let at = bench.fixture.folder.path().join("task/outside");
        for name in ["upper", "scratch", "root"] {
            fs::create_dir_all(at.join(name)).unwrap();
        }
        let (at, work) = (at.display(), bench.work().display().to_string());
        let words = BUILD.map(|word| format!("'{word}'")).join(" ");
        let script = format!(
            "set -e
            mount -t overlay overlay -o lowerdir={lowers},upperdir={at}/upper,workdir={at}/scratch {at}/root
            mkdir -p {at}/root/work; mount --bind {work} {at}/root/work
            mount -t proc proc {at}/root/proc; mount --bind /dev {at}/root/dev
            exec chroot --userspec=1000:1000 {at}/root env -i PATH=/usr/bin:/bin HOME=/builddir LANG=C.UTF-8 {words}"
        );
        Self { script }
    }

    fn run(&self) {
        run(std::process::Command::new("unshare").args(["--mount", "bash", "-c", &self.script]));
    }
}

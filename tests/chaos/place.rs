//! The place where chaos is played: a line and its runners as processes, in namespaces that nobody else has and that end with this process,
//! however it ends. So names and addresses may be the same in every place, and nothing has to be taken down.

use crate::packages::Kind;
use crate::plan::RUNNERS;
use crate::proxy::{self, Muddle};
use anyhow::{Context, Result, bail, ensure};
use millrace_tests::up::{TestSetup, http, platform, run};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the line is in its network of its own.
const LINE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PORT: u16 = 8470;

/// The first of the ports of ways to the lease desk, one a runner.
const WAYS: u16 = 9001;

/// How large a disk is, in bytes. It is memory, of which only what is written is taken; a runner refuses a machine that has less than 2 GiB.
const DISK_BYTES: u64 = 6 << 30;

/// What is left of a disk that is full, in bytes: a few small files.
const LEFT_BYTES: u64 = 64 << 10;

/// How long a line may take to answer after its start, and a command may be tried again while its disk is full.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How soon a program that has ended by itself is started again.
const STARTED_AGAIN: Duration = Duration::from_secs(1);

/// A panic of a Rust program ends with this.
const PANICKED: i32 = 101;

/// A parent that was killed before its child asked for the signal sends none: such a child must not begin. `$0` is the parent's id.
const IF_PARENT_LIVES: &str = r#"test "$PPID" = "$0" && exec "$@""#;

/// A process that is started again when it ends.
#[derive(Debug)]
pub struct Service {
    name: String,
    words: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    log: PathBuf,
    child: Option<Child>,
    /// When it is started again; none while it is to stay away.
    again: Option<Instant>,
    /// Every process that it was.
    pub processes: BTreeSet<u32>,
    /// How it ended by itself.
    pub ends: Vec<ExitStatus>,
}

impl Service {
    fn start(&mut self) -> Result<()> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)?;
        // Asked for by the main thread, which lives as long as this process: the kernel counts by threads (prctl(2), PR_SET_PDEATHSIG).
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "sh", "-c", IF_PARENT_LIVES])
            .arg(std::process::id().to_string())
            .args(&self.words)
            .envs(self.environment.clone());
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let child = child.with_context(|| format!("start {}", self.name))?;
        self.processes.insert(child.id());
        (self.child, self.again) = (Some(child), None);
        Ok(())
    }

    /// Its process, while it has one.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `kill -9`; it comes back when it is told to.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.again = None;
        Ok(())
    }

    /// Sends a signal to its process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(process) = self.process() {
            kill(Pid::from_raw(i32::try_from(process)?), signal)?;
        }
        Ok(())
    }

    /// Starts it, unless it runs.
    pub fn come_back(&mut self) -> Result<()> {
        if self.child.is_none() {
            self.start()
        } else {
            Ok(())
        }
    }

    /// What a service manager does: starts again, a second later, a program that has ended by itself.
    fn look_after(&mut self) -> Result<()> {
        if let Some(status) = self
            .child
            .as_mut()
            .map(Child::try_wait)
            .transpose()?
            .flatten()
        {
            (self.child, self.again) = (None, Some(Instant::now() + STARTED_AGAIN));
            self.ends.push(status);
        }
        if self.again.is_some_and(|at| Instant::now() >= at) {
            self.start()
        } else {
            Ok(())
        }
    }

    /// Whether it ever ended by a bug of its own: a panic, or a signal that nobody sent.
    pub fn crashed(&self) -> Option<ExitStatus> {
        self.ends
            .iter()
            .copied()
            .find(|status| status.code() == Some(PANICKED) || status.signal().is_some())
    }
}

/// A disk of its own for a line or a runner, in memory.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path)?;
        let size = format!("size={DISK_BYTES},mode=0755");
        mount(
            Some("chaos"),
            &path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .context("a disk in memory")?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes away what is free, or gives it back.
    pub fn fill(&self, full: bool) -> Result<()> {
        let found = nix::sys::statvfs::statvfs(&self.path)?;
        let used = (found.blocks() - found.blocks_free()) * found.fragment_size();
        let size = format!("size={}", if full { used + LEFT_BYTES } else { DISK_BYTES });
        mount(
            None::<&str>,
            &self.path,
            None::<&str>,
            MsFlags::MS_REMOUNT,
            Some(size.as_str()),
        )
        .context("another size of a disk")
    }
}

/// The clock of a process, which may be wrong.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    fn new(file: PathBuf) -> Result<Self> {
        let clock = Self { file };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets how many hours it is ahead. Renamed into place, since half of a file would be another time.
    pub fn set(&self, hours: i64) -> Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{:+}\n", hours * 3600))?;
        Ok(fs::rename(new, &self.file)?)
    }

    /// What makes a program live by it. Only the time of day is wrong: no jump moves a monotonic clock.
    fn environment(&self, library: &Path) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", library.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }
}

/// A line with its runners.
#[derive(Debug)]
pub struct ChaosLine {
    /// Everything below it is this place's.
    pub folder: PathBuf,
    millrace: PathBuf,
    secret: String,
    pub line: Service,
    /// Its disk and its clock.
    pub line_disk: Disk,
    pub line_clock: Clock,
    /// The runners, r1 and so on.
    pub runners: Vec<Service>,
    /// Their disks and clocks.
    pub disks: Vec<Disk>,
    pub clocks: Vec<Clock>,
    /// What may be wrong on the ways between.
    pub muddle: Arc<Muddle>,
}

/// What a runner is called, by its place among them.
pub fn runner_name(number: usize) -> String {
    format!("r{}", number + 1)
}

impl ChaosLine {
    /// Makes one below a folder, and starts everything. This process lives in it from then on.
    pub fn new(folder: &Path, library: &Path, seed: u64) -> Result<Self> {
        namespaces()?;
        network()?;
        let machine = TestSetup::here();
        for name in ["logs", "forge", "clocks"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let line_disk = Disk::new(folder.join("line"))?;
        let line_clock = Clock::new(folder.join("clocks/line"))?;
        let state = folder.join("line/state").display().to_string();
        let url = format!("http://{LINE}:{PORT}");
        let plugins = machine.plugins.display().to_string();
        let listen = format!("{LINE}:{PORT}");
        let program = machine.program.display().to_string();
        let words = [
            &program,
            "--state",
            &state,
            "--json",
            "up",
            "--listen",
            &listen,
            "--url",
            &url,
            "--plugins",
            &plugins,
            "--no-runner",
        ];
        let line = service("line", &words, folder, line_clock.environment(library));
        let muddle = Muddle::new(seed);
        let mut place = Self {
            folder: folder.to_owned(),
            millrace: machine.program.clone(),
            secret: String::new(),
            line,
            line_disk,
            line_clock,
            runners: Vec::new(),
            disks: Vec::new(),
            clocks: Vec::new(),
            muddle,
        };
        place.set_up_line(&machine)?;
        for number in 0..RUNNERS {
            place.add_runner(number, &machine, library)?;
        }
        Ok(place)
    }

    fn set_up_line(&mut self, machine: &TestSetup) -> Result<()> {
        self.say(&["key", "create", "default", "--algorithm", "ed25519"])?;
        let file = self.folder.join("platform.toml");
        fs::write(&file, platform(&machine.platform, ""))?;
        self.say(&["platform", "add", &file.display().to_string()])?;
        for kind in Kind::ALL {
            let bare = self.bare(kind);
            run(Command::new("git")
                .args(["init", "-q", "--bare", "-b", "main"])
                .arg(&bare));
            self.say(&["package", "add", kind.name(), &bare.display().to_string()])?;
        }
        self.line.start()?;
        let until = Instant::now() + PATIENCE;
        while self.get("/api/v1/queue").is_err() {
            self.line.look_after()?;
            ensure!(
                Instant::now() < until,
                "the line does not come up: {} says why",
                self.line.log.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        self.secret = fs::read_to_string(self.folder.join("line/state/webhook-secret"))?
            .trim()
            .to_owned();
        Ok(())
    }

    fn add_runner(&mut self, number: usize, machine: &TestSetup, library: &Path) -> Result<()> {
        let name = runner_name(number);
        let (disk, clock) = (
            Disk::new(self.folder.join(&name))?,
            Clock::new(self.folder.join("clocks").join(&name))?,
        );
        let way = SocketAddr::from((LINE, WAYS + u16::try_from(number)?));
        proxy::serve(
            TcpListener::bind(way)?,
            SocketAddr::from((LINE, PORT)),
            Arc::clone(&self.muddle),
        );
        let url = format!("http://{way}");
        let added = self.say(&[
            "--json",
            "runner",
            "add",
            &name,
            "--arch",
            std::env::consts::ARCH,
            "--url",
            &url,
        ])?;
        let added: Value = serde_json::from_str(&added)?;
        let state = self.folder.join(&name);
        let token = state.join("token");
        fs::write(
            &token,
            added["token"]
                .as_str()
                .context("a runner that is let in gets a token")?,
        )?;
        // Roots are shared with all others on this machine, and go by what is in them.
        fs::create_dir_all(state.join("runner"))?;
        fs::create_dir_all(machine.work.join("roots"))?;
        std::os::unix::fs::symlink(machine.work.join("roots"), state.join("runner/roots"))?;
        let net = format!("--net=/run/netns/{name}");
        let (program, state, token) = (
            machine.program.display().to_string(),
            state.display().to_string(),
            token.display().to_string(),
        );
        let words = [
            "nsenter",
            &net,
            "--",
            &program,
            "--state",
            &state,
            "runner",
            "run",
            &name,
            "--url",
            &url,
            "--token-file",
            &token,
        ];
        let mut runner = service(&name, &words, &self.folder, clock.environment(library));
        runner.start()?;
        self.runners.push(runner);
        self.disks.push(disk);
        self.clocks.push(clock);
        Ok(())
    }

    /// Starts again the programs that have ended by themselves.
    pub fn look_after(&mut self) -> Result<()> {
        self.line.look_after()?;
        self.runners.iter_mut().try_for_each(Service::look_after)
    }

    /// A package's repository on the forge.
    pub fn bare(&self, kind: Kind) -> PathBuf {
        self.folder
            .join("forge")
            .join(format!("{}.git", kind.name()))
    }

    /// Delivers a webhook; whether the line has taken it.
    pub fn deliver(&self, kind: Kind, commit: &str, delivery: &str) -> Result<bool> {
        let (headers, body) =
            millrace_tests::up::webhook(&self.secret, delivery, commit, &self.bare(kind));
        match http(self.address(), "POST", "/hooks/gitea", &headers, &body) {
            Ok((202, _)) => Ok(true),
            // Nobody is there, or it hung up in the middle, or its disk is full: forges deliver again.
            Err(_) | Ok((0 | 500.., _)) => Ok(false),
            Ok((status, answer)) => bail!(
                "the line answers a webhook with {status}: {}",
                String::from_utf8_lossy(&answer)
            ),
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((LINE, PORT))
    }

    /// What the line says to this.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let (status, answer) = http(self.address(), "GET", path, "", "")?;
        ensure!(
            status == 200,
            "{path}: {status} {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(answer)
    }

    /// A `millrace` command over the line's state, whether it is up or not; what it printed.
    pub fn say(&self, words: &[&str]) -> Result<String> {
        let output = Command::new(&self.millrace)
            .arg("--state")
            .arg(self.folder.join("line/state"))
            .args(words)
            .output()?;
        let problem = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "millrace {} ended with {}: {problem}",
            words.join(" "),
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Takes a runner's link down, or up.
    pub fn link(&self, number: usize, up: bool) -> Result<()> {
        ip(&format!(
            "link set v{} {}",
            number + 1,
            if up { "up" } else { "down" }
        ))
    }

    /// Keeps what there is to see of a broken invariant, where it outlives this place.
    pub fn keep(&self) -> Result<()> {
        for name in ["state.db", "state.db-wal"] {
            let from = self.folder.join("line/state").join(name);
            if from.exists() {
                fs::copy(from, self.folder.join("logs").join(name))?;
            }
        }
        Ok(())
    }
}

fn service(
    name: &str,
    words: &[&str],
    folder: &Path,
    environment: Vec<(&'static str, PathBuf)>,
) -> Service {
    Service {
        name: name.to_owned(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        environment,
        log: folder.join("logs").join(format!("{name}.log")),
        child: None,
        again: None,
        processes: BTreeSet::new(),
        ends: Vec::new(),
    }
}

/// A network and a table of mounts that nobody else has. They are gone when the last process in them is, which all end with this one.
fn namespaces() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("namespaces of its own: chaos wants root's rights")?;
    let (none, nothing) = (None::<&str>, MsFlags::empty());
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("mounts of its own")?;
    fs::create_dir_all("/run/netns")?;
    // `ip netns` keeps names there, and libfaketime what its processes share: here, others see neither, and nothing of it stays.
    for place in ["/run/netns", "/dev/shm"] {
        mount(Some("chaos"), place, Some("tmpfs"), nothing, none)
            .with_context(|| format!("a {place} of its own"))?;
    }
    Ok(())
}

/// A switch, and on it the line and each runner's network.
fn network() -> Result<()> {
    ip("link set lo up")?;
    ip("link add switch type bridge")?;
    ip(&format!("addr add {LINE}/24 dev switch"))?;
    ip("link set switch up")?;
    for number in 1..=RUNNERS {
        ip(&format!("netns add r{number}"))?;
        ip(&format!(
            "link add v{number} type veth peer name eth0 netns r{number}"
        ))?;
        ip(&format!("link set v{number} master switch up"))?;
        ip(&format!(
            "-n r{number} addr add 10.77.0.{}/24 dev eth0",
            10 + number
        ))?;
        ip(&format!("-n r{number} link set lo up"))?;
        ip(&format!("-n r{number} link set eth0 up"))?;
    }
    Ok(())
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .context("start ip, of the package iproute2")?;
    ensure!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

//! The real line for tests: `millrace up` as a process of its own, repositories made with git, webhooks signed as Gitea signs
//! them, and the real clients.

use crate::wait::{News, wait_for};
use hmac::{Hmac, KeyInit, Mac};
use millrace_core::Digest;
use serde_json::{Value, json};
use sha2::Sha256;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a line may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(30);

/// How long a push may take in all: with a cold buildroot, lost leases and a slow machine some minutes.
const WATCH_MAX: Duration = Duration::from_secs(900);

/// How often a push that is watched is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the line's own tests need from the machine; `cargo xtask test` sets it up and names it in the environment.
pub struct TestSetup {
    /// The `millrace` program.
    pub program: PathBuf,
    /// A folder with the first-party plugins.
    pub plugins: PathBuf,
    /// The file of a platform to build for: the seed distribution's, or one with public repositories.
    pub platform: String,
    /// Where buildroots are kept between runs.
    pub work: PathBuf,
}

impl TestSetup {
    /// This machine; panics in words if it was not set up.
    pub fn here() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set: run this test by `cargo xtask test`")
            })
        };
        let platform = variable("MILLRACE_TEST_PLATFORM");
        Self {
            program: variable("MILLRACE_BIN").into(),
            plugins: variable("MILLRACE_PLUGINS").into(),
            platform: fs::read_to_string(&platform)
                .unwrap_or_else(|error| panic!("{platform}: {error}")),
            work: variable("MILLRACE_TEST_WORK").into(),
        }
    }
}

/// The file of a platform for every architecture of the line; none if this machine cannot emulate those of others, which `cargo xtask test`
/// has reported to the person who started it.
pub fn every_architecture() -> Option<String> {
    const NAME: &str = "MILLRACE_TEST_ARCHITECTURES";
    let file = std::env::var(NAME)
        .unwrap_or_else(|_| panic!("{NAME} is not set: run this test by `cargo xtask test`"));
    (!file.is_empty())
        .then(|| fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}")))
}

/// A line that runs.
pub struct Up {
    machine: TestSetup,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
    secret: String,
    deliveries: u64,
    words: Vec<String>,
    runners: Vec<(String, Child)>,
    /// One line at a time works in the folder that they share, whichever test process it is of.
    _turn: fs::File,
}

impl Up {
    /// Starts a line over a new state folder, with a key and a platform.
    pub fn start(folder: &Path, platform_limits: &str) -> Self {
        Self::start_with(
            folder,
            &platform(&TestSetup::here().platform, platform_limits),
            &[],
        )
    }

    /// The same for a line that has no runner of its own.
    pub fn start_without_runner(folder: &Path) -> Self {
        Self::start_with(
            folder,
            &platform(&TestSetup::here().platform, ""),
            &["--no-runner"],
        )
    }

    /// The same for a platform as it is handed to the line, and with further words for `millrace up`.
    pub fn start_with(folder: &Path, platform: &str, words: &[&str]) -> Self {
        let machine = TestSetup::here();
        fs::create_dir_all(&machine.work).unwrap();
        let turn = fs::File::create(machine.work.join("turn")).unwrap();
        turn.lock().unwrap();
        let mut up = Self {
            machine,
            folder: folder.to_owned(),
            port: 0,
            child: None,
            secret: String::new(),
            deliveries: 0,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            runners: Vec::new(),
            _turn: turn,
        };
        fs::create_dir_all(folder.join("forge")).unwrap();
        up.millrace(&["key", "create", "default", "--algorithm", "ed25519"]);
        fs::write(folder.join("platform.toml"), platform).unwrap();
        let file = folder.join("platform.toml");
        up.millrace(&["platform", "add", file.to_str().unwrap()]);
        up.go_on();
        up.secret = fs::read_to_string(up.state().join("webhook-secret"))
            .unwrap()
            .trim()
            .to_owned();
        up
    }

    /// Starts it, and again over the same folder: where it listened the first time, so that runners find it.
    pub fn go_on(&mut self) {
        assert!(self.child.is_none(), "it is up already");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("up.log"))
            .unwrap();
        let child = Command::new(&self.machine.program)
            .args([
                "--state",
                self.state().to_str().unwrap(),
                "--json",
                "up",
                "--listen",
                &format!("127.0.0.1:{}", self.port),
            ])
            .args([
                "--plugins".as_ref(),
                self.machine.plugins.as_os_str(),
                "--work".as_ref(),
                self.machine.work.as_os_str(),
            ])
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let until = Instant::now() + START_MAX;
        loop {
            let log = fs::read_to_string(self.folder.join("up.log")).unwrap();
            // What it says at its start names the port that it was given.
            self.port = log.lines().find_map(port_of).unwrap_or(0);
            if self.port != 0 && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the line ended at once, with {status}:\n{log}");
            }
            assert!(Instant::now() < until, "the line does not come up:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets a runner of this name in; its token, and a state folder for it, with the roots that all lines have between them.
    pub fn let_in(&self, name: &str) -> (String, PathBuf) {
        let added = self.millrace(&[
            "runner",
            "add",
            name,
            "--arch",
            std::env::consts::ARCH,
            "--url",
            &self.url(""),
            "--json",
        ]);
        let added: Value = serde_json::from_str(&added).unwrap();
        let token = added["token"].as_str().unwrap().to_owned();
        let state = self.folder.join(name);
        fs::create_dir_all(state.join("runner")).unwrap();
        fs::create_dir_all(self.machine.work.join("roots")).unwrap();
        std::os::unix::fs::symlink(self.machine.work.join("roots"), state.join("runner/roots"))
            .unwrap();
        (token, state)
    }

    /// Starts a runner of this name as a process of its own; its token.
    pub fn runner(&mut self, name: &str) -> String {
        let (token, state) = self.let_in(name);
        fs::write(state.join("token"), &token).unwrap();
        self.start_runner(name);
        token
    }

    /// Starts a runner of this name as a process of its own, with further words for `millrace runner run`.
    pub fn runner_with(&mut self, name: &str, words: &[&str]) {
        let (token, state) = self.let_in(name);
        fs::write(state.join("token"), &token).unwrap();
        self.start_runner_with(name, words);
    }

    /// Starts a runner again, in the folder that it had.
    pub fn start_runner(&mut self, name: &str) {
        self.start_runner_with(name, &[]);
    }

    fn start_runner_with(&mut self, name: &str, words: &[&str]) {
        let state = self.folder.join(name);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{name}.log")))
            .unwrap();
        let child = Command::new(&self.machine.program)
            .args(["--state".as_ref(), state.as_os_str()])
            .args([
                "runner",
                "run",
                name,
                "--url",
                &self.url(""),
                "--token-file",
            ])
            .arg(state.join("token"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.runners.push((name.to_owned(), child));
    }

    /// `kill -9` of a runner; which process it was.
    pub fn kill_runner(&mut self, name: &str) -> u32 {
        let place = self
            .runners
            .iter()
            .position(|(known, _)| known == name)
            .unwrap();
        let (_, mut child) = self.runners.remove(place);
        child.kill().unwrap();
        child.wait().unwrap();
        child.id()
    }

    /// Waits until a runner has ended by itself, and well.
    pub fn runner_ends(&mut self, name: &str) {
        let place = self
            .runners
            .iter()
            .position(|(known, _)| known == name)
            .unwrap();
        let (_, mut child) = self.runners.remove(place);
        let what = || format!("the end of runner {name}");
        let status = wait_for(what, || child.try_wait().unwrap());
        assert!(status.success(), "runner {name} ended with {status}");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The line's state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Where it listens.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its log says.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("up.log")).unwrap_or_default()
    }

    /// A `millrace` command that must succeed; its standard output.
    pub fn millrace(&self, arguments: &[&str]) -> String {
        let output = self.try_millrace(arguments);
        assert!(
            output.status.success(),
            "millrace {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A `millrace` command.
    pub fn try_millrace(&self, arguments: &[&str]) -> Output {
        Command::new(&self.machine.program)
            .arg("--state")
            .arg(self.state())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Makes a package's repository on the forge with these files, registers it, and pushes its first commit.
    pub fn push_new(&mut self, name: &str, files: &[(&str, &str)]) -> String {
        let bare = self.bare(name);
        run(Command::new("git")
            .args(["init", "-q", "--bare", "-b", "main"])
            .arg(&bare));
        self.millrace(&["package", "add", name, bare.to_str().unwrap()]);
        self.push(name, files)
    }

    /// Commits these files, pushes, and sends the webhook; the commit.
    pub fn push(&mut self, name: &str, files: &[(&str, &str)]) -> String {
        let commit = self.commit(name, files);
        self.announce(name, &commit);
        commit
    }

    /// Sends the webhook of a push, which the line must take.
    pub fn announce(&mut self, name: &str, commit: &str) {
        let (status, answer) = self.hook(commit, &self.bare(name));
        assert_eq!(status, 202, "{answer}");
    }

    /// Commits these files and pushes them to the forge, which tells nobody; the commit. Scripts may be run.
    pub fn commit(&mut self, name: &str, files: &[(&str, &str)]) -> String {
        commit(&self.folder.join("forge"), name, files)
    }

    fn bare(&self, name: &str) -> PathBuf {
        self.folder.join("forge").join(format!("{name}.git"))
    }

    /// Sends the webhook of a push as Gitea does.
    pub fn hook(&mut self, commit: &str, bare: &Path) -> (u16, String) {
        self.deliveries += 1;
        let delivery = Digest::of(format!("{} {commit}", self.deliveries).as_bytes()).hex();
        let (headers, body) = webhook(&self.secret, &delivery, commit, bare);
        self.http("POST", "/hooks/gitea", &headers, &body)
    }

    /// One HTTP request; status and body.
    pub fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let (status, answer) = http(address, method, path, headers, body).unwrap();
        (status, String::from_utf8_lossy(&answer).into_owned())
    }

    /// Waits for the end of a commit's builds; what `millrace watch` printed, and whether it was released.
    pub fn watch(&self, commit: &str) -> (String, bool) {
        let told = tempfile::NamedTempFile::new().unwrap();
        let mut watch = Command::new(&self.machine.program)
            .args(["--state".as_ref(), self.state().as_os_str()])
            .args(["watch", "--commit", commit])
            .stdin(Stdio::null())
            .stdout(told.reopen().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let status = self.wait_for_watch(&mut watch, told.path());
        (fs::read_to_string(told.path()).unwrap(), status.success())
    }

    /// A line that stands still must not stop the tests with it.
    fn wait_for_watch(&self, watch: &mut Child, told: &Path) -> ExitStatus {
        let began = Instant::now();
        let mut news = News::begin();
        loop {
            if let Some(status) = watch.try_wait().unwrap() {
                return status;
            }
            let over = news.are_over(&[self.state().join("blobs")], told);
            if over || began.elapsed() > WATCH_MAX {
                watch.kill().unwrap();
                watch.wait().unwrap();
                panic!(
                    "waited {:?} in vain for the end of a push{}:\n{}\n{}",
                    began.elapsed(),
                    if over {
                        ", of which there are no more news"
                    } else {
                        ""
                    },
                    fs::read_to_string(told).unwrap(),
                    self.log()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// All builds as `millrace builds --json` has them.
    pub fn builds(&self) -> Vec<Value> {
        self.millrace(&["builds", "--json", "--limit", "100"])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        for (_, runner) in &mut self.runners {
            let _ = runner.kill();
            let _ = runner.wait();
        }
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// The port in what the line says at its start, `{"url":"http://127.0.0.1:40123",…}`.
fn port_of(line: &str) -> Option<u16> {
    let said: Value = serde_json::from_str(line).ok()?;
    said["url"].as_str()?.rsplit(':').next()?.parse().ok()
}

/// Commits these files on a package's branch `main`, and pushes that to its repository `NAME.git` in the forge's folder; the commit.
/// Scripts may be run.
pub fn commit(forge: &Path, name: &str, files: &[(&str, &str)]) -> String {
    let (bare, tree) = (forge.join(format!("{name}.git")), forge.join(name));
    if !tree.exists() {
        run(Command::new("git")
            .args(["clone", "-q"])
            .arg(&bare)
            .arg(&tree));
        run(git(&tree).args(["checkout", "-q", "-B", "main"]));
    }
    for (path, text) in files {
        fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        fs::write(tree.join(path), text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    run(git(&tree).args(["add", "-A"]));
    run(git(&tree).args(["commit", "-q", "--allow-empty", "-m", "Update"]));
    run(git(&tree).args(["push", "-q", "origin", "main"]));
    run(git(&tree).args(["rev-parse", "HEAD"]))
        .trim()
        .to_owned()
}

/// What Gitea posts of a push: headers and body. The same delivery may come again.
pub fn webhook(secret: &str, delivery: &str, commit: &str, bare: &Path) -> (String, String) {
    let name = bare.file_stem().unwrap().to_str().unwrap();
    let body = json!({
        "ref": "refs/heads/main", "before": "0".repeat(40), "after": commit, "pusher": { "login": "dana" },
        "repository": { "name": name, "full_name": format!("rpms/{name}"), "clone_url": bare },
    });
    let body = body.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let headers = format!(
        "X-Gitea-Event: push\r\nX-Gitea-Delivery: {delivery}\r\nX-Gitea-Signature: {signature}\r\nContent-Type: application/json\r\n"
    );
    (headers, body)
}

/// One HTTP request; status and body, or that nobody is there.
pub fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0);
    answer.drain(..(end + 4).min(answer.len()));
    Ok((status, answer))
}

fn git(tree: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(tree).args([
        "-c",
        "user.name=Dana",
        "-c",
        "user.email=dana@example.org",
        "-c",
        "commit.gpgsign=false",
    ]);
    command
}

/// Runs a command that must succeed; its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How many processes of the machine have this word in their command line.
pub fn processes_with(word: &str) -> usize {
    let lines = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(word)).count()
}

/// The platform of the tests: the given one for this machine's architecture, with these limits.
pub fn platform(file: &str, limits: &str) -> String {
    platform_for(file, limits, &[std::env::consts::ARCH])
}

/// The given platform under another name and for these architectures, with these limits and a dist tag of its own.
pub fn platform_for(file: &str, limits: &str, architectures: &[&str]) -> String {
    let mut platform: toml::Table = file.parse().unwrap();
    let limits: toml::Table = limits.parse().unwrap();
    platform.extend([
        ("name".to_owned(), "test-9".into()),
        ("title".to_owned(), "What the tests build for".into()),
        (
            "architectures".to_owned(),
            toml::Value::from(architectures.to_vec()),
        ),
        ("limits".to_owned(), limits.into()),
    ]);
    let macros = platform
        .entry("macros")
        .or_insert_with(|| toml::Table::new().into());
    macros
        .as_table_mut()
        .unwrap()
        .insert("dist".to_owned(), ".t9".into());
    platform.to_string()
}

/// A word that no other run of the tests has in a command line: `15` becomes so many seconds and some millionths, which `sleep`
/// takes and which [`processes_with`] finds.
pub fn seconds_of_this_run(seconds: u32) -> String {
    format!("{seconds}.{:07}9", std::process::id())
}

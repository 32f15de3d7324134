//! A line in the cloud, and a person at a desk who works on it: what the tests of the deployed line have in common.

use crate::lambda::{Lambda, Options};
use crate::stack::{Stack, request, variable};
use hmac::{Hmac, KeyInit, Mac};
use millrace_core::Digest;
use millrace_tests::up::{TestSetup, run};
use millrace_tests::wait::News;
use serde_json::{Value, json};
use sha2::Sha256;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long nothing happens when everything has.
pub const QUIET: Duration = Duration::from_millis(500);

/// How often somebody who waits looks whether there is anything to wait for.
const LOOK: Duration = Duration::from_secs(2);

/// How long a push may take to end: with a cold buildroot on a slow machine some minutes.
const WATCH_MAX: Duration = Duration::from_secs(900);

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// A line in the cloud, and a person at a desk who works on it.
pub struct Cloud {
    pub stack: Stack,
    /// What runs its functions.
    pub lambda: Lambda,
    /// Where everything for runners is.
    pub machine: TestSetup,
    /// A folder for everything else.
    pub folder: PathBuf,
    /// What forges sign with.
    pub secret: String,
    runners: Vec<Child>,
    deliveries: u32,
    /// One line at a time works in the folder that runners of tests share.
    _turn: fs::File,
}

impl Cloud {
    /// What was deployed, as soon as no other test works with it.
    pub async fn start(folder: &Path, options: impl FnOnce(&mut Options)) -> Self {
        let machine = TestSetup::here();
        fs::create_dir_all(&machine.work).unwrap();
        let turn = fs::File::create(machine.work.join("turn")).unwrap();
        turn.lock().unwrap();
        let stack = Stack::here();
        stack.let_plain_http_in().await;
        let lambda = run_functions(&stack, options).await;
        let secret = stack.secret().await;
        Self {
            stack,
            lambda,
            machine,
            folder: folder.to_owned(),
            secret,
            runners: Vec::new(),
            deliveries: 0,
            _turn: turn,
        }
    }

    /// Ends all functions, and runs them in another way.
    pub async fn again(&mut self, options: impl FnOnce(&mut Options)) {
        self.lambda.quiet(QUIET).await;
        self.lambda = run_functions(&self.stack, options).await;
    }

    /// Registers the plugins and a platform.
    pub async fn set_up(&mut self) {
        for plugin in ["source", "rpm", "check"] {
            let file = self.machine.plugins.join(format!("{plugin}.wasm"));
            self.millrace(&["plugin", "add", plugin, file.to_str().unwrap()])
                .await;
        }
        let file = self.folder.join("platform.toml");
        fs::write(&file, &self.machine.platform).unwrap();
        self.millrace(&["platform", "add", file.to_str().unwrap()])
            .await;
    }

    /// A `millrace` command with what `cargo xtask deploy` tells its user.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.machine.program);
        command
            .arg("--state")
            .arg(self.folder.join("state"))
            .args(arguments);
        command.envs([
            ("MILLRACE_TABLE", self.stack.table()),
            ("MILLRACE_BUCKET", self.stack.bucket()),
        ]);
        command
            .env("MILLRACE_SIGN", format!("{}-sign", self.stack.name))
            .env("AWS_ENDPOINT_URL", &self.stack.endpoint);
        command.envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]);
        command
            .env("AWS_ENDPOINT_URL_LAMBDA", self.lambda.calls())
            .env("MILLRACE_DEAD_LETTERS", self.stack.dead_letter_queue());
        command
    }

    /// Ends the runners.
    pub fn end_runners(&mut self) {
        for mut runner in self.runners.drain(..) {
            let _ = runner.kill();
            let _ = runner.wait();
        }
    }

    /// One that must succeed; its standard output.
    pub async fn millrace(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || run(&mut command))
            .await
            .unwrap()
    }

    /// Starts a runner outside, with a token and the address that runners ask.
    pub async fn runner(&mut self, name: &str) {
        self.runner_at(name, &self.lambda.url("desk")).await;
    }

    /// The same for another address of a desk.
    pub async fn runner_at(&mut self, name: &str, url: &str) {
        let added = self
            .millrace(&[
                "runner",
                "add",
                name,
                "--arch",
                std::env::consts::ARCH,
                "--url",
                url,
                "--json",
            ])
            .await;
        let added: Value = serde_json::from_str(&added).unwrap();
        let state = self.folder.join(name);
        fs::create_dir_all(state.join("runner")).unwrap();
        fs::create_dir_all(self.machine.work.join("roots")).unwrap();
        std::os::unix::fs::symlink(self.machine.work.join("roots"), state.join("runner/roots"))
            .unwrap();
        fs::write(state.join("token"), added["token"].as_str().unwrap()).unwrap();
        let log = fs::File::create(self.folder.join(format!("{name}.log"))).unwrap();
        let mut runner = Command::new(&self.machine.program);
        runner
            .arg("--state")
            .arg(&state)
            .args(["runner", "run", name, "--url", url, "--token-file"])
            .arg(state.join("token"));
        runner
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.runners.push(runner.spawn().unwrap());
    }

    /// The folders in which runners work.
    fn runner_states(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).unwrap().flatten();
        let folders = entries.map(|entry| entry.path());
        folders
            .filter(|folder| folder.join("token").exists())
            .collect()
    }

    /// Registers a package and pushes what is in a folder; the commit.
    pub async fn push_new(&mut self, name: &str, tree: &Path) -> String {
        let bare = self.folder.join(format!("{name}.git"));
        run(Command::new("git")
            .args(["init", "-q", "--bare", "-b", "main"])
            .arg(&bare));
        self.millrace(&["package", "add", name, bare.to_str().unwrap()])
            .await;
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            git.args([
                "-c",
                "user.name=Dana",
                "-c",
                "user.email=dana@example.org",
                "-c",
                "commit.gpgsign=false",
            ]);
            run(git
                .arg("--git-dir")
                .arg(&bare)
                .arg("--work-tree")
                .arg(tree)
                .args(words))
        };
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "Update"]);
        let commit = git(&["rev-parse", "HEAD"]).trim().to_owned();
        let (status, said) = self.hook(name, &commit).await;
        assert_eq!(status, 202, "{said}");
        commit
    }

    /// Sends the webhook of a push as Gitea does.
    pub async fn hook(&mut self, name: &str, commit: &str) -> (u16, String) {
        self.deliveries += 1;
        let body = json!({
            "ref": "refs/heads/main", "before": "0".repeat(40), "after": commit, "pusher": { "login": "dana" },
            "repository": { "name": name, "full_name": format!("rpms/{name}"), "clone_url": self.folder.join(format!("{name}.git")) },
        })
        .to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let delivery = Digest::of(format!("{} {commit}", self.deliveries).as_bytes()).hex();
        let headers = [
            ("x-gitea-event", "push"),
            ("x-gitea-delivery", &delivery),
            ("x-gitea-signature", &signature),
            ("content-type", "application/json"),
        ];
        request(
            "POST",
            &format!("{}/hooks/gitea", self.lambda.api()),
            &headers,
            &body,
        )
        .await
    }

    /// Waits for the end of a commit's builds, which must be released; what `millrace watch` printed.
    pub async fn released(&self, commit: &str) -> String {
        let told = tempfile::NamedTempFile::new().unwrap();
        let errors = tempfile::NamedTempFile::new().unwrap();
        let mut watch = self.command(&["watch", "--commit", commit]);
        watch
            .stdin(Stdio::null())
            .stdout(told.reopen().unwrap())
            .stderr(errors.reopen().unwrap());
        let mut watching = watch.spawn().unwrap();
        let read = |file: &Path| fs::read_to_string(file).unwrap();
        let states = self.runner_states();
        let mut news = News::begin();
        let (began, mut looked) = (Instant::now(), Instant::now());
        let status = loop {
            if let Some(status) = watching.try_wait().unwrap() {
                break status;
            }
            tokio::time::sleep(POLL).await;
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            // Nothing would end then.
            let dead = self.stack.dead_letters().await;
            let over = news.are_over(&states, told.path()) || began.elapsed() > WATCH_MAX;
            if over || !dead.is_empty() {
                watching.kill().unwrap();
                watching.wait().unwrap();
                panic!(
                    "waited {:?} in vain for the end of {commit}; dead letters: {dead:?}\n{}\n{}",
                    began.elapsed(),
                    read(told.path()),
                    self.logs()
                );
            }
        };
        let told = read(told.path());
        assert_eq!(
            status.code(),
            Some(0),
            "{told}\n{}\n{}",
            read(errors.path()),
            self.logs()
        );
        told
    }

    /// What everything said.
    pub fn logs(&self) -> String {
        let of = |function: &str| (function.to_owned(), self.lambda.log(function));
        let functions = [
            "hooks",
            "fetch",
            "desk",
            "messages",
            "sweep",
            "sign",
            "release",
            "repository",
            "web",
        ]
        .map(of);
        let runner = ("runner".to_owned(), self.folder.join("runner-1.log"));
        let said = functions.into_iter().chain([runner]).map(|(name, path)| {
            format!(
                "== {name}\n{}\n",
                fs::read_to_string(path).unwrap_or_default()
            )
        });
        format!(
            "{}troubles: {:?}",
            said.collect::<String>(),
            self.lambda.troubles()
        )
    }

    /// Reads a page of the line, or whatever is at a path.
    pub async fn get(&self, path: &str) -> (u16, String) {
        request("GET", &format!("{}{path}", self.lambda.api()), &[], "").await
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.end_runners();
    }
}

async fn run_functions(stack: &Stack, options: impl FnOnce(&mut Options)) -> Lambda {
    let programs = PathBuf::from(variable("MILLRACE_FUNCTIONS"));
    let mut chosen = Options::new(&stack.endpoint, &stack.name, move |function, _| {
        programs.join(program(function))
    });
    // What other tests have left in the stream is theirs.
    (chosen.auth, chosen.from_now) = (true, true);
    options(&mut chosen);
    Lambda::start(chosen).await.unwrap()
}

/// The program of a function, as the template's code says it too.
fn program(function: &str) -> String {
    let of = match function.rsplit('-').next().unwrap() {
        "hooks" => "listener",
        "fetch" => "source",
        "desk" | "messages" | "sweep" => "orchestrator",
        "sign" => "signer",
        "release" | "repository" => "releaser",
        "web" => "web",
        other => panic!("{other} is no function of the line"),
    };
    format!("millrace-{of}")
}

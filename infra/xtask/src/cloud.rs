//! The emulators of AWS that the tests of the cloud speak to: installed from PyPI into a folder of their own, started on the loopback
//! interface, and stopped with xtask. And the linters of the cloud's template.

use crate::command::{self, logged};
use crate::deploy::{Outputs, deploy_to_emulator, template_of};
use crate::folders::{self, Folders};
use crate::{progress, pypi};
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where tests find the services: an address.
const SERVICES: &str = "MILLRACE_TEST_AWS";

/// The linters of the template, whose needs contradict the emulator's.
const LINTERS: &str = "tests/cloud/lint-requirements.txt";

/// It starts in some seconds; on a loaded machine in ten.
const START_MAX: Duration = Duration::from_secs(90);

/// Where tests find the services that respect every permission: an address.
const STRICT: &str = "MILLRACE_TEST_AWS_STRICT";
/// The stack that the real template made there.
const STACK: &str = "MILLRACE_TEST_STACK";
/// What it says of itself, as JSON.
const OUTPUTS: &str = "MILLRACE_TEST_OUTPUTS";
/// Another one, whose key is brought along into a secret.
const BRINGING_STACK: &str = "MILLRACE_TEST_BRINGING_STACK";
/// What that one says of itself.
const BRINGING_OUTPUTS: &str = "MILLRACE_TEST_BRINGING_OUTPUTS";
/// A folder with the functions' programs.
pub const FUNCTIONS: &str = "MILLRACE_FUNCTIONS";

/// A folder with the packages that go from push to release there.
const PACKAGES: &str = "MILLRACE_TEST_PACKAGES";

/// What the tests of the cloud need: services for the stores, and others in which the line is deployed.
#[derive(Debug)]
pub struct Services {
    easy: Emulator,
    strict: Emulator,
    stack: &'static str,
    outputs: Outputs,
    bringing_stack: &'static str,
    bringing_outputs: Outputs,
    packages: PathBuf,
}

impl Services {
    /// Starts both, and deploys.
    pub fn start(folders: &Folders) -> Result<Self> {
        let easy = Emulator::start(folders, "emulator", &[])?;
        let strict = Emulator::start(folders, "strict", &[("AUTH", "true")])?;
        let stack = "line";
        let bringing_stack = "bringing";
        let outputs = deploy_to_emulator(folders, &strict.endpoint, stack, &[])?;
        let bringing_outputs = deploy_to_emulator(
            folders,
            &strict.endpoint,
            bringing_stack,
            &["KeyKeptIn=secret"],
        )?;
        let packages = crate::demo::packages(folders)?;
        Ok(Self {
            easy,
            strict,
            stack,
            outputs,
            bringing_stack,
            bringing_outputs,
            packages,
        })
    }

    /// Tells tests where they are.
    pub fn environment(&self, folders: &Folders, command: &mut Command) {
        command
            .env(SERVICES, &self.easy.endpoint)
            .env(STRICT, &self.strict.endpoint)
            .env(STACK, self.stack);
        command.env(OUTPUTS, serde_json::json!(self.outputs).to_string());
        command.env(BRINGING_STACK, self.bringing_stack);
        command.env(
            BRINGING_OUTPUTS,
            serde_json::json!(self.bringing_outputs).to_string(),
        );
        command
            .env(FUNCTIONS, folders.target.join("debug"))
            .env(PACKAGES, &self.packages);
    }
}

/// An emulator that runs as long as this lives.
#[derive(Debug)]
struct Emulator {
    endpoint: String,
    server: Child,
    watchdog: Child,
}

impl Emulator {
    /// Installs it if it is not there, and starts it.
    fn start(folders: &Folders, name: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let program = pypi::aws_tools(folders)?.join("ministack");
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let endpoint = format!("http://{address}");
        let log = folders.log(name);
        folders::write(&log, "")?;
        let file = std::fs::File::create(&log)?;
        let state = folders.cache.join("cloud/state").join(name);
        folders::fresh(&state)?;
        let mut emulator = Command::new(&program);
        emulator
            .current_dir(&state)
            // Without this it listens on every interface, and to machines of the internet of things.
            .env("BIND_HOST", "127.0.0.1")
            .env("IOT_MTLS_ENABLED", "0")
            .env("GATEWAY_PORT", address.port().to_string())
            // What it starts itself finds it here, and nothing of the real services.
            .env("AWS_ENDPOINT_URL", &endpoint)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let server = emulator
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let watchdog = command::watchdog(&server)?;
        let mut started = Self {
            endpoint,
            server,
            watchdog,
        };
        command::wait_until_it_listens(
            &mut started.server,
            "the emulator of AWS",
            &address.to_string(),
            &log,
            START_MAX,
        )?;
        Ok(started)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for child in [&mut self.watchdog, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Checks the cloud's template with the linters of its field. What they are told to pass over stands in the template, with the reason.
pub fn lint(folders: &Folders) -> Result<()> {
    let programs = pypi::install(
        folders,
        "linters",
        "install the linters of the template",
        LINTERS,
    )?;
    let template = template_of(folders)?;
    let mut cfn_lint = Command::new(programs.join("cfn-lint"));
    cfn_lint
        .args([
            "--include-checks",
            "I",
            "--regions",
            "us-east-1",
            "--template",
        ])
        .arg(&template);
    progress::timed(folders, "cfn-lint", "the template (cfn-lint)", 5, |_| {
        logged(&mut cfn_lint, &folders.log("cfn-lint"))
    })?;
    let mut checkov = Command::new(programs.join("checkov"));
    checkov
        .args([
            "--framework",
            "cloudformation",
            "--skip-download",
            "--compact",
            "--quiet",
            "--file",
        ])
        .arg(&template);
    progress::timed(folders, "checkov", "the template (checkov)", 10, |_| {
        logged(&mut checkov, &folders.log("checkov"))
    })
}

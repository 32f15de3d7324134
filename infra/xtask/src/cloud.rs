//! The emulator of AWS that the tests of the cloud speak to: installed from PyPI into a folder of its own, started on the loopback
//! interface, and stopped with whoever started it.

use crate::command::{self, logged};
use crate::folders::{self, Folders};
use crate::progress;
use anyhow::{Context, Result, bail};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where tests find the services: an address.
const SERVICES: &str = "MILLRACE_TEST_AWS";

/// What is installed, with the digest of each file.
const REQUIREMENTS: &str = "tests/cloud/requirements.txt";

/// It starts in some seconds; on a loaded machine in ten.
const START_MAX: Duration = Duration::from_secs(90);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(100);

/// An emulator that runs as long as this lives.
#[derive(Debug)]
pub struct Emulator {
    endpoint: String,
    child: Child,
}

impl Emulator {
    /// Installs it where it is not there, and starts it.
    pub fn start(folders: &Folders) -> Result<Self> {
        let program = installed(folders)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let endpoint = format!("http://127.0.0.1:{port}");
        let log = folders.log("emulator");
        folders::write(&log, "")?;
        let file = std::fs::File::create(&log)?;
        let state = folders.cache.join("cloud/state");
        folders::fresh(&state)?;
        let mut emulator = Command::new(&program);
        emulator
            .current_dir(&state)
            // Without this it listens on every interface, and to machines of the internet of things.
            .env("BIND_HOST", "127.0.0.1")
            .env("IOT_MTLS_ENABLED", "0")
            .env("GATEWAY_PORT", port.to_string())
            // What it starts itself finds it here, and nothing of the real services.
            .env("AWS_ENDPOINT_URL", &endpoint)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = emulator.spawn().with_context(|| format!("start {}", program.display()))?;
        let mut started = Self { endpoint, child };
        started.wait(&log, port)?;
        Ok(started)
    }

    fn wait(&mut self, log: &Path, port: u16) -> Result<()> {
        let end = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("the emulator of AWS ended with {status}:\n{}", command::tail(&said, 20));
            }
            if Instant::now() > end {
                bail!("the emulator of AWS does not listen after {START_MAX:?}; it says in {} why", log.display());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Tells tests where it is.
    pub fn environment(&self, command: &mut Command) {
        command.env(SERVICES, &self.endpoint);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The emulator's program, installed where another version or none is there.
fn installed(folders: &Folders) -> Result<PathBuf> {
    let place = folders.cache.join("cloud/emulator");
    let (program, stamp) = (place.join("bin/ministack"), place.join("installed.txt"));
    let requirements = folders.workspace.join(REQUIREMENTS);
    let wanted = std::fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    if program.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(program);
    }
    folders::remove(&place)?;
    progress::timed(folders, "emulator", "install the emulator of AWS", 40, |progress| {
        progress.set("making a place for it");
        logged(Command::new("python3").args(["-m", "venv"]).arg(&place), &folders.log("venv"))?;
        progress.set("downloading");
        let mut pip = Command::new(place.join("bin/pip"));
        pip.args(["--disable-pip-version-check", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r"]);
        logged(pip.arg(&requirements), &folders.log("pip"))
    })?;
    folders::write(&stamp, wanted)?;
    Ok(program)
}

//! The emulator of AWS that the tests of the cloud speak to: installed from PyPI into a folder of its own, started on the loopback
//! interface, and stopped with whoever started it.

use crate::command::{self, logged};
use crate::folders::{self, Folders};
use crate::progress;
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where tests find the services: an address.
const SERVICES: &str = "MILLRACE_TEST_AWS";

/// What is installed, with the digest of each file.
const REQUIREMENTS: &str = "tests/cloud/requirements.txt";

/// It starts in some seconds; on a loaded machine in ten.
const START_MAX: Duration = Duration::from_secs(90);

/// An emulator that runs as long as this lives.
#[derive(Debug)]
pub struct Emulator {
    endpoint: String,
    server: Child,
    watchdog: Child,
}

impl Emulator {
    /// Installs it where it is not there, and starts it.
    pub fn start(folders: &Folders) -> Result<Self> {
        let program = installed(folders)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let endpoint = format!("http://{address}");
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
            .env("GATEWAY_PORT", address.port().to_string())
            // What it starts itself finds it here, and nothing of the real services.
            .env("AWS_ENDPOINT_URL", &endpoint)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let server = emulator.spawn().with_context(|| format!("start {}", program.display()))?;
        let watchdog = command::watchdog(&server)?;
        let mut started = Self { endpoint, server, watchdog };
        command::wait_until_it_listens(&mut started.server, "the emulator of AWS", &address.to_string(), &log, START_MAX)?;
        Ok(started)
    }

    /// Tells tests where it is.
    pub fn environment(&self, command: &mut Command) {
        command.env(SERVICES, &self.endpoint);
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

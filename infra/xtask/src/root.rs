//! Root's rights for what needs them: packages of the distribution, and the sandbox of builds. Whatever cargo does is the user's.

use crate::command::{self, shown};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The hidden verb that runs a program as root: cargo gets it as the runner of tests.
pub const VERB: &str = "as-root";

/// How often sudo is told that the password still counts; it forgets it after five minutes on some distributions.
const REMIND: Duration = Duration::from_secs(60);

/// Variables that root's program gets as they are: where things lie, what cargo and the test runner tell tests, the words of the
/// line, and the way out of a closed network.
const KEPT: [&str; 17] = [
    "HOME",
    "TERM",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "OUT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "CARGO*",
    "RUST*",
    "NEXTEST*",
    "INSTA*",
    "MILLRACE*",
    "LC_*",
];

/// Whether this process may do everything: the owner of /proc/self is the process's effective user.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether root works for an ordinary user, through sudo.
pub fn for_a_user() -> bool {
    is_root() && std::env::var_os("SUDO_USER").is_some_and(|user| user != "root")
}

/// Makes sure that this process can get root's rights. sudo asks for a password on the terminal: call it while nothing is drawn there.
pub fn ask() -> Result<()> {
    if is_root() || silently() {
        return Ok(());
    }
    command::find("sudo").context("this takes root's rights: run it as root, or install sudo")?;
    // Not `sudo -v`: that asks where only another rule of this user's wants a password.
    shown(Command::new("sudo").arg("true"))
        .context("sudo gives no rights to this user: run it as root")
}

fn silently() -> bool {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success())
}

/// Asks, and keeps the rights for as long as this process lives.
pub fn ask_once_for_all() -> Result<()> {
    ask()?;
    if !is_root() {
        std::thread::spawn(|| {
            while silently() {
                std::thread::sleep(REMIND);
            }
        });
    }
    Ok(())
}

/// A program with root's rights and what this process knows of where things lie. It asks for no password; [`ask`] does.
pub fn command(program: impl Into<OsString>) -> Command {
    if is_root() {
        return Command::new(program.into());
    }
    let names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| kept(name))
        .collect();
    let mut path = OsString::from("PATH=");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut sudo = Command::new("sudo");
    // sudo has a PATH of its own for whatever it runs, in which there is no cargo.
    sudo.args(["-n", &format!("--preserve-env={}", names.join(",")), "env"])
        .arg(path)
        .arg(program.into());
    sudo
}

fn kept(name: &str) -> bool {
    KEPT.iter().any(|known| {
        known
            .strip_suffix('*')
            .map_or(*known == name, |begin| name.starts_with(begin))
    })
}

/// What [`VERB`] does: this process becomes the program.
pub fn become_it(words: &[String]) -> Result<()> {
    let [program, arguments @ ..] = words else {
        bail!("{VERB} was given no program")
    };
    Err(command(program).args(arguments).exec()).with_context(|| format!("start {program} as root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_told_where_things_lie_and_no_more() {
        let known = [
            "HOME",
            "XDG_CACHE_HOME",
            "CARGO_TARGET_DIR",
            "NEXTEST_RUN_ID",
            "MILLRACE_TEST_PLATFORM",
            "LC_ALL",
        ];
        assert!(known.into_iter().all(kept));
        assert!(
            ![
                "SSH_AUTH_SOCK",
                "LD_PRELOAD",
                "HOMEWARD",
                "AWS_SECRET_ACCESS_KEY"
            ]
            .into_iter()
            .any(kept)
        );
    }
}

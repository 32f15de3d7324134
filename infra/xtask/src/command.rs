//! Running other programs: with their output kept, and a failure reported with the end of it.

use anyhow::{Context, Result, bail};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Lines of a failed program's output that a person is shown: the cause is among the last, and a screen holds them.
const TAIL_LINES: usize = 25;

/// How often a program with a time limit is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Runs to the end, output into the file `log`; a failure carries the log's end.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    crate::folders::write(log, "")?;
    let file = std::fs::File::create(log)?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status();
    let status = status.with_context(|| format!("start {}", name_of(command)))?;
    if !status.success() {
        let text = std::fs::read(log)?;
        bail!(
            "{} ended with {status}:\n{}\n(all of it in {})",
            name_of(command),
            tail(&String::from_utf8_lossy(&text), TAIL_LINES),
            log.display()
        );
    }
    Ok(())
}

/// Runs to the end with output and input of our own, as a person sees it.
pub fn shown(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", name_of(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", name_of(command));
    }
    Ok(())
}

/// Standard output of a program that must succeed.
pub fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", name_of(command)))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{} ended with {}:\n{}",
            name_of(command),
            output.status,
            tail(&String::from_utf8_lossy(&said), TAIL_LINES)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program ends well within the time; it is ended when it does not.
pub fn succeeds_within(command: &mut Command, time: Duration) -> bool {
    let Ok(mut child) = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let end = Instant::now() + time;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < end => std::thread::sleep(POLL),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Ends a process when its own standard input ends without a word.
const WATCHDOG: &str = r#"read -r word || kill -TERM "$1" 2>/dev/null"#;

/// Ends a server when this process ends, even by `kill -9`. A word on its standard input calls it off.
pub fn watchdog(over: &Child) -> Result<Child> {
    let mut watchdog = Command::new("sh");
    watchdog
        .args(["-c", WATCHDOG, "watchdog", &over.id().to_string()])
        .process_group(0);
    watchdog
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start sh")
}

/// Waits until a server that was started takes connections; a failure says what it printed.
pub fn wait_until_it_listens(
    server: &mut Child,
    name: &str,
    address: &str,
    log: &Path,
    time: Duration,
) -> Result<()> {
    let end = Instant::now() + time;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = server.try_wait()? {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            bail!("{name} ended with {status}:\n{}", tail(&said, TAIL_LINES));
        }
        if Instant::now() > end {
            bail!(
                "{name} does not listen at {address} after {time:?}; it says in {} why",
                log.display()
            );
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// The same command, at the lowest priority.
pub fn niced(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program());
    nice.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    nice
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Where a program lies. The administrator's folders count as well, for they are not in everybody's PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn name_of(command: &Command) -> String {
    let arguments = command
        .get_args()
        .take(3)
        .map(|argument| argument.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "`{} {arguments}`",
        Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn watched(word: &[u8]) -> bool {
        let mut sleeper = Command::new("sleep").arg("30").spawn().unwrap();
        let mut watchdog = watchdog(&sleeper).unwrap();
        watchdog.stdin.take().unwrap().write_all(word).unwrap();
        watchdog.wait().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let ended = sleeper.try_wait().unwrap().is_some();
        let _ = sleeper.kill();
        let _ = sleeper.wait();
        ended
    }

    #[test]
    fn a_server_ends_with_xtask_unless_it_is_told_to_stay() {
        assert!(watched(b""));
        assert!(!watched(b"keep\n"));
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }

    #[test]
    fn a_program_over_its_time_is_ended() {
        let begin = Instant::now();
        assert!(!succeeds_within(
            Command::new("sleep").arg("60"),
            Duration::from_millis(100)
        ));
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert!(succeeds_within(
            &mut Command::new("true"),
            Duration::from_secs(30)
        ));
    }

    #[test]
    fn a_failure_tells_the_end_of_the_output() {
        let log = std::env::temp_dir().join(format!("xtask-failure-{}.log", std::process::id()));
        let error = logged(
            Command::new("sh").args(["-c", "echo before; echo the cause >&2; exit 3"]),
            &log,
        )
        .unwrap_err();
        let _ = std::fs::remove_file(&log);
        assert!(format!("{error}").contains("before\nthe cause"), "{error}");
    }
}

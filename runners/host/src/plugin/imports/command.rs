//! `command`: programs in the sandbox.

use super::{TaskRoot, trouble};
use crate::hold::Failed;
use crate::plugin::bindings::command::{Error, Exit, Host, Spec};
use crate::plugin::capability::{self, Asked};
use crate::plugin::engine::Interrupt;
use crate::plugin::job::Job;
use crate::sandbox::{Command, Ended};
use std::time::Duration;
use wasmtime::component::Resource;

/// How much of the end of a command's output goes back to the plugin, in bytes: enough for a compiler's error with its context.
const TAIL_BYTES_MAX: usize = 4096;

impl Host for Job {
    fn run(
        &mut self,
        root: Resource<TaskRoot>,
        spec: Spec,
    ) -> wasmtime::Result<Result<Exit, Error>> {
        let (as_root, asked) = asked(spec);
        self.asked(format_args!("command.run {}", noted(&asked, as_root)));
        let timeout = match capability::command(&asked, self.time_left()) {
            Ok(timeout) => timeout,
            Err(refusal) => return Ok(Err(Error::Refused(refusal.to_string()))),
        };
        self.log.line(&format!("$ {}", shown(&asked.argv)));
        let timeout_s = if timeout.as_secs() < u64::from(asked.timeout_s) || asked.timeout_s == 0 {
            self.work.sandbox.limits.time_s
        } else {
            asked.timeout_s
        };
        let command = self.command(&root, asked, as_root, timeout)?;
        let (log, mut tail) = (self.log.clone(), Tail::default());
        let mut sink = |bytes: &[u8]| {
            log.bytes(bytes);
            tail.add(bytes);
        };
        let ended = self
            .machine
            .sandbox
            .run(&command, self.stop.flag(), &mut sink);
        let failed = ended
            .as_ref()
            .ok()
            .and_then(how_it_failed)
            .map(|how| Failed::of(&command, root.rep(), how));
        self.folder.changed();
        if let Some(failed) = failed {
            self.note_failure(failed);
        }
        let limits = self.work.sandbox.limits;
        Ok(match ended.map_err(trouble)? {
            Ended::Exited {
                status,
                stdout,
                cut,
                elapsed_ms,
            } => Ok(Exit {
                status,
                stdout,
                cut,
                tail: tail.lines(),
                elapsed_ms,
            }),
            Ended::TimedOut => Err(Error::TimedOut(timeout_s)),
            Ended::OutOfMemory => Err(Error::OutOfMemory(limits.memory_bytes)),
            Ended::OutOfSpace => Err(Error::OutOfSpace(limits.disk_bytes)),
            Ended::OutputLimit => Err(Error::OutputLimit(limits.log_bytes)),
            Ended::Cancelled => return Err(wasmtime::Error::new(Interrupt::Stopped)),
        })
    }
}

/// How a command failed, where it did.
fn how_it_failed(ended: &Ended) -> Option<String> {
    match ended {
        Ended::Exited { status: 0, .. } => None,
        Ended::Exited { status, .. } => Some(format!("ended with status {status}")),
        Ended::TimedOut | Ended::Cancelled => Some("was stopped: its time was over".to_owned()),
        Ended::OutOfMemory => {
            Some("was stopped: it needed more memory than it may have".to_owned())
        }
        Ended::OutOfSpace => Some("was stopped: it filled the disk that it may use".to_owned()),
        Ended::OutputLimit => Some("was stopped: it printed too much".to_owned()),
    }
}

fn asked(spec: Spec) -> (bool, Asked) {
    let asked = Asked {
        argv: spec.argv,
        env: spec.env,
        cwd: spec.cwd,
        stdin: spec.stdin,
        timeout_s: spec.timeout_s,
        capture_bytes_max: spec.capture_bytes_max,
    };
    (spec.as_root, asked)
}

/// A command as a trace has it: of its input only how many lines it has, for those are paths that differ between architectures.
fn noted(asked: &Asked, as_root: bool) -> String {
    let lines = asked.stdin.iter().filter(|byte| **byte == b'\n').count();
    let Asked {
        argv,
        env,
        cwd,
        stdin: _,
        timeout_s,
        capture_bytes_max,
    } = asked;
    format!(
        "{argv:?} env {env:?} cwd {cwd:?} stdin {lines} lines timeout {timeout_s} s capture {capture_bytes_max} bytes{}",
        if as_root { " as root" } else { "" }
    )
}

impl Job {
    fn command(
        &self,
        root: &Resource<TaskRoot>,
        asked: Asked,
        as_root: bool,
        timeout: Duration,
    ) -> wasmtime::Result<Command<'_>> {
        Ok(Command {
            view: self.table.get(root)?.root.view(),
            argv: asked.argv,
            env: asked.env,
            cwd: asked.cwd,
            stdin: asked.stdin,
            timeout,
            as_root,
            options: self.work.sandbox,
            work: self.folder.path(),
            capture_bytes_max: asked.capture_bytes_max as usize,
        })
    }
}

/// A command line as people would type it, on one line; of a script only how it begins.
pub(crate) fn shown(argv: &[String]) -> String {
    /// Longer ones are lists of files, which nobody reads.
    const CHARACTERS_MAX: usize = 2000;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@%^~".contains(c);
    let word = |word: &String| match word.trim().split_once('\n') {
        Some((first, _)) => format!("'{first} …'"),
        None if !word.is_empty() && word.chars().all(plain) => word.clone(),
        None => format!("'{}'", word.trim_end().replace('\'', r"'\''")),
    };
    let line = argv.iter().map(word).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{} …", &line[..at]),
        None => line,
    }
}

/// The end of an output that may be long.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(&bytes[bytes.len().saturating_sub(2 * TAIL_BYTES_MAX)..]);
        if self.0.len() > 2 * TAIL_BYTES_MAX {
            self.0.drain(..self.0.len() - TAIL_BYTES_MAX - 1);
        }
    }

    /// Its whole lines.
    fn lines(&self) -> String {
        let from = self.0.len().saturating_sub(TAIL_BYTES_MAX);
        let begin = match from {
            0 => 0,
            _ => self.0[from..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(from, |at| from + at + 1),
        };
        String::from_utf8_lossy(&self.0[begin..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let argv = [
            "rpmbuild",
            "--define",
            "dist .el9",
            "it's",
            "",
            "\nset -e\nmake\n",
        ]
        .map(str::to_owned);
        assert_eq!(
            shown(&argv),
            r"rpmbuild --define 'dist .el9' 'it'\''s' '' 'set -e …'"
        );
    }

    #[test]
    fn a_tail_has_the_last_whole_lines_however_they_came() {
        for piece in [1, 7, 100, 5000, 100_000] {
            let text: String = (0..3000).map(|n| format!("line {n}\n")).collect();
            let mut tail = Tail::default();
            text.as_bytes()
                .chunks(piece)
                .for_each(|bytes| tail.add(bytes));
            let lines = tail.lines();
            assert!(
                lines.starts_with("line ") && lines.ends_with("line 2999\n"),
                "{piece}: {lines}"
            );
            assert!(
                lines.len() <= TAIL_BYTES_MAX && lines.len() > TAIL_BYTES_MAX - 20,
                "{piece}: {}",
                lines.len()
            );
        }
    }

    #[test]
    fn a_short_output_is_its_own_tail() {
        let mut tail = Tail::default();
        tail.add(b"half a line");
        assert_eq!(tail.lines(), "half a line");
    }
}

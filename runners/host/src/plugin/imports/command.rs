//! `command`: programs in the sandbox.

use super::trouble;
use crate::plugin::bindings::command::{Error, Exit, Host, Spec};
use crate::plugin::capability::{self, CommandRequest};
use crate::plugin::command_line::one_line;
use crate::plugin::end::Interrupt;
use crate::plugin::failed::FailedRun;
use crate::plugin::job::Job;
use crate::plugin::task_root::TaskRoot;
use crate::sandbox::{Command, CommandEnd};
use millrace_core::platform::Limits;
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
        let as_root = spec.as_root;
        let request = request_of(spec);
        self.trace_call(format_args!("command.run {}", traced(&request, as_root)));
        let timeout = match capability::command(&request, self.time_left()) {
            Ok(timeout) => timeout,
            Err(refusal) => return Ok(Err(Error::Refused(refusal.to_string()))),
        };
        self.log.line(&format!("$ {}", one_line(&request.argv)));
        let limits = self.work.sandbox.limits;
        let timeout_s = timeout_s(&request, timeout, &limits);
        let command = self.command(&root, request, as_root, timeout)?;
        let log = self.log.clone();
        let mut tail = Tail::default();
        let mut output = |bytes: &[u8]| {
            log.bytes(bytes);
            tail.add(bytes);
        };
        let ended = self
            .services
            .sandbox
            .run(&command, self.stop.flag(), &mut output);
        let failed = ended
            .as_ref()
            .ok()
            .and_then(how_it_failed)
            .map(|how| FailedRun::of(&command, root.rep(), how));
        self.folder.changed();
        if let Some(failed) = failed {
            self.note_failure(failed);
        }
        Ok(match ended.map_err(trouble)? {
            CommandEnd::Exited {
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
            CommandEnd::TimedOut => Err(Error::TimedOut(timeout_s)),
            CommandEnd::OutOfMemory => Err(Error::OutOfMemory(limits.memory_bytes)),
            CommandEnd::OutOfSpace => Err(Error::OutOfSpace(limits.disk_bytes)),
            CommandEnd::OutputLimit => Err(Error::OutputLimit(limits.log_bytes)),
            CommandEnd::Cancelled => return Err(wasmtime::Error::new(Interrupt::Stopped)),
        })
    }
}

/// The time of a command as its plugin is told of it: its own, or the task's if that ends first.
fn timeout_s(request: &CommandRequest, timeout: Duration, limits: &Limits) -> u32 {
    if timeout.as_secs() < u64::from(request.timeout_s) || request.timeout_s == 0 {
        limits.time_s
    } else {
        request.timeout_s
    }
}

/// How a command failed; none if it did not.
fn how_it_failed(ended: &CommandEnd) -> Option<String> {
    match ended {
        CommandEnd::Exited { status: 0, .. } => None,
        CommandEnd::Exited { status, .. } => Some(format!("ended with status {status}")),
        CommandEnd::TimedOut | CommandEnd::Cancelled => {
            Some("was stopped: its time was over".to_owned())
        }
        CommandEnd::OutOfMemory => {
            Some("was stopped: it needed more memory than it may have".to_owned())
        }
        CommandEnd::OutOfSpace => {
            Some("was stopped: it filled the disk that it may use".to_owned())
        }
        CommandEnd::OutputLimit => Some("was stopped: it printed too much".to_owned()),
    }
}

fn request_of(spec: Spec) -> CommandRequest {
    CommandRequest {
        argv: spec.argv,
        env: spec.env,
        cwd: spec.cwd,
        stdin: spec.stdin,
        timeout_s: spec.timeout_s,
        capture_bytes_max: spec.capture_bytes_max,
    }
}

/// A command as a trace has it: of its input only how many lines it has, for those are paths that differ between architectures.
fn traced(request: &CommandRequest, as_root: bool) -> String {
    let lines = request.stdin.iter().filter(|byte| **byte == b'\n').count();
    let CommandRequest {
        argv,
        env,
        cwd,
        stdin: _,
        timeout_s,
        capture_bytes_max,
    } = request;
    format!(
        "{argv:?} env {env:?} cwd {cwd:?} stdin {lines} lines timeout {timeout_s} s capture {capture_bytes_max} bytes{}",
        if as_root { " as root" } else { "" }
    )
}

impl Job {
    fn command(
        &self,
        root: &Resource<TaskRoot>,
        request: CommandRequest,
        as_root: bool,
        timeout: Duration,
    ) -> wasmtime::Result<Command<'_>> {
        Ok(Command {
            view: self.table.get(root)?.root.view(),
            argv: request.argv,
            env: request.env,
            cwd: request.cwd,
            stdin: request.stdin,
            timeout,
            as_root,
            options: self.work.sandbox,
            work: self.folder.path(),
            capture_bytes_max: request.capture_bytes_max as usize,
        })
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

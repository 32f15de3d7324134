//! The command that failed last in a task, and the sandbox in which it did.

use super::command_line::quoted;
use super::folder::Folder;
use crate::buildroot::Root;
use crate::sandbox::Command;
use millrace_core::platform::SandboxOptions;
use millrace_core::task::LeaseId;
use std::path::PathBuf;
use std::time::Duration;

/// What runs the command again, as the package's author finds it in `/work`: a script, its input, and a shell's history.
const AGAIN: &str = "again.sh";
const AGAIN_STDIN: &str = "again.stdin";
pub(crate) const AGAIN_HISTORY: &str = "again.history";

/// A command that failed.
#[derive(Debug, Clone)]
pub(crate) struct FailedRun {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) as_root: bool,
    stdin: Vec<u8>,
    pub(crate) how: String,
    /// The number of its root in the task's table.
    pub(super) root: u32,
}

impl FailedRun {
    pub(crate) fn of(command: &Command<'_>, root: u32, how: String) -> Self {
        Self {
            argv: command.argv.clone(),
            env: command.env.clone(),
            cwd: command.cwd.clone(),
            as_root: command.as_root,
            stdin: command.stdin.clone(),
            how,
            root,
        }
    }

    /// Puts a script into the task's folder that does the same once more.
    pub(super) fn write_script(&self, folder: &Folder) {
        let history = format!("sh /work/{AGAIN}\n");
        for (name, bytes) in [
            (AGAIN, self.script().as_bytes()),
            (AGAIN_STDIN, self.stdin.as_slice()),
            (AGAIN_HISTORY, history.as_bytes()),
        ] {
            // Whatever a command has left there; and if the disk is full, the rest can be looked at all the same.
            let _ = folder
                .remove(name)
                .and_then(|()| folder.write(name, bytes, false));
        }
    }

    fn script(&self) -> String {
        let words: Vec<String> = self.argv.iter().map(|word| quoted(word)).collect();
        format!(
            "#!/bin/sh\n# What failed, once more.\ncd {} && exec {} </work/{AGAIN_STDIN}\n",
            quoted(&self.cwd),
            words.join(" ")
        )
    }
}

/// The command that failed last, and its root if the plugin has let go of that.
pub(crate) struct LastFailure {
    pub(super) run: FailedRun,
    pub(super) root: Option<Root>,
}

/// A sandbox in which a task has failed, as its last command left it.
pub(crate) struct FailedSandbox {
    pub(crate) root: Root,
    pub(crate) run: FailedRun,
    /// All that the task has on the disk.
    pub(crate) folder: PathBuf,
    /// What commands see as `/work`.
    pub(crate) work: PathBuf,
    pub(crate) lease: LeaseId,
    pub(crate) options: SandboxOptions,
    /// For how long it shall be held.
    pub(crate) hold: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_does_what_failed_whatever_its_words_are() {
        let failed = FailedRun {
            argv: ["rpmbuild", "--define", "it's 1", "$HOME"]
                .map(str::to_owned)
                .to_vec(),
            env: Vec::new(),
            cwd: "/work".to_owned(),
            as_root: false,
            stdin: Vec::new(),
            how: "ended with status 1".to_owned(),
            root: 0,
        };
        let script = failed.script();
        assert!(
            script.ends_with(
                "cd '/work' && exec 'rpmbuild' '--define' 'it'\\''s 1' '$HOME' </work/again.stdin\n"
            ),
            "{script}"
        );
    }
}

//! `rpmbuild`, called so that the same commit makes the same packages.

use crate::command::Exit;
use crate::{Command, Task};

/// Where rpmbuild works, as the root sees it.
pub const TOP: &str = "/work/rpmbuild";

/// The same, from the task's folder.
pub const TOP_FOLDER: &str = "rpmbuild";

/// A command line of rpmbuild with the platform's macros, a fixed build host, and the commit's time wherever a time is kept.
pub fn rpmbuild(task: &Task) -> Command {
    let fixed = [
        ("_topdir", TOP),
        ("_buildhost", "millrace"),
        ("use_source_date_epoch_as_buildtime", "1"),
        ("clamp_mtime_to_source_date_epoch", "1"),
        // The commit's time is the later one: a changelog's day may be older than the files.
        ("source_date_epoch_from_changelog", "0"),
    ];
    let platform = task
        .macros
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let defines = platform
        .chain(fixed)
        .flat_map(|(name, value)| define(name, value));
    Command::new(["rpmbuild"])
        .args(defines)
        .env("SOURCE_DATE_EPOCH", task.source_date_epoch.to_string())
}

/// The arguments that set a macro.
pub fn define(name: &str, value: &str) -> [String; 2] {
    // A definition of nothing is refused; `%{nil}` is nothing.
    let value = if value.is_empty() { "%{nil}" } else { value };
    ["--define".to_owned(), format!("{name} {value}")]
}

/// Lines of rpmbuild's output that say what is wrong: its errors, or else the last ones.
pub fn errors(exit: &Exit) -> String {
    let is_error = |line: &&str| line.starts_with("error: ") || line.contains(": error: ");
    let errors: Vec<&str> = exit.tail.lines().filter(is_error).take(8).collect();
    if errors.is_empty() {
        crate::tail_of(&exit.tail, 8)
    } else {
        errors.join("\n")
    }
}

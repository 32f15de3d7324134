//! The step `no-bundled`: a package must not bring copies of other projects.

#![allow(missing_docs, reason = "a plugin's only item is what the host calls")]

use millrace_sdk::prelude::*;

fn run(task: Task) -> Result<Outcome, Failure> {
    fetch_tree(&task)?;
    let spec = files::read_text(&format!("tree/{}", task.spec))?;
    match spec
        .lines()
        .find(|line| line.starts_with("Provides: bundled("))
    {
        Some(line) => Err(Failure::package(format!(
            "{}: `{line}`: build with the packaged one",
            task.spec
        ))),
        None => Ok(Outcome::Passed("nothing bundled".to_owned())),
    }
}

millrace_sdk::plugin!(run);

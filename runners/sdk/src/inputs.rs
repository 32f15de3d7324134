//! What a task brings along.

use crate::types::Artifact;
use crate::{Failure, Task, artifacts, files};
use serde::de::DeserializeOwned;

/// The name under which a task gets its commit's tree.
const TREE: &str = "tree.tar";

/// The step's configuration. What does not fit is a failure of the person who wrote it; take `#[serde(deny_unknown_fields)]`, so that a
/// misspelt key does not go by.
pub fn config<C: DeserializeOwned>(task: &Task) -> Result<C, Failure> {
    serde_json::from_str(&task.config)
        .map_err(|error| Failure::configuration(format!("the step's configuration: {error}")))
}

/// Unpacks the commit's tree into `tree/`.
pub fn fetch_tree(task: &Task) -> Result<(), Failure> {
    let none = || Failure::plugin("the task has no `tree.tar` among its inputs");
    let tree = task
        .inputs
        .iter()
        .find(|input| input.name == TREE)
        .ok_or_else(none)?;
    fetch(tree, TREE)?;
    files::unpack(TREE, "tree")?;
    files::remove(TREE)?;
    Ok(())
}

/// Puts an input at a path of the task's folder.
pub fn fetch(input: &Artifact, path: &str) -> Result<(), Failure> {
    artifacts::fetch(&input.digest, path)
        .map_err(|error| Failure::from(error).while_doing(&format!("fetching {}", input.name)))
}

/// The inputs that are RPMs, in the order of their names: source packages or the others.
pub fn packages(task: &Task, source: bool) -> Vec<&Artifact> {
    task.inputs
        .iter()
        .filter(|input| {
            input
                .rpm
                .as_ref()
                .is_some_and(|rpm| (rpm.arch == "src") == source)
        })
        .collect()
}

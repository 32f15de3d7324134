//! How many tasks wait or run on each architecture.

use millrace_core::Arch;
use millrace_store::builds::load_build;
use millrace_store::index::{LEASED, ready_index};
use millrace_store::{StateError, StateStore};

/// Tasks and builds looked at: more than any group has hosts.
const LOOKED_AT_MAX: usize = 200;

/// Tasks that wait for a runner of this architecture or are being done by one. Those that any runner may do count if `any` says so:
/// for one architecture, or each would have its host started for them.
pub(crate) async fn demand(
    state: &impl StateStore,
    arch: Arch,
    any: bool,
) -> Result<usize, StateError> {
    let mut tasks = state
        .index_entries(&ready_index(Some(arch)), None, LOOKED_AT_MAX)
        .await?
        .len();
    if any {
        tasks += state
            .index_entries(&ready_index(None), None, LOOKED_AT_MAX)
            .await?
            .len();
    }
    for hit in state.index_entries(LEASED, None, LOOKED_AT_MAX).await? {
        let Ok(id) = hit.key.id.parse() else {
            continue;
        };
        let build = match load_build(state, &id).await {
            Ok(build) => build,
            // One that nobody can read keeps the others' hosts from nothing.
            Err(StateError::Corrupt { .. }) => continue,
            Err(error) => return Err(error),
        };
        let counts = |of: Option<Arch>| of == Some(arch) || (any && of.is_none());
        tasks += build
            .iter()
            .flat_map(|(build, _)| &build.tasks)
            .filter(|task| task.lease().is_some() && counts(task.id.arch))
            .count();
    }
    Ok(tasks)
}

//! What time alone decides: leases that were not renewed are over.

use millrace_core::Timestamp;
use millrace_core::build::Event;
use millrace_store::builds::{LEASED, leased_until};
use millrace_store::{AdvanceError, StateStore, Table, advance};

/// Builds looked at in one tick; what is left over comes with the next one, a second later.
const BUILDS_MAX: usize = 200;

/// Lets time pass for every build with a lease that is over. Answers how many there were.
pub async fn tick(state: &impl StateStore, now: Timestamp) -> Result<usize, AdvanceError> {
    let mut passed = 0;
    for marked in state.marked(LEASED, None, BUILDS_MAX).await? {
        if leased_until(&marked.sort).is_none_or(|until| until > now) {
            break;
        }
        let Ok(id) = marked.key.id.parse() else { continue };
        debug_assert_eq!(marked.key.table, Table::Build, "only builds carry leases");
        match advance(state, &id, Event::Tick, now).await {
            Ok(_) => passed += 1,
            Err(AdvanceError::Refused(_) | AdvanceError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(passed)
}

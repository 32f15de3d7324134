//! What time alone decides: leases whose holders were not heard of are over.

use crate::trouble::pass_over;
use millrace_core::build::{AHEAD_MS, Build, Event};
use millrace_core::{BuildId, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::index::{LEASED, leased_until};
use millrace_store::leases::heard;
use millrace_store::{AdvanceError, Key, StateStore, Table, advance};

/// Builds looked at in one tick; what is left over comes with the next one, a second later.
const BUILDS_MAX: usize = 200;

/// Lets time pass for every build with a lease that is over, unless its holder was heard of. Answers how many there were. A build that
/// cannot be read or saved stays where it is, in front of all others, and is passed over.
pub async fn tick(state: &impl StateStore, now: Timestamp) -> Result<usize, AdvanceError> {
    let (mut passed, mut after) = (0, None);
    loop {
        let page = state
            .index_entries(LEASED, after.as_deref(), BUILDS_MAX)
            .await?;
        let mut troubled = false;
        for hit in &page {
            if leased_until(&hit.sort).is_none_or(|until| until > now) {
                return Ok(passed);
            }
            let Ok(id) = hit.key.id.parse() else {
                continue;
            };
            debug_assert_eq!(hit.key.table, Table::Build, "only builds carry leases");
            match pass(state, &id, now).await {
                Ok(_) => passed += 1,
                Err(error) => troubled |= pass_over(&id, error)?,
            }
        }
        // Those in trouble come first in the next tick too, so what is behind them is looked at now.
        match page.last() {
            Some(last) if troubled && page.len() == BUILDS_MAX => after = Some(last.sort.clone()),
            _ => return Ok(passed),
        }
    }
}

/// Lets no lease and no pause end as late as a clock would have it that was ahead until now. To be called if the line's clock may have been
/// set back since it was read last. Answers how many builds there were. One that cannot be read or saved is passed over.
pub async fn clock_set_back(
    state: &impl StateStore,
    now: Timestamp,
) -> Result<usize, AdvanceError> {
    let (mut passed, mut after) = (0, None);
    loop {
        let page = state
            .index_entries(LEASED, after.as_deref(), BUILDS_MAX)
            .await?;
        for hit in &page {
            let ends_too_late =
                leased_until(&hit.sort).is_some_and(|until| until > now.plus_ms(AHEAD_MS));
            if let (true, Ok(id)) = (ends_too_late, hit.key.id.parse()) {
                match pass(state, &id, now).await {
                    Ok(()) => passed += 1,
                    Err(error) => drop(pass_over(&id, error)?),
                }
            }
        }
        match page.last() {
            // What was changed has moved to the front, where it was looked at.
            Some(last) if page.len() == BUILDS_MAX => after = Some(last.sort.clone()),
            _ => return Ok(passed),
        }
    }
}

/// Tells a build who was heard of, and lets time decide about the others.
async fn pass(state: &impl StateStore, id: &BuildId, now: Timestamp) -> Result<(), AdvanceError> {
    let (build, _) = load_build(state, id)
        .await?
        .ok_or_else(|| AdvanceError::Unknown(Key::new(Table::Build, id.as_str())))?;
    let heard = heard(state, &build).await?;
    if !heard.is_empty() {
        advance::<Build>(state, id, Event::Renew { heard }, now).await?;
    }
    advance::<Build>(state, id, Event::Tick, now)
        .await
        .map(drop)
}

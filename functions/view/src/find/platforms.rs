//! Finds platforms.

use super::list::{LIST_ENTRIES_MAX, readable};
use crate::error::ViewError;
use crate::platform::PlatformView;
use millrace_core::PlatformName;
use millrace_core::platform::Platform;
use millrace_store::records::get;
use millrace_store::{StateError, StateStore, Table};

/// One platform.
pub async fn platform(
    state: &impl StateStore,
    name: &PlatformName,
) -> Result<PlatformView, ViewError> {
    let found: Option<(Platform, _)> = get(state, Table::Platform, name.as_str()).await?;
    let (platform, _) = found.ok_or_else(|| ViewError::no_record("platform", name.as_str()))?;
    Ok(PlatformView::of(&platform))
}

/// All platforms by name.
pub async fn platforms(state: &impl StateStore) -> Result<Vec<PlatformView>, ViewError> {
    let platforms = every_platform(state).await?;
    Ok(platforms.iter().map(PlatformView::of).collect())
}

pub(super) async fn every_platform(state: &impl StateStore) -> Result<Vec<Platform>, StateError> {
    let mut platforms = Vec::new();
    let mut after = None;
    loop {
        let records = state
            .list(Table::Platform, after.as_deref(), LIST_ENTRIES_MAX)
            .await?;
        platforms.extend(readable(&records)?);
        match records.last() {
            Some(last) if records.len() == LIST_ENTRIES_MAX => after = Some(last.key.id.clone()),
            _ => return Ok(platforms),
        }
    }
}

//! Where builds and pushes lie, and by which index entries they are found.

use crate::advance::Aggregate;
use crate::index::{
    BUILDS, LEASED, PUSHES, commit_index, commit_pushes_index, held_index, leased_place,
    newest_first, package_index, package_platform_index, package_pushes_index, ready_index,
    ready_place,
};
use crate::records::{Stored, get};
use crate::state::{Commit, Expect, IndexEntry, SaveError, StateError, StateStore, Table, Version};
use millrace_core::build::{Build, Event, Refused, Stage};
use millrace_core::order::Effect;
use millrace_core::push::{Announced, PushRecord, PushState};
use millrace_core::{BuildId, PushId, RunnerName, Timestamp};
use std::collections::BTreeSet;

impl Stored for Build {
    const TABLE: Table = Table::Build;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        build_index_entries(self)
    }
}

impl Aggregate for Build {
    type Id = BuildId;
    type Event = Event;
    type Refused = Refused;

    fn step(&mut self, event: Event, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        // The rules themselves, by the same name.
        Build::step(self, event, now)
    }

    fn outgrown(bytes: u64, bytes_max: u64) -> Event {
        Event::Outgrown { bytes, bytes_max }
    }

    fn is_ended(&self) -> bool {
        Build::is_ended(self)
    }
}

impl Stored for PushRecord {
    const TABLE: Table = Table::Push;

    fn id(&self) -> String {
        self.announced.id.to_string()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        push_index_entries(self)
    }
}

fn build_index_entries(build: &Build) -> Vec<IndexEntry> {
    let place = newest_first(build.created, build.id.as_str());
    let announced = &build.push.announced;
    let (package, platform) = (&announced.package, &build.platform.name);
    let indexes = [
        BUILDS.to_owned(),
        package_index(package),
        package_platform_index(package, platform),
        commit_index(&announced.commit),
    ];
    let mut index_entries: Vec<IndexEntry> = indexes
        .into_iter()
        .map(|index| IndexEntry {
            index,
            sort: place.clone(),
        })
        .collect();
    index_entries.extend(build.ready().map(|task| IndexEntry {
        index: ready_index(task.arch),
        sort: ready_place(build, task),
    }));
    let holders: BTreeSet<&RunnerName> = build
        .tasks
        .iter()
        .filter_map(|task| Some(&task.lease()?.runner))
        .collect();
    index_entries.extend(holders.into_iter().map(|runner| IndexEntry {
        index: held_index(runner),
        sort: build.id.to_string(),
    }));
    if let (Some(until), Stage::Running) = (build.next_expiry(), &build.stage) {
        index_entries.push(IndexEntry {
            index: LEASED.to_owned(),
            sort: leased_place(build, until),
        });
    }
    index_entries
}

fn push_index_entries(record: &PushRecord) -> Vec<IndexEntry> {
    let announced = &record.announced;
    let place = newest_first(announced.received, announced.id.as_str());
    let indexes = [
        PUSHES.to_owned(),
        package_pushes_index(&announced.package),
        commit_pushes_index(&announced.commit),
    ];
    indexes
        .into_iter()
        .map(|index| IndexEntry {
            index,
            sort: place.clone(),
        })
        .collect()
}

/// Reads a build.
pub async fn load_build(
    state: &impl StateStore,
    id: &BuildId,
) -> Result<Option<(Build, Version)>, StateError> {
    get(state, Table::Build, id.as_str()).await
}

/// Reads a push.
pub async fn load_push(
    state: &impl StateStore,
    id: &PushId,
) -> Result<Option<(PushRecord, Version)>, StateError> {
    get(state, Table::Push, id.as_str()).await
}

/// Writes a push down that was announced, with the message to fetch it: both, or neither if there is a push of its id.
pub async fn create_push(state: &impl StateStore, announced: Announced) -> Result<(), SaveError> {
    let record = PushRecord {
        announced: announced.clone(),
        state: PushState::Fetching,
    };
    let commit = Commit {
        writes: vec![record.write(Expect::Absent)?],
        effects: vec![Effect::Fetch(announced)],
    };
    state.save(commit).await
}

/// Writes new builds with what each wants done at once, and then what has become of their push. A build that is there already was
/// written by an earlier try that did not come this far; a conflict is the push's.
pub async fn create_builds(
    state: &impl StateStore,
    push: (&PushRecord, Version),
    builds: &[Build],
) -> Result<(), SaveError> {
    for build in builds {
        let new = Commit {
            writes: vec![build.write(Expect::Absent)?],
            effects: build.first_effects(),
        };
        match state.save(new).await {
            Ok(()) | Err(SaveError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let (record, version) = push;
    state
        .save(record.write(Expect::Version(version))?.into())
        .await
}

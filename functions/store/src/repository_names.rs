//! What is known of the names in platforms' repositories, and how they are asked for.

use crate::blob::{BlobError, BlobStore};
use crate::records::{Stored, get};
use crate::state::{Commit, Expect, IndexEntry, SaveError, StateError, StateStore, Table, Version};
use millrace_core::order::Effect;
use millrace_core::ownership::{
    OwnedName, REPOSITORY_NAMES_BYTES_MAX, RepositoryNames, repositories_digest,
};
use millrace_core::platform::Platform;
use millrace_core::{Digest, PlatformName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How long names are taken for those of today, in milliseconds: distributions add packages once a day or so.
const FRESH_MS: u64 = 24 * 60 * 60 * 1000;

/// How long names are good for while newer ones cannot be fetched, in milliseconds: a mirror that is away for a weekend holds up nobody.
const GOOD_MS: u64 = 7 * FRESH_MS;

/// How long after names were asked for they may be asked for again, in milliseconds: fetching them takes some minutes at most.
const ASK_AGAIN_MS: u64 = 5 * 60_000;

/// What is known of the names in a platform's repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    platform: PlatformName,
    /// When somebody was last asked to fetch them.
    asked: Timestamp,
    /// Those that were fetched last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<Fetched>,
    /// Why they could not be fetched since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Names that were fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fetched {
    at: Timestamp,
    /// Of which repositories: [`repositories_digest`].
    of: Digest,
    /// The blob that has them.
    text: Digest,
}

impl Stored for Known {
    const TABLE: Table = Table::Setting;

    fn id(&self) -> String {
        id(&self.platform)
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        Vec::new()
    }
}

fn id(platform: &PlatformName) -> String {
    format!("repository-names/{platform}")
}

/// Names that cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// They have not been fetched yet, or are too old. They are being asked for; a retry helps once they are there.
    #[error("{}", not_fetched(.platform, .problem.as_deref()))]
    NotFetched {
        platform: PlatformName,
        /// Why the last try failed.
        problem: Option<String>,
    },
    /// The state store's trouble. A retry may help.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The blob store's trouble. A retry may help.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl From<StateError> for NamesError {
    fn from(error: StateError) -> Self {
        Self::Save(error.into())
    }
}

fn not_fetched(platform: &PlatformName, problem: Option<&str>) -> String {
    let why = problem.map_or_else(String::new, |problem| {
        format!(" (the last try failed: {problem})")
    });
    format!(
        "the names of the packages in platform {platform}'s repositories are being fetched; signing waits for them{why}"
    )
}

/// Those of these names that a platform's repositories have. Asks for newer ones where they are a day old, and for any where there are none.
pub async fn repository_names<S: StateStore>(
    platform: &Platform,
    wanted: &BTreeSet<OwnedName>,
    state: &S,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<RepositoryNames, NamesError> {
    if platform.repositories.is_empty() {
        return Ok(RepositoryNames::default());
    }
    let found = load(state, &platform.name).await?;
    let known = found.as_ref().map(|(known, _)| known);
    let names = known
        .and_then(|known| known.names.as_ref())
        .filter(|names| names.of == repositories_digest(platform));
    let age_ms = names.map(|names| now.since_ms(names.at));
    let was_asked = known.is_some_and(|known| now.since_ms(known.asked) < ASK_AGAIN_MS);
    if age_ms.is_none_or(|age_ms| age_ms >= FRESH_MS) && !was_asked {
        ask(state, &platform.name, found.clone(), now).await?;
    }
    match names.filter(|_| age_ms.is_some_and(|age_ms| age_ms < GOOD_MS)) {
        Some(names) => {
            let text = blobs
                .read_all(&names.text, REPOSITORY_NAMES_BYTES_MAX)
                .await?;
            let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
            Ok(RepositoryNames::parse(
                &String::from_utf8_lossy(&text),
                |name| wanted.contains(name),
            ))
        }
        None => Err(NamesError::NotFetched {
            platform: platform.name.clone(),
            problem: known.and_then(|known| known.problem.clone()),
        }),
    }
}

/// Sees to it that the names of a platform's repositories are there when somebody wants them: asks for them if they are those of other
/// repositories, or of none.
pub async fn prepare<S: StateStore>(
    platform: &Platform,
    state: &S,
    now: Timestamp,
) -> Result<(), SaveError> {
    let found = load(state, &platform.name).await?;
    let names = found.as_ref().and_then(|(known, _)| known.names.as_ref());
    let is_known = names.is_some_and(|names| names.of == repositories_digest(platform));
    if platform.repositories.is_empty() || is_known {
        return Ok(());
    }
    ask(state, &platform.name, found, now).await
}

async fn ask<S: StateStore>(
    state: &S,
    platform: &PlatformName,
    found: Option<(Known, Version)>,
    now: Timestamp,
) -> Result<(), SaveError> {
    let (known, expect) = begun(platform, found, now);
    let asked = Known {
        asked: now,
        ..known
    };
    let commit = Commit {
        writes: vec![asked.write(expect)?],
        effects: vec![Effect::FetchNames {
            platform: platform.clone(),
        }],
    };
    match state.save(commit).await {
        Ok(()) | Err(SaveError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Keeps names that were fetched, as those of the repositories that a platform has.
pub async fn keep<S: StateStore>(
    platform: &Platform,
    names: &RepositoryNames,
    state: &S,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<(), NamesError> {
    let text = blobs.put(names.to_text().into_bytes()).await?;
    let fetched = Fetched {
        at: now,
        of: repositories_digest(platform),
        text,
    };
    change(&platform.name, state, now, |known| Known {
        names: Some(fetched.clone()),
        problem: None,
        ..known
    })
    .await?;
    Ok(())
}

/// Keeps why names cannot be fetched. Those that are known stay.
pub async fn keep_problem<S: StateStore>(
    platform: &PlatformName,
    problem: &str,
    state: &S,
    now: Timestamp,
) -> Result<(), SaveError> {
    change(platform, state, now, |known| Known {
        problem: Some(problem.to_owned()),
        ..known
    })
    .await
}

async fn change<S: StateStore>(
    platform: &PlatformName,
    state: &S,
    now: Timestamp,
    change: impl Fn(Known) -> Known,
) -> Result<(), SaveError> {
    loop {
        let (known, expect) = begun(platform, load(state, platform).await?, now);
        match state.save(change(known).write(expect)?.into()).await {
            Ok(()) => return Ok(()),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
    }
}

/// What is known, and what a write of it must expect.
fn begun(
    platform: &PlatformName,
    found: Option<(Known, Version)>,
    now: Timestamp,
) -> (Known, Expect) {
    match found {
        Some((known, version)) => (known, Expect::Version(version)),
        None => {
            let known = Known {
                platform: platform.clone(),
                asked: now,
                names: None,
                problem: None,
            };
            (known, Expect::Absent)
        }
    }
}

async fn load(
    state: &impl StateStore,
    platform: &PlatformName,
) -> Result<Option<(Known, Version)>, StateError> {
    get(state, Table::Setting, &id(platform)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use millrace_core::testing;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn platform() -> Platform {
        testing::platform(r#""x86_64""#)
    }

    async fn names_at(
        store: &MemoryStore,
        platform: &Platform,
        now: Timestamp,
    ) -> Result<usize, String> {
        let wanted = BTreeSet::from(["patch".parse().unwrap()]);
        let names = repository_names(platform, &wanted, store, store, now).await;
        names
            .map(|names| names.len())
            .map_err(|error| error.to_string())
    }

    async fn asked(store: &MemoryStore) -> usize {
        store.unsettled(10).await.unwrap().len()
    }

    async fn keep_one(store: &MemoryStore) {
        let mut names = RepositoryNames::default();
        names.add(&"patch".parse().unwrap(), "patch").unwrap();
        keep(&platform(), &names, store, store, NOW).await.unwrap();
    }

    #[tokio::test]
    async fn names_are_asked_for_once_and_why_they_are_not_there_is_said() {
        let store = MemoryStore::new();
        let waits = names_at(&store, &platform(), NOW).await.unwrap_err();
        assert!(waits.ends_with("signing waits for them"), "{waits}");
        keep_problem(&platform().name, "404", &store, NOW)
            .await
            .unwrap();
        let waits = names_at(&store, &platform(), NOW).await.unwrap_err();
        assert!(waits.ends_with("(the last try failed: 404)"), "{waits}");
        assert_eq!(asked(&store).await, 1);
        names_at(&store, &platform(), NOW.plus_ms(ASK_AGAIN_MS))
            .await
            .unwrap_err();
        assert_eq!(asked(&store).await, 2);
    }

    #[tokio::test]
    async fn old_names_are_good_for_a_week_while_newer_ones_cannot_be_fetched() {
        let store = MemoryStore::new();
        keep_one(&store).await;
        assert_eq!(names_at(&store, &platform(), NOW).await, Ok(1));
        assert_eq!(asked(&store).await, 0);
        let tomorrow = NOW.plus_ms(FRESH_MS);
        assert_eq!(names_at(&store, &platform(), tomorrow).await, Ok(1));
        assert_eq!(asked(&store).await, 1);
        assert!(
            names_at(&store, &platform(), NOW.plus_ms(GOOD_MS))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn names_of_other_repositories_are_not_taken_for_a_platforms_own() {
        let store = MemoryStore::new();
        keep_one(&store).await;
        let mut changed = platform();
        changed.repositories[0].baseurl = Some("http://localhost/other".to_owned());
        assert!(names_at(&store, &changed, NOW).await.is_err());
        changed.repositories.clear();
        assert_eq!(names_at(&store, &changed, NOW).await, Ok(0));
    }
}

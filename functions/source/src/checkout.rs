//! From a push that was announced to a push whose bytes the line holds.
//!
//! Acting on one `Effect::Fetch` twice comes to the same: the archive is the same bytes under the same digest, and the wish to
//! plan is written at most once, together with the state that says so. Even a second wish would do no harm, since the ids of
//! builds follow from push and platform.

mod archive;
mod commit;
mod http;
mod refusal;

pub(crate) use refusal::Stop;
pub use refusal::{FetchError, Refusal};

use crate::lookaside::{Template, obtain};
use archive::{Archive, archive};
use commit::{Limits, fetch_commit};
use millrace_core::PushId;
use millrace_core::order::Effect;
use millrace_core::push::{Announced, Push, PushRecord, PushState};
use millrace_store::builds::load_push;
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{BlobStore, Commit, Expect, SaveError, StateStore, Stored, Version};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Largest push, in bytes of JSON: every build keeps it, and a build's record of at most 380 KB must hold its tasks besides.
const PUSH_BYTES_MAX: usize = 192 * 1024;

/// Bounds of what one push may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Pack that git sends, in bytes.
    pub pack_bytes: u64,
    /// Files of the commit's tree together, in bytes.
    pub tree_bytes: u64,
    /// One file from a lookaside store, in bytes.
    pub source_bytes: u64,
    /// All of a push's files from lookaside stores together, in bytes.
    pub sources_bytes: u64,
    /// One try to fetch all of it.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pack_bytes: 1 << 30, // a server without shallow fetches sends the history: that of the largest packages has 500 MB
            tree_bytes: 1 << 29, // a whole upstream tree kept in git; a package without its sources has a few MB
            source_bytes: 4 << 30, // browsers' source archives have about 3.5 GB
            sources_bytes: 8 << 30, // twice a browser; TeX Live's thousands of files have about 4 GB together
            time: Fetcher::FETCH_MAX,
        }
    }
}

/// What fetching needs besides the stores.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// Folder for what is on its way; nothing stays in it.
    pub scratch: PathBuf,
    /// Where to look for sources that the line does not hold yet, in this order.
    pub lookaside: Vec<Template>,
    /// Bounds of what one push may bring.
    pub bounds: Bounds,
    pub(crate) agent: ureq::Agent,
}

impl Fetcher {
    /// Connecting takes a second or two on the slowest links; past this nobody is there.
    const CONNECT_MAX: Duration = Duration::from_secs(20);

    /// A server that says nothing for so long has forgotten us; forges prepare even large packs in less.
    const SILENCE_MAX: Duration = Duration::from_secs(60);

    /// One try to fetch a push. An effect is out for ten minutes before somebody else may have it; until then a silent server
    /// is waited for at its longest, and what came is copied into the store. What was fetched before stays fetched.
    pub const FETCH_MAX: Duration = Duration::from_secs(480);

    /// How the folders of single tries begin.
    const FOLDER: &str = "fetch-";

    /// A fetcher with the usual bounds.
    pub fn new(scratch: impl Into<PathBuf>, lookaside: Vec<Template>) -> Self {
        Self::speak_http();
        let agent = http::agent("millrace", Self::CONNECT_MAX, Self::SILENCE_MAX);
        Self {
            scratch: scratch.into(),
            lookaside,
            bounds: Bounds::default(),
            agent,
        }
    }

    /// Lets git2 speak HTTP and HTTPS in this process, within a fetcher's bounds; without, it knows paths alone.
    pub fn speak_http() {
        http::speak_http(Self::CONNECT_MAX, Self::SILENCE_MAX);
    }

    /// A folder of its own that goes away with what is in it.
    pub(crate) fn folder(&self) -> std::io::Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.scratch)?;
        tempfile::Builder::new()
            .prefix(Self::FOLDER)
            .tempdir_in(&self.scratch)
    }

    /// Removes what a process that was killed has left in the scratch folder. Nobody else may be fetching into it.
    pub fn sweep(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.scratch)?;
        for entry in std::fs::read_dir(&self.scratch)? {
            let entry = entry?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(Self::FOLDER.as_bytes())
            {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Fetches what was announced, keeps it, and has it planned. What its author must mend ends in the push's record and is no
/// error here; an error means passing trouble, and the effect should be delivered again.
pub async fn fetch(
    announced: &Announced,
    fetcher: &Fetcher,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<(), FetchError> {
    if waiting(state, &announced.id).await?.is_none() {
        return Ok(());
    }
    let time = fetcher.bounds.time;
    let until = Instant::now() + time;
    match assemble(announced, fetcher, until, state, blobs).await {
        Ok(push) => hand_over(push, state).await,
        Err(Stop::Refused(refusal)) => refuse(&announced.id, refusal.to_string(), state).await,
        Err(Stop::Passing(error)) if Instant::now() >= until => Err(FetchError::Slow {
            time,
            last: Box::new(error),
        }),
        Err(Stop::Passing(error)) => Err(error),
    }
}

/// Says in the push's record why nothing became of it: for an `Effect::Fetch` that is given up. It comes too late
/// for a push that somebody else has fetched since.
pub async fn give_up(
    announced: &Announced,
    reason: &str,
    state: &impl StateStore,
) -> Result<(), FetchError> {
    let reason =
        format!("not fetched after {DELIVERIES_MAX} tries; push again when this is over: {reason}");
    refuse(&announced.id, reason, state).await
}

async fn assemble(
    announced: &Announced,
    fetcher: &Fetcher,
    until: Instant,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<Push, Stop> {
    let folder = fetcher.folder()?;
    let bounds = fetcher.bounds;
    let checked_out = check_out(announced.clone(), bounds, until, folder.path().to_owned()).await?;
    let (mut sources, mut bytes) = (Vec::new(), 0_u64);
    for wanted in &checked_out.wanted {
        let source = obtain(wanted, &announced.package, fetcher, until, state, blobs).await?;
        bytes = bytes.saturating_add(source.size);
        if bytes > bounds.sources_bytes {
            return Err(Refusal::LargeSources {
                bytes_max: bounds.sources_bytes,
            }
            .into());
        }
        sources.push(source);
    }
    let (tree, tree_bytes) = blobs.put_file(&checked_out.path).await?;
    let Archive {
        committed_s,
        subject,
        spec,
        config,
        ..
    } = checked_out;
    let push = Push {
        announced: announced.clone(),
        committed_s,
        subject,
        tree,
        tree_bytes,
        spec,
        sources,
        config,
    };
    fits(&push)?;
    Ok(push)
}

/// Everything that blocks, on a thread that may.
async fn check_out(
    announced: Announced,
    bounds: Bounds,
    until: Instant,
    folder: PathBuf,
) -> Result<Archive, Stop> {
    let limits = Limits {
        pack_bytes: bounds.pack_bytes,
        until,
    };
    let work = move || {
        let (repository, commit) =
            fetch_commit(&announced, limits, &folder.join("repository.git"))?;
        archive(
            &repository,
            commit,
            &announced.package,
            bounds.tree_bytes,
            &folder.join("tree.tar"),
        )
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| FetchError::Stopped)?
}

fn fits(push: &Push) -> Result<(), Refusal> {
    let bytes = serde_json::to_vec(push).map_or(usize::MAX, |json| json.len());
    if bytes > PUSH_BYTES_MAX {
        Err(Refusal::ManyWords {
            bytes,
            bytes_max: PUSH_BYTES_MAX,
        })
    } else {
        Ok(())
    }
}

/// The push's record, where nobody has decided about it yet.
async fn waiting(
    state: &impl StateStore,
    id: &PushId,
) -> Result<Option<(PushRecord, Version)>, FetchError> {
    let (record, version) = load_push(state, id)
        .await?
        .ok_or_else(|| FetchError::Unknown(id.clone()))?;
    Ok((record.state == PushState::Fetching).then_some((record, version)))
}

/// Writes that the push was fetched and the wish to plan, on the condition that nobody has decided about this push yet.
async fn hand_over(push: Push, state: &impl StateStore) -> Result<(), FetchError> {
    let id = push.announced.id.clone();
    while let Some((mut record, version)) = waiting(state, &id).await? {
        record.state = PushState::Fetched;
        let fetched = record.write(Expect::Version(version))?;
        if saved(
            state,
            Commit {
                writes: vec![fetched],
                effects: vec![Effect::Plan(Box::new(push.clone()))],
            },
        )
        .await?
        {
            break;
        }
    }
    Ok(())
}

/// Refuses a push, on the condition that nobody has decided about it yet.
async fn refuse(id: &PushId, reason: String, state: &impl StateStore) -> Result<(), FetchError> {
    while let Some((mut record, version)) = waiting(state, id).await? {
        record.state = PushState::Refused {
            reason: reason.clone(),
        };
        let refused = record.write(Expect::Version(version))?;
        if saved(state, refused.into()).await? {
            break;
        }
    }
    Ok(())
}

/// Whether a commit was made; not where somebody else was faster. A push changes a handful of times in its life, so asking
/// again ends.
async fn saved(state: &impl StateStore, commit: Commit) -> Result<bool, FetchError> {
    match state.save(commit).await {
        Ok(()) => Ok(true),
        Err(SaveError::Conflict(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

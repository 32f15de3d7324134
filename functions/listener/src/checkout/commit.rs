//! Fetches one commit into a private bare repository, by its id where the server allows that.

use super::refusal::{FetchError, Refusal, Stop};
use git2::{AutotagOption, ErrorCode, FetchOptions, ObjectType, Oid, Reference, RemoteCallbacks, Repository};
use millrace_core::push::Announced;
use std::cell::Cell;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

/// Where the fetched commit is kept in the private repository.
const FETCHED: &str = "refs/millrace/fetched";

/// Bounds how long libgit2 waits for a server that says nothing: its own bound is none at all.
pub(super) fn bound_silence(connect: Duration, silence: Duration) {
    static ONCE: Once = Once::new();
    let ms = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    ONCE.call_once(|| {
        // SAFETY: libgit2 reads these two integers when it connects to a server. In this process only `fetch_commit` has it
        // connect, which takes a `Fetcher`'s bounds, and every `Fetcher` has passed through here before it was there.
        let set = unsafe {
            git2::opts::set_server_connect_timeout_in_milliseconds(ms(connect))
                .and_then(|()| git2::opts::set_server_timeout_in_milliseconds(ms(silence)))
        };
        set.expect("libgit2 has had both settings since 1.7");
    });
}

/// Bounds of one transfer.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Pack that git sends, in bytes.
    pub pack_bytes: u64,
    /// When nobody waits for it any more.
    pub until: Instant,
}

/// Fetches what was announced. Answers the commit; that of an annotated tag is the commit behind it.
pub(super) fn fetch_commit(announced: &Announced, limits: Limits, into: &Path) -> Result<(Repository, Oid), Stop> {
    let wanted = Oid::from_str(announced.commit.as_str()).map_err(|_| Refusal::Sha256Repository(announced.commit.clone()))?;
    if !Reference::is_valid_name(&announced.reference) {
        return Err(Refusal::Reference(announced.reference.clone()).into());
    }
    let trouble = |source| passing(&announced.clone_url, source);
    let repository = Repository::init_bare(into).map_err(trouble)?;
    // libgit2's transport for paths knows no shallow fetches.
    let depth = if announced.clone_url.starts_with("http") { 1 } else { 0 };
    let by_id = transfer(&repository, &announced.clone_url, &format!("+{wanted}:{FETCHED}"), depth, limits);
    // Asking once more helps against a server that minds ids, not against one that is silent or sends without end.
    by_id.or_else(|stop| if minds_ids(&stop) { Ok(()) } else { Err(stop) })?;
    if !has(&repository, wanted) {
        // Servers may refuse ids; then the reference is fetched, with its history, in which the commit must be.
        transfer(&repository, &announced.clone_url, &format!("+{}:{FETCHED}", announced.reference), 0, limits)?;
    }
    let gone = || Refusal::CommitGone { commit: announced.commit.clone(), reference: announced.reference.clone() };
    let object = repository.find_object(wanted, None).map_err(|_| gone())?;
    let commit = object.peel(ObjectType::Commit).map_err(|_| Refusal::NoCommit(announced.commit.clone()))?.id();
    drop(object);
    Ok((repository, commit))
}

/// Whether a transfer by id may have ended because it was by id.
fn minds_ids(stop: &Stop) -> bool {
    match stop {
        Stop::Passing(FetchError::Git { source, .. }) => !matches!(source.code(), ErrorCode::Timeout | ErrorCode::User),
        Stop::Passing(_) | Stop::Refused(_) => false,
    }
}

fn has(repository: &Repository, wanted: Oid) -> bool {
    repository.odb().is_ok_and(|odb| odb.exists(wanted))
}

fn passing(url: &str, source: git2::Error) -> FetchError {
    FetchError::Git { url: url.to_owned(), source }
}

/// One transfer, which ends where the pack becomes too large or takes too long.
fn transfer(repository: &Repository, url: &str, refspec: &str, depth: i32, limits: Limits) -> Result<(), Stop> {
    let Limits { pack_bytes: bytes_max, until } = limits;
    let too_large = Cell::new(false);
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|progress| {
        too_large.set(progress.received_bytes() as u64 > bytes_max);
        !too_large.get() && Instant::now() < until
    });
    let mut options = FetchOptions::new();
    options.remote_callbacks(callbacks).download_tags(AutotagOption::None).update_fetchhead(false).depth(depth);
    let fetched = repository.remote_anonymous(url).and_then(|mut remote| remote.fetch(&[refspec], Some(&mut options), None));
    drop(options);
    match fetched {
        Ok(()) => Ok(()),
        Err(_) if too_large.get() => Err(Refusal::TooLarge { what: "history", max: format!("{bytes_max} bytes") }.into()),
        Err(error) if error.code() == ErrorCode::Auth => Err(Refusal::Private(url.to_owned()).into()),
        Err(error) => Err(passing(url, error).into()),
    }
}

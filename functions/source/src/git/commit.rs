//! Fetches one commit into a private bare repository, by its id if the server allows that.

use super::transport::was_silent;
use crate::error::{FetchError, Refusal, Stop};
use git2::{
    AutotagOption, ErrorCode, FetchOptions, ObjectType, Oid, Reference, RemoteCallbacks, Repository,
};
use millrace_core::push::Announced;
use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

/// Where the fetched commit is kept in the private repository.
const FETCHED: &str = "refs/millrace/fetched";

/// Bounds of one transfer.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Pack that git sends, in bytes.
    pub pack_bytes: u64,
    /// When nobody waits for it any more.
    pub until: Instant,
}

/// Fetches what was announced. Answers the commit; that of an annotated tag is the commit behind it.
pub(crate) fn fetch_commit(
    announced: &Announced,
    limits: Limits,
    into: &Path,
) -> Result<(Repository, Oid), Stop> {
    let wanted = Oid::from_str(announced.commit.as_str())
        .map_err(|_| Refusal::Sha256Repository(announced.commit.clone()))?;
    if !Reference::is_valid_name(&announced.reference) {
        return Err(Refusal::Reference(announced.reference.clone()).into());
    }
    let failed = |source| git_failed(&announced.clone_url, source);
    let repository = Repository::init_bare(into).map_err(failed)?;
    // libgit2's transport for paths knows no shallow fetches.
    let depth = if announced.clone_url.starts_with("http") {
        1
    } else {
        0
    };
    let by_id = transfer(
        &repository,
        &announced.clone_url,
        &format!("+{wanted}:{FETCHED}"),
        depth,
        limits,
    );
    // Asking once more helps against a server that minds ids, not against one that is silent or sends without end.
    by_id.or_else(|stop| if minds_ids(&stop) { Ok(()) } else { Err(stop) })?;
    if !has(&repository, wanted) {
        // Servers may refuse ids; then the reference is fetched, with its history, in which the commit must be.
        transfer(
            &repository,
            &announced.clone_url,
            &format!("+{}:{FETCHED}", announced.reference),
            0,
            limits,
        )?;
    }
    let gone = || Refusal::CommitGone {
        commit: announced.commit.clone(),
        reference: announced.reference.clone(),
    };
    let object = repository.find_object(wanted, None).map_err(|_| gone())?;
    let commit = object
        .peel(ObjectType::Commit)
        .map_err(|_| Refusal::NoCommit(announced.commit.clone()))?
        .id();
    drop(object);
    Ok((repository, commit))
}

/// Whether a transfer by id may have ended because it was by id.
fn minds_ids(stop: &Stop) -> bool {
    match stop {
        Stop::Temporary(FetchError::Git { source, .. }) => {
            !matches!(source.code(), ErrorCode::Timeout | ErrorCode::User)
        }
        Stop::Temporary(_) | Stop::Refused(_) => false,
    }
}

fn has(repository: &Repository, wanted: Oid) -> bool {
    repository.odb().is_ok_and(|odb| odb.exists(wanted))
}

fn git_failed(url: &str, source: git2::Error) -> FetchError {
    FetchError::Git {
        url: url.to_owned(),
        source,
    }
}

/// One transfer, which ends when the pack becomes too large or takes too long.
fn transfer(
    repository: &Repository,
    url: &str,
    refspec: &str,
    depth: i32,
    limits: Limits,
) -> Result<(), Stop> {
    let Limits {
        pack_bytes: bytes_max,
        until,
    } = limits;
    let too_large = Cell::new(false);
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|progress| {
        too_large.set(progress.received_bytes() as u64 > bytes_max);
        !too_large.get() && Instant::now() < until
    });
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false)
        .depth(depth);
    let fetched = repository
        .remote_anonymous(url)
        .and_then(|mut remote| remote.fetch(&[refspec], Some(&mut options), None));
    drop(options);
    match fetched {
        Ok(()) => Ok(()),
        Err(_) if too_large.get() => Err(Refusal::TooLarge {
            what: "history",
            max: format!("{bytes_max} bytes"),
        }
        .into()),
        Err(error) if error.code() == ErrorCode::Auth => {
            Err(Refusal::Private(url.to_owned()).into())
        }
        Err(error) if was_silent() => {
            let silent = git2::Error::new(ErrorCode::Timeout, error.class(), error.message());
            Err(git_failed(url, silent).into())
        }
        Err(error) => Err(git_failed(url, error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::transport::speak_http;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// Gives references to anyone who asks for them, and says nothing more; counts how often it was asked for a pack.
    fn silent_server(tip: &str) -> (String, Arc<AtomicU32>) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/zlib.git", socket.local_addr().unwrap());
        let asked = Arc::new(AtomicU32::new(0));
        let line = |text: String| format!("{:04x}{text}", text.len() + 4);
        let references = line("# service=git-upload-pack\n".to_owned())
            + "0000"
            + &line(format!(
                "{tip} refs/heads/main\0shallow allow-tip-sha1-in-want allow-reachable-sha1-in-want\n"
            ))
            + "0000";
        let counted = asked.clone();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for connection in socket.incoming() {
                let mut connection = connection.unwrap();
                let mut question = [0; 4096];
                let bytes = connection.read(&mut question).unwrap();
                if question[..bytes].starts_with(b"GET") {
                    let kind = "application/x-git-upload-pack-advertisement";
                    let length = references.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    connection
                        .write_all((head + &references).as_bytes())
                        .unwrap();
                } else {
                    counted.fetch_add(1, Ordering::Relaxed);
                    kept.push(connection);
                }
            }
        });
        (address, asked)
    }

    #[test]
    fn a_silent_server_is_left_and_not_asked_in_another_way() {
        speak_http(Duration::from_secs(5), Duration::from_millis(300));
        let tip = "7".repeat(40);
        let (url, asked) = silent_server(&tip);
        let folder = tempfile::tempdir().unwrap();
        let announced = Announced {
            clone_url: url,
            commit: millrace_core::push::Commit::new(&tip).unwrap(),
            ..millrace_core::testing::announced("zlib", 1)
        };
        let limits = Limits {
            pack_bytes: 1 << 20,
            until: Instant::now() + Duration::from_secs(60),
        };
        match fetch_commit(&announced, limits, folder.path()).err() {
            Some(Stop::Temporary(FetchError::Git { source, .. })) => {
                assert_eq!(source.code(), ErrorCode::Timeout, "{source}")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

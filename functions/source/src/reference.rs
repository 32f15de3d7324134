//! What a branch or tag of a package's repository points at, as its forge says.

use crate::Fetcher;
use millrace_core::NameError;
use millrace_core::push::Commit;

/// A reference that was not found.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The forge does not answer, or not as one.
    #[error("asking {url} for its references")]
    Git { url: String, source: git2::Error },
    /// Nobody has said which, and the repository has no default.
    #[error("the repository's HEAD points at nothing: name a branch with --reference")]
    NoHead,
    /// The repository has none of these.
    #[error("{url} has no {}", names.join(" and no "))]
    NotFound {
        url: String,
        /// What was looked for.
        names: Vec<String>,
    },
    /// It points at something that is no commit.
    #[error(transparent)]
    Commit(#[from] NameError),
}

/// The whole name of a branch or tag, and the commit that it points at now; of HEAD if none is named.
pub fn reference(url: &str, named: Option<&str>) -> Result<(String, Commit), ReferenceError> {
    Fetcher::speak_http();
    let failed = |source| ReferenceError::Git {
        url: url.to_owned(),
        source,
    };
    let mut remote = git2::Remote::create_detached(url).map_err(failed)?;
    remote.connect(git2::Direction::Fetch).map_err(failed)?;
    let names = names(&remote, named)?;
    for name in &names {
        if let Some(commit) = target(&remote, name).map_err(failed)? {
            return Ok((name.clone(), Commit::new(&commit.to_string())?));
        }
    }
    Err(ReferenceError::NotFound {
        url: url.to_owned(),
        names,
    })
}

/// The whole names that one of these may stand for.
fn names(remote: &git2::Remote<'_>, named: Option<&str>) -> Result<Vec<String>, ReferenceError> {
    match named {
        Some(name) if name.starts_with("refs/") => Ok(vec![name.to_owned()]),
        Some(name) => Ok(vec![
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}"),
        ]),
        None => {
            let head = remote
                .default_branch()
                .ok()
                .and_then(|name| name.as_str().ok().map(str::to_owned));
            Ok(vec![head.ok_or(ReferenceError::NoHead)?])
        }
    }
}

/// What a reference points at. An annotated tag is listed twice; the second, with ^{}, is the commit.
fn target(remote: &git2::Remote<'_>, name: &str) -> Result<Option<git2::Oid>, git2::Error> {
    let listed = remote.list()?;
    let peeled = format!("{name}^{{}}");
    let found = listed
        .iter()
        .find(|head| head.name() == peeled)
        .or_else(|| listed.iter().find(|head| head.name() == name));
    Ok(found.map(|head| head.oid()))
}

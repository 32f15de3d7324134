//! What a branch or tag of a package's repository points at.

use crate::ending::NotFound;
use anyhow::{Context, Result, bail};
use millrace_core::push::Commit;

/// What a reference of a repository points at now.
pub(crate) fn reference(url: &str, wanted: Option<&str>) -> Result<(String, Commit)> {
    millrace_source::Fetcher::speak_http();
    let mut remote = git2::Remote::create_detached(url)?;
    remote
        .connect(git2::Direction::Fetch)
        .with_context(|| format!("asking {url} for its references"))?;
    let head = remote
        .default_branch()
        .ok()
        .and_then(|name| name.as_str().ok().map(str::to_owned));
    let names =
        match wanted {
            Some(name) if name.starts_with("refs/") => vec![name.to_owned()],
            Some(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            None => vec![head.context(
                "the repository's HEAD points at nothing: name a branch with --reference",
            )?],
        };
    let listed = remote.list()?;
    // An annotated tag is listed twice; the second, with ^{}, is the commit.
    let find = |name: &String| {
        let peeled = format!("{name}^{{}}");
        listed
            .iter()
            .find(|head| head.name() == peeled)
            .or_else(|| listed.iter().find(|head| head.name() == *name))
    };
    match names
        .iter()
        .find_map(|name| Some((name.clone(), find(name)?.oid())))
    {
        Some((name, oid)) => Ok((name, Commit::new(&oid.to_string())?)),
        None => bail!(NotFound(format!("{url} has no {}", names.join(" and no ")))),
    }
}

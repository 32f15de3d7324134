//! What lies at each path of a platform.

use super::cache::GenerationCache;
use crate::error::ReleaseError;
use crate::generation::file::FileRef;
use crate::generation::manifest::Generation;
use millrace_core::{Digest, PlatformName};
use millrace_store::BlobStore;

/// Name of the file with the public keys.
const KEY_FILE: &str = "RPM-GPG-KEY-millrace";

/// What may change with the next release or a rollback is asked for again after a minute, what is named by its content or lies in
/// one generation never.
const CHANGES: &str = "max-age=60, must-revalidate";
const STAYS: &str = "max-age=31536000, immutable";

/// What lies at a path.
pub enum PathContent {
    /// A text that repeats the address that the visitor came by.
    Text(String),
    /// A file, and what caches may do with it.
    File(FileRef, &'static str),
    Nothing,
}

/// What lies at a path of a platform. `base` is the address of all repositories.
pub async fn find<B: BlobStore>(
    generations: &GenerationCache<B>,
    platform: &str,
    path: &str,
    base: &str,
) -> Result<PathContent, ReleaseError> {
    let Ok(platform) = platform.parse::<PlatformName>() else {
        return Ok(PathContent::Nothing);
    };
    if let Some((digest, path)) = path
        .strip_prefix("gen/")
        .and_then(|path| path.split_once('/'))
    {
        return in_generation(generations, &platform, digest, path).await;
    }
    let current = generations.current(&platform).await?;
    Ok(
        current.map_or(PathContent::Nothing, |(digest, generation)| {
            in_current(&digest, &generation, path, base)
        }),
    )
}

/// What lay at a path in one generation.
async fn in_generation<B: BlobStore>(
    generations: &GenerationCache<B>,
    platform: &PlatformName,
    digest: &str,
    path: &str,
) -> Result<PathContent, ReleaseError> {
    let Ok(digest) = Digest::from_hex(digest) else {
        return Ok(PathContent::Nothing);
    };
    let generation = generations.made(platform, &digest).await?;
    let file = generation.and_then(|generation| generation.file(path));
    Ok(file.map_or(PathContent::Nothing, |file| PathContent::File(file, STAYS)))
}

/// What lies at a path now.
fn in_current(digest: &Digest, generation: &Generation, path: &str, base: &str) -> PathContent {
    let platform = &generation.platform;
    if path == KEY_FILE {
        return PathContent::File(generation.certificate, CHANGES);
    }
    if path == format!("{platform}.repo") {
        return PathContent::Text(repo_file(platform, base));
    }
    if let Some(repository) = path
        .strip_suffix("/mirrorlist")
        .filter(|repository| generation.repositories.contains_key(*repository))
    {
        let address = format!("{base}/{platform}/gen/{}/{repository}/\n", digest.hex());
        return PathContent::Text(address);
    }
    let Some(file) = generation.file(path) else {
        return PathContent::Nothing;
    };
    let caching = if is_named_by_content(path) {
        STAYS
    } else {
        CHANGES
    };
    PathContent::File(file, caching)
}

/// Whether a path of the repository as it is now never means other bytes: only metadata has its digest in its name. A package
/// has not: after a rollback, its name and version may come back with other content.
fn is_named_by_content(path: &str) -> bool {
    path.contains("/repodata/") && path.ends_with(".xml.gz")
}

/// The file for `/etc/yum.repos.d`.
fn repo_file(platform: &PlatformName, base: &str) -> String {
    let section = |suffix: &str, title: &str, path: &str, enabled: u8| {
        format!(
            "[millrace-{platform}{suffix}]\nname=millrace {platform}{title}\nmirrorlist={base}/{platform}/{path}/mirrorlist\n\
             #baseurl={base}/{platform}/{path}/\nenabled={enabled}\ngpgcheck=1\nrepo_gpgcheck=1\n\
             gpgkey={base}/{platform}/{KEY_FILE}\nmetadata_expire=60\n"
        )
    };
    let main = section("", "", "$basearch/os", 1);
    let debug = section("-debug", " - debuginfo", "$basearch/debug", 0);
    let source = section("-source", " - sources", "source", 0);
    [main, debug, source].join("\n")
}

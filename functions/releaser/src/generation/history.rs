//! What a platform has released, generation by generation.

use crate::error::ReleaseError;
use crate::generation::manifest::Generation;
use crate::generation::root::{current, read_generation};
use millrace_core::{BuildId, Digest, PlatformName};
use millrace_store::BlobStore;
use std::collections::BTreeSet;

/// A generation, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationSummary {
    pub number: u64,
    pub generation: Digest,
    /// When it was made, in seconds since 1970.
    pub released_s: u64,
    /// How many packages it has: each once, however many repositories it lies in.
    pub packages: usize,
    /// Builds that it has packages of, and the generation before has none of.
    pub added: Vec<BuildId>,
}

/// A platform's generations, from the one that is current back to the first, and so many of them at most; none if nobody has
/// made repositories for it.
pub async fn history(
    platform: &PlatformName,
    limit: usize,
    blobs: &impl BlobStore,
) -> Result<Option<Vec<GenerationSummary>>, ReleaseError> {
    let Some((mut at, mut digest)) = current(platform, blobs).await? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    while all.len() < limit {
        let Some(before) = at.previous else {
            all.push(summary(&at, digest, None));
            break;
        };
        let earlier = read_generation(platform, &before, blobs).await?;
        all.push(summary(&at, digest, Some(&earlier)));
        (at, digest) = (earlier, before);
    }
    Ok(Some(all))
}

fn summary(at: &Generation, generation: Digest, earlier: Option<&Generation>) -> GenerationSummary {
    let files: BTreeSet<Digest> = at
        .packages()
        .flat_map(|(_, packages)| packages.values())
        .map(|entry| entry.file.digest)
        .collect();
    let before: BTreeSet<&BuildId> = earlier.into_iter().flat_map(Generation::builds).collect();
    let builds: BTreeSet<&BuildId> = at.builds().collect();
    let added = builds
        .difference(&before)
        .map(|build| (*build).clone())
        .collect();
    GenerationSummary {
        number: at.number,
        generation,
        released_s: at.released_s,
        packages: files.len(),
        added,
    }
}

//! What roots are made from: the platform's part of a task, and a fingerprint of each repository as it is now.

use super::RootError;
use super::released::Released;
use millrace_core::platform::{Buildroot, RELEASED_REPOSITORY, Repository};
use millrace_core::protocol::Work;
use millrace_core::{Arch, Digest};
use rpm::DependencyFlags;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;

/// Largest list of mirrors or `repomd.xml`, in bytes: real ones have some KB.
pub(super) const TEXT_BYTES_MAX: u64 = 4 << 20;

/// How long a repository may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What roots are made from.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What the root is for.
    pub arch: Arch,
    /// dnf's `releasever`.
    pub releasever: String,
    /// dnf's `module_platform_id`.
    pub module_platform: Option<String>,
    /// Where packages come from.
    pub repositories: Vec<Repository>,
    /// What roots begin with.
    pub buildroot: Buildroot,
}

impl Recipe {
    /// The recipe of a task, on a runner of this architecture.
    pub fn of(work: &Work, arch: Arch) -> Self {
        Self {
            arch: work.arch.unwrap_or(arch),
            releasever: work.releasever.clone(),
            module_platform: work.module_platform.clone(),
            repositories: work.repositories.clone(),
            buildroot: work.buildroot.clone(),
        }
    }

    /// A URL with `$basearch` and `$releasever` filled in.
    pub(super) fn filled(&self, url: &str) -> String {
        url.replace("$basearch", self.arch.as_str()).replace("$releasever", &self.releasever)
    }
}

/// What repositories are now; two fingerprints are equal where dnf would find the same packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprints {
    /// Id, address and metadata of each of the platform's own, in order.
    pub(super) platform: Vec<(String, String, Digest)>,
    /// What the line has released; none where it has no repository.
    pub(super) released: Option<Released>,
}

impl Fingerprints {
    pub(super) fn of(recipe: &Recipe) -> Result<Self, RootError> {
        let mut found = Self { platform: Vec::new(), released: None };
        for repository in &recipe.repositories {
            let Now { address, base, repomd } = now(recipe, repository)?;
            if repository.id == RELEASED_REPOSITORY {
                found.released = Some(Released::new(base, repomd));
            } else {
                found.platform.push((repository.id.clone(), address, Digest::of(&repomd)));
            }
        }
        Ok(found)
    }
}

/// A repository as it answered.
struct Now {
    /// Where it says that it is: its own URL, or its list of mirrors.
    address: String,
    /// Where it was found.
    base: String,
    repomd: Vec<u8>,
}

fn now(recipe: &Recipe, repository: &Repository) -> Result<Now, RootError> {
    let named = |url: &String| recipe.filled(url);
    let (address, base) = match (&repository.baseurl, &repository.mirrorlist) {
        (Some(url), _) => (named(url), named(url)),
        (None, Some(list)) => {
            let text = String::from_utf8_lossy(&fetch(&named(list), &repository.id, TEXT_BYTES_MAX)?).into_owned();
            let first = text.lines().map(str::trim).find(|line| line.contains("://"));
            let first = first
                .ok_or_else(|| RootError::Repository(format!("{}: the mirror list {} is empty", repository.id, named(list))))?;
            (named(list), first.to_owned())
        }
        (None, None) => return Err(RootError::Refused(format!("repository `{}` has no address", repository.id))),
    };
    let repomd = fetch(&format!("{}/repodata/repomd.xml", base.trim_end_matches('/')), &repository.id, TEXT_BYTES_MAX)?;
    Ok(Now { address, base, repomd })
}

/// Reads a file of at most so many bytes by its URL.
pub(super) fn fetch(url: &str, repository: &str, bytes_max: u64) -> Result<Vec<u8>, RootError> {
    let failed = |problem: String| RootError::Repository(format!("repository {repository}: {url}: {problem}"));
    let mut bytes = Vec::new();
    if let Some(path) = url.strip_prefix("file://") {
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(bytes_max).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
        return Ok(bytes);
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(ANSWER_MAX)).build().into();
    let mut answer = agent.get(url).call().map_err(|error| failed(error.to_string()))?;
    answer.body_mut().with_config().limit(bytes_max).read_to_vec().map_err(|error| failed(error.to_string()))
}

/// What a source package needs to be built, as its header says it; sorted.
pub(super) fn build_requires(path: &Path) -> Result<Vec<String>, RootError> {
    let unreadable = |problem: String| RootError::Refused(format!("{}: {problem}", path.display()));
    crate::header::rpm(&File::open(path)?).map_err(|error| unreadable(error.to_string()))?;
    let metadata =
        rpm::PackageMetadata::parse(&mut BufReader::new(File::open(path)?)).map_err(|error| unreadable(error.to_string()))?;
    let requires = metadata.get_requires().map_err(|error| unreadable(error.to_string()))?;
    let told = |dependency: rpm::Dependency| {
        let is = |flag| dependency.flags.contains(flag);
        let sign = [(DependencyFlags::LESS, "<"), (DependencyFlags::GREATER, ">"), (DependencyFlags::EQUAL, "=")];
        let sign: String = sign.into_iter().filter(|(flag, _)| is(*flag)).map(|(_, sign)| sign).collect();
        format!("{} {sign} {}", dependency.name, dependency.version)
    };
    let mut requires: Vec<String> = requires.into_iter().map(told).filter(|line| !line.starts_with("rpmlib(")).collect();
    requires.sort();
    Ok(requires)
}

//! What roots are made from: the platform's part of a task, and a fingerprint of each repository as it is now.

use super::RootError;
use super::fetch::ANSWER_MAX;
use super::released::Released;
use millrace_core::platform::{Buildroot, RELEASED_REPOSITORY, Repository};
use millrace_core::protocol::Work;
use millrace_core::roots;
use millrace_core::{Arch, Digest};
use rpm::DependencyFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// Largest list of mirrors or `repomd.xml`, in bytes: real ones have some KB.
pub(super) const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Mirrors of a list that are tried, the first ones first: one may be down and one behind, and lists are sorted by distance.
const MIRRORS_MAX: usize = 5;

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
    /// What the root is to have, exactly; what repositories have is of no interest then.
    pub locked: Option<roots::Root>,
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
            locked: None,
        }
    }

    /// A URL with `$basearch` and `$releasever` filled in.
    pub(super) fn filled(&self, url: &str) -> String {
        url.replace("$basearch", self.arch.as_str())
            .replace("$releasever", &self.releasever)
    }
}

/// What repositories are now; where platform and released are equal dnf would find the same packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprints {
    /// Id, address and metadata of each of the platform's own, in order.
    pub(super) platform: Vec<(String, String, Digest)>,
    /// What the line has released; none where it has no repository.
    pub(super) released: Option<Released>,
    /// Where each was found by its id, and after it what else its list of mirrors names.
    pub(super) bases: BTreeMap<String, Vec<String>>,
    /// What each said there of what it has, by its id.
    pub(super) repomds: BTreeMap<String, Arc<[u8]>>,
}

impl Fingerprints {
    pub(super) fn of(recipe: &Recipe) -> Result<Self, RootError> {
        let mut found = Self::default();
        for repository in &recipe.repositories {
            let Now {
                address,
                bases,
                repomd,
            } = now(recipe, repository)?;
            found
                .repomds
                .insert(repository.id.clone(), repomd.as_slice().into());
            if repository.id == RELEASED_REPOSITORY {
                found.released = Some(Released::new(bases[0].clone(), repomd));
            } else {
                found
                    .platform
                    .push((repository.id.clone(), address, Digest::of(&repomd)));
            }
            found.bases.insert(repository.id.clone(), bases);
        }
        Ok(found)
    }
}

/// A repository as it answered.
struct Now {
    /// Where it says that it is: its own URL, or its list of mirrors.
    address: String,
    /// Where it was found, and then other mirrors.
    bases: Vec<String>,
    repomd: Vec<u8>,
}

fn now(recipe: &Recipe, repository: &Repository) -> Result<Now, RootError> {
    let (address, mut bases) = match (&repository.baseurl, &repository.mirrorlist) {
        (Some(url), _) => (recipe.filled(url), vec![recipe.filled(url)]),
        (None, Some(list)) => {
            let list = recipe.filled(list);
            let text = fetch(&list, &repository.id, TEXT_BYTES_MAX)?;
            let mirrors = mirrors(recipe, &String::from_utf8_lossy(&text));
            if mirrors.is_empty() {
                return Err(RootError::Repository(format!(
                    "{}: the mirror list {list} is empty",
                    repository.id
                )));
            }
            (list, mirrors)
        }
        (None, None) => {
            return Err(RootError::Refused(format!(
                "repository `{}` has no address",
                repository.id
            )));
        }
    };
    let mut problems = Vec::new();
    for (number, base) in bases.iter().enumerate() {
        match fetch(
            &format!("{}/repodata/repomd.xml", base.trim_end_matches('/')),
            &repository.id,
            TEXT_BYTES_MAX,
        ) {
            Ok(repomd) => {
                bases[..=number].rotate_right(1);
                return Ok(Now {
                    address,
                    bases,
                    repomd,
                });
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    Err(RootError::Repository(problems.join("\n")))
}

/// The first mirrors that a list names. Lists are written for dnf: they have its variables in them, and comments.
fn mirrors(recipe: &Recipe, list: &str) -> Vec<String> {
    let lines = list
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && line.contains("://"));
    lines
        .take(MIRRORS_MAX)
        .map(|line| recipe.filled(line))
        .collect()
}

/// Reads a file of at most so many bytes by its URL.
pub(super) fn fetch(url: &str, repository: &str, bytes_max: u64) -> Result<Vec<u8>, RootError> {
    let failed = |problem: String| {
        RootError::Repository(format!("repository {repository}: {url}: {problem}"))
    };
    let mut bytes = Vec::new();
    if let Some(path) = url.strip_prefix("file://") {
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(bytes_max)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(error.to_string()))?;
        return Ok(bytes);
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_MAX))
        .tls_config(crate::machine::trust::of_this_machine())
        .build()
        .into();
    let mut answer = agent
        .get(url)
        .call()
        .map_err(|error| failed(error.to_string()))?;
    answer
        .body_mut()
        .with_config()
        .limit(bytes_max)
        .read_to_vec()
        .map_err(|error| failed(error.to_string()))
}

/// What a source package needs to be built, as its header says it; sorted.
pub(super) fn build_requires(path: &Path) -> Result<Vec<String>, RootError> {
    let unreadable = |problem: String| RootError::Refused(format!("{}: {problem}", path.display()));
    crate::buildroot::header::rpm(&File::open(path)?)
        .map_err(|error| unreadable(error.to_string()))?;
    let metadata = rpm::PackageMetadata::parse(&mut BufReader::new(File::open(path)?))
        .map_err(|error| unreadable(error.to_string()))?;
    let requires = metadata
        .get_requires()
        .map_err(|error| unreadable(error.to_string()))?;
    let mut requires: Vec<String> = requires
        .iter()
        .filter(|dependency| !dependency.name.starts_with("rpmlib("))
        .map(told)
        .collect();
    if let Some(odd) = requires
        .iter()
        .find(|line| line.starts_with('-') || line.chars().any(char::is_control))
    {
        return Err(unreadable(format!(
            "`{odd}` is nothing that a package can need"
        )));
    }
    requires.sort();
    Ok(requires)
}

/// A dependency as specs have it.
fn told(dependency: &rpm::Dependency) -> String {
    let signs = [
        (DependencyFlags::LESS, "<"),
        (DependencyFlags::GREATER, ">"),
        (DependencyFlags::EQUAL, "="),
    ];
    let sign: String = signs
        .into_iter()
        .filter(|(flag, _)| dependency.flags.contains(*flag))
        .map(|(_, sign)| sign)
        .collect();
    if sign.is_empty() {
        dependency.name.clone()
    } else {
        format!("{} {sign} {}", dependency.name, dependency.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// A server of these files; every other is not there. Its address.
    fn serve(files: &'static [(&'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let own = address.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (mut asked, mut piece) = (Vec::new(), [0; 1024]);
                while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(count @ 1..) => asked.extend_from_slice(&piece[..count]),
                        _ => break,
                    }
                }
                let path = String::from_utf8_lossy(&asked)
                    .split(' ')
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned();
                let found = files.iter().find(|(name, _)| *name == path);
                let (status, body) = found.map_or(("404 Not Found", String::new()), |(_, body)| {
                    ("200 OK", body.replace("@", &own))
                });
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        address
    }

    fn recipe(server: &str) -> Recipe {
        let list = Repository {
            id: "baseos".to_owned(),
            baseurl: None,
            mirrorlist: Some(format!("{server}/mirrorlist/$releasever/baseos")),
            gpgkey: None,
            priority: 99,
        };
        Recipe {
            arch: Arch::X86_64,
            releasever: "9".to_owned(),
            module_platform: None,
            repositories: vec![list],
            buildroot: Buildroot::default(),
            locked: None,
        }
    }

    #[test]
    fn the_variables_of_a_mirror_list_are_filled_and_comments_are_none() {
        let server = serve(&[
            (
                "/mirrorlist/9/baseos",
                "# see http://example.org/\n\n@/almalinux/$releasever/BaseOS/$basearch/os\n",
            ),
            (
                "/almalinux/9/BaseOS/x86_64/os/repodata/repomd.xml",
                "<repomd/>",
            ),
        ]);
        let found = Fingerprints::of(&recipe(&server)).unwrap();
        assert_eq!(found.platform[0].2, Digest::of(b"<repomd/>"));
        assert_eq!(
            found.bases["baseos"],
            [format!("{server}/almalinux/9/BaseOS/x86_64/os")]
        );
    }

    #[test]
    fn the_mirror_that_answers_is_the_first_that_dnf_asks() {
        let server = serve(&[
            (
                "/mirrorlist/9/baseos",
                "http://127.0.0.1:1/down\n@/behind\n@/good\n@/next\n",
            ),
            ("/good/repodata/repomd.xml", "<repomd/>"),
            ("/next/repodata/repomd.xml", "<another/>"),
        ]);
        let found = Fingerprints::of(&recipe(&server)).unwrap();
        assert_eq!(found.platform[0].2, Digest::of(b"<repomd/>"));
        let expected = [
            format!("{server}/good"),
            "http://127.0.0.1:1/down".to_owned(),
            format!("{server}/behind"),
            format!("{server}/next"),
        ];
        assert_eq!(found.bases["baseos"], expected);
    }

    #[test]
    fn where_no_mirror_answers_each_that_was_tried_is_named() {
        let server = serve(&[("/mirrorlist/9/baseos", "@/1\n@/2\n@/3\n@/4\n@/5\n@/6\n")]);
        let problem = Fingerprints::of(&recipe(&server)).unwrap_err();
        assert!(matches!(problem, RootError::Repository(_)));
        let problem = problem.to_string();
        assert!(
            problem.contains("/1/repodata")
                && problem.contains("/5/repodata")
                && !problem.contains("/6/"),
            "{problem}"
        );
    }
}

//! Fetches the names in a platform's repositories: which packages they have, and from which source packages.

use crate::download::{ReadUntil, open};
use crate::error::{DownloadError, NamesFetchError};
use crate::fetcher::Fetcher;
use millrace_core::ownership::{OwnedName, RepositoryNames, source_name};
use millrace_core::platform::{Platform, Repository};
use millrace_core::{Arch, Digest, PlatformName, Timestamp, chain};
use millrace_store::records::get;
use millrace_store::repository_names::{keep, keep_problem};
use millrace_store::{BlobStore, StateStore, Table};
use rpmrepo_metadata::{Checksum, FileType, PrimaryXml, RepomdXml, utils};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::time::{Duration, Instant};

/// Largest list of mirrors or `repomd.xml`, in bytes: real ones have some KB.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Largest packed list of packages, in bytes: Fedora with its 70,000 packages has 20 MB.
const PRIMARY_BYTES_MAX: u64 = 256 << 20;

/// Largest list of packages unpacked, in bytes: ten times as much.
const OPEN_BYTES_MAX: u64 = 10 * PRIMARY_BYTES_MAX;

/// Mirrors of a list that are tried: one that is away is usual, and five are a list of no use.
const MIRRORS_MAX: usize = 5;

/// Longest that fetching all of a platform's lists may take, unpacking among it.
const TIME_MAX: Duration = Duration::from_secs(420);

/// Fetches the names of a platform's repositories and keeps them. Why that failed is kept, too, for those who wait.
pub(crate) async fn fetch_names<S: StateStore, B: BlobStore>(
    name: &PlatformName,
    fetcher: &Fetcher,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), NamesFetchError> {
    let found: Option<(Platform, _)> = get(state, Table::Platform, name.as_str()).await?;
    // A platform that is gone has nobody who waits.
    let Some((platform, _)) = found else {
        return Ok(());
    };
    let (work, reader) = (fetcher.clone(), platform.clone());
    let read = tokio::task::spawn_blocking(move || read_names(&reader, &work));
    match read.await.map_err(std::io::Error::from)? {
        Ok(names) => Ok(keep(&platform, &names, state, blobs, now).await?),
        Err(error) => {
            keep_problem(name, &chain(&error), state, now).await?;
            Err(error)
        }
    }
}

fn read_names(platform: &Platform, fetcher: &Fetcher) -> Result<RepositoryNames, NamesFetchError> {
    let until = Instant::now() + TIME_MAX;
    let mut names = RepositoryNames::default();
    for repository in &platform.repositories {
        let mut read = Vec::new();
        for arch in &platform.architectures {
            let place = Place {
                platform,
                repository,
                arch: *arch,
                fetcher,
                until,
            };
            let bases = place.bases()?;
            // Without `$basearch` in it, one address serves every architecture.
            if !read.contains(&bases) {
                place.read(&bases, &mut names)?;
                read.push(bases);
            }
        }
    }
    Ok(names)
}

/// A repository for one architecture.
struct Place<'a> {
    platform: &'a Platform,
    repository: &'a Repository,
    arch: Arch,
    fetcher: &'a Fetcher,
    until: Instant,
}

impl Place<'_> {
    fn filled(&self, url: &str) -> String {
        url.replace("$basearch", self.arch.as_str())
            .replace("$releasever", &self.platform.releasever)
    }

    /// Where it lies: one address, or the first mirrors of its list.
    fn bases(&self) -> Result<Vec<String>, NamesFetchError> {
        if let Some(url) = &self.repository.baseurl {
            return Ok(vec![self.filled(url)]);
        }
        let list = self.filled(self.repository.mirrorlist.as_deref().unwrap_or_default());
        let text = self.fetch(&list, TEXT_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&text);
        let mirrors: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#') && line.contains("://"))
            .take(MIRRORS_MAX)
            .map(|line| self.filled(line))
            .collect();
        if mirrors.is_empty() {
            return Err(NamesFetchError::NoMirrors(list));
        }
        Ok(mirrors)
    }

    /// Reads the names from the first mirror that has them.
    fn read(&self, bases: &[String], names: &mut RepositoryNames) -> Result<(), NamesFetchError> {
        let mut problem = None;
        for base in bases {
            match self.read_from(base.trim_end_matches('/'), names) {
                Ok(()) => return Ok(()),
                Err(error @ NamesFetchError::TooMany(_)) => return Err(error),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        Err(problem.unwrap_or_else(|| NamesFetchError::NoMirrors(self.repository.id.clone())))
    }

    fn read_from(&self, base: &str, names: &mut RepositoryNames) -> Result<(), NamesFetchError> {
        let url = format!("{base}/repodata/repomd.xml");
        let senseless = |problem: &dyn std::fmt::Display| NamesFetchError::Senseless {
            url: url.clone(),
            problem: problem.to_string(),
        };
        let repomd = self.fetch(&url, TEXT_BYTES_MAX)?;
        let repomd = RepomdXml::read_data(utils::create_xml_reader(&repomd[..]))
            .map_err(|error| senseless(&error))?;
        let primary = repomd
            .get_record("primary")
            .ok_or_else(|| senseless(&"it names no list of packages"))?;
        let Checksum::Sha256(digest) = &primary.checksum else {
            return Err(senseless(&"its list of packages has no SHA-256"));
        };
        let digest: Digest = Digest::from_hex(digest).map_err(|error| senseless(&error))?;
        let url = format!("{base}/{}", primary.location_href.display());
        let packed = self.fetch(&url, PRIMARY_BYTES_MAX)?;
        if Digest::of(&packed) != digest {
            return Err(NamesFetchError::Senseless {
                url,
                problem: "it is not the list that repomd.xml names".to_owned(),
            });
        }
        self.read_primary(&url, &packed, names)
    }

    fn read_primary(
        &self,
        url: &str,
        packed: &[u8],
        names: &mut RepositoryNames,
    ) -> Result<(), NamesFetchError> {
        let senseless = |error: &dyn std::fmt::Display| NamesFetchError::Senseless {
            url: url.to_owned(),
            problem: error.to_string(),
        };
        let folder = self.fetcher.folder()?;
        let path = folder.path().join("primary");
        File::create(&path)?.write_all(packed)?;
        let open = utils::reader_from_file(&path).map_err(|error| senseless(&error))?;
        let open = ReadUntil {
            from: open.take(OPEN_BYTES_MAX),
            until: self.until,
        };
        let mut packages = PrimaryXml::new_reader(utils::create_xml_reader(BufReader::new(open)));
        packages.read_header().map_err(|error| senseless(&error))?;
        let mut package = None;
        loop {
            packages
                .read_package(&mut package)
                .map_err(|error| senseless(&error))?;
            let Some(found) = package.take() else {
                return Ok(());
            };
            let Some(source) = source_name(found.rpm_sourcerpm()) else {
                continue;
            };
            names.add(&OwnedName::Package(found.name().to_owned()), source)?;
            let mut files = Vec::new();
            found.for_each_file(|kind, path| {
                if kind != FileType::Dir {
                    files.extend(path.parse::<OwnedName>());
                }
            });
            for file in files {
                names.add(&file, source)?;
            }
        }
    }

    fn fetch(&self, url: &str, bytes_max: u64) -> Result<Vec<u8>, NamesFetchError> {
        let failed = |source: DownloadError| NamesFetchError::Download {
            url: url.to_owned(),
            source,
        };
        let from = open(url, &self.fetcher.agent, self.until)
            .map_err(failed)?
            .ok_or_else(|| NamesFetchError::Absent(url.to_owned()))?;
        let mut from = ReadUntil {
            from: from.take(bytes_max + 1),
            until: self.until,
        };
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)
            .map_err(|error| failed(error.into()))?;
        if bytes.len() as u64 > bytes_max {
            return Err(NamesFetchError::Senseless {
                url: url.to_owned(),
                problem: format!("it has more than {bytes_max} bytes"),
            });
        }
        Ok(bytes)
    }
}

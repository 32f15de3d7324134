//! What the roots of a platform begin with, and who makes that.

use crate::{Arch, Digest};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What roots begin with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Buildroot {
    /// Packages, groups (`@buildsys-build`) or capabilities of a root that packages are built in.
    pub packages: Vec<String>,
    /// The same for a root that packages are tried in: as little as a user may have.
    pub minimal: Vec<String>,
    /// Who makes what a root begins with.
    #[serde(skip_serializing_if = "Provider::is_dnf")]
    pub provider: Provider,
    /// `rootfs`: an archive for each architecture. Or an image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<Archive>,
    /// `rootfs`: an image of a registry by its digest, `registry.example.org/name@sha256:…`; it may be an index of several
    /// architectures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `mock`: the name of its configuration on the runner, or the path of a file there; `$basearch` and `$releasever` stand for
    /// themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// Who makes what a root begins with. In every case dnf puts the dependencies of a package on top, from the platform's repositories,
/// and every command runs in the same sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// dnf, from the platform's repositories.
    #[default]
    Dnf,
    /// An archive or an image that somebody has made; `packages` and `minimal` come on top of it.
    Rootfs,
    /// mock on the runner, by a configuration there.
    Mock,
    /// The runner's machine as it is, for trying things: nothing can be installed into it.
    Host,
}

/// A root that somebody has made, as a tar archive, packed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// What it is for.
    pub arch: Arch,
    /// Where it lies: `https://…`, or `file://…` on the runner.
    pub url: String,
    /// SHA-256 of the archive as it lies there.
    pub digest: Digest,
}

impl Provider {
    /// Whether it is the one that everybody has.
    pub const fn is_dnf(&self) -> bool {
        matches!(self, Self::Dnf)
    }

    /// Its name in a platform's file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dnf => "dnf",
            Self::Rootfs => "rootfs",
            Self::Mock => "mock",
            Self::Host => "host",
        }
    }
}

impl Buildroot {
    /// What does not go together, in words for who wrote it.
    pub(super) fn check(&self, architectures: &[Arch]) -> Result<(), String> {
        let own = [
            ("archives", Provider::Rootfs, !self.archives.is_empty()),
            ("image", Provider::Rootfs, self.image.is_some()),
            ("config", Provider::Mock, self.config.is_some()),
        ];
        for (key, provider, given) in own {
            if given && self.provider != provider {
                let (wanted, is) = (provider.as_str(), self.provider.as_str());
                return Err(format!(
                    "`buildroot.{key}` is for the provider `{wanted}`, and this one is `{is}`"
                ));
            }
        }
        match self.provider {
            Provider::Rootfs => self.check_rootfs(architectures),
            Provider::Mock if self.config.is_none() => Err(
                "the provider `mock` needs `buildroot.config`: the name of its configuration"
                    .to_owned(),
            ),
            Provider::Dnf | Provider::Mock | Provider::Host => Ok(()),
        }
    }

    fn check_rootfs(&self, architectures: &[Arch]) -> Result<(), String> {
        match &self.image {
            Some(_) if !self.archives.is_empty() => {
                return Err(
                    "the provider `rootfs` takes either `buildroot.archives` or `buildroot.image`"
                        .to_owned(),
                );
            }
            Some(image) => return Image::from_str(image).map(drop),
            None => {}
        }
        for Archive { arch, url, .. } in &self.archives {
            if !["https://", "http://", "file://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
            {
                return Err(format!(
                    "the archive for {arch} lies at `{url}`, which is no URL"
                ));
            }
        }
        let missing = architectures
            .iter()
            .find(|arch| !self.archives.iter().any(|archive| archive.arch == **arch));
        missing.map_or(Ok(()), |arch| {
            Err(format!("the provider `rootfs` has no archive for {arch}: name one in `buildroot.archives`, or an `image`"))
        })
    }
}

/// An image of a registry, by the digest of its manifest or index (OCI distribution specification 1.1, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Host, and port if it is not the usual one.
    pub registry: String,
    /// Name in the registry.
    pub name: String,
    /// Of the manifest or index.
    pub digest: Digest,
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` names no image by digest: write `registry.example.org/name@sha256:…`")
        };
        let (place, digest) = text.split_once('@').ok_or_else(wrong)?;
        let (registry, name) = place.split_once('/').ok_or_else(wrong)?;
        let plain = |text: &str, more: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
        };
        let is_host = registry == "localhost" || registry.contains(['.', ':']);
        if !is_host
            || !plain(registry, ".:-[]")
            || !plain(name, "._-/")
            || name.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(wrong());
        }
        Ok(Self {
            registry: registry.to_owned(),
            name: name.to_owned(),
            digest: digest.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::S390x];

    fn archive(arch: Arch, url: &str) -> Archive {
        Archive {
            arch,
            url: url.to_owned(),
            digest: Digest::of(b"x"),
        }
    }

    #[test]
    fn a_root_that_somebody_has_made_is_there_for_every_architecture() {
        let rootfs = |archives| Buildroot {
            provider: Provider::Rootfs,
            archives,
            ..Buildroot::default()
        };
        let one = rootfs(vec![archive(Arch::X86_64, "https://a/b.tar.xz")]);
        assert_eq!(one.check(&ARCHES[..1]), Ok(()));
        assert!(
            one.check(&ARCHES)
                .unwrap_err()
                .contains("no archive for s390x")
        );
        assert!(
            rootfs(vec![archive(Arch::X86_64, "/b.tar")])
                .check(&ARCHES[..1])
                .unwrap_err()
                .contains("which is no URL")
        );
    }

    #[test]
    fn what_is_for_another_provider_is_told() {
        let mock = Buildroot {
            config: Some("almalinux-9-$basearch".to_owned()),
            ..Buildroot::default()
        };
        assert!(
            mock.check(&ARCHES)
                .unwrap_err()
                .contains("`buildroot.config` is for the provider `mock`")
        );
        assert_eq!(
            Buildroot {
                provider: Provider::Mock,
                ..mock
            }
            .check(&ARCHES),
            Ok(())
        );
        let bare = Buildroot {
            provider: Provider::Mock,
            ..Buildroot::default()
        };
        assert!(
            bare.check(&ARCHES)
                .unwrap_err()
                .contains("needs `buildroot.config`")
        );
    }

    #[test]
    fn an_image_is_named_by_its_digest_and_nothing_that_moves() {
        let digest = Digest::of(b"manifest");
        for good in [
            "quay.io/almalinuxorg/9-base",
            "localhost/a",
            "registry:5000/a/b/c",
        ] {
            assert_eq!(
                format!("{good}@{digest}")
                    .parse::<Image>()
                    .map(|image| image.digest),
                Ok(digest)
            );
        }
        for bad in [
            "quay.io/almalinuxorg/9-base:latest",
            "almalinux/9-base@DIGEST",
            "quay.io/../x@DIGEST",
            "quay.io/a@sha256:12",
            "x@DIGEST",
        ] {
            let bad = bad.replace("DIGEST", &digest.to_string());
            assert!(bad.parse::<Image>().is_err(), "{bad}");
        }
    }
}

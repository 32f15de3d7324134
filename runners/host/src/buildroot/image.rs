//! Images of a registry, pulled by digest (OCI distribution specification 1.1, "Pull"; image specification 1.1, "Image Manifest").

use super::error::RootError;
use super::fetch::{ExpectedFile, TEXT_BYTES_MAX, agent, keep};
use super::session::RootSession;
use crate::machine::arch::Facts;
use millrace_core::platform::Image;
use millrace_core::{Arch, Digest};
use serde::Deserialize;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use ureq::Body;
use ureq::http::Response;

/// What a manifest or an index of several is called.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Most layers of an image: more than any tool makes (overlayfs takes 500).
const LAYERS_MAX: usize = 500;

/// A manifest, or an index of manifests.
#[derive(Debug, Deserialize)]
struct ImageManifest {
    #[serde(default)]
    manifests: Vec<BlobDescriptor>,
    #[serde(default)]
    layers: Vec<BlobDescriptor>,
}

#[derive(Debug, Deserialize)]
struct BlobDescriptor {
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    platform: Option<ImagePlatform>,
}

#[derive(Debug, Deserialize)]
struct ImagePlatform {
    architecture: String,
    os: String,
}

/// A registry that is spoken to.
struct Registry<'a> {
    image: &'a Image,
    agent: ureq::Agent,
    authorization: Option<String>,
}

/// Fetches an image's layers for an architecture into a folder, the lowest first.
pub(super) fn pull(
    image: &Image,
    arch: Arch,
    folder: &Path,
    bytes_max: u64,
    session: &mut RootSession<'_>,
) -> Result<Vec<PathBuf>, RootError> {
    let mut registry = Registry {
        image,
        agent: agent(),
        authorization: None,
    };
    let manifest = registry.manifest_for(arch)?;
    if manifest.layers.is_empty() || manifest.layers.len() > LAYERS_MAX {
        let count = manifest.layers.len();
        return Err(registry.refused(format!(
            "it has {count} layers; there must be 1 to {LAYERS_MAX}"
        )));
    }
    if manifest.layers.iter().any(|layer| layer.size > bytes_max) {
        return Err(registry.refused(format!("a layer of it has more than {bytes_max} bytes")));
    }
    let mut paths = Vec::new();
    for (number, layer) in manifest.layers.iter().enumerate() {
        let digest = registry.digest(&layer.digest)?;
        session.say(&format!(
            "fetching layer {digest} of {}/{}",
            image.registry, image.name
        ));
        let answer = registry.get(&format!("blobs/{digest}"), "*/*")?;
        let path = folder.join(format!("layer-{number:03}"));
        let what = format!("layer {digest}");
        let expected = ExpectedFile {
            what: &what,
            named_by: "the image",
            digest: &digest,
            bytes_max,
        };
        keep(
            answer.into_body().into_reader(),
            &mut File::create(&path)?,
            &expected,
            session.cancelled,
        )?;
        paths.push(path);
    }
    Ok(paths)
}

impl Registry<'_> {
    /// The manifest of the image; of an index that of the architecture.
    fn manifest_for(&mut self, arch: Arch) -> Result<ImageManifest, RootError> {
        let manifest = self.manifest(&self.image.digest.clone())?;
        if manifest.manifests.is_empty() {
            return Ok(manifest);
        }
        let wanted = Facts::of(arch).oci;
        let is_wanted =
            |platform: &ImagePlatform| platform.os == "linux" && platform.architecture == wanted;
        let found = manifest
            .manifests
            .iter()
            .find(|one| one.platform.as_ref().is_some_and(is_wanted));
        let found = found.ok_or_else(|| self.refused(format!("it has nothing for {arch}")))?;
        let digest = self.digest(&found.digest)?;
        self.manifest(&digest)
    }

    fn manifest(&mut self, digest: &Digest) -> Result<ImageManifest, RootError> {
        let mut answer = self.get(&format!("manifests/{digest}"), MANIFESTS)?;
        let text = answer
            .body_mut()
            .with_config()
            .limit(TEXT_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.away(error))?;
        if Digest::of(&text) != *digest {
            return Err(self.refused(format!(
                "what the registry sends for {digest} is something else"
            )));
        }
        serde_json::from_slice(&text)
            .map_err(|error| self.refused(format!("its manifest makes no sense: {error}")))
    }

    /// Gets something of the image; a registry that wants a token says where there is one, for anybody.
    fn get(&mut self, what: &str, accept: &str) -> Result<Response<Body>, RootError> {
        let Image { registry, name, .. } = self.image;
        let own = registry
            .split(':')
            .next()
            .is_some_and(|host| host == "localhost" || host == "127.0.0.1");
        let url = format!(
            "{}://{registry}/v2/{name}/{what}",
            if own { "http" } else { "https" }
        );
        loop {
            let mut request = self
                .agent
                .get(&url)
                .header("accept", accept)
                .config()
                .http_status_as_error(false)
                .build();
            if let Some(authorization) = &self.authorization {
                request = request.header("authorization", authorization);
            }
            let answer = request.call().map_err(|error| self.away(error))?;
            match answer.status().as_u16() {
                200 => return Ok(answer),
                401 if self.authorization.is_none() => {
                    self.authorization = Some(self.token(&answer)?)
                }
                404 => return Err(self.refused(format!("the registry has no {what}"))),
                status @ (401 | 403) => {
                    return Err(self.refused(format!(
                        "the registry does not let everybody read it ({status})"
                    )));
                }
                status => return Err(self.away(format!("{url}: {status}"))),
            }
        }
    }

    /// Asks for a token (Distribution, "Token Authentication Specification").
    fn token(&self, answer: &Response<Body>) -> Result<String, RootError> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(alias = "access_token")]
            token: String,
        }
        let header = answer
            .headers()
            .get("www-authenticate")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let realm = parameter(header, "realm");
        let realm = realm.ok_or_else(|| {
            self.refused("the registry wants a login, and does not say where".to_owned())
        })?;
        let mut request = self.agent.get(realm);
        for name in ["service", "scope"] {
            if let Some(value) = parameter(header, name) {
                request = request.query(name, value);
            }
        }
        let mut answer = request.call().map_err(|error| self.away(error))?;
        let text = answer
            .body_mut()
            .with_config()
            .limit(TEXT_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.away(error))?;
        let token: Token = serde_json::from_slice(&text).map_err(|error| self.away(error))?;
        Ok(format!("Bearer {}", token.token))
    }

    fn digest(&self, text: &str) -> Result<Digest, RootError> {
        text.parse()
            .map_err(|_| self.refused(format!("`{text}` is no digest of SHA-256")))
    }

    fn refused(&self, problem: String) -> RootError {
        let Image {
            registry,
            name,
            digest,
        } = self.image;
        RootError::Refused(format!("the image {registry}/{name}@{digest}: {problem}"))
    }

    fn away(&self, problem: impl Into<Box<dyn Error + Send + Sync>>) -> RootError {
        let Image { registry, name, .. } = self.image;
        RootError::repository_due_to(format!("the registry of {registry}/{name}"), problem)
    }
}

/// A parameter of a challenge: `Bearer realm="…",service="…"` (RFC 9110, section 11.2).
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

//! The keys of a line in the cloud, each where it lies.

use crate::error::KeyError;
use crate::keys::Keys;
use crate::keys::kms::KmsKeys;
use crate::keys::location::{KeyLocation, KeyLocationError, KeyLocations};
use crate::keys::secrets::SecretKeys;
use aws_config::SdkConfig;
use millrace_core::KeyName;
use millrace_lambda::{EnvironmentError, variable};
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mpi;
use std::sync::Arc;

/// The keys by their names: see [`KeyLocations`].
const KEYS: &str = "MILLRACE_KEYS";

/// What certificates of keys in KMS say of whose the keys are. A key in a secret says it itself.
const USER_ID: &str = "MILLRACE_USER_ID";

/// Keys in KMS and in secrets. Its calls wait, so they are made on threads where that holds up nobody.
#[derive(Debug, Clone)]
pub struct CloudKeys {
    locations: Arc<KeyLocations>,
    kms: KmsKeys,
    secrets: SecretKeys,
}

impl CloudKeys {
    /// Those that the environment names.
    pub fn open(config: &SdkConfig) -> Result<Self, EnvironmentError> {
        let odd = |name, source| EnvironmentError::Odd { name, source };
        let locations = variable(KEYS)?
            .parse()
            .map_err(|error: KeyLocationError| odd(KEYS, error.into()))?;
        Self::new(config, locations, &variable(USER_ID)?)
            .map_err(|error| odd(USER_ID, error.into()))
    }

    /// Those of these locations. Nothing is asked of them yet. To be called in a runtime, which keeps making the calls.
    pub fn new(
        config: &SdkConfig,
        locations: KeyLocations,
        user_id: &str,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            locations: Arc::new(locations),
            kms: KmsKeys::new(config, user_id)?,
            secrets: SecretKeys::new(config),
        })
    }

    fn location(&self, key: &KeyName) -> Result<&KeyLocation, KeyError> {
        self.locations
            .of(key)
            .ok_or_else(|| KeyError::Unplaced(key.clone()))
    }
}

impl Keys for CloudKeys {
    fn certificate(&self, key: &KeyName) -> Result<Cert, KeyError> {
        match self.location(key)? {
            KeyLocation::Kms(arn) => self.kms.certificate(key, arn),
            KeyLocation::Secret(arn) => self
                .secrets
                .read(key, arn)
                .map(|private| private.certificate()),
        }
    }

    fn sign_digest(&self, key: &KeyName, digest: &[u8]) -> Result<mpi::Signature, KeyError> {
        match self.location(key)? {
            KeyLocation::Kms(arn) => self.kms.sign_digest(key, arn, digest),
            KeyLocation::Secret(arn) => self.secrets.read(key, arn)?.sign_digest(key, digest),
        }
    }
}

//! The keys of a line in the cloud, as people bring them there: each into its secret, out of which nobody but the signer may take it.

use anyhow::{Context, Result, bail};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use millrace_core::KeyName;
use millrace_signer::{KeyError, KeyLocation, KeyLocations, PrivateKey};
use millrace_store::aws::sdk_config;

/// What Secrets Manager calls the version of a secret that others see.
const CURRENT: &str = "AWSCURRENT";

/// The version that a key becomes, the same for everybody who brings one. A version is never changed, so of two who bring different
/// keys at once, one does, and the other is refused (AWS Secrets Manager API Reference, "PutSecretValue", ClientRequestToken).
const VERSION: &str = "millrace-the-first-and-only-version";

/// The places of a line's keys, with the credentials of the commands' user.
pub(crate) struct Secrets {
    client: Client,
    places: KeyLocations,
}

impl Secrets {
    /// Nothing is asked of Secrets Manager yet.
    pub(crate) async fn new(places: KeyLocations) -> Self {
        Self {
            client: Client::new(&sdk_config(None).await),
            places,
        }
    }

    /// All keys that the line has a place for.
    pub(crate) const fn places(&self) -> &KeyLocations {
        &self.places
    }

    /// Makes sure that a key may be put into its place. Nobody here may read what is in it, but can see whether it is empty.
    pub(crate) async fn takes(&self, key: &KeyName) -> Result<()> {
        let asked = self
            .client
            .describe_secret()
            .secret_id(self.secret(key)?)
            .send()
            .await;
        let said = match asked {
            Ok(said) => said,
            Err(error) => bail!(
                "the secret of the key `{key}`: {}",
                DisplayErrorContext(error)
            ),
        };
        let is_current = |stages: &Vec<String>| stages.iter().any(|stage| stage == CURRENT);
        if said
            .version_ids_to_stages()
            .is_some_and(|versions| versions.values().any(is_current))
        {
            bail!(KeyError::Exists(key.clone()));
        }
        Ok(())
    }

    /// Puts a key into its place. It stands in the request alone, which goes over TLS, and is named in no error.
    pub(crate) async fn keep(&self, key: &KeyName, private: &PrivateKey) -> Result<()> {
        let text = String::from_utf8_lossy(&private.armored()).into_owned();
        let put = self
            .client
            .put_secret_value()
            .secret_id(self.secret(key)?)
            .client_request_token(VERSION)
            .secret_string(text);
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutSecretValueError::is_resource_exists_exception) =>
            {
                bail!(KeyError::Exists(key.clone()))
            }
            Err(error) => bail!(
                "the secret of the key `{key}`: {}",
                DisplayErrorContext(error)
            ),
        }
    }

    fn secret(&self, key: &KeyName) -> Result<&str> {
        match self
            .places
            .of(key)
            .with_context(|| KeyError::Unplaced(key.clone()))?
        {
            KeyLocation::Secret(arn) => Ok(arn),
            KeyLocation::Kms(_) => bail!(
                "the key `{key}` is in KMS, which has made it and takes no other: `cargo xtask deploy --parameter KeyKeptIn=secret` \
                 makes a place for a key that is brought or made here"
            ),
        }
    }
}

//! Signing keys in AWS Secrets Manager: OpenPGP keys that were brought along. They lie there wrapped by a key in KMS, the signer
//! alone may read them, and it keeps them in memory and nowhere else.

use crate::error::KeyError;
use crate::keys::private::PrivateKey;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use millrace_core::KeyName;
use sequoia_openpgp::crypto::mem::Protected;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Keys in secrets. One is read when it is first needed; another value of its secret is heard of by the processes that start after it.
#[derive(Debug, Clone)]
pub struct SecretKeys {
    client: Client,
    runtime: Handle,
    /// By the ARNs of their secrets.
    known: Arc<Mutex<BTreeMap<String, PrivateKey>>>,
}

impl SecretKeys {
    /// Nothing is asked of Secrets Manager yet. To be called in a runtime, which keeps making the calls.
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            client: Client::new(config),
            runtime: Handle::current(),
            known: Arc::default(),
        }
    }

    /// The key in a secret. What is wrong with it is found out at each call, so that it may be put right meanwhile.
    pub fn read(&self, key: &KeyName, arn: &str) -> Result<PrivateKey, KeyError> {
        if let Some(known) = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(arn)
        {
            return Ok(known.clone());
        }
        let call = self.client.get_secret_value().secret_id(arn).send();
        let said = self
            .runtime
            .block_on(call)
            .map_err(|error| failed(key, error))?;
        let text = said.secret_string.map(String::into_bytes);
        let bytes = text
            .or_else(|| said.secret_binary.map(|binary| binary.into_inner()))
            .map(Protected::from);
        let bytes = bytes
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| KeyError::Empty(key.clone()))?;
        let read = PrivateKey::read(key, &bytes)?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(arn.to_owned(), read.clone());
        Ok(read)
    }
}

/// What Secrets Manager did not do: trouble that may pass, or a secret that somebody must see to first (AWS Secrets Manager API
/// Reference, "GetSecretValue"). The words of its answers tell nothing of the value.
fn failed<R: std::fmt::Debug + Send + Sync + 'static>(
    key: &KeyName,
    error: SdkError<GetSecretValueError, R>,
) -> KeyError {
    let unfit = |problem| KeyError::Unfit {
        key: key.clone(),
        problem,
    };
    match error.as_service_error().and_then(|error| error.code()) {
        // A secret without a value is answered in the same way as none.
        Some("ResourceNotFoundException") => KeyError::Empty(key.clone()),
        Some("InvalidRequestException") => {
            unfit("its secret is about to be deleted: `aws secretsmanager restore-secret` keeps it")
        }
        Some("DecryptionFailure") => unfit(
            "its secret cannot be unwrapped: the wrapping key is disabled in KMS, or about to be deleted",
        ),
        Some("AccessDeniedException") => unfit(
            "the signer's role may not read its secret, or not unwrap it: see the policies of the secret and of its wrapping key in KMS",
        ),
        _ => KeyError::Unavailable {
            key: key.clone(),
            source: io::Error::other(error),
        },
    }
}

//! Signing keys in AWS KMS: the private part never leaves it, and nobody can read it there either.
//!
//! A certificate is made of the public key, the time at which KMS made it, and the user id of the line. It certifies itself by
//! the key, in the same way every time, so it is kept nowhere.

mod packets;

use crate::error::{KeyError, USER_ID_BYTES_MAX};
use crate::openpgp::primary;
use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use millrace_core::KeyName;
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::packet::Key;
use sequoia_openpgp::packet::key::{PrimaryRole, PublicParts};
use sequoia_openpgp::types::PublicKeyAlgorithm;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Keys in KMS, RSA and Ed25519. Its calls wait, so they are made on threads where that holds up nobody.
#[derive(Debug, Clone)]
pub struct KmsKeys {
    client: Client,
    runtime: Handle,
    user_id: Arc<str>,
    /// By the ARNs of their keys.
    certificates: Arc<Mutex<BTreeMap<String, Cert>>>,
}

impl KmsKeys {
    /// `user_id` is what certificates say of whose the keys are. Nothing is asked of KMS yet. To be called in a runtime, which
    /// keeps making the calls.
    pub fn new(config: &SdkConfig, user_id: &str) -> Result<Self, KeyError> {
        if user_id.len() > USER_ID_BYTES_MAX || user_id.chars().any(char::is_control) {
            return Err(KeyError::UserId);
        }
        let (client, runtime) = (Client::new(config), Handle::current());
        Ok(Self {
            client,
            runtime,
            user_id: user_id.into(),
            certificates: Arc::default(),
        })
    }

    /// The certificate of a key: see [`crate::Keys::certificate`].
    pub fn certificate(&self, key: &KeyName, arn: &str) -> Result<Cert, KeyError> {
        if let Some(known) = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(arn)
        {
            return Ok(known.clone());
        }
        let public = self.public_key(key, arn)?;
        let algorithm = public.pk_algo();
        let made = packets::certify(key, public, &self.user_id, |digest| {
            self.ask_to_sign(key, arn, algorithm, digest)
        })?;
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(arn.to_owned(), made.clone());
        Ok(made)
    }

    /// Signs a digest: see [`crate::Keys::sign_digest`].
    pub fn sign_digest(
        &self,
        key: &KeyName,
        arn: &str,
        digest: &[u8],
    ) -> Result<mpi::Signature, KeyError> {
        let algorithm = primary(&self.certificate(key, arn)?).pk_algo();
        self.ask_to_sign(key, arn, algorithm, digest)
    }

    /// The public key as KMS has it, and when it was made.
    fn public_key(
        &self,
        key: &KeyName,
        arn: &str,
    ) -> Result<Key<PublicParts, PrimaryRole>, KeyError> {
        let (public, about) = self.runtime.block_on(async {
            let public = self
                .client
                .get_public_key()
                .key_id(arn)
                .send()
                .await
                .map_err(|error| failed(key, error))?;
            let about = self
                .client
                .describe_key()
                .key_id(arn)
                .send()
                .await
                .map_err(|error| failed(key, error))?;
            Ok((public, about))
        })?;
        let created = about
            .key_metadata
            .and_then(|about| about.creation_date)
            .and_then(|date| u32::try_from(date.secs()).ok());
        let der = public.public_key.map(Blob::into_inner).unwrap_or_default();
        created.and_then(|created| packets::public_key(&der, created)).ok_or_else(|| {
            unfit(
                key,
                "KMS has no key there that rpm takes: make one of RSA_4096 or ECC_NIST_EDWARDS25519 with the usage SIGN_VERIFY",
            )
        })
    }

    fn ask_to_sign(
        &self,
        key: &KeyName,
        arn: &str,
        algorithm: PublicKeyAlgorithm,
        digest: &[u8],
    ) -> Result<mpi::Signature, KeyError> {
        let (kind, specification) = manner(algorithm);
        let call = self
            .client
            .sign()
            .key_id(arn)
            .message(Blob::new(digest))
            .message_type(kind)
            .signing_algorithm(specification);
        let signed = self
            .runtime
            .block_on(call.send())
            .map_err(|error| failed(key, error))?;
        let bytes = signed.signature.map(Blob::into_inner).unwrap_or_default();
        packets::numbers(algorithm, &bytes).ok_or_else(|| unfit(key, "KMS made no signature"))
    }
}

/// How KMS must sign what OpenPGP has hashed. Ed25519 takes the digest for its message, and hashes it once more as it does any
/// (RFC 9580, 5.2.3; AWS KMS API Reference, "Sign": ED25519_SHA_512 is for RAW messages).
fn manner(algorithm: PublicKeyAlgorithm) -> (MessageType, SigningAlgorithmSpec) {
    match algorithm {
        PublicKeyAlgorithm::EdDSA => (MessageType::Raw, SigningAlgorithmSpec::Ed25519Sha512),
        _ => (
            MessageType::Digest,
            SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
        ),
    }
}

fn unfit(key: &KeyName, problem: &'static str) -> KeyError {
    KeyError::Unfit {
        key: key.clone(),
        problem,
    }
}

/// What KMS did not do: trouble that may pass, or a key that nobody can sign with before somebody acts.
fn failed<E, R>(key: &KeyName, error: SdkError<E, R>) -> KeyError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
    {
        Some("NotFoundException") => unfit(key, "it is not in KMS any more, or in another region"),
        Some("DisabledException") => unfit(key, "it is disabled in KMS"),
        Some("KMSInvalidStateException") => {
            unfit(key, "it is about to be deleted in KMS, or pending")
        }
        Some("InvalidKeyUsageException") => unfit(
            key,
            "it is not for signing: make one with the usage SIGN_VERIFY in KMS",
        ),
        Some("AccessDeniedException") => unfit(
            key,
            "the signer's role may not use it: see the key's policy in KMS",
        ),
        _ => KeyError::Unavailable {
            key: key.clone(),
            source: io::Error::other(error),
        },
    }
}

//! Signing keys in AWS KMS: the private part never leaves it, and nobody can read it there either.
//!
//! A certificate is made of the public key, the time at which KMS made it, and the user id of the line. It certifies itself by
//! the key, in the same way every time, so it is kept nowhere.

use crate::keys::{KeyError, Keys, USER_ID_BYTES_MAX};
use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use millrace_core::KeyName;
use millrace_lambda::{EnvironmentError, pairs, variable};
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use sequoia_openpgp::Packet;
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::packet::key::{Key4, PrimaryRole, PublicParts};
use sequoia_openpgp::packet::signature::Signature4;
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketArea, SubpacketValue};
use sequoia_openpgp::packet::{Key, Signature, UserID};
use sequoia_openpgp::types::{HashAlgorithm, KeyFlags, PublicKeyAlgorithm, SignatureType, Timestamp};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// The keys by their names: `NAME=ARN`, with spaces between.
const KEYS: &str = "MILLRACE_KEYS";

/// What certificates say of whose the keys are.
const USER_ID: &str = "MILLRACE_USER_ID";

/// RSA keys in KMS, by their names. Its calls wait, so they are made on threads where that holds up nobody.
#[derive(Debug, Clone)]
pub struct KmsKeys {
    client: Client,
    runtime: Handle,
    places: Arc<BTreeMap<KeyName, String>>,
    user_id: Arc<str>,
    certificates: Arc<Mutex<BTreeMap<KeyName, Cert>>>,
}

impl KmsKeys {
    /// Those that the environment names. Nothing is asked of KMS yet. To be called in a runtime, which keeps making the calls.
    pub fn open(config: &SdkConfig) -> Result<Self, EnvironmentError> {
        let odd = |problem: String| EnvironmentError::Odd { name: KEYS, problem };
        let named = |(name, place): (String, String)| Ok((KeyName::new(&name).map_err(|error| odd(error.to_string()))?, place));
        let places = pairs(KEYS)?.into_iter().map(named).collect::<Result<_, _>>()?;
        let user_id = variable(USER_ID)?;
        if user_id.len() > USER_ID_BYTES_MAX || user_id.chars().any(char::is_control) {
            return Err(EnvironmentError::Odd { name: USER_ID, problem: KeyError::UserId.to_string() });
        }
        let (client, runtime) = (Client::new(config), Handle::current());
        Ok(Self { client, runtime, places: Arc::new(places), user_id: user_id.into(), certificates: Arc::default() })
    }

    fn place(&self, key: &KeyName) -> Result<&str, KeyError> {
        self.places.get(key).map(String::as_str).ok_or_else(|| KeyError::Missing(key.clone()))
    }

    /// The public key as KMS has it, and when it was made.
    fn public_key(&self, key: &KeyName) -> Result<Key<PublicParts, PrimaryRole>, KeyError> {
        let place = self.place(key)?;
        let (public, about) = self.runtime.block_on(async {
            let public = self.client.get_public_key().key_id(place).send().await.map_err(|error| failed(key, error))?;
            let about = self.client.describe_key().key_id(place).send().await.map_err(|error| failed(key, error))?;
            Ok((public, about))
        })?;
        let created = about.key_metadata.and_then(|about| about.creation_date).and_then(|date| u32::try_from(date.secs()).ok());
        let der = public.public_key.map(Blob::into_inner).unwrap_or_default();
        let read = RsaPublicKey::from_public_key_der(&der).ok();
        let (Some(created), Some(read)) = (created, read) else {
            return Err(unfit(key, "KMS has no RSA key there: make one with the specification RSA_4096 and the usage SIGN_VERIFY"));
        };
        let made = Key4::import_public_rsa(&read.e().to_bytes_be(), &read.n().to_bytes_be(), Some(Timestamp::from(created).into()));
        made.map(Key::from).map_err(|_| unfit(key, "its public key does not fit a packet"))
    }

    fn certify(&self, name: &KeyName) -> Result<Cert, KeyError> {
        let (public, user_id) = (self.public_key(name)?, UserID::from(&*self.user_id));
        let unfit = |_| unfit(name, "its certificate does not fit packets");
        let hashed = subpackets(&public).map_err(unfit)?;
        let frame = |prefix, numbers| {
            let (kind, algorithm) = (SignatureType::PositiveCertification, PublicKeyAlgorithm::RSAEncryptSign);
            Signature4::new(kind, algorithm, HashAlgorithm::SHA256, hashed.clone(), SubpacketArea::default(), prefix, numbers)
        };
        // What is hashed is the key, the user id and the signature's own fields; its numbers are not among them.
        let blank = Signature::from(frame([0; 2], mpi::Signature::RSA { s: mpi::MPI::new(&[]) }));
        let digest = || {
            let mut hash = HashAlgorithm::SHA256.context()?.for_signature(4);
            blank.hash_userid_binding(&mut hash, &public, &user_id)?;
            hash.into_digest()
        };
        let digest: Vec<u8> = digest().map_err(unfit)?;
        let signature = Signature::from(frame([digest[0], digest[1]], self.sign_digest(name, &digest)?));
        Cert::from_packets([Packet::from(public), user_id.into(), signature.into()].into_iter()).map_err(unfit)
    }
}

impl Keys for KmsKeys {
    fn certificate(&self, key: &KeyName) -> Result<Cert, KeyError> {
        if let Some(known) = self.certificates.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(known.clone());
        }
        let made = self.certify(key)?;
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), made.clone());
        Ok(made)
    }

    fn sign_digest(&self, key: &KeyName, digest: &[u8]) -> Result<mpi::Signature, KeyError> {
        let call = self
            .client
            .sign()
            .key_id(self.place(key)?)
            .message(Blob::new(digest))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::RsassaPkcs1V15Sha256);
        let signed = self.runtime.block_on(call.send()).map_err(|error| failed(key, error))?;
        let numbers = signed.signature.map(Blob::into_inner).ok_or_else(|| unfit(key, "KMS made no signature"))?;
        Ok(mpi::Signature::RSA { s: mpi::MPI::new(&numbers) })
    }
}

/// What a certificate says of its key: as keys in files do (see `keys`), and no salt, so that it is the same every time.
fn subpackets(key: &Key<PublicParts, PrimaryRole>) -> sequoia_openpgp::Result<SubpacketArea> {
    let created = Timestamp::try_from(key.creation_time())?;
    SubpacketArea::new(vec![
        Subpacket::new(SubpacketValue::SignatureCreationTime(created), true)?,
        Subpacket::new(SubpacketValue::Issuer(key.keyid()), false)?,
        Subpacket::new(SubpacketValue::IssuerFingerprint(key.fingerprint()), false)?,
        Subpacket::new(SubpacketValue::KeyFlags(KeyFlags::empty().set_certification().set_signing()), true)?,
        Subpacket::new(SubpacketValue::PreferredHashAlgorithms(vec![HashAlgorithm::SHA512, HashAlgorithm::SHA256]), false)?,
    ])
}

fn unfit(key: &KeyName, problem: &'static str) -> KeyError {
    KeyError::Unfit { key: key.clone(), problem }
}

/// What KMS did not do: trouble that may pass, or a key that nobody can sign with before somebody acts.
fn failed<E, R>(key: &KeyName, error: SdkError<E, R>) -> KeyError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    match error.as_service_error().and_then(ProvideErrorMetadata::code) {
        Some("NotFoundException") => KeyError::Missing(key.clone()),
        Some("DisabledException") => unfit(key, "it is disabled in KMS"),
        Some("KMSInvalidStateException") => unfit(key, "it is about to be deleted in KMS, or pending"),
        Some("InvalidKeyUsageException") => unfit(key, "it is not for signing: make one with the usage SIGN_VERIFY in KMS"),
        Some("AccessDeniedException") => unfit(key, "the signer's role may not use it: see the key's policy in KMS"),
        _ => KeyError::Unavailable { key: key.clone(), source: io::Error::other(DisplayErrorContext(error).to_string()) },
    }
}

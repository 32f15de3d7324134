//! A key with its private half, in memory: made here, or read from what an OpenPGP program wrote, and signed with.

use crate::error::{KeyError, USER_ID_BYTES_MAX};
use crate::keys::Algorithm;
use crate::openpgp::{armored, legacy, primary};
use millrace_core::KeyName;
use sequoia_openpgp::Packet;
use sequoia_openpgp::armor::Kind;
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mem::Protected;
use sequoia_openpgp::crypto::{Password, Signer as _, mpi};
use sequoia_openpgp::packet::key::{Key4, PrimaryRole, SecretParts, UnspecifiedRole};
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::{Key, UserID};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::Serialize as _;
use sequoia_openpgp::types::{
    Curve, HashAlgorithm, KeyFlags, RevocationStatus, SignatureType, Timestamp,
};
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// Bits of an RSA key that is made here: what distributions use, and what every rpm from EL8 to EL10 verifies.
const RSA_BITS: usize = 4096;

/// Largest key in ASCII armor, in bytes: as much as a secret holds (AWS Secrets Manager User Guide, "Quotas"). One of RSA-4096 has
/// about 5,000.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// A key that can sign: a primary key of version 4, RSA or Ed25519, whose private half is here and has no password.
///
/// It stands in memory as sequoia keeps such numbers: encrypted while they are not used, overwritten when they are let go.
#[derive(Clone)]
pub struct PrivateKey {
    whole: Cert,
}

/// Whose it is, and nothing of what it consists of.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.fingerprint())
    }
}

impl PrivateKey {
    /// Makes a key for this user id. RSA takes seconds.
    ///
    /// `created_s` are seconds since 1970; they become part of the fingerprint, and no signature is older.
    pub fn generate(
        key: &KeyName,
        user_id: &str,
        algorithm: Algorithm,
        created_s: u64,
    ) -> Result<Self, KeyError> {
        if user_id.trim().is_empty()
            || user_id.len() > USER_ID_BYTES_MAX
            || user_id.chars().any(char::is_control)
        {
            return Err(KeyError::UserId);
        }
        let unfit = |problem| KeyError::Unfit {
            key: key.clone(),
            problem,
        };
        let created =
            u32::try_from(created_s).map_err(|_| unfit("its time is beyond the year 2106"))?;
        let pair = generate(algorithm, created).map_err(|_| unfit("it could not be generated"))?;
        let whole =
            certify(pair, user_id, created).map_err(|_| unfit("it could not certify itself"))?;
        Ok(Self { whole })
    }

    /// Reads a key that is to be signed with now, armored or binary. No other key may stand there.
    pub fn read(key: &KeyName, bytes: &[u8]) -> Result<Self, KeyError> {
        Self::parse(key, bytes)?.checked(key)
    }

    /// Reads a key that comes from elsewhere, as `gpg --export-secret-keys` writes it, armored or binary. If it has a password,
    /// that is the first line of `password`.
    ///
    /// Beyond what [`Self::read`] asks of a key, those who check its signatures must take it for good at `now_s`, seconds since
    /// 1970. Private halves of its subkeys are left behind: nothing here needs them.
    pub fn import(
        key: &KeyName,
        bytes: Vec<u8>,
        password: Option<Vec<u8>>,
        now_s: u64,
    ) -> Result<Self, KeyError> {
        let unfit = |problem| KeyError::Unfit {
            key: key.clone(),
            problem,
        };
        let mut whole = Self::parse(key, &Protected::from(bytes))?.whole;
        if let Some(password) = password.map(Protected::from) {
            let line = password
                .split(|byte| matches!(byte, b'\n' | b'\r'))
                .next()
                .unwrap_or_default();
            whole = unlocked(whole, &Password::from(line))
                .map_err(|_| unfit("its password is another one"))?;
        }
        let found = Self { whole }.checked(key)?;
        found.holds_at(key, now_s)?;
        let kept = found.armored();
        if kept.len() > KEY_BYTES_MAX {
            return Err(unfit(
                "it is too large; without what others signed on it, it is not: --export-options export-minimal",
            ));
        }
        Self::read(key, &kept)
    }

    fn parse(key: &KeyName, bytes: &[u8]) -> Result<Self, KeyError> {
        let read = || {
            let whole = Cert::from_bytes(bytes)?;
            // Not everything that can be read can be written, as it must be for those who ask for the certificate.
            let mut written = Vec::new();
            whole.as_tsk().serialize(&mut written)?;
            drop(Protected::from(written));
            sequoia_openpgp::Result::Ok(Self { whole })
        };
        // The parser's words may quote what it read, so they are not passed on.
        read().map_err(|_| KeyError::Unfit {
            key: key.clone(),
            problem: "what lies there is not one OpenPGP key, or it is damaged",
        })
    }

    /// Makes sure that it can sign, and that every rpm can check what it signs.
    fn checked(self, key: &KeyName) -> Result<Self, KeyError> {
        let unfit = |problem| {
            Err(KeyError::Unfit {
                key: key.clone(),
                problem,
            })
        };
        let own = self.whole.primary_key().key();
        if legacy(primary(&self.whole)).is_none() {
            return unfit(
                "rpm takes signatures by RSA and Ed25519 keys of version 4; take such a key",
            );
        }
        if !own.has_secret() {
            return unfit("only its public half is there; `gpg --export-secret-keys` writes both");
        }
        if !own.has_unencrypted_secret() {
            return unfit(
                "it has a password: `millrace key import` takes it off with --password-file; or its private half is on a card, and \
                 cannot be copied",
            );
        }
        Ok(self)
    }

    /// Whether programs that check signatures take the key for good at this time.
    fn holds_at(&self, key: &KeyName, now_s: u64) -> Result<(), KeyError> {
        let unfit = |problem| KeyError::Unfit {
            key: key.clone(),
            problem,
        };
        let (policy, now) = (
            StandardPolicy::new(),
            UNIX_EPOCH + Duration::from_secs(now_s),
        );
        let valid = self.whole.with_policy(&policy, now).map_err(|_| {
            unfit("nothing that it says of itself holds: it says it with SHA-1 or later than now, or it is too weak. Newer rpm refuses it")
        })?;
        if matches!(valid.revocation_status(), RevocationStatus::Revoked(_)) {
            return Err(unfit("it is revoked"));
        }
        valid.alive().map_err(|_| {
            unfit(
                "it has expired: `gpg --quick-set-expire` gives it more time; export it again then",
            )
        })?;
        if !valid.primary_key().for_signing() {
            return Err(unfit(
                "its primary key may not sign, and subkeys are not signed with: older rpm does not look for them",
            ));
        }
        valid
            .userids()
            .next()
            .map(drop)
            .ok_or_else(|| unfit("it has no user id that holds: nobody could tell whose it is"))
    }

    /// The certificate, without private parts.
    pub fn certificate(&self) -> Cert {
        self.whole.clone().strip_secret_key_material()
    }

    /// What tells it from all other keys, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.whole.fingerprint().to_hex()
    }

    /// Signs a SHA-256 digest: see [`crate::Keys::sign_digest`].
    pub(crate) fn sign_digest(
        &self,
        key: &KeyName,
        digest: &[u8],
    ) -> Result<mpi::Signature, KeyError> {
        let unfit = |problem| KeyError::Unfit {
            key: key.clone(),
            problem,
        };
        let own = self.whole.primary_key().key().clone();
        let secret = own
            .parts_into_secret()
            .map_err(|_| unfit("only its public half is there"))?;
        let mut pair = secret
            .into_keypair()
            .map_err(|_| unfit("its private half is damaged"))?;
        pair.sign(HashAlgorithm::SHA256, digest)
            .map_err(|_| unfit("it made no signature"))
    }

    /// It as it is kept, in ASCII armor: the certificate, and of private halves the primary key's.
    pub fn armored(&self) -> Protected {
        let own = self.whole.fingerprint();
        let kept = self
            .whole
            .as_tsk()
            .set_filter(move |key| key.fingerprint() == own);
        Protected::from(armored(Kind::SecretKey, |to| kept.serialize(to)).into_bytes())
    }
}

/// The same key, whose primary key has no password any more.
fn unlocked(whole: Cert, password: &Password) -> sequoia_openpgp::Result<Cert> {
    let own = whole.primary_key().key().clone();
    if !own.has_secret() || own.has_unencrypted_secret() {
        return Ok(whole);
    }
    let open = own.parts_into_secret()?.decrypt_secret(password)?;
    Ok(whole.insert_packets([Packet::from(open)])?.0)
}

/// Ed25519 in its older form (algorithm 22): rpm 4 does not know the newer one.
fn generate(
    algorithm: Algorithm,
    created: u32,
) -> sequoia_openpgp::Result<Key<SecretParts, PrimaryRole>> {
    let mut key = match algorithm {
        Algorithm::Rsa4096 => Key4::generate_rsa(RSA_BITS)?,
        Algorithm::Ed25519 => Key4::generate_ecc(true, Curve::Ed25519)?,
    };
    key.set_creation_time(Timestamp::from(created))?;
    Ok(key.into())
}

/// One key, one user id, one certification. rpm 4.18 imports no certificate with a critical subpacket beyond creation
/// time, issuer and key flags, so there is neither an expiry nor a mark of the primary user id.
fn certify(
    pair: Key<SecretParts, PrimaryRole>,
    user_id: &str,
    created: u32,
) -> sequoia_openpgp::Result<Cert> {
    let bare = Cert::from_packets(std::iter::once(Packet::from(pair.clone())))?;
    let mut signer = Key::<SecretParts, UnspecifiedRole>::from(pair).into_keypair()?;
    let user_id = UserID::from(user_id);
    let certification = SignatureBuilder::new(SignatureType::PositiveCertification)
        .set_hash_algo(HashAlgorithm::SHA256)
        .set_signature_creation_time(Timestamp::from(created))?
        .set_key_flags(KeyFlags::empty().set_certification().set_signing())?
        .set_preferred_hash_algorithms(vec![HashAlgorithm::SHA512, HashAlgorithm::SHA256])?;
    let signature = user_id.bind(&mut signer, &bare, certification)?;
    Ok(bare
        .insert_packets([Packet::from(user_id), signature.into()])?
        .0)
}

#[cfg(test)]
mod tests;

//! OpenPGP signatures that come out the same every time: over headers, and detached over repository metadata.

use crate::error::KeyError;
use crate::header::Legacy;
use crate::keys::Keys;
use crate::openpgp::{armored, legacy, primary, signature4};
use millrace_core::KeyName;
use sequoia_openpgp::armor::Kind;
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::hash::Hash as _;
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::packet::key::{PublicParts, UnspecifiedRole};
use sequoia_openpgp::packet::signature::Signature4;
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketArea, SubpacketValue};
use sequoia_openpgp::packet::{Key, Signature};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::serialize::MarshalInto as _;
use sequoia_openpgp::types::{HashAlgorithm, SignatureType, Timestamp};
use sequoia_openpgp::{Packet, PacketPile};
use std::time::UNIX_EPOCH;

/// A signature packet, and where old versions of rpm look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignaturePacket {
    /// The whole OpenPGP packet.
    pub packet: Vec<u8>,
    pub legacy: Legacy,
}

/// Signs these bytes: version 4, binary document, SHA-256 (RFC 9580, 5.2.3).
///
/// The signature's time is `signed_s`, in seconds since 1970, or the key's creation if that is later: a signature older than
/// its key is invalid. There is no salt in it and no clock, so the same bytes get the same signature.
pub fn sign_bytes(
    keys: &impl Keys,
    key: &KeyName,
    bytes: &[u8],
    signed_s: u64,
) -> Result<SignaturePacket, KeyError> {
    let certificate = keys.certificate(key)?;
    let public = primary(&certificate);
    let unfit = |problem| KeyError::Unfit {
        key: key.clone(),
        problem,
    };
    let legacy = legacy(public).ok_or_else(|| {
        unfit("rpm takes signatures by RSA and Ed25519 keys of version 4; make such a key")
    })?;
    let time = signature_time(public, signed_s)
        .ok_or_else(|| unfit("the signature's time is beyond the year 2106"))?;
    let hashed =
        subpackets(public, time).map_err(|_| unfit("its signature does not fit a packet"))?;
    let frame = |prefix, numbers| {
        let algorithm = public.pk_algo();
        signature4(SignatureType::Binary, algorithm, &hashed, prefix, numbers)
    };
    // What is hashed is the bytes and the signature's own fields; its numbers are not among them.
    let blank = frame(
        [0; 2],
        mpi::Signature::RSA {
            s: mpi::MPI::new(&[]),
        },
    );
    let digest = digest(&blank, bytes).map_err(|_| unfit("its signature cannot be hashed"))?;
    let numbers = keys.sign_digest(key, &digest)?;
    let signature = Signature::from(frame([digest[0], digest[1]], numbers));
    let packet = Packet::from(signature)
        .to_vec()
        .map_err(|_| unfit("its signature does not fit a packet"))?;
    Ok(SignaturePacket { packet, legacy })
}

/// Whether this packet is a good signature over these bytes by this certificate's key.
pub fn is_signed_by(certificate: &Cert, packet: &[u8], bytes: &[u8]) -> bool {
    let Ok(packets) = PacketPile::from_bytes(packet) else {
        return false;
    };
    match packets.children().collect::<Vec<_>>()[..] {
        [Packet::Signature(signature)] => {
            signature.typ() == SignatureType::Binary
                && signature
                    .verify_message(primary(certificate), bytes)
                    .is_ok()
        }
        _ => false,
    }
}

/// A detached signature in ASCII armor, as `repomd.xml.asc` is one; the same bytes every time.
///
/// `signed_s` as for packages. Takes as long as [`Keys::sign_digest`] does.
pub fn seal(
    keys: &impl Keys,
    key: &KeyName,
    bytes: &[u8],
    signed_s: u64,
) -> Result<Vec<u8>, KeyError> {
    let made = sign_bytes(keys, key, bytes, signed_s)?;
    if !is_signed_by(&keys.certificate(key)?, &made.packet, bytes) {
        return Err(KeyError::Unfit {
            key: key.clone(),
            problem: "its signature does not verify with its own certificate",
        });
    }
    Ok(armored(Kind::Signature, |to| Ok(to.write_all(&made.packet)?)).into_bytes())
}

fn signature_time(key: &Key<PublicParts, UnspecifiedRole>, signed_s: u64) -> Option<Timestamp> {
    let created_s = key
        .creation_time()
        .duration_since(UNIX_EPOCH)
        .ok()?
        .as_secs();
    u32::try_from(signed_s.max(created_s))
        .ok()
        .map(Timestamp::from)
}

/// Time and issuer. rpm 4 reads the issuer's key id, newer ones the fingerprint.
fn subpackets(
    key: &Key<PublicParts, UnspecifiedRole>,
    time: Timestamp,
) -> sequoia_openpgp::Result<SubpacketArea> {
    SubpacketArea::new(vec![
        Subpacket::new(SubpacketValue::SignatureCreationTime(time), true)?,
        Subpacket::new(SubpacketValue::Issuer(key.keyid()), false)?,
        Subpacket::new(SubpacketValue::IssuerFingerprint(key.fingerprint()), false)?,
    ])
}

fn digest(signature: &Signature4, bytes: &[u8]) -> sequoia_openpgp::Result<Vec<u8>> {
    let mut hash = HashAlgorithm::SHA256.context()?.for_signature(4);
    hash.update(bytes);
    signature.hash(&mut hash)?;
    hash.into_digest()
}

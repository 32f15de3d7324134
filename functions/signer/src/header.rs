//! The signature header: what it promises about the header, and how it looks with another signature in it.
//!
//! Sources: RPM format v4 and v6, "Signature header"; librpm's `rpmvs.cc` for which tags count, `rpmgensig` for what is written.

use millrace_core::header::{Entry, HEADER_MAGIC, Head, Header, Part, alignment, kind, tag};
use sequoia_openpgp::types::HashAlgorithm;

/// Where a signature header tells what.
mod signature_tag {
    /// OpenPGP signature over the header by EdDSA, as binary packet.
    pub const EDDSA: u32 = 267;
    /// The same by RSA.
    pub const RSA: u32 = 268;
    /// Digests over the header, in hexadecimal.
    pub const SHA1: u32 = 269;
    pub const SHA256: u32 = 273;
    pub const SHA3_256: u32 = 279;
    /// Signatures as rpm 6 reads them: a list of packets in base64.
    pub const OPENPGP: u32 = 278;
    /// Room for signatures, in v6 packages.
    pub const RESERVED_V6: u32 = 999;
    /// v3 signatures over header and payload.
    pub const V3_RSA: u32 = 1002;
    pub const V3_DSA: u32 = 1005;
    /// Room for signatures, in v4 packages.
    pub const RESERVED_V4: u32 = 1008;
}
use signature_tag::*;

/// What goes when another signature comes. Everything else stays: digests, sizes, the files' IMA and fsverity signatures.
const REPLACED: [u32; 7] = [
    EDDSA,
    RSA,
    OPENPGP,
    RESERVED_V6,
    V3_RSA,
    V3_DSA,
    RESERVED_V4,
];

/// Why a package is not signed, in words for the person who built it. A retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsoundPackage {
    /// rpm writes one of them since 4.0; without it nothing tells that the header is as it was built.
    #[error("its signature header has no digest of the header")]
    NoHeaderDigest,
    /// The header was changed after it was built.
    #[error("its header was altered: {algorithm} is {found}, its signature header says {expected}")]
    HeaderDigest {
        algorithm: HashAlgorithm,
        /// As the package says.
        expected: String,
        found: String,
    },
    /// A header signature would say nothing about the payload.
    #[error(
        "its header has no PAYLOADDIGEST, so a signature over the header would not cover the files: build it with rpm 4.14 or later"
    )]
    NoPayloadDigest,
    /// A digest that anyone could get around.
    #[error("its header names the payload by hash algorithm {0}; use SHA-256 (8) or stronger")]
    PayloadAlgorithm(u32),
    /// The payload was changed after it was built.
    #[error("its payload was altered: {algorithm} is {found}, its header says {expected}")]
    PayloadDigest {
        algorithm: HashAlgorithm,
        /// As the header says.
        expected: String,
        found: String,
    },
}

/// The digest that a header says its payload has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadDigest {
    pub algorithm: HashAlgorithm,
    /// Lower-case hexadecimal.
    pub expected: String,
}

/// Which of the two binary tags holds a signature; older versions of rpm look at nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legacy {
    Rsa,
    /// EdDSA with Ed25519 (algorithm 22, RFC 9580 9.1); rpm 4.16 and later check it, 4.14 of EL8 does not.
    EdDsa,
}

impl Legacy {
    const fn tag(self) -> u32 {
        match self {
            Self::Rsa => RSA,
            Self::EdDsa => EDDSA,
        }
    }
}

/// Checks that the header is the one that was built: every digest that the signature header has of it, and at least one.
pub fn check_header_digests(head: &Head<'_>) -> Result<(), UnsoundPackage> {
    let known = [
        (SHA1, HashAlgorithm::SHA1),
        (SHA256, HashAlgorithm::SHA256),
        (SHA3_256, HashAlgorithm::SHA3_256),
    ];
    let mut checked = 0;
    for (tag, algorithm) in known {
        let Some(expected) = head.signature.text(tag) else {
            continue;
        };
        let found = hexadecimal(&digest(algorithm, head.header.bytes));
        if found != expected {
            return Err(UnsoundPackage::HeaderDigest {
                algorithm,
                expected: expected.to_owned(),
                found,
            });
        }
        checked += 1;
    }
    if checked == 0 {
        Err(UnsoundPackage::NoHeaderDigest)
    } else {
        Ok(())
    }
}

/// What the payload must hash to. A v6 package may leave the algorithm out: it is SHA-256 (OpenPGP's number 8).
pub fn payload_digest(header: &Header<'_>) -> Result<PayloadDigest, UnsoundPackage> {
    let expected = header
        .text(tag::PAYLOADDIGEST)
        .ok_or(UnsoundPackage::NoPayloadDigest)?
        .to_owned();
    let number = header.number(tag::PAYLOADDIGESTALGO).unwrap_or(8);
    let algorithm = u8::try_from(number)
        .map(HashAlgorithm::from)
        .map_err(|_| UnsoundPackage::PayloadAlgorithm(number))?;
    match algorithm {
        HashAlgorithm::SHA256
        | HashAlgorithm::SHA384
        | HashAlgorithm::SHA512
        | HashAlgorithm::SHA3_256
        | HashAlgorithm::SHA3_512 => Ok(PayloadDigest {
            algorithm,
            expected,
        }),
        _ => Err(UnsoundPackage::PayloadAlgorithm(number)),
    }
}

/// The signature header with this signature as its only one, padded to 8 bytes, ready to stand between lead and header.
///
/// It is as long as the old one if the room that rpmbuild reserves suffices, so that nothing behind it moves. The
/// signature is written for old and new versions of rpm if both fit the reserve, or if not even one does.
pub fn with_signature(old: &Header<'_>, packet: &[u8], legacy: Legacy) -> Vec<u8> {
    let room = old.bytes.len().next_multiple_of(8);
    let base64 = [base64(packet).as_bytes(), &[0]].concat();
    let binary = Entry {
        tag: legacy.tag(),
        kind: kind::BINARY,
        count: packet.len() as u32,
        data: packet,
    };
    let listed = Entry {
        tag: OPENPGP,
        kind: kind::STRINGS,
        count: 1,
        data: &base64,
    };
    let kept = || {
        old.entries
            .iter()
            .copied()
            .filter(|entry| !REPLACED.contains(&entry.tag))
    };
    let both = in_order(kept().chain([binary, listed]));
    let one = in_order(kept().chain([binary]));
    let entries = if bytes_of(&both) > room && bytes_of(&one) <= room {
        one
    } else {
        both
    };
    filled(&entries, reserved_tag(old), room)
}

/// The signature packets of a signature header, binary and, where rpm 6 looks, in base64.
pub fn signatures<'a>(header: &Header<'a>) -> (Option<&'a [u8]>, Vec<&'a str>) {
    let binary = header
        .entry(RSA)
        .or_else(|| header.entry(EDDSA))
        .map(|entry| entry.data);
    (binary, header.texts(OPENPGP))
}

/// v6 packages have none of the tags from 1000 on.
fn reserved_tag(header: &Header<'_>) -> u32 {
    let v4 = header.entries.iter().any(|entry| entry.tag >= 1000);
    if v4 { RESERVED_V4 } else { RESERVED_V6 }
}

/// Written with as much reserve as makes it `room` bytes long; without any if that cannot be.
fn filled(entries: &[Entry<'_>], reserved: u32, room: usize) -> Vec<u8> {
    let spare = room.saturating_sub(bytes_of(entries));
    let zeros = vec![0; spare];
    let mut entries = entries.to_vec();
    let at = entries.partition_point(|entry| entry.tag < reserved);
    // The reserve's own entry takes 16 bytes, alignment behind it and the padding at the end less than 8 each.
    for count in (spare.saturating_sub(32).max(1)..=spare).rev() {
        entries.insert(
            at,
            Entry {
                tag: reserved,
                kind: kind::BINARY,
                count: count as u32,
                data: &zeros[..count],
            },
        );
        if bytes_of(&entries) == room {
            break;
        }
        entries.remove(at);
    }
    write(&entries)
}

/// By tag, as librpm writes an index and looks things up in it.
fn in_order<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = entries.collect();
    entries.sort_by_key(|entry| entry.tag);
    entries
}

/// Size of a header of these entries, padded, in bytes.
fn bytes_of(entries: &[Entry<'_>]) -> usize {
    let store = entries.iter().fold(0, |end: usize, entry| {
        end.next_multiple_of(alignment(entry.kind)) + entry.data.len()
    });
    (16 + 16 * (entries.len() + 1) + store + 16).next_multiple_of(8)
}

/// A signature header of these entries with a region that spans it.
fn write(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for entry in entries {
        store.resize(store.len().next_multiple_of(alignment(entry.kind)), 0);
        index.extend(
            [entry.tag, entry.kind, store.len() as u32, entry.count]
                .map(u32::to_be_bytes)
                .concat(),
        );
        store.extend_from_slice(entry.data);
    }
    let (region, index_bytes) = (Part::Signature.region(), 16 * (entries.len() as u32 + 1));
    let begins = [region, kind::BINARY, store.len() as u32, 16]
        .map(u32::to_be_bytes)
        .concat();
    store.extend(
        [region, kind::BINARY, index_bytes.wrapping_neg(), 16]
            .map(u32::to_be_bytes)
            .concat(),
    );
    let counts = [0, index_bytes / 16, store.len() as u32]
        .map(u32::to_be_bytes)
        .concat();
    let mut bytes = [&HEADER_MAGIC[..], &counts, &begins, &index, &store].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The digest of bytes in memory.
pub fn digest(algorithm: HashAlgorithm, bytes: &[u8]) -> Vec<u8> {
    let mut hash = hasher(algorithm);
    hash.update(bytes);
    finish(hash)
}

/// A hash to feed; only for algorithms named in this file.
pub fn hasher(algorithm: HashAlgorithm) -> sequoia_openpgp::crypto::hash::Context {
    algorithm
        .context()
        .expect("every cryptographic backend has SHA-1, SHA-2 and SHA-3")
        .for_digest()
}

/// The digest, when everything was fed.
pub fn finish(hash: sequoia_openpgp::crypto::hash::Context) -> Vec<u8> {
    hash.into_digest().expect("hashing in memory does not fail")
}

/// Lower-case, as rpm writes digests.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 4648, section 4, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= group.len() {
                DIGITS[value] as char
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::header::check_header;

    const SHA256_DATA: &[u8] = b"00ff\0";

    fn unsigned(reserve: usize) -> Vec<u8> {
        let zeros = vec![0; reserve];
        let mut entries = vec![Entry {
            tag: SHA256,
            kind: kind::STRING,
            count: 1,
            data: SHA256_DATA,
        }];
        entries.push(Entry {
            tag: 1000,
            kind: kind::INT32,
            count: 1,
            data: &[0, 0, 1, 0],
        });
        if reserve > 0 {
            entries.push(Entry {
                tag: RESERVED_V4,
                kind: kind::BINARY,
                count: reserve as u32,
                data: &zeros,
            });
        }
        write(&entries)
    }

    fn read(padded: &[u8]) -> Header<'_> {
        let whole = (0..8)
            .find_map(|cut| check_header(&padded[..padded.len() - cut], Part::Signature).ok());
        whole.expect("a sound header, padded")
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (text, encoded) in pairs {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn whatever_the_reserve_a_signature_is_written_once_and_comes_out_the_same_when_written_again()
    {
        for reserve in 0..300 {
            for packet_bytes in [1, 7, 64, 119] {
                let packet = vec![0xaa; packet_bytes];
                let old = unsigned(reserve);
                let new = with_signature(&read(&old), &packet, Legacy::Rsa);
                let header = read(&new);
                let (binary, listed) = signatures(&header);
                assert_eq!(binary, Some(&packet[..]), "reserve {reserve}");
                assert!(listed.is_empty() || listed == [base64(&packet)]);
                assert_eq!(header.text(SHA256), Some("00ff"));
                assert_eq!(header.number(1000), Some(256));
                assert_eq!(
                    with_signature(&header, &packet, Legacy::Rsa),
                    new,
                    "reserve {reserve}"
                );
            }
        }
    }

    #[test]
    fn a_reserve_that_suffices_keeps_the_size_and_holds_both_forms() {
        let old = unsigned(2000);
        let new = with_signature(&read(&old), &[1; 560], Legacy::EdDsa);
        assert_eq!(new.len(), old.len());
        assert_eq!(signatures(&read(&new)).1.len(), 1);
    }

    #[test]
    fn a_reserve_for_one_form_holds_the_one_that_every_rpm_reads() {
        let old = unsigned(700);
        let new = with_signature(&read(&old), &[1; 560], Legacy::Rsa);
        assert_eq!(new.len(), old.len());
        assert_eq!(signatures(&read(&new)), (Some(&[1; 560][..]), Vec::new()));
    }

    #[test]
    fn without_a_reserve_the_header_grows_and_has_both_forms() {
        let old = unsigned(0);
        let new = with_signature(&read(&old), &[1; 560], Legacy::Rsa);
        assert!(new.len() > old.len());
        assert_eq!(signatures(&read(&new)).1.len(), 1);
    }
}

//! Small real packages, so that signer and releaser have headers to read.

use millrace_core::Digest;
use millrace_core::header::{LEAD_BYTES, read_head, tag::SOURCERPM};
use millrace_core::rpm::Rpm;
use millrace_core::task::Artifact;
use rpm::{BuildConfig, CompressionType, PackageBuilder};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What is handed over: the artifact, and the bytes that it names.
pub type File = (Artifact, Vec<u8>);

/// An RPM with no files, and the artifact that names it. The same arguments give the same bytes.
pub fn package(name: &str, release: u64, arch: &str) -> File {
    static MADE: Mutex<BTreeMap<String, File>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(format!("{name}-1-{release}.{arch}"))
        .or_insert_with(|| build(name, release, arch))
        .clone()
}

fn build(name: &str, release: u64, arch: &str) -> File {
    let facts = Rpm {
        name: name.to_owned(),
        epoch: 0,
        version: "1".to_owned(),
        release: format!("{release}.el9"),
        arch: arch.to_owned(),
        exclusive_arch: Vec::new(),
        exclude_arch: Vec::new(),
        build_arch: Vec::new(),
    };
    let config = BuildConfig::v4()
        .compression(CompressionType::None)
        .source_date(1_700_000_000u32);
    let mut builder = PackageBuilder::new(
        name,
        "1",
        "MIT",
        if arch == "src" { "x86_64" } else { arch },
        "made up",
    );
    let built = builder
        .using_config(config)
        .release(facts.release.clone())
        .build_host("world")
        .build()
        .unwrap();
    let mut bytes = Vec::new();
    built.write(&mut bytes).unwrap();
    let bytes = if arch == "src" {
        as_source(bytes)
    } else {
        bytes
    };
    let artifact = Artifact {
        name: format!("{facts}.rpm"),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        rpm: Some(facts),
    };
    (artifact, bytes)
}

/// Digests over the header in the signature header, in hexadecimal: by SHA-1, SHA-256 and SHA3-256.
const SHA1: u32 = 269;
const SHA256: u32 = 273;
const SHA3_256: u32 = 279;

/// Makes a source package of one that the builder made, which gives all of them a SOURCERPM: without that tag it is one, as
/// librpm has it. The digest of the header follows; those that cannot be made here go.
fn as_source(mut bytes: Vec<u8>) -> Vec<u8> {
    let head = read_head(&bytes).unwrap();
    let (header_at, payload_at) = (head.header_at as usize, head.payload_at as usize);
    let digest = head.signature.text(SHA256).unwrap().to_owned();
    retag(&mut bytes[header_at..], SOURCERPM);
    [SHA1, SHA3_256]
        .into_iter()
        .for_each(|tag| retag(&mut bytes[LEAD_BYTES..], tag));
    let at = bytes
        .windows(digest.len())
        .position(|window| window == digest.as_bytes())
        .unwrap();
    let anew = Digest::of(&bytes[header_at..payload_at]).hex();
    bytes[at..at + digest.len()].copy_from_slice(anew.as_bytes());
    bytes
}

/// Gives a header's entry a tag that says nothing to anybody (RPM format v4, "Header": 16 bytes of introduction, then entries of
/// 16 bytes that begin with their tag).
fn retag(header: &mut [u8], tag: u32) {
    const NOTHING: u32 = 900_000;
    let entries = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
    let entry = header[16..]
        .chunks_exact_mut(16)
        .take(entries)
        .find(|entry| entry[..4] == tag.to_be_bytes());
    if let Some(entry) = entry {
        entry[..4].copy_from_slice(&(NOTHING + tag).to_be_bytes());
    }
}

//! Small real packages, so that signer and releaser have headers to read.

use millrace_core::Digest;
use millrace_core::header::testing::header;
use millrace_core::header::{Header, Part, kind, read_head, tag::SOURCERPM};
use millrace_core::rpm::Rpm;
use millrace_core::task::Artifact;
use rpm::{BuildConfig, CompressionType, PackageBuilder};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What is handed over: the artifact, and the bytes that it names.
pub type File = (Artifact, Vec<u8>);

/// An RPM with no files of the source package of its name, and the artifact that names it. The same arguments give the same bytes.
pub fn package(name: &str, release: u64, arch: &str) -> File {
    package_of(name, name, release, arch)
}

/// The same of any source package.
pub fn package_of(source: &str, name: &str, release: u64, arch: &str) -> File {
    static MADE: Mutex<BTreeMap<String, File>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(format!("{source}/{name}-1-{release}.{arch}"))
        .or_insert_with(|| build(source, name, release, arch))
        .clone()
}

fn build(source: &str, name: &str, release: u64, arch: &str) -> File {
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
    let source = format!("{source}-1-{}.src.rpm\0", facts.release);
    let bytes = with_source(&bytes, (arch != "src").then_some(source.as_bytes()));
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

/// A package with this SOURCERPM: the builder says `(none)`. Without any it is a source package, as librpm has it. The digest of the header
/// follows; those that cannot be made here go.
fn with_source(bytes: &[u8], source: Option<&[u8]>) -> Vec<u8> {
    let head = read_head(bytes).unwrap();
    let mut entries = entries_of(&head.header, |tag| tag != SOURCERPM);
    if let Some(source) = source {
        entries.push((SOURCERPM, kind::STRING, 1, source));
        entries.sort_by_key(|entry| entry.0);
    }
    let immutable = header(Part::Immutable, &entries);
    let digest = [Digest::of(&immutable).hex().as_bytes(), &[0]].concat();
    let mut entries = entries_of(&head.signature, |tag| {
        ![SHA1, SHA256, SHA3_256].contains(&tag)
    });
    entries.push((SHA256, kind::STRING, 1, &digest));
    entries.sort_by_key(|entry| entry.0);
    let mut made = [head.lead, &header(Part::Signature, &entries)].concat();
    made.resize(made.len().next_multiple_of(8), 0);
    made.extend(immutable);
    made.extend_from_slice(&bytes[head.payload_at as usize..]);
    made
}

type Entries<'a> = Vec<(u32, u32, u32, &'a [u8])>;

fn entries_of<'a>(header: &Header<'a>, keep: impl Fn(u32) -> bool) -> Entries<'a> {
    header
        .entries
        .iter()
        .filter(|entry| keep(entry.tag))
        .map(|entry| (entry.tag, entry.kind, entry.count, entry.data))
        .collect()
}

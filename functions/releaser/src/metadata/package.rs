//! Reads packages out of the blob store as far as their metadata goes: lead and headers, never the payload.

use crate::error::{PackageProblem, ReleaseError, ReleaseRefusal};
use crate::generation::manifest::location;
use crate::metadata::pieces::Pieces;
use crate::metadata::{filelists, other, primary};
use millrace_core::Digest;
use millrace_core::header::{Head, kind, read_head};
use millrace_core::order::{OrderedFile, ReleaseOrder};
use millrace_core::rpm::Rpm;
use millrace_store::{BlobError, BlobStore, package_head};
use rpmrepo_metadata::{Checksum, MetadataError, Package, PackageOptions, PackageSource};

/// What the metadata says of each package of an order, by the package's digest; those of one repository lie beside each other.
pub async fn describe(
    order: &ReleaseOrder,
    blobs: &impl BlobStore,
) -> Result<Vec<(Digest, Pieces)>, ReleaseError> {
    let mut placements: Vec<_> = order.placements.iter().collect();
    placements.sort_by_key(|placement| &placement.into);
    let mut all = Vec::new();
    for placement in placements {
        let file = &placement.file;
        check_name(file).map_err(|problem| refusal(file, problem))?;
        if placement.into.is_empty() {
            return Err(no_repository(order, file).into());
        }
        let head = read(file, blobs).await?;
        let pieces = pieces(&head, file, order.released_s)
            .map_err(|problem| refusal(file, problem.into()))?;
        all.push((file.digest, pieces));
    }
    Ok(all)
}

fn refusal(file: &OrderedFile, problem: PackageProblem) -> ReleaseRefusal {
    ReleaseRefusal::Package {
        file: file.name.clone(),
        problem,
    }
}

fn no_repository(order: &ReleaseOrder, file: &OrderedFile) -> ReleaseRefusal {
    ReleaseRefusal::NoRepository {
        nevra: file.rpm.to_string(),
        arch: file.rpm.arch.clone(),
        platform: order.platform.clone(),
    }
}

/// Makes sure that a file is called what it is, in letters that stand in a URL: its name becomes its place in the repository.
fn check_name(file: &OrderedFile) -> Result<(), PackageProblem> {
    let Rpm {
        name,
        version,
        release,
        arch,
        ..
    } = &file.rpm;
    let expected = format!("{name}-{version}-{release}.{arch}.rpm");
    // A source package that must not be shipped in full is called so, and is a source package all the same.
    let nosrc = format!("{name}-{version}-{release}.nosrc.rpm");
    if file.name != expected && !(file.rpm.is_source() && file.name == nosrc) {
        return Err(PackageProblem::FileName { expected });
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-~^".contains(c);
    if name.starts_with('.') || !file.name.chars().all(is_plain) {
        return Err(PackageProblem::Characters);
    }
    Ok(())
}

/// A package's lead and headers, checked, and those of the package that was ordered.
async fn read(file: &OrderedFile, blobs: &impl BlobStore) -> Result<Vec<u8>, ReleaseError> {
    let size = blobs
        .size(&file.digest)
        .await?
        .ok_or(BlobError::Missing(file.digest))?;
    if size != file.size {
        let problem = PackageProblem::Size {
            found: size,
            ordered: file.size,
        };
        return Err(refusal(file, problem).into());
    }
    let bytes = package_head(blobs, &file.digest, size).await?;
    Ok(check_head(&bytes, &file.rpm).map_err(|problem| refusal(file, problem))?)
}

/// Makes sure that a head is that of the package that was ordered; answers it as metadata can say it.
fn check_head(bytes: &[u8], ordered: &Rpm) -> Result<Vec<u8>, PackageProblem> {
    let head = read_head(bytes)?;
    let found = head.header.rpm()?.to_string();
    let ordered = ordered.to_string();
    if found != ordered {
        return Err(PackageProblem::OtherPackage { found, ordered });
    }
    Ok(readable(&head, bytes))
}

/// What the metadata says of a package, from its lead and headers; `head` must have been checked.
fn pieces(head: &[u8], file: &OrderedFile, time_s: u64) -> Result<Pieces, MetadataError> {
    let source = PackageSource {
        checksum: Some(Checksum::Sha256(file.digest.hex())),
        size_package: Some(file.size),
        time_file: time_s,
        location_href: location(&file.name),
        location_base: None,
    };
    let package = Package::from_buffer(head, source, PackageOptions::default())?;
    Ok(Pieces {
        primary: primary::piece(&package)?,
        filelists: filelists::piece(&package)?,
        other: other::piece(&package)?,
    })
}

/// The head with its texts as XML can say them: changelogs of the nineties have form feeds and Latin-1 in them, and one such
/// byte would make the whole repository unreadable. Nothing changes its place.
fn readable(head: &Head<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut clean = bytes
        .get(..usize::try_from(head.payload_at).unwrap_or(bytes.len()))
        .unwrap_or(bytes)
        .to_vec();
    let texts = head
        .header
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, kind::STRING | kind::STRINGS | kind::TRANSLATED));
    for data in texts.map(|entry| entry.data) {
        let at = data.as_ptr() as usize - bytes.as_ptr() as usize;
        for (place, byte) in clean[at..at + data.len()].iter_mut().zip(printable(data)) {
            *place = byte;
        }
    }
    clean
}

/// As many bytes, of which each that no XML may have is a question mark (XML 1.0, 2.2). The zero bytes between texts stay.
fn printable(data: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(data.len());
    for chunk in data.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_character = !matches!(c, '\u{1}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
            let mut bytes = [b'?'; 4];
            let length = if is_character {
                c.encode_utf8(&mut bytes).len()
            } else {
                c.len_utf8()
            };
            clean.extend_from_slice(&bytes[..length]);
        }
        clean.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    clean
}

//! Reads packages out of the blob store as far as their metadata goes: lead and headers, never the payload.

use crate::generation::file::FileRef;
use crate::generation::manifest::location;
use crate::error::ReleaseError;
use crate::metadata::repodata::{self, Pieces};
use millrace_core::Digest;
use millrace_core::header::{Head, kind, read_head};
use millrace_core::order::{OrderedFile, ReleaseOrder};
use millrace_core::rpm::Rpm;
use millrace_store::{BlobError, BlobStore, package_head};

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
        let refused = |problem: String| ReleaseError::Refused(format!("{}: {problem}", file.name));
        check_name(file).map_err(refused)?;
        if placement.into.is_empty() {
            let (rpm, arch, platform) = (&file.rpm, &file.rpm.arch, &order.platform);
            return Err(ReleaseError::Refused(format!(
                "{rpm} is for {arch}, and platform {platform} has no repository for it"
            )));
        }
        let head = read(file, blobs).await?;
        let reference = FileRef {
            digest: file.digest,
            size: file.size,
        };
        let pieces = repodata::pieces(&head, reference, &location(&file.name), order.released_s);
        all.push((
            file.digest,
            pieces.map_err(|error| refused(error.to_string()))?,
        ));
    }
    Ok(all)
}

/// Makes sure that a file is called what it is, in letters that stand in a URL: its name becomes its place in the repository.
fn check_name(file: &OrderedFile) -> Result<(), String> {
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
        return Err(format!("a package with this header is called {expected}"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~^".contains(c);
    if name.starts_with('.') || !file.name.chars().all(plain) {
        return Err(
            "name, version and release may have letters, digits and `._+-~^`, and nothing else"
                .to_owned(),
        );
    }
    Ok(())
}

/// A package's lead and headers, checked, and those of the package that was ordered.
async fn read(file: &OrderedFile, blobs: &impl BlobStore) -> Result<Vec<u8>, ReleaseError> {
    let refused = |problem: String| ReleaseError::Refused(format!("{}: {problem}", file.name));
    let size = blobs
        .size(&file.digest)
        .await?
        .ok_or(BlobError::Missing(file.digest))?;
    if size != file.size {
        return Err(refused(format!(
            "it has {size} bytes, and {} were ordered",
            file.size
        )));
    }
    let bytes = package_head(blobs, &file.digest, size).await?;
    let head = read_head(&bytes).map_err(|error| refused(error.to_string()))?;
    let found = head
        .header
        .rpm()
        .map_err(|error| refused(error.to_string()))?;
    let (found, ordered) = (found.to_string(), file.rpm.to_string());
    if found == ordered {
        Ok(readable(&head, &bytes))
    } else {
        Err(refused(format!("it is {found}, ordered was {ordered}")))
    }
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
            let said = !matches!(c, '\u{1}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
            let mut bytes = [b'?'; 4];
            let length = if said {
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

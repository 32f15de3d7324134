//! RPM headers in untrusted bytes: where they lie in a file, whether they are sound, and what they say.
//!
//! A package file is a lead of 96 bytes, the signature header padded to 8 bytes, the header, and the payload (rpm.org, "RPM V4
//! Package format"). A header is an index of entries and the store of their data. The checks are those of librpm's
//! `hdrblobVerifyRegion` and `hdrblobVerifyInfo`, and a few more. They stand before anything else that reads a header: the
//! `rpm` crate allocates what an index claims, a claim of gigabytes ends the process, and no caller can catch that.

use crate::rpm::Rpm;
use std::collections::BTreeSet;

/// Size of the lead; nothing in it but its magic number means anything since rpm 4.
pub const LEAD_BYTES: usize = 96;

/// How much of a file to read at first: the heads of most packages fit; a longer one is asked for with [`HeaderError::More`].
pub const FIRST_READ_BYTES: u64 = 64 * 1024;

/// Most entries of a header: librpm's `HEADER_TAGS_MAX`.
pub const ENTRIES_MAX: usize = 0xffff;

/// Largest store of a header, in bytes: that of a kernel's debuginfo has about 20 MB. librpm takes 256 MiB, but a signer or a
/// releaser reads headers into memory, and several at a time.
pub const STORE_BYTES_MAX: usize = 64 * 1024 * 1024;

const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
/// A header's magic number and its version.
pub const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// Magic number, four bytes of nothing, number of entries, size of the store.
const INTRO_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
/// The region's trailer is an entry that points back at the index.
const TRAILER_BYTES: usize = 16;
/// Tags below are the format's own.
const TAG_MIN: u32 = 100;

/// Types of data (RPM format, "Header tag types").
pub mod kind {
    #![allow(missing_docs, reason = "the format's names say it")]
    pub const CHAR: u32 = 1;
    pub const INT8: u32 = 2;
    pub const INT16: u32 = 3;
    pub const INT32: u32 = 4;
    pub const INT64: u32 = 5;
    pub const STRING: u32 = 6;
    pub const BINARY: u32 = 7;
    pub const STRINGS: u32 = 8;
    pub const TRANSLATED: u32 = 9;
}

/// Tags of the header that the line reads (RPM format, "Header tags").
pub mod tag {
    #![allow(missing_docs, reason = "the format's names say it")]
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const ARCH: u32 = 1022;
    pub const OLDFILENAMES: u32 = 1027;
    pub const FILEMODES: u32 = 1030;
    pub const SOURCERPM: u32 = 1044;
    pub const PROVIDENAME: u32 = 1047;
    pub const EXCLUDEARCH: u32 = 1059;
    pub const EXCLUSIVEARCH: u32 = 1061;
    pub const BUILDARCHS: u32 = 1089;
    pub const OBSOLETENAME: u32 = 1090;
    pub const DIRINDEXES: u32 = 1116;
    pub const BASENAMES: u32 = 1117;
    pub const DIRNAMES: u32 = 1118;
    pub const PAYLOADDIGEST: u32 = 5092;
    pub const PAYLOADDIGESTALGO: u32 = 5093;
}

/// Bytes that are no sound head of a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The head is longer than what was given: read this much and ask again. If the file has no more, it is truncated.
    #[error("the file is truncated: its headers alone take {bytes} bytes")]
    More {
        /// From the beginning of the file.
        bytes: u64,
    },
    #[error("this is no sound RPM: {0}")]
    Damaged(String),
}

/// Which of a package's two headers; each is framed by a region tag of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Signature,
    /// The header, which the signature is about.
    Immutable,
}

impl Part {
    /// Its region tag.
    pub const fn region(self) -> u32 {
        match self {
            Self::Signature => 62,
            Self::Immutable => 63,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Signature => "signature header",
            Self::Immutable => "header",
        }
    }

    fn damaged(self, what: impl std::fmt::Display) -> HeaderError {
        HeaderError::Damaged(format!("the {}: {what}", self.words()))
    }
}

/// The beginning of a package file, checked.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    /// The first [`LEAD_BYTES`].
    pub lead: &'a [u8],
    pub signature: Header<'a>,
    pub header: Header<'a>,
    /// Where the header begins in the file, in bytes.
    pub header_at: u64,
    /// Where the payload begins in the file, in bytes.
    pub payload_at: u64,
}

/// A header, checked.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// All of it, without padding: what a header signature is made over.
    pub bytes: &'a [u8],
    /// Its entries but for the region's, as they stand in the index; no tag comes twice.
    pub entries: Vec<Entry<'a>>,
}

/// What a header says under one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub tag: u32,
    /// One of [`kind`].
    pub kind: u32,
    pub count: u32,
    /// The values, numbers in big-endian order, texts each with a zero byte at the end.
    pub data: &'a [u8],
}

/// Reads and checks the head of a package file from the file's first bytes.
pub fn read_head(bytes: &[u8]) -> Result<Head<'_>, HeaderError> {
    let lead = bytes.get(..LEAD_BYTES).ok_or(HeaderError::More {
        bytes: LEAD_BYTES as u64,
    })?;
    if lead[..4] != LEAD_MAGIC {
        return Err(HeaderError::Damaged("it does not begin as one".to_owned()));
    }
    let signature_end = LEAD_BYTES + header_bytes(bytes, LEAD_BYTES, Part::Signature)?;
    let header_at = signature_end.next_multiple_of(8);
    let payload_at = header_at + header_bytes(bytes, header_at, Part::Immutable)?;
    if bytes.len() < payload_at {
        return Err(HeaderError::More {
            bytes: payload_at as u64,
        });
    }
    Ok(Head {
        lead,
        signature: check_header(&bytes[LEAD_BYTES..signature_end], Part::Signature)?,
        header: check_header(&bytes[header_at..payload_at], Part::Immutable)?,
        header_at: header_at as u64,
        payload_at: payload_at as u64,
    })
}

/// Checks a whole header, without padding after it.
pub fn check_header(bytes: &[u8], part: Part) -> Result<Header<'_>, HeaderError> {
    let whole = header_bytes(bytes, 0, part)?;
    if bytes.len() < whole {
        return Err(HeaderError::More {
            bytes: whole as u64,
        });
    }
    if bytes.len() > whole {
        return Err(part.damaged("bytes follow it"));
    }
    let (entries, _) = counts(bytes, 0, part)?;
    let (index, store) = bytes[INTRO_BYTES..].split_at(entries * ENTRY_BYTES);
    let data = check_region(index, store, part)?;
    let entries = check_entries(&index[ENTRY_BYTES..], data, part)?;
    Ok(Header { bytes, entries })
}

/// Size of the header at this place, from its introduction alone.
fn header_bytes(bytes: &[u8], at: usize, part: Part) -> Result<usize, HeaderError> {
    let (entries, store_bytes) = counts(bytes, at, part)?;
    Ok(INTRO_BYTES + entries * ENTRY_BYTES + store_bytes)
}

/// Number of entries and size of the store, both within bounds.
fn counts(bytes: &[u8], at: usize, part: Part) -> Result<(usize, usize), HeaderError> {
    let intro = bytes.get(at..at + INTRO_BYTES).ok_or(HeaderError::More {
        bytes: (at + INTRO_BYTES) as u64,
    })?;
    if intro[..4] != HEADER_MAGIC {
        return Err(part.damaged("it does not begin as one"));
    }
    let (entries, store_bytes) = (number(intro, 8) as usize, number(intro, 12) as usize);
    if entries == 0 || entries > ENTRIES_MAX {
        return Err(part.damaged(format_args!(
            "{entries} entries, at most {ENTRIES_MAX} may be"
        )));
    }
    if !(TRAILER_BYTES..=STORE_BYTES_MAX).contains(&store_bytes) {
        return Err(part.damaged(format_args!(
            "{store_bytes} bytes of data, at most {STORE_BYTES_MAX} may be"
        )));
    }
    Ok((entries, store_bytes))
}

/// The region must span the whole header, so that nothing lies outside of what is signed. Answers the store without the
/// region's trailer.
fn check_region<'a>(index: &[u8], store: &'a [u8], part: Part) -> Result<&'a [u8], HeaderError> {
    let region = [
        part.region(),
        kind::BINARY,
        store.len() as u32 - TRAILER_BYTES as u32,
        TRAILER_BYTES as u32,
    ];
    if numbers(index) != region {
        return Err(part.damaged("its region does not span it"));
    }
    let (data, trailer) = store.split_at(store.len() - TRAILER_BYTES);
    // The trailer's offset is negative: from the store back to the beginning of the index.
    let back = (index.len() as u32).wrapping_neg();
    if numbers(trailer) != [part.region(), kind::BINARY, back, TRAILER_BYTES as u32] {
        return Err(part.damaged("its region's end does not match its beginning"));
    }
    Ok(data)
}

/// Every entry must have a tag of its own, a known type, and data of its own within the store, in the order of the index.
fn check_entries<'a>(
    index: &[u8],
    store: &'a [u8],
    part: Part,
) -> Result<Vec<Entry<'a>>, HeaderError> {
    let mut entries = Vec::with_capacity(index.len() / ENTRY_BYTES);
    let mut seen = BTreeSet::new();
    let mut end = 0;
    for raw in index.chunks_exact(ENTRY_BYTES) {
        let [tag, kind, offset, count] = numbers(raw);
        let offset = offset as usize;
        let aligned = offset.is_multiple_of(alignment(kind));
        if tag < TAG_MIN || !seen.insert(tag) || offset < end || !aligned {
            return Err(part.damaged(format_args!("the entry of tag {tag} is out of place")));
        }
        let data = store
            .get(offset..)
            .and_then(|rest| rest.get(..data_bytes(kind, count as usize, rest)?));
        let data = data.ok_or_else(|| {
            part.damaged(format_args!(
                "the data of tag {tag} is not what its entry says"
            ))
        })?;
        end = offset + data.len();
        entries.push(Entry {
            tag,
            kind,
            count,
            data,
        });
    }
    Ok(entries)
}

/// Size in bytes of so many values at the beginning of these bytes; none if that cannot be.
fn data_bytes(kind: u32, count: usize, rest: &[u8]) -> Option<usize> {
    if count == 0 || count > rest.len() {
        return None;
    }
    match kind {
        kind::CHAR | kind::INT8 | kind::BINARY => Some(count),
        kind::INT16 | kind::INT32 | kind::INT64 => count.checked_mul(alignment(kind)),
        kind::STRING if count != 1 => None,
        kind::STRING | kind::STRINGS | kind::TRANSLATED => {
            let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == 0);
            ends.nth(count - 1).map(|(at, _)| at + 1)
        }
        _ => None,
    }
}

/// Numbers lie at multiples of their size; everything else anywhere.
pub const fn alignment(kind: u32) -> usize {
    match kind {
        kind::INT16 => 2,
        kind::INT32 => 4,
        kind::INT64 => 8,
        _ => 1,
    }
}

/// Callers have seen to it that four bytes are there.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn numbers(bytes: &[u8]) -> [u32; 4] {
    [0, 4, 8, 12].map(|at| number(bytes, at))
}

impl<'a> Header<'a> {
    /// The entry of a tag.
    pub fn entry(&self, tag: u32) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    /// The texts of a tag; none if there are none or they are not UTF-8.
    pub fn texts(&self, tag: u32) -> Vec<&'a str> {
        self.text_bytes(tag)
            .map(std::str::from_utf8)
            .collect::<Result<_, _>>()
            .unwrap_or_default()
    }

    /// The texts of a tag, with U+FFFD for what is not UTF-8: one bad text hides none of the others.
    pub fn lossy_texts(&self, tag: u32) -> Vec<String> {
        self.text_bytes(tag)
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect()
    }

    fn text_bytes(&self, tag: u32) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let is_text = |kind| matches!(kind, kind::STRING | kind::STRINGS | kind::TRANSLATED);
        let data = self
            .entry(tag)
            .filter(|entry| is_text(entry.kind))
            .map(|entry| entry.data.strip_suffix(&[0]).unwrap_or(entry.data));
        data.into_iter()
            .flat_map(|data| data.split(|byte| *byte == 0))
    }

    /// The numbers of a tag whose numbers have four bytes; none if it has others.
    pub fn numbers(&self, tag: u32) -> Vec<u32> {
        let entry = self.entry(tag).filter(|entry| entry.kind == kind::INT32);
        let data = entry.map_or(&[][..], |entry| entry.data);
        data.chunks_exact(4).map(|bytes| number(bytes, 0)).collect()
    }

    /// The numbers of a tag whose numbers have two bytes; none if it has others.
    pub fn short_numbers(&self, tag: u32) -> Vec<u16> {
        let entry = self.entry(tag).filter(|entry| entry.kind == kind::INT16);
        let data = entry.map_or(&[][..], |entry| entry.data);
        let two_bytes = |bytes: &[u8]| u16::from(bytes[0]) << 8 | u16::from(bytes[1]);
        data.chunks_exact(2).map(two_bytes).collect()
    }

    /// The first text of a tag.
    pub fn text(&self, tag: u32) -> Option<&'a str> {
        self.texts(tag).first().copied()
    }

    /// The first number of a tag.
    pub fn number(&self, tag: u32) -> Option<u32> {
        self.entry(tag)
            .filter(|entry| entry.kind == kind::INT32)
            .map(|entry| number(entry.data, 0))
    }

    /// What the rules need to know of the package. Without SOURCERPM it is a source package, as librpm has it.
    pub fn rpm(&self) -> Result<Rpm, HeaderError> {
        let text = |tag, name| {
            let missing = || Part::Immutable.damaged(format_args!("it has no {name}"));
            self.text(tag).map(str::to_owned).ok_or_else(missing)
        };
        let texts = |tag| self.texts(tag).into_iter().map(str::to_owned).collect();
        let source = self.entry(tag::SOURCERPM).is_none();
        Ok(Rpm {
            name: text(tag::NAME, "name")?,
            epoch: self.number(tag::EPOCH).unwrap_or(0),
            version: text(tag::VERSION, "version")?,
            release: text(tag::RELEASE, "release")?,
            arch: if source {
                "src".to_owned()
            } else {
                text(tag::ARCH, "architecture")?
            },
            exclusive_arch: texts(tag::EXCLUSIVEARCH),
            exclude_arch: texts(tag::EXCLUDEARCH),
            build_arch: texts(tag::BUILDARCHS),
        })
    }
}

/// Headers for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use super::*;

    /// A header of entries whose data is given in order; offsets follow.
    pub fn header(part: Part, entries: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        for (tag, kind, count, data) in entries {
            store.resize(store.len().next_multiple_of(alignment(*kind)), 0);
            index.extend(
                [*tag, *kind, store.len() as u32, *count]
                    .map(u32::to_be_bytes)
                    .concat(),
            );
            store.extend_from_slice(data);
        }
        let size = (index.len() + ENTRY_BYTES) as u32;
        let region = [part.region(), kind::BINARY, store.len() as u32, 16]
            .map(u32::to_be_bytes)
            .concat();
        store.extend(
            [part.region(), kind::BINARY, size.wrapping_neg(), 16]
                .map(u32::to_be_bytes)
                .concat(),
        );
        let counts = [0, size / 16, store.len() as u32]
            .map(u32::to_be_bytes)
            .concat();
        [&HEADER_MAGIC[..], &counts, &region, &index, &store].concat()
    }

    /// Texts as a header has them, each with a zero byte at the end.
    pub fn strings(texts: &[&str]) -> Vec<u8> {
        texts
            .iter()
            .flat_map(|text| [text.as_bytes(), &[0]].concat())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::header;
    use super::*;

    fn package() -> Vec<u8> {
        let mut file = LEAD_MAGIC.to_vec();
        file.resize(LEAD_BYTES, 0);
        file.extend(header(
            Part::Signature,
            &[
                (1000, kind::INT32, 1, &[0, 0, 0, 9]),
                (1008, kind::BINARY, 3, &[0; 3]),
            ],
        ));
        file.resize(file.len().next_multiple_of(8), 0);
        file.extend(header(
            Part::Immutable,
            &[
                (tag::NAME, kind::STRING, 1, b"hello\0"),
                (tag::VERSION, kind::STRING, 1, b"1.0\0"),
                (tag::RELEASE, kind::STRING, 1, b"2\0"),
                (tag::EPOCH, kind::INT32, 1, &[0, 0, 0, 3]),
                (tag::ARCH, kind::STRING, 1, b"x86_64\0"),
                (tag::SOURCERPM, kind::STRING, 1, b"hello-1.0-2.src.rpm\0"),
                (tag::EXCLUDEARCH, kind::STRINGS, 2, b"s390x\0ppc64le\0"),
            ],
        ));
        file
    }

    #[test]
    fn a_head_says_what_the_package_is_and_where_its_payload_begins() {
        let mut file = package();
        let headers = file.len() as u64;
        file.extend(b"payload");
        let head = read_head(&file).unwrap();
        assert_eq!(head.payload_at, headers);
        let rpm = head.header.rpm().unwrap();
        assert_eq!(rpm.to_string(), "hello-3:1.0-2.x86_64");
        assert_eq!(rpm.exclude_arch, ["s390x", "ppc64le"]);
        assert_eq!(head.signature.number(1000), Some(9));
    }

    #[test]
    fn a_short_read_asks_for_more_until_the_head_is_whole() {
        let file = package();
        let mut given = 0;
        let mut asked = 0;
        while let Err(HeaderError::More { bytes }) = read_head(&file[..given]) {
            assert!(bytes as usize > given, "asks for {bytes}, has {given}");
            (given, asked) = (bytes as usize, asked + 1);
        }
        assert_eq!((given, asked), (file.len(), 4));
        for cut in 0..file.len() {
            assert!(
                matches!(read_head(&file[..cut]), Err(HeaderError::More { .. })),
                "cut at {cut}"
            );
        }
    }

    fn refused(entries: &[(u32, u32, u32, &[u8])]) -> String {
        check_header(&header(Part::Immutable, entries), Part::Immutable)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn claims_of_more_than_there_is_are_refused() {
        assert!(
            refused(&[(1000, kind::STRINGS, 0x7fff_ffff, b"a\0")]).contains("data of tag 1000")
        );
        assert!(refused(&[(1000, kind::INT64, u32::MAX, &[0; 8])]).contains("data of tag 1000"));
        assert!(refused(&[(1000, kind::BINARY, 0, b"")]).contains("data of tag 1000"));
        assert!(refused(&[(1000, kind::STRING, 1, b"no end")]).contains("data of tag 1000"));
        assert!(refused(&[(1000, kind::STRING, 2, b"a\0b\0")]).contains("data of tag 1000"));
        assert!(refused(&[(1000, 10, 1, b"a\0")]).contains("data of tag 1000"));
    }

    #[test]
    fn a_tag_that_comes_twice_is_refused_because_readers_would_differ_on_it() {
        assert!(
            refused(&[
                (1000, kind::STRING, 1, b"a\0"),
                (1000, kind::STRING, 1, b"b\0")
            ])
            .contains("out of place")
        );
    }

    #[test]
    fn entries_that_share_data_are_refused() {
        let mut bytes = header(
            Part::Immutable,
            &[
                (1000, kind::STRING, 1, b"a\0"),
                (1001, kind::STRING, 1, b"b\0"),
            ],
        );
        let second_offset = INTRO_BYTES + 2 * ENTRY_BYTES + 11;
        assert_eq!(bytes[second_offset], 2);
        bytes[second_offset] = 0;
        assert!(
            check_header(&bytes, Part::Immutable)
                .unwrap_err()
                .to_string()
                .contains("out of place")
        );
    }

    #[test]
    fn a_region_that_leaves_something_unsigned_is_refused() {
        let whole = header(
            Part::Immutable,
            &[
                (1000, kind::STRING, 1, b"a\0"),
                (1001, kind::STRING, 1, b"b\0"),
            ],
        );
        assert!(check_header(&whole, Part::Immutable).is_ok());
        assert!(check_header(&whole, Part::Signature).is_err());
        let mut less = whole.clone();
        let back = less.len() - 5;
        less[back] = less[back].wrapping_add(16);
        assert!(
            check_header(&less, Part::Immutable)
                .unwrap_err()
                .to_string()
                .contains("region")
        );
    }

    #[test]
    fn any_byte_may_be_anything_without_a_panic() {
        let file = package();
        let mut sound = 0;
        for at in 0..file.len() {
            for value in 0..=u8::MAX {
                let mut bytes = file.clone();
                bytes[at] = value;
                sound += usize::from(read_head(&bytes).is_ok_and(|head| head.header.rpm().is_ok()));
            }
        }
        assert!(sound > file.len(), "some bytes mean nothing, or are text");
        assert!(sound < file.len() * 255, "most bytes mean something");
    }
}

//! What a folder's list has, in the order of its names' hashes: entries as getdents64(2) writes them.

use nix::errno::Errno;
use std::collections::BTreeMap;

/// Bytes of an entry before its name: inode, place, length, kind (getdents(2)).
const HEAD_BYTES: usize = 19;

/// Entries are padded so that the next one's numbers lie well.
const ALIGNMENT: usize = 8;

/// Places of `.` and `..`, before all others.
const SELF: u64 = 1;
const ABOVE: u64 = 2;
const FIRST: u64 = 3;

/// Places have so many bits: some file systems let no position lie beyond the largest file that they could have, 4 TB on f2fs.
const PLACE_BITS: u32 = 41;

/// An entry as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FolderEntry<'a> {
    inode: u64,
    kind: u8,
    name: &'a [u8],
}

/// What getdents64(2) wrote.
pub(super) fn entries(mut bytes: &[u8]) -> impl Iterator<Item = FolderEntry<'_>> {
    std::iter::from_fn(move || {
        let inode = bytes.first_chunk::<8>()?;
        let length = bytes.get(16..18)?;
        let (entry, rest) =
            bytes.split_at_checked(usize::from(u16::from_ne_bytes([length[0], length[1]])))?;
        bytes = rest;
        let name = entry.get(HEAD_BYTES..)?;
        let end = name.iter().position(|byte| *byte == 0)?;
        Some(FolderEntry {
            inode: u64::from_ne_bytes(*inode),
            kind: entry[HEAD_BYTES - 1],
            name: &name[..end],
        })
    })
}

/// Where a name stands in every list: by FNV-1a of 64 bits, folded to those that a position has.
fn place(name: &[u8]) -> u64 {
    match name {
        b"." => SELF,
        b".." => ABOVE,
        name => {
            let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            ((hash ^ hash >> PLACE_BITS) & ((1 << PLACE_BITS) - 1)).max(FIRST)
        }
    }
}

/// The first entries from a position on, as many as there is room for.
pub(super) struct ListingBatch {
    from: u64,
    room: usize,
    /// By place and name: of two that have one place, both are listed.
    found: BTreeMap<(u64, Vec<u8>), (u64, u8)>,
    bytes: usize,
    /// The first place that there was no room for.
    beyond: Option<u64>,
}

impl ListingBatch {
    pub(super) fn new(from: u64, room: usize) -> Self {
        Self {
            from,
            room,
            found: BTreeMap::new(),
            bytes: 0,
            beyond: None,
        }
    }

    pub(super) fn take(&mut self, entry: FolderEntry<'_>) {
        self.put(place(entry.name), entry);
    }

    fn put(&mut self, at: u64, entry: FolderEntry<'_>) {
        if at <= self.from || self.beyond.is_some_and(|beyond| at >= beyond) {
            return;
        }
        if self
            .found
            .insert((at, entry.name.to_owned()), (entry.inode, entry.kind))
            .is_none()
        {
            self.bytes += length(entry.name);
        }
        // Those that have one place go together: a reader that goes on after it would miss the rest.
        while self.bytes > self.room
            && let Some(last) = self.found.keys().next_back().map(|(place, _)| *place)
        {
            self.beyond = Some(last);
            for ((_, name), _) in self.found.split_off(&(last, Vec::new())) {
                self.bytes -= length(&name);
            }
        }
    }

    /// The entries as the kernel would write them, and the position after them. EINVAL if not even one has room (getdents(2)).
    pub(super) fn answer(self) -> Result<(Vec<u8>, u64), Errno> {
        if self.found.is_empty() && self.beyond.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut answer = Vec::with_capacity(self.bytes);
        let mut next = self.from;
        for ((at, name), (inode, kind)) in self.found {
            let begin = answer.len();
            let length = length(&name);
            answer.extend(inode.to_ne_bytes());
            answer.extend(at.to_ne_bytes());
            answer.extend((length as u16).to_ne_bytes());
            answer.push(kind);
            answer.extend(name);
            answer.resize(begin + length, 0);
            next = at;
        }
        Ok((answer, next))
    }
}

/// Bytes of an entry with its name, the zero after it, and what it is padded with.
fn length(name: &[u8]) -> usize {
    (HEAD_BYTES + name.len() + 1).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> FolderEntry<'_> {
        FolderEntry {
            inode: name.len() as u64,
            kind: libc::DT_REG,
            name: name.as_bytes(),
        }
    }

    /// Reads a folder in calls with so much room; every name, in the order of the answers.
    fn read(names: &[String], room: usize) -> Vec<String> {
        let mut position = 0;
        let mut all = Vec::new();
        loop {
            let mut batch = ListingBatch::new(position, room);
            names.iter().for_each(|name| batch.take(entry(name)));
            let (answer, next) = batch.answer().unwrap();
            if answer.is_empty() {
                return all;
            }
            assert!(answer.len() <= room && answer.len() % ALIGNMENT == 0);
            all.extend(
                entries(&answer).map(|entry| String::from_utf8(entry.name.to_owned()).unwrap()),
            );
            position = next;
        }
    }

    #[test]
    fn a_list_is_whole_and_the_same_however_it_is_read() {
        let mut names: Vec<String> = (0..500)
            .map(|number| format!("file-{}", "x".repeat(number % 90) + &number.to_string()))
            .collect();
        names.extend([".".to_owned(), "..".to_owned()]);
        let expected = read(&names, 1 << 20);
        assert_eq!(expected[..2], [".", ".."]);
        for room in [136, 1000, 32_768] {
            names.rotate_left(71);
            names.reverse();
            assert_eq!(read(&names, room), expected, "in calls of {room} bytes");
        }
        let mut sorted = expected.clone();
        sorted.sort();
        names.sort();
        assert_eq!(sorted, names);
    }

    #[test]
    fn places_do_not_change_with_versions_of_this_program() {
        assert_eq!(
            ["Makefile", "src", "."].map(|name| place(name.as_bytes())),
            [1451572003318, 108929879299, SELF]
        );
    }

    #[test]
    fn a_call_without_room_is_refused_as_the_kernel_does() {
        let mut batch = ListingBatch::new(0, 24);
        batch.take(entry("a-name-of-twenty-bytes"));
        assert_eq!(batch.answer(), Err(Errno::EINVAL));
        assert_eq!(ListingBatch::new(7, 24).answer(), Ok((Vec::new(), 7)));
    }

    #[test]
    fn those_that_share_a_place_are_listed_together_or_later() {
        let mut batch = ListingBatch::new(0, 80);
        for (place, name) in [(9, "one"), (5, "first"), (9, "other"), (9, "third")] {
            batch.put(place, entry(name));
        }
        let (answer, next) = batch.answer().unwrap();
        assert_eq!(
            entries(&answer)
                .map(|entry| entry.name.to_owned())
                .collect::<Vec<_>>(),
            [b"first".to_vec()]
        );
        assert_eq!(next, 5);
    }
}

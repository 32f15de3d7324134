//! Programs of other architectures: qemu runs them where the kernel is told to start it (Linux, `admin-guide/binfmt-misc.rst`).

use crate::machine::arch::Facts;
use millrace_core::Arch;
use std::fs;
use std::path::Path;

/// Where the kernel shows who runs what.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// An architecture that cannot be emulated on this machine. The person who keeps the machine must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmulationError {
    /// Nobody runs its programs.
    #[error(
        "programs of {arch} cannot be run here: the kernel starts nothing for them. Install qemu-user-static (on Debian and Ubuntu with \
         binfmt-support; a package of this name is on Fedora, too), and see that {REGISTERED} is mounted: \
         `mount -t binfmt_misc binfmt_misc {REGISTERED}`; then look for {emulator} in it"
    )]
    Nobody {
        arch: Arch,
        /// qemu's name for it.
        emulator: String,
    },
    /// It is switched off.
    #[error(
        "programs of {arch} cannot be run here: {name} is switched off: `echo 1 >{REGISTERED}/{name}`"
    )]
    Off {
        arch: Arch,
        /// What is registered for it.
        name: String,
    },
    /// It is looked for inside of roots, where it is not.
    #[error(
        "programs of {arch} cannot be run in roots: {name} is registered without the flag F, so that the kernel would look for it inside of \
         them. Take the statically linked qemu: the package qemu-user-static registers it with that flag"
    )]
    NotFixed {
        arch: Arch,
        /// What is registered for it.
        name: String,
    },
}

/// Whether this machine, which is of the architecture `own`, runs programs of all of these.
pub fn check(own: Arch, emulates: &[Arch]) -> Result<(), EmulationError> {
    emulates
        .iter()
        .filter(|arch| **arch != own)
        .try_for_each(|arch| check_in(Path::new(REGISTERED), *arch))
}

fn check_in(registered: &Path, arch: Arch) -> Result<(), EmulationError> {
    let facts = Facts::of(arch);
    let header = facts.elf_header();
    let found = fs::read_dir(registered)
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|entry| {
            let found = Entry::parse(&fs::read_to_string(entry.path()).ok()?)?;
            found
                .runs(&header)
                .then(|| (entry.file_name().to_string_lossy().into_owned(), found))
        });
    let all = fs::read_to_string(registered.join("status")).unwrap_or_default();
    match found {
        None => Err(EmulationError::Nobody {
            arch,
            emulator: facts.emulator,
        }),
        Some(_) if all.trim() == "disabled" => Err(EmulationError::Off {
            arch,
            name: "status".to_owned(),
        }),
        Some((name, entry)) if !entry.enabled => Err(EmulationError::Off { arch, name }),
        Some((name, entry)) if !entry.fixed => Err(EmulationError::NotFixed { arch, name }),
        Some(_) => Ok(()),
    }
}

/// One that runs files which begin in a certain way.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    enabled: bool,
    /// It was opened when it was registered (flag `F`), and so is there in every root.
    fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    /// Bits of the magic that count; all of them if it is shorter.
    mask: Vec<u8>,
}

impl Entry {
    /// Reads what the kernel prints; nothing if files go by the end of their name.
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        Some(Self {
            enabled: text.lines().next() == Some("enabled"),
            fixed: value("flags:").is_some_and(|flags| flags.contains('F')),
            offset: value("offset ")?.parse().ok()?,
            magic: bytes(value("magic ")?)?,
            mask: value("mask ").map_or_else(|| Some(Vec::new()), bytes)?,
        })
    }

    fn runs(&self, header: &[u8]) -> bool {
        let Some(header) = header.get(self.offset..self.offset + self.magic.len()) else {
            return false;
        };
        let counts = |at: usize| self.mask.get(at).copied().unwrap_or(u8::MAX);
        self.magic
            .iter()
            .zip(header)
            .enumerate()
            .all(|(at, (wanted, there))| (wanted ^ there) & counts(at) == 0)
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's qemu-user-static registers it.
    const S390X: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/s390x-binfmt-P\nflags: PF\noffset 0\n\
                         magic 7f454c4602020100000000000000000000020016\nmask fffffffffffffffcfffffffffffffffffffeffff\n";

    fn kernel(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("status", "enabled\n"), ("register", "")]
            .iter()
            .chain(entries)
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn said(entries: &[(&str, &str)], arch: Arch) -> String {
        check_in(kernel(entries).path(), arch)
            .map_or_else(|error| error.to_string(), |()| "it can".to_owned())
    }

    #[test]
    fn who_runs_the_programs_is_told_by_how_they_begin() {
        let python = "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic a70d0d0a\n";
        let jar = "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n";
        assert_eq!(
            said(
                &[("python", python), ("jar", jar), ("any-name", S390X)],
                Arch::S390x
            ),
            "it can"
        );
        let told = said(&[("qemu-s390x", S390X)], Arch::Aarch64);
        assert!(
            told.starts_with(
                "programs of aarch64 cannot be run here: the kernel starts nothing for them"
            ),
            "{told}"
        );
        assert!(
            told.contains("qemu-user-static") && told.contains("qemu-aarch64"),
            "{told}"
        );
    }

    #[test]
    fn what_is_off_or_would_not_be_found_in_a_root_is_named() {
        let off = said(
            &[("qemu-s390x", &S390X.replace("enabled", "disabled"))],
            Arch::S390x,
        );
        assert!(
            off.ends_with(
                "qemu-s390x is switched off: `echo 1 >/proc/sys/fs/binfmt_misc/qemu-s390x`"
            ),
            "{off}"
        );
        let loose = said(&[("qemu-s390x", &S390X.replace("PF", "P"))], Arch::S390x);
        assert!(
            loose.contains("qemu-s390x is registered without the flag F"),
            "{loose}"
        );
        let folder = kernel(&[("qemu-s390x", S390X)]);
        fs::write(folder.path().join("status"), "disabled\n").unwrap();
        let error = check_in(folder.path(), Arch::S390x).unwrap_err();
        assert_eq!(
            error,
            EmulationError::Off {
                arch: Arch::S390x,
                name: "status".to_owned()
            }
        );
    }

    #[test]
    fn a_machine_needs_nothing_for_its_own_architecture() {
        assert_eq!(check(Arch::S390x, &[Arch::S390x]), Ok(()));
        assert!(check_in(Path::new("/no/such/folder"), Arch::S390x).is_err());
    }
}

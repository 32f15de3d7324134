//! What is known of each architecture: its file in `runners/arch`.

use millrace_core::Arch;
use serde::Deserialize;

/// Which byte of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endianness {
    Little,
    Big,
}

/// An architecture as its file has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub rpm: String,
    pub debian: String,
    /// Its name in images of containers (Go's `GOARCH`).
    pub oci: String,
    /// The folder of libraries on Debian.
    pub triplet: String,
    /// Bits of an address, as ELF files say it: 32 or 64.
    pub elf_class: u8,
    /// What ELF files call the processor (`e_machine`).
    pub elf_machine: u16,
    /// The order of bytes.
    pub endianness: Endianness,
    /// The program of qemu's that runs its programs elsewhere.
    pub emulator: String,
    /// Whether the sandbox has a filter of system calls on a machine of it.
    pub seccomp: bool,
    /// The architecture beside whose packages those of this one are installed, if no task is for this one.
    pub multilib_of: Option<String>,
}

/// `e_type` of a program that may be loaded anywhere, which is what distributions' programs are (`ET_DYN`).
const ET_DYN: u16 = 3;

/// The version of ELF.
const EV_CURRENT: u8 = 1;

impl Facts {
    /// Of an architecture of the line.
    pub fn of(arch: Arch) -> Self {
        let text = match arch {
            Arch::X86_64 => include_str!("../../../arch/x86_64.toml"),
            Arch::Aarch64 => include_str!("../../../arch/aarch64.toml"),
            Arch::Ppc64le => include_str!("../../../arch/ppc64le.toml"),
            Arch::S390x => include_str!("../../../arch/s390x.toml"),
        };
        toml::from_str(text).expect("the file became part of this program, and a test reads it")
    }

    /// How its programs begin: `e_ident`, `e_type` and `e_machine` (System V ABI, "ELF Header").
    pub fn elf_header(&self) -> [u8; 20] {
        let (big, class) = (
            self.endianness == Endianness::Big,
            if self.elf_class == 64 { 2 } else { 1 },
        );
        let number = |number: u16| {
            if big {
                number.to_be_bytes()
            } else {
                number.to_le_bytes()
            }
        };
        let mut header = [0; 20];
        header[..7].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            class,
            if big { 2 } else { 1 },
            EV_CURRENT,
        ]);
        header[16..18].copy_from_slice(&number(ET_DYN));
        header[18..].copy_from_slice(&number(self.elf_machine));
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_is_what_its_file_says_it_is() {
        for arch in Arch::ALL {
            let facts = Facts::of(arch);
            assert_eq!(
                (facts.rpm.as_str(), facts.multilib_of),
                (arch.as_str(), None)
            );
        }
        let small: Facts = toml::from_str(include_str!("../../../arch/i686.toml")).unwrap();
        let above: Arch = small.multilib_of.unwrap().parse().unwrap();
        assert_eq!(above.multilib(), Some(small.rpm.as_str()));
    }

    #[test]
    fn the_program_that_asks_begins_as_its_architecture_says() {
        let name = if std::env::consts::ARCH == "powerpc64" {
            "ppc64le"
        } else {
            std::env::consts::ARCH
        };
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Facts::of(name.parse().unwrap()).elf_header(), own[..20]);
    }
}

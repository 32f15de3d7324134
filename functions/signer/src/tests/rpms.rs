//! Real packages to sign, the real `rpmkeys` to ask about them, and ways to spoil them.

use millrace_core::header::{Header, LEAD_BYTES, read_head};
use sequoia_openpgp::types::HashAlgorithm;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// One noarch package, one whose header is larger than a first read, and the source package of both.
const SPEC: &str = r#"
Name: hello
Version: 1.0
Release: 1
Summary: A greeting
License: MIT
BuildArch: noarch

%description
Says hello.

%package long
Summary: Has a long header
%description long
%{lua: for line = 1, 2000 do print(string.format("Line %d of a description that nobody reads.\n", line)) end}

%install
mkdir -p %{buildroot}/usr/share/hello
head -c 200000 /dev/urandom > %{buildroot}/usr/share/hello/greeting
echo long > %{buildroot}/usr/share/hello/long

%files
/usr/share/hello/greeting

%files long
/usr/share/hello/long
"#;

pub struct Packages {
    pub hello: Vec<u8>,
    pub long: Vec<u8>,
    pub source: Vec<u8>,
    /// `hello` without room for signatures.
    pub tight: Vec<u8>,
}

/// Built once a process.
pub fn packages() -> &'static Packages {
    static BUILT: OnceLock<Packages> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
        rpmbuild(folder.path(), "0");
        let tight = read("RPMS/noarch/hello-1.0-1.noarch.rpm");
        rpmbuild(folder.path(), "4096");
        let hello = read("RPMS/noarch/hello-1.0-1.noarch.rpm");
        Packages {
            hello,
            long: read("RPMS/noarch/hello-long-1.0-1.noarch.rpm"),
            source: read("SRPMS/hello-1.0-1.src.rpm"),
            tight,
        }
    })
}

fn rpmbuild(folder: &Path, reserve: &str) {
    let spec = folder.join("hello.spec");
    std::fs::write(&spec, SPEC).unwrap();
    let topdir = format!("_topdir {}", folder.display());
    let mut command = Command::new("rpmbuild");
    command
        .args([
            "--quiet",
            "-ba",
            "--define",
            &topdir,
            "--define",
            &format!("__gpg_reserved_space {reserve}"),
        ])
        .arg(spec);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "rpmbuild: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What `rpmkeys -Kv` says of a package to somebody who trusts one certificate.
pub fn rpmkeys(certificate: &str, package: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (
        folder.path().join("key.asc"),
        folder.path().join("package.rpm"),
    );
    std::fs::write(&key, certificate).unwrap();
    std::fs::write(&file, package).unwrap();
    let database = format!("_dbpath {}", folder.path().join("db").display());
    let run = |arguments: &[&str], path: &Path| {
        let output = Command::new("rpmkeys")
            .args(["--define", &database])
            .args(arguments)
            .arg(path)
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let imported = run(&["--import"], &key);
    assert_eq!(imported, "", "rpmkeys --import");
    run(&["-Kv"], &file)
}

/// The package with its header changed, and the signature header's digests made to fit: as somebody
/// would spoil it who knows the format.
pub fn with_header(package: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = package.to_vec();
    let head = read_head(package).unwrap();
    let (at, end) = (head.header_at as usize, head.payload_at as usize);
    change(&mut bytes[at..end]);
    let digests = [
        (269, HashAlgorithm::SHA1),
        (273, HashAlgorithm::SHA256),
        (279, HashAlgorithm::SHA3_256),
    ];
    for (tag, algorithm) in digests
        .into_iter()
        .filter(|(tag, _)| head.signature.entry(*tag).is_some())
    {
        let digest = crate::header::hexadecimal(&crate::header::digest(algorithm, &bytes[at..end]));
        let place = place_of(&head.signature, tag);
        bytes[LEAD_BYTES + place..][..digest.len()].copy_from_slice(digest.as_bytes());
    }
    bytes
}

/// Where the data of a tag begin in its header.
pub fn place_of(header: &Header<'_>, tag: u32) -> usize {
    header.entry(tag).unwrap().data.as_ptr() as usize - header.bytes.as_ptr() as usize
}

/// Where the entry of a tag stands in its header.
pub fn entry_of(header: &Header<'_>, tag: u32) -> usize {
    16 + 16
        * (1 + header
            .entries
            .iter()
            .position(|entry| entry.tag == tag)
            .unwrap())
}

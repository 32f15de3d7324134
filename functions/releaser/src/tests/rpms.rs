//! Packages with everything in them that metadata can say, made by the real rpmbuild.

use millrace_core::Digest;
use millrace_core::header::read_head;
use millrace_core::order::OrderedFile;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SPEC: &str = r#"
%global debug_package %{nil}
Name: tally
%{?with_epoch:Epoch: 1}
Version: %{?with_caret:1.0^git1}%{!?with_caret:1.0~rc1}
Release: %{number}.el9
Summary: Counts <things> & "more"
License: MIT and Apache-2.0
URL: https://tally.example/?a=1&b=2
Group: Applications/Counting
Vendor: %{maker}
Packager: Dana <dana@tally.example>
Requires: bash >= 5, (libfoo if libbar), config(tally) = %{version}
Requires(pre): coreutils
Provides: counter = 2:3-4, counter(x) < 5
Conflicts: abacus < 1
Obsoletes: tallyho <= 0.9
Recommends: tally-docs
Suggests: chalk
Supplements: (school and board)
Enhances: blackboard

%description
Counts things: “eins, zwei, drei” <b>&amp;</b>.

%package c++
Summary: Counts in C++
Requires: %{name} = %{?epoch:%{epoch}:}%{version}-%{release}
%description c++
Plus plus.

%package doc
Summary: How to count
BuildArch: noarch
%description doc
One, two.
%{lua: for number = 1, 20000 do print(string.format("%d, ", number)) end}

%package debuginfo
Summary: Debug information
%description debuginfo
None.

%prep
%build

%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc/tally.d %{buildroot}/usr/share/tally %{buildroot}/usr/share/doc/tally %{buildroot}/usr/lib/debug
echo '#!/bin/sh' > %{buildroot}/usr/bin/tally; chmod 755 %{buildroot}/usr/bin/tally
ln -s tally %{buildroot}/usr/bin/count
echo a=1 > '%{buildroot}/etc/tally.d/tally & co.conf'
echo plus > %{buildroot}/usr/share/tally/plus
echo doc > %{buildroot}/usr/share/doc/tally/README
echo debug > %{buildroot}/usr/lib/debug/tally.debug
head -c 100000 /dev/zero > %{buildroot}/usr/share/tally/zeroes

%pre
true
%post -p /sbin/ldconfig

%files
/usr/bin/tally
/usr/bin/count
%dir /etc/tally.d
%config(noreplace) "/etc/tally.d/tally & co.conf"
%ghost /usr/share/tally/state
/usr/share/tally/zeroes
%files c++
/usr/share/tally/plus
%files doc
/usr/share/doc/tally/README
%files debuginfo
/usr/lib/debug/tally.debug

%changelog
* Tue Feb 03 2026 Dana <dana@tally.example> - 1.0~rc1-1
- Count & <compare>
* Mon Feb 02 2026 Émile <emile@tally.example> - 0.9-1
- First; see “notes”
"#;

/// A package file.
#[derive(Clone)]
pub struct Package {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Package {
    pub fn ordered(&self) -> OrderedFile {
        let rpm = read_head(&self.bytes).unwrap().header.rpm().unwrap();
        OrderedFile {
            name: self.name.clone(),
            digest: Digest::of(&self.bytes),
            size: self.bytes.len() as u64,
            rpm,
        }
    }
}

/// Which variant of the package.
#[derive(Clone, Copy)]
pub enum Variant {
    First,
    /// Release 1, built by somebody else.
    Again,
    Second,
    /// Release 1 with an epoch.
    Epoch,
    /// Release 1 of what came after a version, as `^` says.
    Caret,
}

/// All packages of a variant, in the order of their names; each variant is built once a process.
pub fn packages(variant: Variant) -> &'static [Package] {
    static BUILT: [OnceLock<Vec<Package>>; 5] = [const { OnceLock::new() }; 5];
    let (at, defines): (_, &[&str]) = match variant {
        Variant::First => (0, &["number 1", "maker Dana"]),
        Variant::Again => (1, &["number 1", "maker Emile"]),
        Variant::Second => (2, &["number 2", "maker Dana"]),
        Variant::Epoch => (3, &["number 1", "maker Dana", "with_epoch 1"]),
        Variant::Caret => (4, &["number 1", "maker Dana", "with_caret 1"]),
    };
    BUILT[at].get_or_init(|| build(defines))
}

/// One of them.
pub fn package(variant: Variant, name: &str) -> &'static Package {
    let of_name = |package: &&Package| {
        package.ordered().rpm.name == name && !package.ordered().rpm.is_source()
    };
    packages(variant).iter().find(of_name).unwrap()
}

/// The source package.
pub fn source(variant: Variant) -> &'static Package {
    packages(variant)
        .iter()
        .find(|package| package.ordered().rpm.is_source())
        .unwrap()
}

fn build(defines: &[&str]) -> Vec<Package> {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("tally.spec");
    std::fs::write(&spec, SPEC).unwrap();
    let topdir = format!("_topdir {}", folder.path().display());
    let mut command = Command::new("rpmbuild");
    command.args([
        "--quiet",
        "-ba",
        "--target",
        "x86_64-linux",
        "--define",
        &topdir,
        "--define",
        "_buildhost tests.example",
    ]);
    for define in defines {
        command.args(["--define", define]);
    }
    let output = command.arg(spec).output().unwrap();
    assert!(
        output.status.success(),
        "rpmbuild: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut found: Vec<PathBuf> = Vec::new();
    for place in ["RPMS/x86_64", "RPMS/noarch", "SRPMS"] {
        found.extend(
            std::fs::read_dir(folder.path().join(place))
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    found.sort_by_key(|path| name_of(path));
    found
        .iter()
        .map(|path| Package {
            name: name_of(path),
            bytes: std::fs::read(path).unwrap(),
        })
        .collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

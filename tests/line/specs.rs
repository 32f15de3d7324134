//! Small packages: a library, a program that needs it, and others that misbehave.

use millrace_core::Arch;
use millrace_host::machine::arch::{Endianness, Facts};

/// A C library with a `-devel` package, whose sources are in the tree.
pub fn library(version: &str) -> Vec<(String, String)> {
    let spec = format!(
        r#"Name: tally
Version: {version}
Release: 1%{{?dist}}
Summary: Counts
License: MIT
Source0: tally.c
Source1: tally.h
BuildRequires: gcc
%description
Counts.
%package devel
Summary: To build with it
Requires: %{{name}}%{{?_isa}} = %{{version}}-%{{release}}
%description devel
Headers.
%prep
%setup -q -c -T
cp %{{SOURCE0}} %{{SOURCE1}} .
%build
gcc %{{optflags}} -fPIC -shared -Wl,-soname,libtally.so.1 -o libtally.so.1.0 tally.c
%install
install -D -m 755 libtally.so.1.0 %{{buildroot}}%{{_libdir}}/libtally.so.1.0
ln -s libtally.so.1.0 %{{buildroot}}%{{_libdir}}/libtally.so.1
ln -s libtally.so.1 %{{buildroot}}%{{_libdir}}/libtally.so
install -D -m 644 tally.h %{{buildroot}}%{{_includedir}}/tally.h
%files
%{{_libdir}}/libtally.so.1*
%files devel
%{{_libdir}}/libtally.so
%{{_includedir}}/tally.h
"#
    );
    let code = format!(
        "#include \"tally.h\"\nint tally(int n) {{ return n + 1; }}\nconst char *tally_version(void) {{ return \"{version}\"; }}\n"
    );
    let header = "#ifndef TALLY_H\n#define TALLY_H\nint tally(int n);\nconst char *tally_version(void);\n#endif\n";
    [
        ("tally.spec", spec.as_str()),
        ("tally.c", &code),
        ("tally.h", header),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .to_vec()
}

/// A program that is built with the library of at least this version, with a test of its own.
pub fn program(needs: &str) -> Vec<(String, String)> {
    let spec = format!(
        r#"Name: tallyctl
Version: 1
Release: 1%{{?dist}}
Summary: Counts on the command line
License: MIT
Source0: tallyctl.c
BuildRequires: gcc tally-devel >= {needs}
%description
Counts.
%prep
%setup -q -c -T
cp %{{SOURCE0}} .
%build
gcc %{{optflags}} -o tallyctl tallyctl.c -ltally
%install
install -D -m 755 tallyctl %{{buildroot}}%{{_bindir}}/tallyctl
%check
./tallyctl | grep -q "^2 "
%files
%{{_bindir}}/tallyctl
"#
    );
    let code = "#include <stdio.h>\n#include <tally.h>\nint main(void) { printf(\"%d %s\\n\", tally(1), tally_version()); return 0; }\n";
    let test = "#!/bin/sh\ntest \"$(tallyctl | cut -d' ' -f1)\" = 2\n";
    [
        ("tallyctl.spec", spec.as_str()),
        ("tallyctl.c", code),
        ("tests/counts.sh", test),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .to_vec()
}

/// A C library and a program that tells in which order this machine has the bytes of a number. Its `%check` and its test run it, and want
/// what the architecture's file says.
pub fn endian() -> Vec<(String, String)> {
    let order = |arch: Arch| {
        if Facts::of(arch).endianness == Endianness::Big {
            "big"
        } else {
            "little"
        }
    };
    let orders: String = Arch::ALL
        .map(|arch| format!("%ifarch {arch}\n%global order {}\n%endif\n", order(arch)))
        .concat();
    let spec = format!(
        r#"{orders}Name: endian
Version: 1
Release: 1%{{?dist}}
Summary: Tells the order of bytes
License: MIT
Source0: endian.c
Source1: endian.h
Source2: main.c
BuildRequires: gcc
%description
Tells the order of bytes.
%package devel
Summary: To build with it
Requires: %{{name}}%{{?_isa}} = %{{version}}-%{{release}}
%description devel
Headers.
%prep
%setup -q -c -T
cp %{{SOURCE0}} %{{SOURCE1}} %{{SOURCE2}} .
%build
gcc %{{optflags}} -fPIC -shared -Wl,-soname,libendian.so.1 -o libendian.so.1 endian.c
gcc %{{optflags}} -o endian main.c -L. -l:libendian.so.1
%install
install -D -m 755 libendian.so.1 %{{buildroot}}%{{_libdir}}/libendian.so.1
ln -s libendian.so.1 %{{buildroot}}%{{_libdir}}/libendian.so
install -D -m 755 endian %{{buildroot}}%{{_bindir}}/endian
install -D -m 644 endian.h %{{buildroot}}%{{_includedir}}/endian-of-bytes.h
%check
said=$(LD_LIBRARY_PATH=. ./endian)
echo "the order of bytes is $said"
test "$said" = %{{order}}
%files
%{{_libdir}}/libendian.so.1
%{{_bindir}}/endian
%files devel
%{{_libdir}}/libendian.so
%{{_includedir}}/endian-of-bytes.h
"#
    );
    let code = "#include \"endian.h\"\n#include <stdint.h>\nconst char *order_of_bytes(void) {\n    const uint16_t one = 1;\n    \
                return *(const unsigned char *)&one ? \"little\" : \"big\";\n}\n";
    let header = "#ifndef ORDER_OF_BYTES_H\n#define ORDER_OF_BYTES_H\nconst char *order_of_bytes(void);\n#endif\n";
    let main = "#include \"endian.h\"\n#include <stdio.h>\nint main(void) { return puts(order_of_bytes()) < 0; }\n";
    let cases: String = Arch::ALL
        .map(|arch| format!("{arch}) test \"$(endian)\" = {} ;;\n", order(arch)))
        .concat();
    let test = format!("#!/bin/sh\ncase $(uname -m) in\n{cases}*) exit 1 ;;\nesac\n");
    [
        ("endian.spec", spec.as_str()),
        ("endian.c", code),
        ("endian.h", header),
        ("main.c", main),
        ("tests/order.sh", &test),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .to_vec()
}

/// A package without files whose stages do this.
pub fn empty(name: &str, header: &str, build: &str) -> Vec<(String, String)> {
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1%{{?dist}}\nSummary: For tests\nLicense: MIT\n{header}\n%global debug_package %{{nil}}\n\
         %description\nFor tests.\n%prep\n%setup -q -c -T\n%build\n{build}\n%files\n"
    );
    vec![(format!("{name}.spec"), spec)]
}

/// A package that finds out what it needs while it is built, in two rounds: first a package of the platform, and then, where that is
/// there, another.
pub fn generated(first: (&str, &str), second: (&str, &str)) -> Vec<(String, String)> {
    let ((first, its_file), (second, other_file)) = (first, second);
    let spec = format!(
        "Name: generated\nVersion: 1\nRelease: 1%{{?dist}}\nSummary: For tests\nLicense: MIT\n%global debug_package %{{nil}}\n\
         %description\nFor tests.\n%prep\n%setup -q -c -T\n%generate_buildrequires\necho {first}\n\
         if test -e {its_file}; then echo '{second}'; fi\n%build\ntest -e {its_file}\ntest -e {other_file}\n%files\n"
    );
    vec![("generated.spec".to_owned(), spec)]
}

/// As borrowed texts.
pub fn files(owned: &[(String, String)]) -> Vec<(&str, &str)> {
    owned
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect()
}

//! What is pushed: small packages, of which each has an end that it asks for.

use serde::{Deserialize, Serialize};

/// A package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A library in C, and what it takes to build with it.
    Library,
    /// A script with a test of its own.
    Script,
    /// One whose `%build` fails.
    Broken,
    /// One whose build leaves processes running.
    Haunted,
    /// One that is cancelled in the middle of its build.
    Unwanted,
    /// One that builds, and whose own test of the installed package fails.
    Untrue,
}

/// How a build must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Released,
    /// In the words of this, by this step.
    Failed(&'static str, &'static str),
    Cancelled,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Library,
        Self::Broken,
        Self::Script,
        Self::Haunted,
        Self::Unwanted,
        Self::Untrue,
    ];

    /// The package's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Library => "tally",
            Self::Script => "greet",
            Self::Broken => "broken",
            Self::Haunted => "haunted",
            Self::Unwanted => "unwanted",
            Self::Untrue => "untrue",
        }
    }

    /// How its builds must end.
    pub const fn end(self) -> End {
        match self {
            Self::Library | Self::Script | Self::Haunted => End::Released,
            Self::Broken => End::Failed("rpm", "%build failed"),
            Self::Untrue => End::Failed("check", "tests/lies.sh"),
            Self::Unwanted => End::Cancelled,
        }
    }

    /// What is pushed of it: a release of its own, and a `%build` that sleeps as long as `nap` says in seconds. That is also how its
    /// processes are found.
    pub fn files(self, release: u64, nap: &str) -> Vec<(&'static str, String)> {
        let spec = |more: &str, build: &str, install: &str, files: &str| {
            format!(
                "Name: {name}\nVersion: 1\nRelease: {release}%{{?dist}}\nSummary: For chaos\nLicense: MIT\n{more}\n%description\nFor chaos.\n\
                 %prep\n%setup -q -c -T\n%build\n{build}\nsleep {nap}\n%install\n{install}\n%files\n{files}\n",
                name = self.name()
            )
        };
        match self {
            Self::Library => library(&spec),
            Self::Script => {
                let install = "install -d %{buildroot}%{_bindir}\nprintf '#!/bin/sh\\necho hello\\n' >%{buildroot}%{_bindir}/greet\n\
                               chmod 755 %{buildroot}%{_bindir}/greet";
                let text = spec("BuildArch: noarch", "true", install, "%{_bindir}/greet");
                vec![
                    ("greet.spec", text),
                    (
                        "tests/says-hello.sh",
                        "#!/bin/sh\ntest \"$(greet)\" = hello\n".to_owned(),
                    ),
                ]
            }
            Self::Broken => {
                let text = spec(
                    "BuildArch: noarch",
                    "echo the compiler is unhappy",
                    "exit 3",
                    "",
                );
                vec![(
                    "broken.spec",
                    text.replace("\n%install\nexit 3", "\nexit 3\n%install"),
                )]
            }
            Self::Haunted => {
                let ghosts = format!(
                    "setsid sleep 9{nap} >/dev/null 2>&1 &\n(trap '' TERM HUP; sleep 8{nap}; sleep 7{nap}) >/dev/null 2>&1 &"
                );
                vec![("haunted.spec", spec("BuildArch: noarch", &ghosts, "", ""))]
            }
            Self::Unwanted => {
                let text = spec("BuildArch: noarch", &format!("sleep 6{nap}"), "", "");
                vec![("unwanted.spec", text)]
            }
            Self::Untrue => {
                vec![
                    ("untrue.spec", spec("BuildArch: noarch", "true", "", "")),
                    ("tests/lies.sh", "#!/bin/sh\nexit 1\n".to_owned()),
                ]
            }
        }
    }
}

fn library(spec: &dyn Fn(&str, &str, &str, &str) -> String) -> Vec<(&'static str, String)> {
    let more = "Source0: tally.c\nSource1: tally.h\nBuildRequires: gcc\n%package devel\nSummary: To build with it\n\
                Requires: %{name}%{?_isa} = %{version}-%{release}\n%description devel\nHeaders.";
    let build = "cp %{SOURCE0} %{SOURCE1} .\ngcc %{optflags} -fPIC -shared -Wl,-soname,libtally.so.1 -o libtally.so.1 tally.c";
    let install = "install -D -m 755 libtally.so.1 %{buildroot}%{_libdir}/libtally.so.1\n\
                   ln -s libtally.so.1 %{buildroot}%{_libdir}/libtally.so\n\
                   install -D -m 644 tally.h %{buildroot}%{_includedir}/tally.h";
    let files =
        "%{_libdir}/libtally.so.1\n%files devel\n%{_libdir}/libtally.so\n%{_includedir}/tally.h";
    vec![
        ("tally.spec", spec(more, build, install, files)),
        (
            "tally.c",
            "#include \"tally.h\"\nint tally(int n) { return n + 1; }\n".to_owned(),
        ),
        (
            "tally.h",
            "#ifndef TALLY_H\n#define TALLY_H\nint tally(int n);\n#endif\n".to_owned(),
        ),
    ]
}

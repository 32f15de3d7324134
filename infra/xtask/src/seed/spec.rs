//! The spec files that turn trees of files into RPMs.

use super::control::Control;
use super::deps::{self, Evr};
use super::tables::{Row, Tables};
use crate::root::is_root;
use anyhow::Result;

/// What every spec of the seed begins with. The files are finished: nothing is stripped, compressed or split, and of rpm's
/// generators only those that read what a file provides and which libraries a program needs are right for Debian's files.
const PREAMBLE: &str = "\
%global __os_install_post %{nil}
%global debug_package %{nil}
%global _build_id_links none
%global _binary_payload w1.zstdio
%global _binaries_in_noarch_packages_terminate_build 0
%global _buildhost seed
%global __perl_provides %{nil}
%global __perl_requires %{nil}
%global __perllib_provides %{nil}
%global __perllib_requires %{nil}
%global __python_requires %{nil}
%global __pythondist_requires %{nil}
%global __pkgconfig_requires %{nil}
%global __script_requires %{nil}
%global __ocaml_requires %{nil}
";

/// The finished tree becomes the buildroot by one rename. `%{tree}` is defined by the caller.
const INSTALL: &str = "\
%install
rm -rf \"%{buildroot}\"
mkdir -p \"$(dirname \"%{buildroot}\")\"
mv \"%{tree}\" \"%{buildroot}\"
";

/// Debian runs ldconfig in a trigger of libc-bin; the RPM has to do the same for roots that dnf makes.
const LDCONFIG: &str = "\
%transfiletriggerin -P 2000000 -- /lib /usr/lib /lib64 /usr/lib64 /etc/ld.so.conf.d
/sbin/ldconfig 2>/dev/null || :
%transfiletriggerpostun -P 2000000 -- /lib /usr/lib
/sbin/ldconfig 2>/dev/null || :
";

/// What an RPM is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    /// A renamed package has no epoch and the authors' version: `zlib-devel = 1:1.2.13.dfsg` would be enough for a package that wants any
    /// version, and `1.3.dfsg` be newer than `1.3`.
    pub evr: Evr,
    /// Its architecture, `noarch` included.
    pub arch: String,
}

impl Identity {
    /// Of a package of Debian's.
    pub fn of(control: &Control, row: &Row, arch: &str) -> Result<Self> {
        let mut evr = Evr::of_debian(control.must("Version")?);
        if row.renamed.is_some() {
            evr.epoch = None;
            evr.version = deps::upstream(&evr.version).to_owned();
        }
        let name = row.renamed.unwrap_or(control.must("Package")?).to_owned();
        Ok(Self {
            name,
            evr,
            arch: if control.is_noarch() { "noarch" } else { arch }.to_owned(),
        })
    }

    /// `zlib-1.2.13.dfsg-1.x86_64.rpm`.
    pub fn file_name(&self) -> String {
        format!(
            "{}-{}-{}.{}.rpm",
            self.name, self.evr.version, self.evr.release, self.arch
        )
    }
}

/// What lies in a package's tree.
#[derive(Debug, Default)]
pub struct Contents {
    pub files: Vec<String>,
    /// Perl modules, as rpm provides them.
    pub perl: Vec<String>,
}

/// The spec of a package of Debian's.
pub fn of_debian(
    control: &Control,
    identity: &Identity,
    tables: &Tables,
    contents: &Contents,
) -> Result<String> {
    let debian = control.must("Package")?;
    let row = tables.of(debian);
    let elf = !control.is_noarch() && !debian.ends_with("-dev");
    let source = source(control, identity);
    let mut tags = header(identity, &source, summary(control), elf);
    let perl = contents.perl.iter().cloned();
    tags.extend(
        provided(control, identity, &row)?
            .into_iter()
            .chain(perl)
            .map(|what| format!("Provides: {what}")),
    );
    let drop = |name: &str| tables.ignores(name) || elf && deps::is_library(name);
    let required = [control.field("Pre-Depends"), control.field("Depends")]
        .into_iter()
        .flat_map(|field| deps::requires(field, drop));
    let besides = ["filesystem"]
        .into_iter()
        .chain(row.requires)
        .map(str::to_owned);
    tags.extend(
        besides
            .chain(required)
            .map(|what| format!("Requires: {what}")),
    );
    // Breaks and Conflicts are left out: the packages of one suite go together.
    let trigger = if debian == "libc-bin" { LDCONFIG } else { "" };
    Ok(assembled(
        &named(identity, &source),
        &tags,
        &format!(
            "Debian's package {debian} {} as an RPM.",
            control.must("Version")?
        ),
        trigger,
        &contents.files,
    ))
}

/// The spec of a package of our own.
pub fn of_own(identity: &Identity, tags: &[String], files: &[String]) -> String {
    let mut all = header(
        identity,
        &identity.name,
        "Part of the seed distribution",
        false,
    );
    all.extend_from_slice(tags);
    all.push("AutoProv: no".to_owned());
    assembled("", &all, "Part of the seed distribution.", "", files)
}

fn summary(control: &Control) -> &str {
    control
        .field("Description")
        .lines()
        .next()
        .filter(|line| !line.is_empty())
        .unwrap_or("No summary")
}

/// The name of the source package: what the line lets a package release that is built from it.
fn source(control: &Control, identity: &Identity) -> String {
    let debian = control.field("Package");
    let source = control
        .field("Source")
        .split(' ')
        .next()
        .filter(|source| !source.is_empty() && *source != debian);
    source.unwrap_or(&identity.name).to_owned()
}

/// How the sections of a spec name its package, if that is not the source package's own.
fn named(identity: &Identity, source: &str) -> String {
    if identity.name == source {
        String::new()
    } else {
        format!(" -n {}", identity.name)
    }
}

fn header(identity: &Identity, source: &str, summary: &str, elf: bool) -> Vec<String> {
    let Identity { name, evr, arch } = identity;
    let mut tags = vec![
        format!("Name: {source}"),
        format!("Version: {}", evr.version),
        format!("Release: {}", evr.release),
    ];
    tags.extend(evr.epoch.as_ref().map(|epoch| format!("Epoch: {epoch}")));
    tags.push(format!("Summary: {}", summary.replace('%', "%%")));
    tags.extend(
        [
            "License: see the package's copyright file in Debian",
            "Vendor: Millrace seed",
        ]
        .map(str::to_owned),
    );
    tags.extend((arch == "noarch").then(|| "BuildArch: noarch".to_owned()));
    if name != source {
        tags.push(format!(
            "%description\nWhat {name} comes from.\n%package -n {name}\nSummary: {}",
            summary.replace('%', "%%")
        ));
    }
    tags.push(format!("AutoReq: {}", if elf { "yes" } else { "no" }));
    tags
}

fn provided(control: &Control, identity: &Identity, row: &Row) -> Result<Vec<String>> {
    let version = &identity.evr.version;
    let release = &identity.evr.release;
    let mut all = Vec::new();
    if row.renamed.is_some() {
        all.push(format!(
            "{} = {}",
            control.must("Package")?,
            Evr::of_debian(control.must("Version")?).text()
        ));
    }
    for what in row.provides.iter().filter(|what| **what != identity.name) {
        let versioned = !what.starts_with('/') && !what.ends_with(')');
        all.push(if versioned {
            format!("{what} = {version}-{release}")
        } else {
            (*what).to_owned()
        });
    }
    all.extend(deps::provides(control.field("Provides")));
    Ok(all)
}

fn assembled(
    named: &str,
    tags: &[String],
    description: &str,
    triggers: &str,
    files: &[String],
) -> String {
    let description = description.replace('%', "%%");
    // An ordinary user cannot unpack files that are somebody else's: whatever such a user makes is root's, not that user's.
    let owner = if is_root() {
        ""
    } else {
        "%defattr(-,root,root,-)\n"
    };
    let tags = tags.join("\n");
    let files = files.join("\n");
    let triggers = triggers.replace(
        "%transfiletriggerin ",
        &format!("%transfiletriggerin{named} "),
    );
    let triggers = triggers.replace(
        "%transfiletriggerpostun ",
        &format!("%transfiletriggerpostun{named} "),
    );
    format!(
        "{PREAMBLE}{tags}\n%description{named}\n{description}\n{INSTALL}{triggers}%files{named}\n{owner}{files}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZLIB: &str = "Package: zlib1g\nVersion: 1:1.2.13.dfsg-1\nArchitecture: amd64\nProvides: libz1\nDepends: libc6 (>= 2.14), debconf\n\
                        Description: compression library - 100% runtime\n zlib is a library.\n";

    fn spec(text: &str) -> String {
        let control = Control::parse(text);
        let tables = Tables::read();
        let identity =
            Identity::of(&control, &tables.of(control.field("Package")), "x86_64").unwrap();
        let contents = Contents {
            files: vec!["/usr/lib/libz.so.1".to_owned()],
            perl: Vec::new(),
        };
        of_debian(&control, &identity, &tables, &contents).unwrap()
    }

    #[test]
    fn a_renamed_package_loses_its_epoch_and_keeps_its_old_name() {
        let text = spec(ZLIB);
        let tags = text
            .strip_prefix(PREAMBLE)
            .and_then(|rest| rest.split("%description").next())
            .unwrap();
        assert_eq!(
            tags,
            "Name: zlib\nVersion: 1.2.13\nRelease: 1\nSummary: compression library - 100%% runtime\n\
             License: see the package's copyright file in Debian\nVendor: Millrace seed\nAutoReq: yes\n\
             Provides: zlib1g = 1:1.2.13.dfsg-1\nProvides: libz1\nRequires: filesystem\n"
        );
    }

    #[test]
    fn headers_say_which_library_they_are_for() {
        let text = spec(
            "Package: zlib1g-dev\nVersion: 1:1.2.13-1\nArchitecture: amd64\nDepends: zlib1g (= 1:1.2.13-1)\nDescription: x\n",
        );
        assert!(
            text.contains("AutoReq: no\n") && text.contains("Requires: zlib1g = 1:1.2.13-1\n"),
            "{text}"
        );
        assert!(
            text.contains("Provides: zlib-static = 1.2.13-1\n"),
            "{text}"
        );
    }

    #[test]
    fn a_package_says_which_source_package_it_comes_from() {
        let text = spec(
            "Package: zlib1g-dev\nSource: zlib (1:1.2.13)\nVersion: 1:1.2.13-1\nArchitecture: amd64\nDescription: x\n",
        );
        assert!(
            text.contains("\nName: zlib\n") || text.contains("Name: zlib\n"),
            "{text}"
        );
        for section in ["%package", "%description", "%files"] {
            assert!(
                text.contains(&format!("{section} -n zlib-devel\n")),
                "{text}"
            );
        }
        let plain = spec("Package: pigz\nVersion: 2.6-1\nArchitecture: amd64\nDescription: x\n");
        assert!(
            plain.contains("Name: pigz\n") && !plain.contains("%package"),
            "{plain}"
        );
    }

    #[test]
    fn only_the_c_library_runs_ldconfig() {
        assert!(!spec(ZLIB).contains("ldconfig"));
        assert!(
            spec("Package: libc-bin\nVersion: 2.36-9\nArchitecture: amd64\n")
                .contains("%transfiletriggerin")
        );
    }

    #[test]
    fn a_package_for_every_architecture_is_noarch() {
        let control = Control::parse("Package: autoconf\nVersion: 2.71-3\nArchitecture: all\n");
        let identity = Identity::of(&control, &Row::default(), "s390x").unwrap();
        assert_eq!(identity.file_name(), "autoconf-2.71-3.noarch.rpm");
    }
}

//! Whether a package may release what its header claims, from what is known of each name.

use super::claim::Claim;
use super::facts::PackageFacts;
use super::name::{OwnedName, ReleaseTarget};
use crate::PackageName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most refused names that one text tells of; the rest are counted.
const TOLD_MAX: usize = 5;

/// What a package does with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    Ships,
    Obsoletes,
    Provides,
}

impl Usage {
    const fn verb(self) -> &'static str {
        match self {
            Self::Ships => "has",
            Self::Obsoletes => "obsoletes",
            Self::Provides => "provides",
        }
    }
}

/// Who would release something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub package: PackageName,
    /// The name of its source package.
    pub source_name: String,
}

/// What is known of a name on a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// What the line has of it.
    pub claim: Option<Claim>,
    /// The source packages that the platform's repositories have it from.
    pub sources: BTreeSet<String>,
}

/// Somebody else, who has a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Another package of the line.
    Package(PackageName),
    /// A package of the platform's repositories, by its source package.
    Distribution(String),
    /// Nobody: but a package releases the source name alone that it is registered for, which is this one.
    Unregistered(String),
}

/// A name that a package may not use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignName {
    /// The package that uses it.
    pub nevra: String,
    pub usage: Usage,
    pub name: OwnedName,
    pub owner: Owner,
}

/// What became of the names of some packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    /// Names that nobody has yet, and that become the package's own.
    pub to_claim: BTreeSet<OwnedName>,
    /// What may not be released.
    pub foreign: BTreeSet<ForeignName>,
    /// What packages of several sources provide: libraries that are bundled, mostly.
    pub shared: BTreeSet<ForeignName>,
}

/// Decides about all names of some packages. `known` has what is known of each name; of one that it does not have, nothing is.
pub fn judge(
    holder: &Holder,
    packages: &[PackageFacts],
    known: &BTreeMap<OwnedName, Standing>,
) -> Judged {
    let nothing = Standing::default();
    let mut judged = Judged::default();
    for package in packages {
        let uses = [
            (Usage::Ships, &package.ships),
            (Usage::Obsoletes, &package.obsoletes),
            (Usage::Provides, &package.provides),
        ];
        for (usage, names) in uses {
            for name in names {
                let standing = known.get(name).unwrap_or(&nothing);
                match foreign_owner(holder, name, standing) {
                    Some(owner) => judged.foreign.insert(foreign(package, usage, name, owner)),
                    None => usage == Usage::Ships && judged.claim(holder, name, standing),
                };
            }
        }
        for name in &package.capabilities {
            let standing = known.get(name).unwrap_or(&nothing);
            match foreign_owner(holder, name, standing) {
                Some(owner) => judged
                    .shared
                    .insert(foreign(package, Usage::Provides, name, owner)),
                None => judged.claim(holder, name, standing),
            };
        }
    }
    judged
}

fn foreign(package: &PackageFacts, usage: Usage, name: &OwnedName, owner: Owner) -> ForeignName {
    ForeignName {
        nevra: package.nevra.clone(),
        usage,
        name: name.clone(),
        owner,
    }
}

/// Whose a name is, if the holder may not use it.
fn foreign_owner(holder: &Holder, name: &OwnedName, standing: &Standing) -> Option<Owner> {
    let claim = standing.claim.as_ref();
    if claim.is_some_and(|claim| claim.admits(&holder.package)) {
        return None;
    }
    if let Some(owned) = claim.and_then(|claim| claim.owner.as_ref()) {
        return Some(Owner::Package(owned.package.clone()));
    }
    match name {
        OwnedName::Source(source) => {
            (*source != holder.source_name).then(|| Owner::Unregistered(holder.source_name.clone()))
        }
        OwnedName::Package(_) | OwnedName::Path(_) | OwnedName::Capability(_) => {
            let other = standing.sources.iter().next()?;
            let is_own = standing.sources.contains(&holder.source_name);
            (!is_own).then(|| Owner::Distribution(other.clone()))
        }
    }
}

impl Judged {
    /// Notes a name that becomes the holder's. One that was granted stays whose it is, or nobody's.
    fn claim(&mut self, holder: &Holder, name: &OwnedName, standing: &Standing) -> bool {
        let is_settled = standing
            .claim
            .as_ref()
            .is_some_and(|claim| claim.admits(&holder.package));
        !is_settled && self.to_claim.insert(name.clone())
    }

    /// Why nothing of this is released, for the package's author, with what an operator may do; none if it may be.
    pub fn refusal(&self, holder: &Holder, target: &ReleaseTarget) -> Option<String> {
        if self.foreign.is_empty() {
            return None;
        }
        let told = self.foreign.iter().take(TOLD_MAX);
        let mut lines: Vec<String> = told.map(|name| name.words(holder, target)).collect();
        let left = self.foreign.len() - lines.len();
        if left > 0 {
            lines.push(format!("and {left} more names of others"));
        }
        Some(lines.join("\n"))
    }
}

impl ForeignName {
    /// What is wrong, and what helps.
    pub fn words(&self, holder: &Holder, target: &ReleaseTarget) -> String {
        let (package, platform) = (&holder.package, &target.platform);
        let grant = format!(
            "an operator grants it with `millrace package grant {package} '{}' --platform {platform}`, and `millrace retry` signs this build then",
            self.name
        );
        match &self.owner {
            Owner::Unregistered(own) => format!(
                "{}: package {package} is registered for the source package name `{own}`: correct Name in the spec, or {grant}",
                self
            ),
            Owner::Package(_) | Owner::Distribution(_) => {
                format!("{self}: use another name, or {grant}")
            }
        }
    }
}

impl fmt::Display for ForeignName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.described();
        write!(f, "{} {} {name}", self.nevra, self.usage.verb())?;
        match &self.owner {
            Owner::Package(package) => write!(f, ", which belongs to package {package}"),
            Owner::Distribution(source) => write!(
                f,
                ", which the platform's repositories have from the source package {source}"
            ),
            Owner::Unregistered(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Actor;
    use crate::ownership::Grant;
    use crate::{BuildId, PushId, Timestamp};

    fn target() -> ReleaseTarget {
        ReleaseTarget::of_platform(&"el-9".parse().unwrap())
    }

    fn holder(package: &str) -> Holder {
        Holder {
            package: package.parse().unwrap(),
            source_name: package.to_owned(),
        }
    }

    fn name(text: &str) -> OwnedName {
        text.parse().unwrap()
    }

    fn names(texts: &[&str]) -> BTreeSet<OwnedName> {
        texts.iter().map(|text| name(text)).collect()
    }

    /// A package of this source package, with more besides.
    fn package(source: &str, ships: &[&str]) -> PackageFacts {
        PackageFacts {
            nevra: format!("{source}-1-1.x86_64"),
            ships: names(&[&[&format!("source:{source}")[..], source], ships].concat()),
            ..PackageFacts::default()
        }
    }

    fn owned(text: &str, package: &str) -> (OwnedName, Standing) {
        let mut claim = Claim::free(target(), name(text));
        let push = PushId::new("push").unwrap();
        let build = BuildId::of_push(&push, &target().platform);
        assert!(claim.take(&package.parse().unwrap(), &build, Timestamp(1)));
        let claim = Some(claim);
        let standing = Standing {
            claim,
            ..Standing::default()
        };
        (name(text), standing)
    }

    fn distributed(text: &str, source: &str) -> (OwnedName, Standing) {
        let sources = BTreeSet::from([source.to_owned()]);
        (
            name(text),
            Standing {
                claim: None,
                sources,
            },
        )
    }

    fn refusal(
        holder: &Holder,
        package: PackageFacts,
        known: &[(OwnedName, Standing)],
    ) -> Option<String> {
        let known = known.iter().cloned().collect();
        judge(holder, &[package], &known).refusal(holder, &target())
    }

    #[test]
    fn a_package_takes_the_names_that_nobody_has() {
        let hello = holder("hello");
        let judged = judge(
            &hello,
            &[package("hello", &["/usr/bin/hello"])],
            &BTreeMap::new(),
        );
        assert_eq!(
            judged.to_claim,
            names(&["source:hello", "hello", "/usr/bin/hello"])
        );
        assert_eq!(judged.refusal(&hello, &target()), None);
    }

    #[test]
    fn what_is_its_own_is_not_claimed_again() {
        let known = [owned("source:hello", "hello"), owned("hello", "hello")].into();
        let judged = judge(&holder("hello"), &[package("hello", &[])], &known);
        assert_eq!(judged, Judged::default());
    }

    #[test]
    fn another_packages_name_is_refused_and_says_whose_it_is_and_what_helps() {
        let refused = refusal(
            &holder("trojan"),
            package("trojan", &["patch"]),
            &[owned("patch", "patch")],
        );
        assert_eq!(
            refused.unwrap(),
            "trojan-1-1.x86_64 has the package name `patch`, which belongs to package patch: use another name, or an operator grants it \
             with `millrace package grant trojan 'patch' --platform el-9`, and `millrace retry` signs this build then"
        );
    }

    #[test]
    fn another_packages_file_is_refused_where_it_is_shipped_or_provided() {
        let known = [owned("/usr/bin/patch", "patch")];
        let shipped = refusal(
            &holder("trojan"),
            package("trojan", &["/bin/patch"]),
            &known,
        );
        assert!(shipped.unwrap().contains("has the file /usr/bin/patch"));
        let provides = names(&["/bin/patch"]);
        let provided = PackageFacts {
            provides,
            ..package("trojan", &[])
        };
        let provided = refusal(&holder("trojan"), provided, &known);
        assert!(
            provided
                .unwrap()
                .contains("provides the file /usr/bin/patch")
        );
    }

    #[test]
    fn who_obsoletes_or_provides_another_package_is_refused() {
        let known = [owned("pigz", "pigz"), distributed("gcc", "gcc")];
        let obsoletes = names(&["pigz"]);
        let obsoletes = PackageFacts {
            obsoletes,
            ..package("hello", &[])
        };
        let refused = refusal(&holder("hello"), obsoletes, &known).unwrap();
        assert!(
            refused.contains("obsoletes the package name `pigz`, which belongs to package pigz")
        );
        let provides = names(&["gcc"]);
        let provides = PackageFacts {
            provides,
            ..package("hello", &[])
        };
        let refused = refusal(&holder("hello"), provides, &known).unwrap();
        assert!(
            refused.contains("which the platform's repositories have from the source package gcc")
        );
    }

    #[test]
    fn who_obsoletes_what_nobody_has_may() {
        let obsoletes = names(&["hello-classic"]);
        let package = PackageFacts {
            obsoletes,
            ..package("hello", &[])
        };
        let judged = judge(&holder("hello"), &[package], &BTreeMap::new());
        assert_eq!(judged.refusal(&holder("hello"), &target()), None);
        assert_eq!(
            judged.to_claim,
            names(&["hello", "source:hello"]),
            "and does not get it"
        );
    }

    #[test]
    fn a_distributions_package_is_rebuilt_from_its_own_source_alone() {
        let known = [distributed("zlib-devel", "zlib")];
        let own = refusal(&holder("zlib"), package("zlib", &["zlib-devel"]), &known);
        assert_eq!(own, None);
        assert!(refusal(&holder("evil"), package("evil", &["zlib-devel"]), &known).is_some());
    }

    #[test]
    fn a_package_releases_the_source_name_that_it_is_registered_for() {
        let refused = refusal(&holder("field-beta"), package("field-alpha", &[]), &[]).unwrap();
        assert!(
            refused.contains(
                "package field-beta is registered for the source package name `field-beta`"
            )
        );
        let known = [
            owned("source:field-alpha", "field-alpha"),
            owned("field-alpha", "field-alpha"),
        ];
        let refused = refusal(&holder("field-beta"), package("field-alpha", &[]), &known).unwrap();
        assert!(refused.contains(
            "has the source package name `field-alpha`, which belongs to package field-alpha"
        ));
        let registered = Holder {
            source_name: "field-alpha".to_owned(),
            ..holder("field-beta")
        };
        assert_eq!(refusal(&registered, package("field-alpha", &[]), &[]), None);
    }

    #[test]
    fn a_grant_admits_one_package_and_leaves_the_name_where_it_is() {
        let (patch, mut standing) = owned("patch", "patch");
        let grant = Grant {
            by: Actor::Local("op".to_owned()),
            at: Timestamp(2),
        };
        let claim = standing.claim.as_mut().unwrap();
        claim.grants.insert("trojan".parse().unwrap(), grant);
        let known = [(patch, standing)];
        assert_eq!(
            refusal(&holder("trojan"), package("trojan", &["patch"]), &known),
            None
        );
        assert!(refusal(&holder("other"), package("other", &["patch"]), &known).is_some());
        let judged = judge(
            &holder("trojan"),
            &[package("trojan", &["patch"])],
            &known.into(),
        );
        assert_eq!(judged.to_claim, names(&["trojan", "source:trojan"]));
    }

    #[test]
    fn a_library_that_several_packages_bundle_is_told_and_not_refused() {
        let capabilities = names(&["capability:libz.so.1"]);
        let package = PackageFacts {
            capabilities,
            ..package("chromium", &[])
        };
        let known = [owned("capability:libz.so.1", "zlib")].into();
        let judged = judge(&holder("chromium"), &[package], &known);
        assert_eq!(judged.refusal(&holder("chromium"), &target()), None);
        let shared: Vec<String> = judged.shared.iter().map(ToString::to_string).collect();
        assert_eq!(
            shared,
            ["chromium-1-1.x86_64 provides `libz.so.1`, which belongs to package zlib"]
        );
    }

    #[test]
    fn a_thousand_foreign_names_make_a_short_text() {
        let paths: Vec<String> = (0..1000)
            .map(|n| format!("/usr/share/victim/{n:04}"))
            .collect();
        let known: Vec<_> = paths.iter().map(|path| owned(path, "victim")).collect();
        let ships: Vec<&str> = paths.iter().map(String::as_str).collect();
        let refused = refusal(&holder("trojan"), package("trojan", &ships), &known).unwrap();
        assert_eq!(refused.lines().count(), 6);
        assert!(refused.ends_with("and 995 more names of others"));
    }
}

//! The keys that a platform file and a `millrace.toml` may have, so that a misspelt one is reported with its line.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// A table with these keys, each there or not, with any value, or with a table of keys of its own.
macro_rules! table {
    ($name:ident { $($key:ident $(: $of:ty)?),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "what is read here is only whether it can be read")]
        pub(super) struct $name {
            $(#[serde(default)] $key: Option<table!(@of $($of)?)>,)*
        }
    };
    (@of) => { IgnoredAny };
    (@of $of:ty) => { $of };
}

table!(Platform {
    name, title, architectures, multilib, noarch_from, branches, releasever, module_platform, key, macros: BTreeMap<String, IgnoredAny>,
    repositories: Vec<Repository>, buildroot: Buildroot, limits: Limits, steps: Vec<Step>,
});
table!(Repository {
    id,
    baseurl,
    mirrorlist,
    gpgkey,
    priority
});
table!(Buildroot { packages, minimal, provider, archives: Vec<Archive>, image, config });
table!(Archive { arch, url, digest });
table!(Limits {
    memory_bytes,
    disk_bytes,
    processes,
    time_s,
    silence_s,
    log_bytes
});
table!(Requires {
    memory_bytes,
    disk_bytes,
    features
});
table!(Step {
    name, plugin, on, needs, releases, network, disk_order, config: BTreeMap<String, IgnoredAny>, package_may_set, limits: Limits, requires: Requires,
});
table!(PackageConfig { spec, platforms, disk_order, steps: Vec<Step>, config: BTreeMap<String, IgnoredAny> });

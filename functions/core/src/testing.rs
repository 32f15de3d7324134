//! A platform and a push for tests, once. A test says what is special in its own: `Push { config, ..push("zlib", 1) }`.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

use crate::platform::Platform;
use crate::push::{Announced, BuildOptions, Commit, Push};
use crate::sources::SourceFile;
use crate::{Digest, PluginName, PushId, Timestamp};
use std::collections::BTreeMap;

/// The platform `el-9` with the default steps, on architectures as its file has them: `"x86_64", "aarch64"`.
pub fn platform(architectures: &str) -> Platform {
    let text = format!(
        r#"
name = "el-9"
architectures = [{architectures}]
releasever = "9"
key = "default"
macros = {{ dist = ".el9" }}
repositories = [{{ id = "baseos", baseurl = "http://localhost/baseos" }}]
buildroot = {{ packages = ["@build"], minimal = ["bash"] }}
steps = [
    {{ name = "source", plugin = "source", on = "once", releases = true }},
    {{ name = "rpm", plugin = "rpm", on = "build-arch", needs = ["source"], releases = true }},
    {{ name = "check", plugin = "check", on = "each-arch", needs = ["rpm"], package_may_set = ["tests"] }},
]
"#
    );
    Platform::parse("el-9.toml", &text).unwrap()
}

/// The plugins that a line has, by their digests: those of the default steps, and `lint`.
pub fn plugins() -> BTreeMap<PluginName, Digest> {
    ["source", "rpm", "check", "lint"]
        .map(|name| (name.parse().unwrap(), Digest::of(name.as_bytes())))
        .into()
}

/// A push to `main` of a package, as a forge announces it. Another number is another push.
pub fn announced(package: &str, number: u64) -> Announced {
    Announced {
        id: PushId::of_delivery("gitea", &number.to_string()),
        package: package.parse().unwrap(),
        clone_url: format!("http://forge/rpms/{package}.git"),
        reference: "refs/heads/main".to_owned(),
        commit: Commit::new(&format!("{number:040x}")).unwrap(),
        pusher: "dana".to_owned(),
        received: Timestamp(1_000),
        options: BuildOptions::default(),
    }
}

/// The same once it is fetched, with one source besides its tree.
pub fn push(package: &str, number: u64) -> Push {
    Push {
        announced: announced(package, number),
        committed_s: 1_700_000_000,
        subject: "Update".to_owned(),
        tree: Digest::of(package.as_bytes()),
        tree_bytes: 10_240,
        spec: format!("{package}.spec"),
        sources: vec![SourceFile {
            path: format!("{package}-1.tar.xz"),
            digest: Digest::of(b"tarball"),
            size: 9,
        }],
        config: String::new(),
    }
}

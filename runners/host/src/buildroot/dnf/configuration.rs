//! dnf's configuration and keys (dnf.conf(5)): written again for each root into a folder that nothing in a sandbox can write to.

use super::super::error::RootError;
use super::super::fingerprints::Fingerprints;
use super::super::recipe::Recipe;
use super::super::repository_cache::RepositoryCache;
use millrace_core::platform::{RELEASED_REPOSITORY, Repository};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where dnf and rpm of this machine keep a root's database. Distributions differ, and so does the machine's own rpm.
pub(super) const DATABASE: &str = "/var/lib/rpm";

/// Where a root sees metadata and packages while dnf works on it: in a file system that is new with every command, so that nothing of it
/// stays in the root.
pub(super) const CACHE: &str = "/dev/dnf";

/// How long the platform's metadata is good for dnf, in seconds, while a task changes its own root. Layers are made from what it is now.
const METADATA_S: u32 = 600;

/// Where dnf writes its log, as the root sees it: a file system in memory that is new with every command.
const LOG: &str = "/dev/shm";

/// What rpm of this machine may do beside a transaction, as far as there are plugins for it (`/usr/lib/rpm/macros.d`). All of it is for
/// the machine, not for a root, and a sandbox lets none of it happen, whereupon scriptlets fail.
const RPM_PLUGINS: [&str; 10] = [
    "audit",
    "dbus_announce",
    "fapolicyd",
    "fsverity",
    "ima",
    "prioreset",
    "selinux",
    "syslog",
    "systemd_inhibit",
    "unshare",
];

/// Variables that name a proxy (curl(1)), in lower case; curl reads them in upper case too.
const PROXY: [&str; 3] = ["http_proxy", "https_proxy", "no_proxy"];

/// Writes all that dnf reads; the files with keys, by repository.
pub(super) fn write(
    folder: &Path,
    repositories: &RepositoryCache,
    recipe: &Recipe,
    now: &Fingerprints,
) -> Result<BTreeMap<String, PathBuf>, RootError> {
    let mut keys = BTreeMap::new();
    // Mounts are not the packages' business, and rpm must find its database where dnf left it.
    let mut macros =
        format!("%_dbpath {DATABASE}\n%_db_backend sqlite\n%_netsharedpath /proc:/sys:/dev\n");
    for plugin in RPM_PLUGINS {
        let _ = writeln!(macros, "%__transaction_{plugin} %{{nil}}");
    }
    write_new(&folder.join(".rpmmacros"), macros.as_bytes())?;
    // dnf 4 reads `cachedir`, dnf 5 as root `system_cachedir`; both put the root's path before it.
    let mut text = format!(
        "[main]\ncachedir={CACHE}\nsystem_cachedir={CACHE}\nlogdir={LOG}\nkeepcache=1\nplugins=0\nreposdir=/dev/null\nvarsdir=/dev/null\n\
         pluginconfpath=/dev/null\ninstall_weak_deps=0\ntsflags=nodocs\nbest=1\nskip_if_unavailable=0\nprotected_packages=\n\
         history_record=1\n"
    );
    if let Some(platform) = &recipe.module_platform {
        let _ = writeln!(text, "module_platform_id={platform}");
    }
    for (number, repository) in recipe.repositories.iter().enumerate() {
        let key = match &repository.gpgkey {
            Some(url) => {
                let file = folder.join(format!("key-{number}"));
                write_new(
                    &file,
                    &repositories.key(&recipe.filled(url), &repository.id)?,
                )?;
                keys.insert(repository.id.clone(), file.clone());
                Some(file)
            }
            None => None,
        };
        text.push_str(&section(recipe, repository, now, key));
    }
    write_new(&folder.join("dnf.conf"), text.as_bytes())?;
    Ok(keys)
}

fn section(
    recipe: &Recipe,
    repository: &Repository,
    now: &Fingerprints,
    key: Option<PathBuf>,
) -> String {
    let id = &repository.id;
    let own = repository.id == RELEASED_REPOSITORY;
    let mut text = format!(
        "\n[{id}]\nname={id}\nenabled=1\npriority={}\n",
        repository.priority
    );
    // The mirror whose metadata was looked at comes first; a package that it lacks may come from the next.
    let own_url = repository
        .baseurl
        .iter()
        .map(|url| recipe.filled(url))
        .collect();
    let bases: &Vec<String> = now.bases.get(id).unwrap_or(&own_url);
    let _ = writeln!(text, "baseurl={}", bases.join(" "));
    let _ = writeln!(text, "metadata_expire={}", if own { 1 } else { METADATA_S });
    let _ = match key {
        // The metadata of what the line released is signed; distributions sign packages only.
        Some(file) => writeln!(
            text,
            "gpgcheck=1\nrepo_gpgcheck={}\ngpgkey=file://{}",
            u8::from(own),
            file.display()
        ),
        None => writeln!(text, "gpgcheck=0"),
    };
    text
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    File::options()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?
        .write_all(bytes)
}

/// The variables that dnf needs to find a way out, of these.
pub(super) fn proxies(all: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    all.filter(|(name, _)| {
        PROXY
            .iter()
            .any(|known| name == known || *name == known.to_uppercase())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_handed_on_and_nothing_else() {
        let all = [
            "http_proxy",
            "HTTPS_PROXY",
            "no_proxy",
            "AWS_SECRET_ACCESS_KEY",
            "MY_HTTP_PROXY",
            "Http_Proxy",
        ];
        let found = proxies(all.iter().map(|name| ((*name).to_owned(), "x".to_owned())));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["http_proxy", "HTTPS_PROXY", "no_proxy"]);
    }

    #[test]
    fn a_file_that_is_there_already_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("key-0"))
            .unwrap();
        assert!(write_new(&folder.path().join("key-0"), b"x").is_err());
        assert_eq!(
            std::fs::read_to_string(folder.path().join("secret")).unwrap(),
            "secret"
        );
    }
}

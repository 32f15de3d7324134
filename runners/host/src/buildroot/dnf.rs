//! dnf and rpm of this machine, working on a root from outside (dnf(8), dnf.conf(5)).

use super::recipe::{Recipe, TEXT_BYTES_MAX, fetch};
use super::store::Store;
use super::{Installed, RootError, Session};
use crate::sandbox::{Command, Ended, Overlay, Sandbox, View};
use millrace_core::Digest;
use millrace_core::platform::RELEASED_REPOSITORY;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where rpm keeps its database in a root. Distributions differ, and so does the machine's own rpm.
const DATABASE: &str = "/var/lib/rpm";

/// Output of dnf that is kept to be read, in bytes.
const SAID_BYTES_MAX: usize = 4 << 20;

/// How long the platform's metadata is good for dnf, in seconds. What was asked for anew is decided by fingerprints.
const METADATA_S: u32 = 600;

/// Set up for one task.
#[derive(Debug)]
pub(super) struct Dnf {
    /// Configuration, home and mount point: a folder beside the task's.
    own: PathBuf,
    /// Metadata and packages, shared by all tasks.
    cache: PathBuf,
    /// Repositories that are folders of this machine.
    local: Vec<PathBuf>,
    common: Vec<String>,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It was made.
    Changed,
    /// All was as it should be already.
    Nothing,
}

impl Dnf {
    pub(super) fn new(store: &Store, recipe: &Recipe, work: &Path) -> Result<Self, RootError> {
        let own = work.parent().unwrap_or(work).join(".dnf");
        let cache = store.folder().join("dnf");
        for folder in [&cache, &own.join("root")] {
            fs::create_dir_all(folder)?;
        }
        // Mounts are not the packages' business, and rpm must find its database where dnf left it.
        fs::write(own.join(".rpmmacros"), format!("%_dbpath {DATABASE}\n%_db_backend sqlite\n%_netsharedpath /proc:/sys:/dev\n"))?;
        fs::write(own.join("dnf.conf"), configuration(recipe, &cache)?)?;
        let options = [
            ("--config", own.join("dnf.conf").display().to_string()),
            ("--installroot", own.join("root").display().to_string()),
            ("--releasever", recipe.releasever.clone()),
            ("--forcearch", recipe.arch.to_string()),
            ("--disableplugin", "*".to_owned()),
        ];
        let common = options.into_iter().map(|(name, value)| format!("{name}={value}")).chain(["--assumeyes".to_owned()]).collect();
        Ok(Self { own, cache, local: local(recipe), common })
    }

    /// Lets dnf change a root: resolve and download first, and then install without the network.
    pub(super) fn change(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        arguments: &[&str],
        session: &mut Session<'_>,
    ) -> Result<Said, RootError> {
        let plugin = (arguments[0] == "builddep").then(|| "--enableplugin=builddep".to_owned());
        let line = |more: &[&str]| {
            let mut argv = vec!["dnf".to_owned()];
            argv.extend(self.common.iter().cloned());
            argv.extend(plugin.clone());
            argv.extend(more.iter().map(|text| (*text).to_owned()));
            argv.extend(arguments.iter().map(|text| (*text).to_owned()));
            argv
        };
        let (status, said) = self.run(sandbox, overlay, line(&["--downloadonly"]), true, session)?;
        if status != 0 {
            return Err(why(&said));
        }
        if said.contains("Nothing to do.") {
            return Ok(Said::Nothing);
        }
        match self.run(sandbox, overlay, line(&["--cacheonly"]), false, session)? {
            (0, _) => Ok(Said::Changed),
            (_, said) => Err(RootError::Transaction(last_words(&said))),
        }
    }

    /// Whether rpm alone could install these files: it can where nothing more is needed.
    pub(super) fn rpm_installs(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        files: &[String],
        session: &mut Session<'_>,
    ) -> Result<bool, RootError> {
        let argv = self.rpm(&["--upgrade", "--excludedocs"]).into_iter().chain(files.iter().cloned()).collect();
        Ok(self.run_quietly(sandbox, overlay, argv, session)?.0 == 0)
    }

    /// Removes packages by name, and what needs them.
    pub(super) fn remove(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        names: &[String],
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let argv = self.rpm(&["--erase"]).into_iter().chain(names.iter().cloned()).collect();
        if self.run_quietly(sandbox, overlay, argv, session)?.0 == 0 {
            return Ok(());
        }
        let mut argv = vec!["dnf".to_owned()];
        argv.extend(self.common.iter().cloned());
        argv.extend(["--cacheonly", "--setopt=clean_requirements_on_remove=0", "remove"].map(str::to_owned));
        argv.extend(names.iter().cloned());
        match self.run(sandbox, overlay, argv, false, session)? {
            (0, said) if !said.contains("No match for argument") => Ok(()),
            (_, said) => Err(RootError::Transaction(last_words(&said))),
        }
    }

    /// The names of what is in a root, as rpm alone tells them, a line each.
    pub(super) fn names(&self, sandbox: &Sandbox, overlay: &Overlay, session: &mut Session<'_>) -> Result<String, RootError> {
        match self.run_quietly(sandbox, overlay, self.rpm(&["--query", "--all", "--queryformat", "%{NAME}\\n"]), session)? {
            (0, said) => Ok(said),
            (_, said) => Err(RootError::Transaction(last_words(&said))),
        }
    }

    /// What is in a root.
    pub(super) fn installed(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        session: &mut Session<'_>,
    ) -> Result<Vec<Installed>, RootError> {
        let mut argv = vec!["dnf".to_owned()];
        argv.extend(self.common.iter().cloned());
        argv.extend(
            [
                "--cacheonly",
                "--quiet",
                "repoquery",
                "--installed",
                "--queryformat",
                "=%{name}\t%{epoch}\t%{version}-%{release}.%{arch}\t%{from_repo}\n",
            ]
            .map(str::to_owned),
        );
        let plugins = argv.iter().position(|argument| argument.starts_with("--disableplugin")).unwrap_or(0);
        argv.insert(plugins + 1, "--enableplugin=repoquery".to_owned());
        let (status, said) = self.run_quietly(sandbox, overlay, argv, session)?;
        if status != 0 {
            return Err(RootError::Transaction(last_words(&said)));
        }
        let mut all: Vec<Installed> = said.lines().filter_map(|line| installed(line.strip_prefix('=')?)).collect();
        all.sort();
        Ok(all)
    }

    /// The machine's rpm on the root. Signatures were dnf's to check; these files are the task's own.
    fn rpm(&self, arguments: &[&str]) -> Vec<String> {
        let root = self.own.join("root").display().to_string();
        ["rpm", "--root", &root, "--nosignature"].iter().chain(arguments).map(|text| (*text).to_owned()).collect()
    }

    fn run(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        argv: Vec<String>,
        network: bool,
        session: &mut Session<'_>,
    ) -> Result<(u8, String), RootError> {
        self.run_heard(sandbox, overlay, argv, network, true, session)
    }

    fn run_quietly(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        argv: Vec<String>,
        session: &mut Session<'_>,
    ) -> Result<(u8, String), RootError> {
        self.run_heard(sandbox, overlay, argv, false, false, session)
    }

    fn run_heard(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        argv: Vec<String>,
        network: bool,
        aloud: bool,
        session: &mut Session<'_>,
    ) -> Result<(u8, String), RootError> {
        let readable = self.local.iter().cloned().chain([session.work.to_owned()]).collect();
        let writable = vec![self.cache.clone(), self.own.clone()];
        let command = Command {
            view: View::Host { readable, writable, root: Some((overlay.clone(), self.own.join("root"))) },
            argv,
            env: vec![
                ("HOME".to_owned(), self.own.display().to_string()),
                ("TMPDIR".to_owned(), self.own.display().to_string()),
                ("COLUMNS".to_owned(), "200".to_owned()),
            ],
            cwd: self.own.display().to_string(),
            stdin: Vec::new(),
            timeout: session.time_left,
            as_root: true,
            limits: session.limits,
            work: session.work,
            capture_bytes_max: 0,
            network,
        };
        let mut said = Vec::new();
        let output = &mut session.output;
        let ended = sandbox.run(&command, session.cancelled, &mut |bytes: &[u8]| {
            if said.len() < SAID_BYTES_MAX {
                said.extend_from_slice(bytes);
            }
            if aloud {
                output(bytes);
            }
        })?;
        let said = String::from_utf8_lossy(&said).into_owned();
        match ended {
            Ended::Exited { status, .. } => Ok((status, said)),
            Ended::TimedOut | Ended::Cancelled => Err(RootError::Stopped),
            Ended::OutOfMemory => {
                Err(RootError::Transaction("installing packages needs more memory than the step may use".to_owned()))
            }
            Ended::OutOfSpace => {
                Err(RootError::Transaction("the packages do not fit into the disk that the step may use".to_owned()))
            }
            Ended::OutputLimit => {
                Err(RootError::Transaction("installing packages prints more than the step's log may have".to_owned()))
            }
        }
    }
}

/// Folders of this machine that are repositories.
fn local(recipe: &Recipe) -> Vec<PathBuf> {
    let urls = recipe.repositories.iter().filter_map(|repository| repository.baseurl.as_deref());
    urls.filter_map(|url| recipe.filled(url).strip_prefix("file://").map(PathBuf::from)).collect()
}

fn installed(line: &str) -> Option<Installed> {
    let mut fields = line.split('\t');
    let (name, epoch, vra, repository) = (fields.next()?, fields.next()?, fields.next()?, fields.next().unwrap_or_default());
    let epoch = if epoch == "0" { String::new() } else { format!("{epoch}:") };
    let nevra = format!("{name}-{epoch}{vra}");
    let repository = if repository.starts_with('@') { "" } else { repository };
    Some(Installed { nevra, name: name.to_owned(), repository: repository.to_owned() })
}

fn configuration(recipe: &Recipe, cache: &Path) -> Result<String, RootError> {
    let mut text = format!(
        "[main]\ncachedir={}\nkeepcache=1\nreposdir=/dev/null\nvarsdir=/dev/null\npluginconfpath=/dev/null\ninstall_weak_deps=0\n\
         tsflags=nodocs\nbest=1\nskip_if_unavailable=0\nprotected_packages=\nhistory_record=1\n",
        cache.join(recipe.arch.as_str()).display()
    );
    if let Some(platform) = &recipe.module_platform {
        let _ = writeln!(text, "module_platform_id={platform}");
    }
    for repository in &recipe.repositories {
        let id = &repository.id;
        let _ = write!(text, "\n[{id}]\nname={id}\nenabled=1\npriority={}\n", repository.priority);
        for (key, url) in [("baseurl", &repository.baseurl), ("mirrorlist", &repository.mirrorlist)] {
            if let Some(url) = url {
                let _ = writeln!(text, "{key}={}", recipe.filled(url));
            }
        }
        let own = id == RELEASED_REPOSITORY;
        let _ = writeln!(text, "metadata_expire={}", if own { 1 } else { METADATA_S });
        match &repository.gpgkey {
            // The metadata of what the line released is signed; distributions sign packages only.
            Some(key) => {
                let file = key_file(recipe, id, key, cache)?;
                let _ = writeln!(text, "gpgcheck=1\nrepo_gpgcheck={}\ngpgkey=file://{}", u8::from(own), file.display());
            }
            None => text.push_str("gpgcheck=0\n"),
        }
    }
    Ok(text)
}

/// A repository's key as a file of this machine: where packages are installed there is no network.
fn key_file(recipe: &Recipe, id: &str, url: &str, cache: &Path) -> Result<PathBuf, RootError> {
    let key = fetch(&recipe.filled(url), id, TEXT_BYTES_MAX)?;
    let file = cache.join(format!("key-{}", &Digest::of(&key).hex()[..16]));
    if !file.exists() {
        let new = file.with_extension(format!("new-{}", std::process::id()));
        fs::write(&new, key)?;
        match fs::rename(&new, &file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    Ok(file)
}

/// What a failure to resolve or download is due to, in dnf's own words without the noise.
fn why(said: &str) -> RootError {
    let passing = [
        "Failed to download metadata",
        "Curl error",
        "Cannot download",
        "Error downloading packages",
        "Cannot prepare internal mirrorlist",
        "repomd.xml GPG signature",
    ];
    if let Some(line) = said.lines().find(|line| passing.iter().any(|words| line.contains(words))) {
        return RootError::Repository(line.trim().to_owned());
    }
    let telling = [
        "No matching package",
        "No match for",
        "Unable to find a match",
        "nothing provides",
        "Problem",
        "conflicts",
        "but none of the providers",
        "does not belong",
        "cannot install",
    ];
    let mut lines: Vec<String> =
        said.lines().filter(|line| telling.iter().any(|words| line.contains(words))).map(|line| line.trim().to_owned()).collect();
    lines.dedup();
    if lines.is_empty() {
        lines.push(last_words(said));
    }
    RootError::Unresolved(lines)
}

/// The last lines of what was said.
fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

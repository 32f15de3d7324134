//! What fetching needs besides the stores: a folder, lookaside stores, an HTTP client, and bounds.

use crate::template::Template;
use crate::{client, git};
use std::path::PathBuf;
use std::time::Duration;

/// Bounds of what one push may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Pack that git sends, in bytes.
    pub pack_bytes: u64,
    /// Files of the commit's tree together, in bytes.
    pub tree_bytes: u64,
    /// One file from a lookaside store, in bytes.
    pub source_bytes: u64,
    /// All of a push's files from lookaside stores together, in bytes.
    pub sources_bytes: u64,
    /// One try to fetch all of it.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pack_bytes: 1 << 30, // a server without shallow fetches sends the history: that of the largest packages has 500 MB
            tree_bytes: 1 << 29, // a whole upstream tree kept in git; a package without its sources has a few MB
            source_bytes: 4 << 30, // browsers' source archives have about 3.5 GB
            sources_bytes: 8 << 30, // twice a browser; TeX Live's thousands of files have about 4 GB together
            time: Fetcher::FETCH_MAX,
        }
    }
}

/// What fetching needs besides the stores.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// Folder for what is on its way; nothing stays in it.
    pub scratch: PathBuf,
    /// Where to look for sources that the line does not hold yet, in this order.
    pub lookaside: Vec<Template>,
    /// Bounds of what one push may bring.
    pub bounds: Bounds,
    pub(crate) agent: ureq::Agent,
}

impl Fetcher {
    /// Connecting takes a second or two on the slowest links; past this nobody is there.
    const CONNECT_MAX: Duration = Duration::from_secs(20);

    /// A server that says nothing for so long has forgotten us; forges prepare even large packs in less.
    const SILENCE_MAX: Duration = Duration::from_secs(60);

    /// One try to fetch a push. A message is out for ten minutes before somebody else may have it; the rest of that time is for
    /// waiting for a silent server once and for copying what came into the store. What was fetched before stays fetched.
    pub const FETCH_MAX: Duration = Duration::from_secs(480);

    /// How the folders of single tries begin.
    const FOLDER: &str = "fetch-";

    /// A fetcher with the usual bounds.
    pub fn new(scratch: impl Into<PathBuf>, lookaside: Vec<Template>) -> Self {
        Self::speak_http();
        let agent = client::agent("millrace", Self::CONNECT_MAX, Self::SILENCE_MAX);
        Self {
            scratch: scratch.into(),
            lookaside,
            bounds: Bounds::default(),
            agent,
        }
    }

    /// Lets git2 speak HTTP and HTTPS in this process, within a fetcher's bounds; without, it knows paths alone.
    pub fn speak_http() {
        git::speak_http(Self::CONNECT_MAX, Self::SILENCE_MAX);
    }

    /// A folder of its own that goes away with what is in it.
    pub(crate) fn folder(&self) -> std::io::Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.scratch)?;
        tempfile::Builder::new()
            .prefix(Self::FOLDER)
            .tempdir_in(&self.scratch)
    }

    /// Removes what a process that was killed has left in the scratch folder. Nobody else may be fetching into it.
    pub fn sweep(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.scratch)?;
        for entry in std::fs::read_dir(&self.scratch)? {
            let entry = entry?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(Self::FOLDER.as_bytes())
            {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

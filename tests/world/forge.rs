//! A fake forge: a real git repository for each package, and deliveries as Gitea makes them, as often as one likes.

use git2::{Commit, Repository, Signature, Time};
use millrace_listener::Secret;
use std::path::PathBuf;
use tempfile::TempDir;

/// What the forge signs its deliveries with.
const SECRET: &str = "a secret of some length";

/// When everything is committed, in seconds since 1970: ids are the same in every run.
pub const COMMITTED_S: i64 = 1_700_000_000;

/// A plain file, for git.
const PLAIN: i32 = 0o100_644;

/// What the forge posts; the same one may come again.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The forge's own id of it.
    pub id: String,
    /// Which package's repository it is about.
    pub package: String,
    pub commit: String,
    pub body: Vec<u8>,
}

/// A forge.
pub struct Forge {
    folder: TempDir,
    deliveries: u64,
}

impl Forge {
    /// A forge without repositories.
    pub fn new() -> Self {
        Self {
            folder: crate::folder::in_memory(),
            deliveries: 0,
        }
    }

    /// What the line shares with it.
    pub fn secret() -> Secret {
        Secret::new(SECRET).unwrap()
    }

    /// Where the repositories are, for texts in which this must not be told.
    pub fn place(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }

    fn path(&self, package: &str) -> PathBuf {
        self.folder.path().join(format!("{package}.git"))
    }

    /// Where a package's commits are fetched from.
    pub fn clone_url(&self, package: &str) -> String {
        self.path(package).to_str().unwrap().to_owned()
    }

    /// Commits exactly these files on top of a branch; the commit's id.
    pub fn commit(&self, package: &str, branch: &str, files: &[(String, String)]) -> String {
        let path = self.path(package);
        let git = Repository::open_bare(&path)
            .or_else(|_| Repository::init_bare(&path))
            .unwrap();
        let mut tree = git.treebuilder(None).unwrap();
        for (name, content) in files {
            tree.insert(name, git.blob(content.as_bytes()).unwrap(), PLAIN)
                .unwrap();
        }
        let tree = git.find_tree(tree.write().unwrap()).unwrap();
        let dana = Signature::new("Dana", "dana@example.com", &Time::new(COMMITTED_S, 0)).unwrap();
        let reference = format!("refs/heads/{branch}");
        let parent = git
            .find_reference(&reference)
            .ok()
            .map(|found| found.peel_to_commit().unwrap());
        let parents: Vec<&Commit<'_>> = parent.iter().collect();
        git.commit(Some(&reference), &dana, &dana, "Update", &tree, &parents)
            .unwrap()
            .to_string()
    }

    /// A repository is gone with everything that was in it.
    pub fn remove(&self, package: &str) {
        std::fs::remove_dir_all(self.path(package)).unwrap();
    }

    /// What the forge says of a commit that was pushed, in a delivery of its own.
    pub fn delivery(&mut self, package: &str, branch: &str, commit: &str) -> Delivery {
        self.deliveries += 1;
        let body = serde_json::json!({
            "ref": format!("refs/heads/{branch}"), "before": "0".repeat(40), "after": commit, "commits": [],
            "repository": {"id": 1, "name": package, "full_name": format!("rpms/{package}"), "clone_url": self.clone_url(package)},
            "pusher": {"id": 2, "login": "dana", "username": "dana"},
        });
        let (id, package, commit) = (
            format!("d-{}", self.deliveries),
            package.to_owned(),
            commit.to_owned(),
        );
        Delivery {
            id,
            package,
            commit,
            body: body.to_string().into_bytes(),
        }
    }
}

impl Default for Forge {
    fn default() -> Self {
        Self::new()
    }
}

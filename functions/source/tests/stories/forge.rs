//! A forge of one's own: repositories that are pushed to, servers on loopback; and a line that fetches from it.

use axum::Router;
use git2::{Commit, ObjectType, Oid, Repository, Signature, Time};
use millrace_core::order::Effect;
use millrace_core::push::{Announced, Commit as GitCommit, Push, PushRecord, PushState};
use millrace_core::testing;
use millrace_core::{PushId, Timestamp};
use millrace_source::{Fetcher, Template};
use millrace_store::builds::load_push;
use millrace_store::memory::MemoryStore;
use millrace_store::records::put;
use millrace_store::{BlobStore, Expect, StateStore, Table};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

/// When everything happens.
pub const NOW: Timestamp = Timestamp(1_763_930_000_000);

/// When everything is committed.
pub const COMMITTED_S: i64 = 1_700_000_000;

/// Serves on a free port of loopback until the test ends; answers `http://127.0.0.1:port`.
pub async fn serve(router: Router) -> String {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
    address
}

/// A package's repository.
pub struct Repo {
    _folder: TempDir,
    pub path: PathBuf,
    pub git: Repository,
}

/// What a commit has in one place: bytes and git's mode.
pub type File<'a> = (&'a str, i32, &'a [u8]);

pub const PLAIN: i32 = 0o100_644;
pub const PROGRAM: i32 = 0o100_755;
pub const LINK: i32 = 0o120_000;
pub const SUBMODULE: i32 = 0o160_000;
pub const TREE: i32 = 0o040_000;

impl Repo {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zlib.git");
        let git = Repository::init_bare(&path).unwrap();
        Self {
            _folder: folder,
            path,
            git,
        }
    }

    pub fn url(&self) -> String {
        self.path.to_str().unwrap().to_owned()
    }

    /// Commits exactly these files on top of a branch and answers the commit's id.
    pub fn commit(&self, branch: &str, files: &[File<'_>]) -> String {
        self.commit_tree(branch, self.tree(files))
    }

    pub fn commit_tree(&self, branch: &str, tree: Oid) -> String {
        let tree = self.git.find_tree(tree).unwrap();
        let dana =
            Signature::new("Dana", "dana@example.com", &Time::new(COMMITTED_S, 120)).unwrap();
        let reference = format!("refs/heads/{branch}");
        let parent = self
            .git
            .find_reference(&reference)
            .ok()
            .map(|found| found.peel_to_commit().unwrap());
        let parents: Vec<&Commit<'_>> = parent.iter().collect();
        self.git
            .commit(
                Some(&reference),
                &dana,
                &dana,
                "Update to 1.3.1\n\nAt last.\n",
                &tree,
                &parents,
            )
            .unwrap()
            .to_string()
    }

    /// Commits a tree at any time in seconds since 1970: git writes dates that libgit2 only reads.
    pub fn commit_at(&self, branch: &str, tree: Oid, committed_s: i64) -> String {
        let dana = format!("Dana <dana@example.com> {committed_s} +0200");
        let commit = format!("tree {tree}\nauthor {dana}\ncommitter {dana}\n\nUpdate to 1.3.1\n");
        let id = self
            .git
            .odb()
            .unwrap()
            .write(ObjectType::Commit, commit.as_bytes())
            .unwrap();
        self.git
            .reference(&format!("refs/heads/{branch}"), id, true, "")
            .unwrap();
        id.to_string()
    }

    pub fn tree(&self, files: &[File<'_>]) -> Oid {
        let mut builder = self.git.treebuilder(None).unwrap();
        let mut folders: BTreeMap<&str, Vec<File<'_>>> = BTreeMap::new();
        for &(path, mode, bytes) in files {
            match path.split_once('/') {
                Some((folder, rest)) => {
                    folders.entry(folder).or_default().push((rest, mode, bytes))
                }
                None if mode == SUBMODULE => drop(
                    builder
                        .insert(path, Oid::from_str(&"1".repeat(40)).unwrap(), mode)
                        .unwrap(),
                ),
                None => drop(
                    builder
                        .insert(path, self.git.blob(bytes).unwrap(), mode)
                        .unwrap(),
                ),
            }
        }
        for (folder, files) in folders {
            builder.insert(folder, self.tree(&files), TREE).unwrap();
        }
        builder.write().unwrap()
    }

    /// Tags a commit with an object of its own and answers that object's id.
    pub fn tag(&self, name: &str, commit: &str) -> String {
        let object = self
            .git
            .find_object(Oid::from_str(commit).unwrap(), Some(ObjectType::Commit))
            .unwrap();
        let dana = Signature::new("Dana", "dana@example.com", &Time::new(COMMITTED_S, 0)).unwrap();
        self.git
            .tag(name, &object, &dana, "released", false)
            .unwrap()
            .to_string()
    }
}

/// The least that can be built.
pub const SPEC: File<'static> = ("zlib.spec", PLAIN, b"Name: zlib\n");

/// The store that a line keeps everything in, and a folder to fetch into.
pub struct Line {
    pub store: MemoryStore,
    pub scratch: TempDir,
}

impl Line {
    pub fn new() -> Self {
        Self::with(MemoryStore::new())
    }

    pub fn with(store: MemoryStore) -> Self {
        Self {
            store,
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    /// All effects that are on their way, taken off it.
    pub async fn effects(&self) -> Vec<Effect> {
        let messages = self.store.take(100, NOW, NOW.plus_ms(1)).await.unwrap();
        for message in &messages {
            self.store.settle(message.id).await.unwrap();
        }
        messages.into_iter().map(|message| message.effect).collect()
    }

    /// A push of a commit that the listener has accepted; what shall be fetched because of it.
    pub async fn announced(&self, repo: &Repo, reference: &str, commit: &str) -> Announced {
        self.announced_from(&repo.url(), reference, commit).await
    }

    pub async fn announced_from(
        &self,
        clone_url: &str,
        reference: &str,
        commit: &str,
    ) -> Announced {
        let announced = Announced {
            id: PushId::of_delivery("gitea", commit),
            clone_url: clone_url.to_owned(),
            reference: reference.to_owned(),
            commit: GitCommit::new(commit).unwrap(),
            received: NOW,
            ..testing::announced("zlib", 1)
        };
        let record = PushRecord {
            announced: announced.clone(),
            state: PushState::Fetching,
        };
        put(
            &self.store,
            Table::Push,
            announced.id.as_str(),
            Expect::Absent,
            &record,
            Vec::new(),
        )
        .await
        .unwrap();
        announced
    }

    pub fn fetcher(&self, lookaside: &[&str]) -> Fetcher {
        let templates = lookaside
            .iter()
            .map(|text| text.parse::<Template>().unwrap());
        Fetcher::new(self.scratch.path(), templates.collect())
    }

    /// Fetches a push that comes out well.
    pub async fn fetched(&self, announced: &Announced, fetcher: &Fetcher) -> Push {
        millrace_source::fetch(announced, fetcher, &self.store, &self.store)
            .await
            .unwrap();
        let record = self.record(announced).await;
        assert_eq!(record.state, PushState::Fetched);
        match <[Effect; 1]>::try_from(self.effects().await).unwrap() {
            [Effect::Plan(push)] => *push,
            [other] => panic!("{other:?}"),
        }
    }

    /// Fetches a push that its author must mend; answers what they read.
    pub async fn refused(&self, announced: &Announced, fetcher: &Fetcher) -> String {
        millrace_source::fetch(announced, fetcher, &self.store, &self.store)
            .await
            .unwrap();
        assert_eq!(self.effects().await, []);
        assert_eq!(
            std::fs::read_dir(self.scratch.path()).unwrap().count(),
            0,
            "something was left in the scratch folder"
        );
        match self.record(announced).await.state {
            PushState::Refused { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Commits these files, pushes them, and answers why they are refused.
    pub async fn refusal_of(&self, files: &[File<'_>], fetcher: &Fetcher) -> String {
        let repo = Repo::new();
        let commit = repo.commit("main", files);
        let announced = self.announced(&repo, "refs/heads/main", &commit).await;
        self.refused(&announced, fetcher).await
    }

    pub async fn record(&self, announced: &Announced) -> PushRecord {
        load_push(&self.store, &announced.id)
            .await
            .unwrap()
            .unwrap()
            .0
    }

    pub async fn blob(&self, digest: &millrace_core::Digest) -> Vec<u8> {
        self.store.read_all(digest, 1 << 30).await.unwrap()
    }
}

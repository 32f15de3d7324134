//! A forge of one's own: repositories that are pushed to, deliveries that are signed, servers on loopback.

use axum::Router;
use git2::{Commit, ObjectType, Oid, Repository, Signature, Time};
use millrace_core::Timestamp;
use millrace_core::order::Effect;
use millrace_core::push::{Announced, Package, Push, PushRecord, PushState};
use millrace_listener::forge::Forge;
use millrace_listener::{Fetcher, Listener, Secret, Template, router};
use millrace_store::builds::load_push;
use millrace_store::memory::MemoryStore;
use millrace_store::packages::register;
use millrace_store::{BlobStore, StateStore};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// What the forge signs with.
pub const SECRET: &str = "a secret of some length";

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

/// The body that Gitea sends with a push.
pub fn push_body(clone_url: &str, reference: &str, commit: &str) -> Value {
    json!({
        "ref": reference, "before": "0".repeat(40), "after": commit, "compare_url": "", "commits": [], "total_commits": 1,
        "repository": {"id": 1, "name": "zlib", "full_name": "rpms/zlib", "clone_url": clone_url, "private": false},
        "pusher": {"id": 2, "login": "dana", "username": "dana"}, "sender": {"id": 2, "login": "dana"},
    })
}

/// A line that listens, and the store that it keeps everything in.
pub struct Line {
    pub store: MemoryStore,
    pub address: String,
    pub scratch: TempDir,
}

impl Line {
    pub async fn new() -> Self {
        Self::with(MemoryStore::new()).await
    }

    pub async fn with(store: MemoryStore) -> Self {
        let secrets = Forge::ALL.map(|forge| (forge, Secret::new(SECRET).unwrap()));
        let listener = Listener {
            state: store.clone(),
            secrets: BTreeMap::from(secrets),
            clock: Arc::new(|| NOW),
        };
        Self {
            store,
            address: serve(router(listener)).await,
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    pub async fn register(&self, clone_url: &str) {
        let package = Package::new(
            "zlib".parse().unwrap(),
            clone_url.to_owned(),
            Vec::new(),
            NOW,
        );
        register(&self.store, package).await.unwrap();
    }

    /// Delivers a body with these headers; answers the status code and the body.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let mut request = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent()
            .post(format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut response = request.send(&body[..]).unwrap();
            (
                response.status().as_u16(),
                serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap(),
            )
        })
        .await
        .unwrap()
    }

    /// Delivers as Gitea does.
    pub async fn gitea(&self, event: &str, delivery: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string().into_bytes();
        let signature = Secret::new(SECRET).unwrap().sign(&body);
        let headers = [
            ("X-Gitea-Event", event),
            ("X-Gitea-Delivery", delivery),
            ("X-Gitea-Signature", &signature),
        ];
        self.post("/hooks/gitea", &headers, &body).await
    }

    /// All effects that are on their way, taken off it.
    pub async fn effects(&self) -> Vec<Effect> {
        let messages = self.store.take(100, NOW, NOW.plus_ms(1)).await.unwrap();
        for message in &messages {
            self.store.settle(message.id).await.unwrap();
        }
        messages.into_iter().map(|message| message.effect).collect()
    }

    /// A push of a commit that was registered, delivered and accepted; what shall be fetched because of it.
    pub async fn announced(&self, repo: &Repo, reference: &str, commit: &str) -> Announced {
        self.announced_from(&repo.url(), reference, commit).await
    }

    pub async fn announced_from(
        &self,
        clone_url: &str,
        reference: &str,
        commit: &str,
    ) -> Announced {
        self.register(clone_url).await;
        let (code, answer) = self
            .gitea("push", commit, &push_body(clone_url, reference, commit))
            .await;
        assert_eq!(code, 202, "{answer}");
        match <[Effect; 1]>::try_from(self.effects().await).unwrap() {
            [Effect::Fetch(announced)] => announced,
            [other] => panic!("{other:?}"),
        }
    }

    pub fn fetcher(&self, lookaside: &[&str]) -> Fetcher {
        let templates = lookaside
            .iter()
            .map(|text| text.parse::<Template>().unwrap());
        Fetcher::new(self.scratch.path(), templates.collect())
    }

    /// Fetches a push that comes out well.
    pub async fn fetched(&self, announced: &Announced, fetcher: &Fetcher) -> Push {
        millrace_listener::fetch(announced, fetcher, &self.store, &self.store)
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
        millrace_listener::fetch(announced, fetcher, &self.store, &self.store)
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

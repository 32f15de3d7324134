//! A forge of one's own: deliveries that are signed, servers on loopback.

use axum::Router;
use millrace_core::Timestamp;
use millrace_core::order::Effect;
use millrace_core::push::{Announced, Package, PushRecord, PushState};
use millrace_listener::forge::Forge;
use millrace_listener::{Listener, Secret, router};
use millrace_store::memory::MemoryStore;
use millrace_store::packages::register;
use millrace_store::records::{get, put};
use millrace_store::{Expect, StateStore, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the forge signs with.
pub const SECRET: &str = "a secret of some length";

/// When everything happens.
pub const NOW: Timestamp = Timestamp(1_763_930_000_000);

/// Serves on a free port of loopback until the test ends; answers `http://127.0.0.1:port`.
pub async fn serve(router: Router) -> String {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
    address
}

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
    /// What becomes of a push that could not be fetched.
    pub async fn given_up(&self, announced: &Announced) {
        let id = announced.id.as_str();
        let (mut record, version): (PushRecord, _) =
            get(&self.store, Table::Push, id).await.unwrap().unwrap();
        record.state = PushState::Refused {
            reason: "the forge is away".to_owned(),
        };
        put(
            &self.store,
            Table::Push,
            id,
            Expect::Version(version),
            &record,
            Vec::new(),
        )
        .await
        .unwrap();
    }
}

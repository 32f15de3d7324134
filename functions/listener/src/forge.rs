//! What forges say and in which words: each forge's headers and bodies become one kind of notice.

mod gitea;
mod github;

use axum::http::HeaderMap;
use millrace_core::push::Commit;
use serde::Deserialize;

/// Longest name of a pusher that is kept, in characters: it is shown on pages, not acted on.
const PUSHER_CHARS_MAX: usize = 100;

/// A forge whose webhooks the line understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forge {
    /// gitea.com and its like.
    Gitea,
    /// codeberg.org and its like.
    Forgejo,
    /// github.com and GitHub Enterprise.
    GitHub,
}

impl Forge {
    /// Every forge.
    pub const ALL: [Self; 3] = [Self::Gitea, Self::Forgejo, Self::GitHub];

    /// As in the webhook's address, `/hooks/gitea`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::GitHub => "github",
        }
    }

    /// Reads what a delivery's headers say.
    pub fn envelope(self, headers: &HeaderMap) -> Envelope {
        match self {
            Self::Gitea => gitea::envelope(&["x-gitea"], headers),
            // Forgejo began as Gitea and still sends both; a proxy may have kept only the older ones.
            Self::Forgejo => gitea::envelope(&["x-forgejo", "x-gitea"], headers),
            Self::GitHub => github::envelope(headers),
        }
    }

    /// Reads what a delivery says. The error has the position in the body; a retry does not help.
    pub fn notice(self, event: &str, body: &[u8]) -> Result<Notice, serde_json::Error> {
        match self {
            Self::Gitea | Self::Forgejo => gitea::notice(event, body),
            Self::GitHub => github::notice(event, body),
        }
    }
}

/// What stands on the outside of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Kind of event, `push` for example.
    pub event: Option<String>,
    /// The forge's own id of the delivery; stays the same when it delivers again.
    pub delivery: Option<String>,
    /// HMAC-SHA256 of the raw body in hexadecimal digits.
    pub signature: Option<String>,
}

/// A repository as forges describe it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Repository {
    /// Its own name, `zlib`.
    pub name: String,
    /// With its owner, `rpms/zlib`.
    pub full_name: String,
    /// Where it is fetched from.
    pub clone_url: String,
}

/// A branch or tag that points somewhere new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub repository: Repository,
    /// `refs/heads/…`, `refs/tags/…`, or what else the forge announces.
    pub reference: String,
    /// What it points at now.
    pub commit: Commit,
    /// Who pushed, as the forge names them.
    pub pusher: String,
}

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    Push(Pushed),
    /// A branch or tag is gone.
    Deleted {
        reference: String,
    },
    /// There is a new repository.
    RepositoryCreated(Repository),
    /// A repository is gone.
    RepositoryDeleted(Repository),
    /// The forge tries whether anybody is there.
    Ping,
    /// Something that the line does not act on.
    Other {
        event: String,
    },
}

/// The text of the first of these headers that is there.
fn header(headers: &HeaderMap, names: impl IntoIterator<Item = String>) -> Option<String> {
    names
        .into_iter()
        .find_map(|name| Some(headers.get(name)?.to_str().ok()?.trim().to_owned()))
}

/// The body of a push as all forges send it; they differ in how they name a person.
#[derive(Deserialize)]
struct PushBody<Person> {
    #[serde(rename = "ref")]
    reference: String,
    after: Commit,
    repository: Repository,
    pusher: Option<Person>,
}

impl<Person> PushBody<Person> {
    fn into_notice(self, name: impl Fn(Person) -> Option<String>) -> Notice {
        if self.after.is_null() {
            return Notice::Deleted {
                reference: self.reference,
            };
        }
        let pusher = self
            .pusher
            .and_then(name)
            .unwrap_or_else(|| "somebody".to_owned())
            .chars()
            .take(PUSHER_CHARS_MAX)
            .collect();
        Notice::Push(Pushed {
            repository: self.repository,
            reference: self.reference,
            commit: self.after,
            pusher,
        })
    }
}

/// The body of an event about a repository.
#[derive(Deserialize)]
struct RepositoryBody {
    action: String,
    repository: Repository,
}

impl RepositoryBody {
    fn into_notice(self) -> Notice {
        match self.action.as_str() {
            "created" => Notice::RepositoryCreated(self.repository),
            "deleted" => Notice::RepositoryDeleted(self.repository),
            other => Notice::Other {
                event: format!("repository {other}"),
            },
        }
    }
}

/// The body of the event that a branch or tag was deleted; the reference stands there without `refs/heads/`.
#[derive(Deserialize)]
struct DeleteBody {
    #[serde(rename = "ref")]
    reference: String,
}

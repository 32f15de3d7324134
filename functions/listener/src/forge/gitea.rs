//! Gitea's webhooks, which Forgejo sends too (docs.gitea.com, "Webhooks"; forgejo.org, "Webhooks").

use super::{DeleteBody, Envelope, Notice, PushBody, RepositoryBody, header};
use axum::http::HeaderMap;
use serde::Deserialize;

/// Reads the headers that begin with the first of these prefixes, or with the next if one is missing.
pub(super) fn envelope(prefixes: &[&str], headers: &HeaderMap) -> Envelope {
    let read = |name: &str| {
        header(
            headers,
            prefixes.iter().map(|prefix| format!("{prefix}-{name}")),
        )
    };
    Envelope {
        event: read("event"),
        delivery: read("delivery"),
        signature: read("signature"),
    }
}

/// Gitea sends the name twice; older releases only as `username`.
#[derive(Deserialize)]
struct Account {
    login: Option<String>,
    username: Option<String>,
}

impl Account {
    fn name(self) -> Option<String> {
        self.login.or(self.username)
    }
}

pub(super) fn notice(event: &str, body: &[u8]) -> Result<Notice, serde_json::Error> {
    Ok(match event {
        "push" => serde_json::from_slice::<PushBody<Account>>(body)?.into_notice(Account::name),
        "delete" => Notice::Deleted {
            reference: serde_json::from_slice::<DeleteBody>(body)?.reference,
        },
        "repository" => serde_json::from_slice::<RepositoryBody>(body)?.into_notice(),
        other => Notice::Other {
            event: other.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::Forge;

    #[test]
    fn forgejos_own_headers_go_before_those_of_gitea() {
        let mut headers = HeaderMap::new();
        headers.insert("x-gitea-event", "push".parse().unwrap());
        headers.insert("x-gitea-delivery", "old".parse().unwrap());
        headers.insert("x-forgejo-delivery", "new".parse().unwrap());
        let read = |forge: Forge| forge.envelope(&headers).delivery;
        assert_eq!(
            (read(Forge::Gitea), read(Forge::Forgejo)),
            (Some("old".to_owned()), Some("new".to_owned()))
        );
        assert_eq!(
            Forge::Forgejo.envelope(&headers).event,
            Some("push".to_owned())
        );
    }

    #[test]
    fn a_repository_that_changes_hands_is_nothing_to_the_line() {
        let body = r#"{"action":"transferred","repository":{"name":"zlib","full_name":"rpms/zlib","clone_url":"http://forge/rpms/zlib.git"}}"#;
        assert_eq!(
            notice("repository", body.as_bytes()).unwrap(),
            Notice::Other {
                event: "repository transferred".to_owned()
            }
        );
    }
}

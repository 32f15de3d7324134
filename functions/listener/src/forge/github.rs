//! GitHub's webhooks (docs.github.com, "Webhook events and payloads").

use super::{DeleteBody, Envelope, Notice, PushBody, RepositoryBody, header};
use axum::http::HeaderMap;
use serde::Deserialize;

pub(super) fn envelope(headers: &HeaderMap) -> Envelope {
    let read = |name: &str| header(headers, [name.to_owned()]);
    let signature =
        read("x-hub-signature-256").and_then(|text| Some(text.strip_prefix("sha256=")?.to_owned()));
    Envelope {
        event: read("x-github-event"),
        delivery: read("x-github-delivery"),
        signature,
    }
}

#[derive(Deserialize)]
struct Person {
    name: String,
}

pub(super) fn notice(event: &str, body: &[u8]) -> Result<Notice, serde_json::Error> {
    Ok(match event {
        "push" => serde_json::from_slice::<PushBody<Person>>(body)?
            .into_notice(|person| Some(person.name)),
        "delete" => Notice::Deleted {
            reference: serde_json::from_slice::<DeleteBody>(body)?.reference,
        },
        "repository" => serde_json::from_slice::<RepositoryBody>(body)?.into_notice(),
        "ping" => Notice::Ping,
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
    fn a_signature_of_another_kind_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert("x-github-event", "push".parse().unwrap());
        headers.insert("x-hub-signature-256", "sha1=00".parse().unwrap());
        assert_eq!(
            Forge::GitHub.envelope(&headers),
            Envelope {
                event: Some("push".to_owned()),
                ..Envelope::default()
            }
        );
    }

    #[test]
    fn a_branch_pushed_to_nowhere_was_deleted() {
        let body = r#"{"ref":"refs/heads/old","after":"0000000000000000000000000000000000000000","deleted":true,"pusher":{"name":"dana"},
            "repository":{"name":"zlib","full_name":"rpms/zlib","clone_url":"https://github.com/rpms/zlib.git"}}"#;
        assert_eq!(
            notice("push", body.as_bytes()).unwrap(),
            Notice::Deleted {
                reference: "refs/heads/old".to_owned()
            }
        );
    }

    #[test]
    fn a_body_that_lacks_something_says_what_and_where() {
        let error = notice("push", b"{\"ref\":\"refs/heads/main\"}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "missing field `after` at line 1 column 25"
        );
    }
}

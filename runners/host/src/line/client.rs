//! The runner's side of the lease desk: `core::protocol` over HTTP, with patience.

use crate::machine::trust;
use millrace_core::protocol::{
    Ask, Attend, Attended, Listen, Logged, Offer, Print, Problem, Renewal, Renewed, Report, Shown,
    Typing, Upload, UploadTarget,
};
use millrace_core::task::LeaseId;
use millrace_core::{Digest, DigestError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body, SendBody};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a short question may take to be answered: half of a lease, so that a renewal can be tried again in time.
const ANSWER: Duration = Duration::from_secs(30);

/// How long the other side may be silent in the middle of a file.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the line may take to store a file that it got: 4 GB on a slow disk, written and synchronized.
const STORED: Duration = Duration::from_secs(300);

/// Times that a download goes on at once where it broke off. A connection that breaks more often is tried from the beginning, with
/// pauses.
const BROKEN_MAX: u32 = 20;

/// Largest JSON answer, in bytes: an offer with 400 inputs and as many repositories as anybody has is far below.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Longest pause that the line may ask for between two questions for work: a runner that is told more has misheard.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(300);

/// The line's answer to a runner that asks for work.
#[derive(Debug)]
pub enum LeaseReply {
    Offer(Box<Offer>),
    /// There is none; ask again after this time.
    Nothing(Duration),
}

/// What the line said, or that it did not.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The lease is over: drop the task.
    #[error("the lease is over: {0}")]
    LeaseLost(String),
    /// The token is not known; the runner's operator must act.
    #[error("the line does not know this runner's token: {0}")]
    Unauthorized(String),
    /// The runner is draining: the line gives it no more work.
    #[error("the line gives this runner no more work: {0}")]
    Draining(String),
    /// The line will not; trying again does not help.
    #[error("the line refuses ({status}): {message}")]
    Refused { status: u16, message: String },
    /// The line does not answer, or is in trouble: try again.
    #[error("the line at {url} does not answer: {source}")]
    Away {
        /// Where it should be.
        url: String,
        source: Box<dyn Error + Send + Sync>,
    },
    /// What came is not what was asked for: try again.
    #[error("{expected} came damaged: it has the digest {found}")]
    Damaged {
        /// What was asked for.
        expected: Digest,
        found: Digest,
    },
    /// The runner's own disk.
    #[error("the runner's disk: {0}")]
    Disk(#[from] io::Error),
    /// A digest that is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Given up, since the runner stops or the task is over.
    #[error("given up")]
    GivenUp,
}

impl DeskError {
    /// Whether another try may help.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Damaged { .. })
    }
}

/// A connection to one line.
#[derive(Debug, Clone)]
pub struct Desk {
    agent: Agent,
    url: String,
    authorization: String,
}

type Result<T> = std::result::Result<T, DeskError>;

impl Desk {
    /// The line at this URL, spoken to with this token.
    pub fn new(url: &str, token: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .tls_config(trust::of_this_machine())
            .user_agent(concat!("millrace-runner/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.new_agent(),
            url: url.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {token}"),
        }
    }

    /// Asks for work. A line that keeps nobody waiting says at once that there is none, and when to ask again.
    pub fn lease(&self, ask: &Ask) -> Result<LeaseReply> {
        let patience = Duration::from_secs(u64::from(ask.wait_s)) + ANSWER / 2;
        let response = self.post("lease", ask, patience)?;
        if response.status().as_u16() != 204 {
            return self.json(response).map(Box::new).map(LeaseReply::Offer);
        }
        let said = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok());
        let pause = said
            .and_then(|seconds| seconds.parse().ok())
            .map_or(Duration::ZERO, Duration::from_secs);
        Ok(LeaseReply::Nothing(pause.min(ASK_AGAIN_MAX)))
    }

    /// Says that the task is being worked on.
    pub fn renew(&self, renewal: &Renewal) -> Result<Renewed> {
        self.post("renew", renewal, ANSWER)
            .and_then(|response| self.json(response))
    }

    /// Says which sandboxes are held, and hears what somebody wants of them.
    pub fn attend(&self, attend: &Attend) -> Result<Attended> {
        let patience = Duration::from_millis(attend.wait_ms.into()) + ANSWER / 2;
        self.post("holds", attend, patience)
            .and_then(|response| self.json(response))
    }

    /// Hears what is typed in a session.
    pub fn listen(&self, listen: &Listen) -> Result<Typing> {
        let patience = Duration::from_millis(listen.wait_ms.into()) + ANSWER / 2;
        self.post("typed", listen, patience)
            .and_then(|response| self.json(response))
    }

    /// Says what was printed in a session.
    pub fn print(&self, print: &Print) -> Result<Shown> {
        self.post("printed", print, ANSWER)
            .and_then(|response| self.json(response))
    }

    /// Hands in the answer.
    pub fn report(&self, report: &Report) -> Result<()> {
        self.post("report", report, ANSWER).map(drop)
    }

    /// Adds to the task's log.
    pub fn log(&self, lease_id: &LeaseId, offset: u64, bytes: &[u8]) -> Result<Logged> {
        let request = self
            .agent
            .post(format!("{}/runner/v1/log", self.url))
            .header("authorization", &self.authorization);
        let request = request
            .query_pairs(words(lease_id))
            .query("offset", offset.to_string());
        let response = request
            .config()
            .timeout_global(Some(ANSWER))
            .build()
            .send(bytes)
            .map_err(|error| self.away(error))?;
        self.heard(response)
            .and_then(|response| self.json(response))
    }

    /// Hands in a file of `size` bytes where the line wants it; the receiver checks its digest.
    pub fn upload(
        &self,
        lease_id: &LeaseId,
        digest: &Digest,
        size: u64,
        file: &mut impl Read,
    ) -> Result<()> {
        let upload = Upload {
            lease_id: lease_id.clone(),
            digest: *digest,
            size,
        };
        let request = match self
            .post("upload", &upload, ANSWER)
            .and_then(|response| self.json(response))?
        {
            UploadTarget::Kept => return Ok(()),
            UploadTarget::Desk => {
                let own = self
                    .agent
                    .put(self.blob(digest))
                    .header("authorization", &self.authorization);
                own.query_pairs(words(lease_id))
            }
            UploadTarget::Address { url, headers } => {
                let theirs = headers
                    .iter()
                    .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
                theirs.fold(self.agent.put(url), |request, (name, value)| {
                    request.header(name, value)
                })
            }
        };
        // A reader tells nobody how much there is, and stores of objects take nothing without knowing.
        let request = request.header("content-length", size.to_string()).config();
        let request = request
            .timeout_per_write(Some(SILENCE))
            .timeout_recv_response(Some(STORED))
            .build();
        let response = request
            .send(SendBody::from_reader(file))
            .map_err(|error| self.away(error))?;
        match self.heard(response) {
            // An address that is good no more, or that another file was meant for: the next try gets its own.
            Err(DeskError::Refused {
                status: 403,
                message,
            }) => Err(self.away(format!("403 {message}"))),
            other => other.map(drop),
        }
    }

    /// Writes a file from the line into `to`, and checks it on the way. If it breaks off, it goes on from there.
    pub fn download(&self, digest: &Digest, to: &mut impl Write) -> Result<u64> {
        let (mut hasher, mut size, mut broken) = (Sha256::new(), 0, 0);
        loop {
            let before = size;
            match self.download_rest(digest, &mut size, &mut hasher, to) {
                Ok(()) => break,
                Err(DeskError::Away { .. }) if size > before && broken < BROKEN_MAX => broken += 1,
                Err(error) => return Err(error),
            }
        }
        let found = Digest::from_bytes(hasher.finalize().into());
        if found == *digest {
            Ok(size)
        } else {
            Err(DeskError::Damaged {
                expected: *digest,
                found,
            })
        }
    }

    /// Writes what comes after the first `size` bytes, and counts on.
    fn download_rest(
        &self,
        digest: &Digest,
        size: &mut u64,
        hasher: &mut Sha256,
        to: &mut impl Write,
    ) -> Result<()> {
        let mut request = self
            .agent
            .get(self.blob(digest))
            .header("authorization", &self.authorization);
        if *size > 0 {
            request = request.header("range", format!("bytes={size}-"));
        }
        let request = request
            .config()
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        let response = self.heard(request.call().map_err(|error| self.away(error))?)?;
        if *size > 0 && response.status().as_u16() != 206 {
            return Err(self.away("it sends a file that broke off from its beginning"));
        }
        let (mut body, mut piece) = (response.into_body().into_reader(), vec![0; 1 << 16]);
        loop {
            let count = body.read(&mut piece).map_err(|error| self.away(error))?;
            if count == 0 {
                return Ok(());
            }
            hasher.update(&piece[..count]);
            to.write_all(&piece[..count])?;
            *size += count as u64;
        }
    }

    fn blob(&self, digest: &Digest) -> String {
        format!("{}/runner/v1/blobs/{digest}", self.url)
    }

    fn post(
        &self,
        what: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<Response<Body>> {
        let request = self
            .agent
            .post(format!("{}/runner/v1/{what}", self.url))
            .header("authorization", &self.authorization);
        let request = request
            .header("content-type", "application/json")
            .config()
            .timeout_global(Some(patience))
            .build();
        let body = serde_json::to_vec(body).expect("the protocol's types become JSON");
        let response = request.send(&body[..]).map_err(|error| self.away(error))?;
        self.heard(response)
    }

    /// Tells a good answer from the others.
    fn heard(&self, mut response: Response<Body>) -> Result<Response<Body>> {
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let text = response
            .body_mut()
            .with_config()
            .limit(64 << 10)
            .read_to_string()
            .unwrap_or_default();
        let message = serde_json::from_str(&text).map_or_else(
            |_| text.chars().take(500).collect(),
            |problem: Problem| problem.message,
        );
        Err(match status {
            401 => DeskError::Unauthorized(message),
            409 => DeskError::LeaseLost(message),
            410 => DeskError::Draining(message),
            408 | 429 | 500.. => self.away(format!("{status} {message}")),
            _ => DeskError::Refused { status, message },
        })
    }

    fn json<T: DeserializeOwned>(&self, mut response: Response<Body>) -> Result<T> {
        let text = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.away(error))?;
        serde_json::from_slice(&text)
            .map_err(|error| self.away(format!("its answer makes no sense: {error}")))
    }

    fn away(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> DeskError {
        DeskError::Away {
            url: self.url.clone(),
            source: source.into(),
        }
    }
}

fn words(lease_id: &LeaseId) -> [(&'static str, String); 3] {
    [
        ("build", lease_id.build.to_string()),
        ("task", lease_id.task.to_string()),
        ("lease", lease_id.number.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::answer_in_turn;

    #[test]
    fn a_download_that_breaks_off_goes_on_where_it_was() {
        let (url, line) = answer_in_turn(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123",
            "HTTP/1.1 206 Partial Content\r\ncontent-length: 6\r\ncontent-range: bytes 4-9/10\r\n\r\n456",
            "HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\ncontent-range: bytes 7-9/10\r\n\r\n789",
        ]);
        let mut got = Vec::new();
        assert_eq!(
            Desk::new(&url, "token")
                .download(&Digest::of(b"0123456789"), &mut got)
                .unwrap(),
            10
        );
        assert_eq!(got, b"0123456789");
        let asked: Vec<Option<String>> = line
            .join()
            .unwrap()
            .iter()
            .map(|request| {
                request
                    .split("range: ")
                    .nth(1)
                    .map(|rest| rest.lines().next().unwrap().to_owned())
            })
            .collect();
        assert_eq!(
            asked,
            [
                None,
                Some("bytes=4-".to_owned()),
                Some("bytes=7-".to_owned())
            ]
        );
    }

    #[test]
    fn a_download_that_would_begin_anew_is_left_to_the_next_try() {
        let (url, line) = answer_in_turn(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789",
        ]);
        let mut got = Vec::new();
        let failed = Desk::new(&url, "token").download(&Digest::of(b"0123456789"), &mut got);
        assert!(
            failed.as_ref().is_err_and(DeskError::is_passing),
            "{failed:?}"
        );
        assert_eq!(got, b"0123");
        assert_eq!(line.join().unwrap().len(), 2);
    }
}

//! git over HTTP and HTTPS, by the client that fetches sources, too. There is one TLS, one set of certificates, one set of bounds for all
//! that the line fetches, and no OpenSSL ([Git HTTP protocol](https://git-scm.com/docs/http-protocol), "Smart Clients").

use crate::client::agent;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport, register};
use git2::{Error, ErrorClass, ErrorCode};
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::sync::Once;
use std::time::Duration;
use ureq::http::{HeaderValue, Response, header};
use ureq::{Agent, Body, ResponseExt};

/// What asks: forges give smart answers to names that begin with `git/`, and to others not all do.
const USER_AGENT: &str = "git/2 (millrace)";

/// What is asked for; everything before it is the repository's address.
const REFERENCES: &str = "/info/refs?service=git-upload-pack";

/// Where a pack is asked for, below the repository's address.
const PACK: &str = "/git-upload-pack";

/// Largest request, in bytes: a line of 50 bytes for each commit that is wanted or had, and the line asks for one commit.
const REQUEST_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// Whether the server was silent for too long. libgit2 passes on what a stream says of an error, not of which kind it was.
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a server was silent for too long since this was asked last, on this thread.
pub(super) fn was_silent() -> bool {
    SILENT.replace(false)
}

/// Lets git2 speak HTTP and HTTPS in this process; without, it knows paths alone. The first call decides the bounds.
pub(crate) fn speak_http(connect: Duration, silence: Duration) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let agent = agent(USER_AGENT, connect, silence);
        for scheme in ["http", "https"] {
            let agent = agent.clone();
            // SAFETY: libgit2 looks its transports up without a lock when it connects to a server. In this process every caller that has it
            // connect has passed through here before, and this is done once, before anybody is let through.
            let registered = unsafe {
                register(scheme, move |remote| {
                    Transport::smart(
                        remote,
                        true,
                        Http {
                            agent: agent.clone(),
                            moved: RefCell::default(),
                        },
                    )
                })
            };
            registered.expect("libgit2 takes transports of any name");
        }
    });
}

/// A repository that is fetched from.
struct Http {
    agent: Agent,
    /// Where the server sent us when it was asked for its references: the pack is there, too.
    moved: RefCell<Option<String>>,
}

impl SmartSubtransport for Http {
    fn action(
        &self,
        url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, Error> {
        match action {
            Service::UploadPackLs => {
                let (answer, address) = references(&self.agent, url.trim_end_matches('/'))?;
                self.moved.replace(Some(address));
                Ok(Box::new(Exchange::Reply(answer)))
            }
            Service::UploadPack => {
                let address = self
                    .moved
                    .borrow()
                    .as_deref()
                    .unwrap_or(url)
                    .trim_end_matches('/')
                    .to_owned();
                Ok(Box::new(Exchange::Request {
                    agent: self.agent.clone(),
                    address,
                    request: Vec::new(),
                }))
            }
            Service::ReceivePackLs | Service::ReceivePack => {
                Err(error(ErrorCode::GenericError, "the line pushes nowhere"))
            }
        }
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

type ReplyBody = Box<dyn Read + Send>;

/// Asks a repository for its references; answers where it is, too, which may be elsewhere.
fn references(agent: &Agent, url: &str) -> Result<(ReplyBody, String), Error> {
    let asked = agent.get(format!("{url}{REFERENCES}")).call();
    let answer = checked(asked, "application/x-git-upload-pack-advertisement")
        .map_err(HttpFailure::into_git)?;
    let there = answer.get_uri().to_string();
    let address = there.strip_suffix(REFERENCES).unwrap_or(url).to_owned();
    Ok((Box::new(answer.into_body().into_reader()), address))
}

/// One question and its answer. What is written is asked when the first of the answer is read.
enum Exchange {
    Request {
        agent: Agent,
        address: String,
        request: Vec<u8>,
    },
    Reply(ReplyBody),
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Request { request, .. } if request.len() + bytes.len() <= REQUEST_BYTES_MAX => {
                request.write(bytes)
            }
            Self::Request { .. } => Err(io::Error::other(format!(
                "a request of more than {REQUEST_BYTES_MAX} bytes"
            ))),
            Self::Reply(_) => Err(io::Error::other("the question was asked already")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Self::Request {
            agent,
            address,
            request,
        } = self
        {
            let asked = agent
                .post(format!("{address}{PACK}"))
                .header(
                    header::CONTENT_TYPE,
                    "application/x-git-upload-pack-request",
                )
                .header(header::ACCEPT, "application/x-git-upload-pack-result")
                .send(&request[..]);
            let answer = checked(asked, "application/x-git-upload-pack-result")
                .map_err(HttpFailure::into_io)?;
            *self = Self::Reply(Box::new(answer.into_body().into_reader()));
        }
        match self {
            Self::Reply(answer) => answer
                .read(into)
                .map_err(|error| HttpFailure::of(error.into()).into_io()),
            Self::Request { .. } => Ok(0),
        }
    }
}

/// Why there is no answer, in words for those who read the push.
struct HttpFailure {
    code: ErrorCode,
    words: String,
}

impl HttpFailure {
    fn of(error: ureq::Error) -> Self {
        let silent = matches!(error, ureq::Error::Timeout(_));
        SILENT.set(SILENT.get() || silent);
        Self {
            code: if silent {
                ErrorCode::Timeout
            } else {
                ErrorCode::GenericError
            },
            words: error.to_string(),
        }
    }

    fn into_git(self) -> Error {
        error(self.code, &self.words)
    }

    fn into_io(self) -> io::Error {
        io::Error::other(self.words)
    }
}

fn error(code: ErrorCode, words: &str) -> Error {
    Error::new(code, ErrorClass::Http, words)
}

/// An answer of this kind, and no other.
fn checked(
    asked: Result<Response<Body>, ureq::Error>,
    kind: &str,
) -> Result<Response<Body>, HttpFailure> {
    let answer = asked.map_err(HttpFailure::of)?;
    let failure = |code, words| Err(HttpFailure { code, words });
    match answer.status().as_u16() {
        200 => {}
        401 => return failure(ErrorCode::Auth, "it wants a password".to_owned()),
        status => return failure(ErrorCode::GenericError, format!("HTTP status {status}")),
    }
    let said = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    if said == kind.as_bytes() {
        return Ok(answer);
    }
    let said = String::from_utf8_lossy(said).into_owned();
    failure(
        ErrorCode::GenericError,
        format!("it answers with `{said}` instead of `{kind}`: is a git repository there?"),
    )
}

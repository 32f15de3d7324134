//! The webhooks' address: who delivers, whether they may, what they say, and what follows from it.

use crate::forge::{Envelope, Forge, Notice, Pushed, Repository};
use crate::reply::HookReply;
use crate::secret::Secret;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use millrace_core::push::{Announced, BuildOptions, Commit as GitCommit, Package, PushRecord};
use millrace_core::{NameError, PackageName, PushId, Timestamp};
use millrace_store::builds::{create_push, load_push};
use millrace_store::packages::{RegisterError, of_repository, register_new};
use millrace_store::{SaveError, StateError, StateStore, chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::{Instrument, Span, field, info, info_span, warn};

/// Largest body, in bytes. Lambda takes requests of 6 MB (AWS Lambda quotas, "Invocation payload"), headers and wrapping
/// included; a push of 2048 commits, the most that GitHub lists, stays below at 2 KB a commit.
pub const BODY_BYTES_MAX: usize = 5 << 20;

/// Longest delivery id, in bytes: forges send UUIDs of 36, and what is longer is no id.
const DELIVERY_BYTES_MAX: usize = 128;

/// Longest reference, in bytes: file systems that forges keep them on take 255 a path segment, and it is kept with every build.
const REFERENCE_BYTES_MAX: usize = 1024;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the webhooks' address needs.
#[derive(Clone)]
pub struct Listener<S> {
    /// Where pushes and packages are kept.
    pub state: S,
    /// What each forge signs with; one without a secret is not listened to.
    pub secrets: BTreeMap<Forge, Secret>,
    pub clock: Clock,
}

/// The addresses: `POST /hooks/FORGE`, one for each of [`Forge::ALL`].
pub fn router<S: StateStore>(listener: Listener<S>) -> Router {
    let on = |forge: Forge| {
        post(
            move |State(listener): State<Listener<S>>,
                  headers: HeaderMap,
                  body: Result<Bytes, BytesRejection>| async move {
                listener.answer(forge, &headers, body).await
            },
        )
    };
    let mut router = Router::new();
    for forge in Forge::ALL {
        router = router.route(&format!("/hooks/{}", forge.as_str()), on(forge));
    }
    router
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(listener)
}

/// A delivery that is refused. Nothing of it is kept: once the cause is fixed, it may be delivered again under the same id.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("the body has more than {BODY_BYTES_MAX} bytes: push fewer commits at once")]
    Oversized,
    #[error("the body did not arrive whole: deliver again")]
    BrokenOff,
    #[error("the line has no webhook secret for {}: set one, and the same one in the forge", .0.as_str())]
    NoSecret(Forge),
    #[error("the delivery has no signature: set the line's webhook secret in the forge")]
    Unsigned,
    #[error("the signature is wrong: set the same webhook secret in the forge as in the line")]
    WrongSignature,
    #[error("the delivery has no {0} header: is it from {forge}?", forge = .1.as_str())]
    NoHeader(&'static str, Forge),
    #[error("the delivery id must be 1 to {DELIVERY_BYTES_MAX} letters, digits and signs")]
    OddDelivery,
    #[error("the body is no {event} event in JSON{hint}: {source}", hint = hint(*form))]
    NotJson {
        event: String,
        source: serde_json::Error,
        /// Whether it is a form, which is what GitHub sends by default.
        form: bool,
    },
    #[error("a reference of {0} bytes; the line takes {REFERENCE_BYTES_MAX}")]
    LongReference(usize),
    #[error("nobody registered {}: do it with `millrace package add {} {}`, then deliver again", .0.full_name, .0.name, .0.clone_url)]
    NotRegistered(Repository),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Register(RegisterError),
    #[error("push {0} is another delivery's already: push again")]
    Taken(PushId),
    #[error("deliver again: {0}")]
    Save(#[source] SaveError),
}

const fn hint(form: bool) -> &'static str {
    if form {
        "; set the webhook's content type to application/json"
    } else {
        ""
    }
}

impl From<RegisterError> for HookError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Save(error) => Self::Save(error),
            error => Self::Register(error),
        }
    }
}

impl From<SaveError> for HookError {
    fn from(error: SaveError) -> Self {
        Self::Save(error)
    }
}

impl From<StateError> for HookError {
    fn from(error: StateError) -> Self {
        Self::Save(SaveError::State(error))
    }
}

impl HookError {
    const fn code(&self) -> StatusCode {
        match self {
            Self::Oversized => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoSecret(_) | Self::Unsigned | Self::WrongSignature => StatusCode::UNAUTHORIZED,
            Self::BrokenOff
            | Self::NoHeader(..)
            | Self::OddDelivery
            | Self::NotJson { .. }
            | Self::LongReference(_)
            | Self::Name(_) => StatusCode::BAD_REQUEST,
            Self::NotRegistered(_) => StatusCode::NOT_FOUND,
            Self::Register(RegisterError::Url(_)) => StatusCode::BAD_REQUEST,
            Self::Register(_) | Self::Taken(_) => StatusCode::CONFLICT,
            Self::Save(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The push that a delivery leads to: the same for each repeat, so that its record is all that has to be remembered.
fn push_of(forge: Forge, delivery: Option<String>) -> Result<PushId, HookError> {
    let delivery = delivery.ok_or(HookError::NoHeader("delivery", forge))?;
    if delivery.is_empty()
        || delivery.len() > DELIVERY_BYTES_MAX
        || !delivery.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(HookError::OddDelivery);
    }
    Ok(PushId::of_delivery(forge.as_str(), &delivery))
}

impl<S: StateStore> Listener<S> {
    /// Hears a delivery, and says in the log what came of it.
    async fn answer(
        &self,
        forge: Forge,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> HookReply {
        // Strangers can write into the log here, so not more than a delivery id.
        let delivery = forge.envelope(headers).delivery;
        let delivery = delivery.filter(|id| id.len() <= DELIVERY_BYTES_MAX);
        let span = info_span!(
            "delivery",
            forge = forge.as_str(),
            delivery,
            push = field::Empty
        );
        let hearing = async {
            match self.hear(forge, headers, body).await {
                Ok(reply) => {
                    info!(reply = reply.message(), "the delivery is answered");
                    reply
                }
                Err(error) => {
                    warn!(problem = chain(&error), "the delivery is refused");
                    HookReply::refused(error.code(), error.to_string())
                }
            }
        };
        hearing.instrument(span).await
    }

    async fn hear(
        &self,
        forge: Forge,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<HookReply, HookError> {
        let body = body.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => HookError::Oversized,
            _ => HookError::BrokenOff,
        })?;
        let envelope = forge.envelope(headers);
        self.check(forge, &envelope, &body)?;
        let event = envelope.event.ok_or(HookError::NoHeader("event", forge))?;
        let form = headers.get("content-type").is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        match forge.notice(&event, &body) {
            Ok(notice) => self.act(notice, forge, envelope.delivery).await,
            Err(source) => Err(HookError::NotJson {
                event,
                source,
                form,
            }),
        }
    }

    /// Checks the signature, before anything of the body is looked at.
    fn check(&self, forge: Forge, envelope: &Envelope, body: &[u8]) -> Result<(), HookError> {
        let secret = self.secrets.get(&forge).ok_or(HookError::NoSecret(forge))?;
        match &envelope.signature {
            None => Err(HookError::Unsigned),
            Some(signature) if secret.vouches_for(body, signature) => Ok(()),
            Some(_) => Err(HookError::WrongSignature),
        }
    }

    async fn act(
        &self,
        notice: Notice,
        forge: Forge,
        delivery: Option<String>,
    ) -> Result<HookReply, HookError> {
        match notice {
            Notice::Push(pushed) => self.push(pushed, push_of(forge, delivery)?).await,
            Notice::RepositoryCreated(repository) => self.created(repository).await,
            Notice::RepositoryDeleted(repository) => Ok(HookReply::ignored(format!(
                "{} is gone; what was built from it stays",
                repository.full_name
            ))),
            Notice::Deleted { reference } => Ok(HookReply::ignored(format!(
                "{reference} was deleted: nothing to build"
            ))),
            Notice::Ping => Ok(HookReply::ignored(
                "the line hears you: the next push is built",
            )),
            Notice::Other { event } => Ok(HookReply::ignored(format!(
                "the line does not act on `{event}`"
            ))),
        }
    }

    async fn push(&self, pushed: Pushed, id: PushId) -> Result<HookReply, HookError> {
        Span::current().record("push", field::display(&id));
        if let Some(reply) = self
            .accepted(&id, &pushed.reference, &pushed.commit)
            .await?
        {
            return Ok(reply);
        }
        let Pushed {
            repository,
            reference,
            commit,
            pusher,
        } = pushed;
        if !reference.starts_with("refs/heads/") && !reference.starts_with("refs/tags/") {
            return Ok(HookReply::ignored(format!(
                "{reference} is neither branch nor tag"
            )));
        }
        if reference.len() > REFERENCE_BYTES_MAX {
            return Err(HookError::LongReference(reference.len()));
        }
        let package = of_repository(&self.state, &repository.clone_url)
            .await?
            .ok_or(HookError::NotRegistered(repository))?;
        let Package {
            name: package,
            clone_url,
            ..
        } = package;
        self.accept(Announced {
            id,
            package,
            clone_url,
            reference,
            commit,
            pusher,
            received: (self.clock)(),
            options: BuildOptions::default(),
        })
        .await
    }

    /// Writes down a push and the order to fetch it: both, or neither if somebody else was faster.
    async fn accept(&self, announced: Announced) -> Result<HookReply, HookError> {
        let id = announced.id.clone();
        match create_push(&self.state, announced.clone()).await {
            Ok(()) => Ok(HookReply::accepted(&announced)),
            Err(conflict @ SaveError::Conflict(_)) => {
                let faster = self
                    .accepted(&id, &announced.reference, &announced.commit)
                    .await?;
                faster.ok_or(HookError::Save(conflict))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The answer that this push got when it was first delivered. Ids are short, so that once in a very long while two deliveries
    /// have the same; then what they announce differs.
    async fn accepted(
        &self,
        id: &PushId,
        reference: &str,
        commit: &GitCommit,
    ) -> Result<Option<HookReply>, HookError> {
        match load_push(&self.state, id).await? {
            None => Ok(None),
            Some((PushRecord { announced, .. }, _))
                if announced.reference == reference && announced.commit == *commit =>
            {
                Ok(Some(HookReply::accepted(&announced)))
            }
            Some(_) => Err(HookError::Taken(id.clone())),
        }
    }

    /// Registers a new repository under its own name, for every platform. A repeat finds it registered and gets the same answer.
    async fn created(&self, repository: Repository) -> Result<HookReply, HookError> {
        let name = PackageName::new(&repository.name)?;
        let reply = HookReply::registered(&name, &repository.clone_url);
        let package = Package::new(name, repository.clone_url, Vec::new(), (self.clock)());
        register_new(&self.state, package).await?;
        Ok(reply)
    }
}

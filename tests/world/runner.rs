//! A scripted runner: it speaks the runners' protocol to the desk, reads the spec that it is given, and hands over real packages.

use crate::packages::{File, package, package_of};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use millrace_core::Arch;
use millrace_core::build::Build;
use millrace_core::protocol::{
    Ask, Logged, Offer, Renewal, Renewed, Report, Upload, UploadTarget, Work,
};
use millrace_core::runner::Token;
use millrace_core::task::{Artifact, Blame, Failure, LeaseId, Outcome};
use serde::de::DeserializeOwned;
use std::fmt::Write;
use tower::ServiceExt;

/// Largest answer of the desk, in bytes: a tree of the forge is one small file.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Who speaks.
#[derive(Debug, Clone)]
pub struct Runner {
    pub name: String,
    pub arch: Arch,
    token: Token,
}

/// What a runner says of a task, whatever it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Script {
    #[default]
    Passes,
    /// The package is at fault.
    Fails(&'static str),
    Troubled(&'static str),
    /// There was nothing to do.
    Excludes(&'static str),
}

/// An answer, and the files that must come before it.
#[derive(Debug, Clone)]
pub struct TaskAnswer {
    report: Report,
    files: Vec<File>,
}

/// Under which lease a runner works.
pub fn lease_id(offer: &Offer) -> LeaseId {
    LeaseId {
        build: offer.work.build.clone(),
        task: offer.work.task.clone(),
        number: offer.lease.number,
    }
}

impl TaskAnswer {
    /// What it says.
    pub fn outcome(&self) -> &Outcome {
        &self.report.outcome
    }

    /// Under which lease.
    pub fn lease_id(&self) -> &LeaseId {
        &self.report.lease_id
    }

    /// The same answer, which says in its words under which lease it was found.
    pub fn with_its_lease(mut self) -> Self {
        let lease = format!(" (lease {})", self.report.lease_id.number);
        match &mut self.report.outcome {
            Outcome::Passed { summary: words, .. }
            | Outcome::Excluded { reason: words }
            | Outcome::HandedBack { reason: words } => {
                words.push_str(&lease);
            }
            Outcome::Failed(failure) => failure.reason.push_str(&lease),
        }
        self
    }
}

impl Runner {
    /// A runner with a token that follows from its name.
    pub fn new(name: &str, arch: Arch) -> (Self, Token) {
        let mut bytes = [0; 32];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let token = Token::from_random(bytes);
        (
            Self {
                name: name.to_owned(),
                arch,
                token: token.clone(),
            },
            token,
        )
    }

    /// Asks for work, without waiting for any.
    pub async fn ask(&self, desk: Router) -> (StatusCode, Option<Offer>) {
        let (runner, capacity) = (self.name.parse().unwrap(), Default::default());
        let ask = Ask {
            runner,
            arch: self.arch,
            emulates: Vec::new(),
            wait_s: 0,
            capacity,
        };
        self.post(desk, "/runner/v1/lease", &ask).await
    }

    /// Says that it is still at it.
    pub async fn renew(&self, desk: Router, offer: &Offer) -> StatusCode {
        self.renew_after(desk, offer, None).await
    }

    /// The same of a task that has said nothing for so many seconds.
    pub async fn renew_after(
        &self,
        desk: Router,
        offer: &Offer,
        silent_s: Option<u32>,
    ) -> StatusCode {
        let renewal = Renewal {
            lease_id: lease_id(offer),
            silent_s,
        };
        self.post::<Renewed>(desk, "/runner/v1/renew", &renewal)
            .await
            .0
    }

    /// Sends a piece of its log; what the line says.
    pub async fn log(
        &self,
        desk: Router,
        offer: &Offer,
        offset: u64,
        bytes: Vec<u8>,
    ) -> (StatusCode, Option<Logged>) {
        let LeaseId {
            build,
            task,
            number: lease,
        } = lease_id(offer);
        let path =
            format!("/runner/v1/log?build={build}&task={task}&lease={lease}&offset={offset}");
        let (status, said) = send(
            desk,
            self.with_token(Request::post(path)),
            Body::from(bytes),
        )
        .await;
        (status, serde_json::from_slice(&said).ok())
    }

    /// Does the work; reads what it was given for that.
    pub async fn work(&self, desk: Router, offer: &Offer, script: Script) -> Option<TaskAnswer> {
        let tree = offer
            .work
            .inputs
            .iter()
            .find(|input| input.name == "tree.tar")
            .unwrap();
        let (status, tree) = self
            .request(
                desk,
                Request::get(format!("/runner/v1/blobs/{}", tree.digest)),
                Body::empty(),
            )
            .await;
        if status != StatusCode::OK {
            return None;
        }
        let files = if script == Script::Passes {
            results(&offer.work, &String::from_utf8_lossy(&tree))
        } else {
            Vec::new()
        };
        let failed = |blame, reason: &str| Outcome::Failed(Failure::new(blame, reason));
        let outcome = match script {
            Script::Passes => Outcome::Passed {
                summary: summary(&files),
                artifacts: artifacts(&files),
            },
            Script::Fails(reason) => failed(Blame::Package, reason),
            Script::Troubled(reason) => failed(Blame::Environment, reason),
            Script::Excludes(reason) => Outcome::Excluded {
                reason: reason.to_owned(),
            },
        };
        Some(TaskAnswer {
            report: Report {
                lease_id: lease_id(offer),
                outcome,
                roots: None,
            },
            files,
        })
    }

    /// Hands over what it made, to where it is told, and answers. The first refusal ends it.
    pub async fn answer(&self, desk: Router, answer: &TaskAnswer) -> StatusCode {
        for (artifact, bytes) in &answer.files {
            let status = self
                .hand_over(desk.clone(), answer.lease_id(), artifact, bytes)
                .await;
            if !status.is_success() {
                return status;
            }
        }
        self.report(desk, answer).await
    }

    async fn hand_over(
        &self,
        desk: Router,
        lease_id: &LeaseId,
        artifact: &Artifact,
        bytes: &[u8],
    ) -> StatusCode {
        let upload = Upload {
            lease_id: lease_id.clone(),
            digest: artifact.digest,
            size: artifact.size,
        };
        let (status, place) = self
            .post::<UploadTarget>(desk.clone(), "/runner/v1/upload", &upload)
            .await;
        let put = match place {
            None | Some(UploadTarget::Kept) => return status,
            Some(UploadTarget::Desk) => {
                let LeaseId {
                    build,
                    task,
                    number: lease,
                } = lease_id;
                self.with_token(Request::put(format!(
                    "/runner/v1/blobs/{}?build={build}&task={task}&lease={lease}",
                    artifact.digest
                )))
            }
            Some(UploadTarget::Address { url, headers }) => headers
                .into_iter()
                .fold(Request::put(url), |request, (name, value)| {
                    request.header(name, value)
                }),
        };
        send(desk, put, Body::from(bytes.to_vec())).await.0
    }

    /// Answers, without what should have come before.
    pub async fn report(&self, desk: Router, answer: &TaskAnswer) -> StatusCode {
        self.post::<()>(desk, "/runner/v1/report", &answer.report)
            .await
            .0
    }

    async fn post<T: DeserializeOwned>(
        &self,
        desk: Router,
        path: &str,
        body: &impl serde::Serialize,
    ) -> (StatusCode, Option<T>) {
        let request = Request::post(path).header("content-type", "application/json");
        let (status, body) = self
            .request(desk, request, Body::from(serde_json::to_vec(body).unwrap()))
            .await;
        (status, serde_json::from_slice(&body).ok())
    }

    async fn request(
        &self,
        desk: Router,
        request: axum::http::request::Builder,
        body: Body,
    ) -> (StatusCode, Vec<u8>) {
        send(desk, self.with_token(request), body).await
    }

    fn with_token(&self, request: axum::http::request::Builder) -> axum::http::request::Builder {
        request.header("authorization", format!("Bearer {}", self.token.reveal()))
    }
}

/// Sends a request to the desk, or where its whole address says.
async fn send(
    desk: Router,
    request: axum::http::request::Builder,
    body: Body,
) -> (StatusCode, Vec<u8>) {
    let response = desk.oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status();
    // A body that breaks off is the store's trouble, as a status would tell it.
    match bytes(response).await {
        Some(bytes) => (status, bytes),
        None => (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
    }
}

async fn bytes(response: Response<Body>) -> Option<Vec<u8>> {
    axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .ok()
        .map(Into::into)
}

fn artifacts(files: &[File]) -> Vec<Artifact> {
    files.iter().map(|(artifact, _)| artifact.clone()).collect()
}

fn summary(files: &[File]) -> String {
    let mut summary = format!("{} packages", files.len());
    if files.is_empty() {
        summary.clear();
        write!(summary, "tried").unwrap();
    }
    summary
}

/// A spec file that says these things besides.
pub fn spec(package: &str, release: u64, besides: &str) -> String {
    format!("Name: {package}\nVersion: 1\nRelease: {release}\n{besides}\n")
}

/// What a step of a package hands over, as its spec (in the tree's archive, where files lie as they are) wants it.
fn results(work: &Work, tree: &str) -> Vec<File> {
    let says = |tag: &str| {
        tree.lines()
            .find_map(|line| line.split_once(tag))
            .map(|(_, rest)| rest.trim())
    };
    let words = |tag| {
        says(tag)
            .map(|text| text.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let release = says("Release:").unwrap().parse().unwrap();
    let name = work.package.as_str();
    let build_arch: Vec<String> = words("BuildArch:");
    match (work.task.step.as_str(), work.task.arch) {
        ("source", _) => {
            let (mut artifact, bytes) = package(name, release, "src");
            if let Some(rpm) = &mut artifact.rpm {
                rpm.build_arch = build_arch;
                rpm.exclusive_arch = words("ExclusiveArch:");
            }
            vec![(artifact, bytes)]
        }
        ("rpm", Some(_)) if build_arch == ["noarch"] => vec![package(name, release, "noarch")],
        ("rpm", Some(arch)) => vec![
            package(name, release, arch.as_str()),
            package_of(name, &format!("{name}-devel"), release, arch.as_str()),
            package_of(name, &format!("{name}-doc"), release, "noarch"),
        ]
        .into_iter()
        .chain(
            words("Subpackages:")
                .into_iter()
                .map(|word| package_of(name, &format!("{name}-{word}"), release, arch.as_str())),
        )
        .collect(),
        // Where other steps release something, it is seen.
        ("check", Some(arch)) => vec![package_of(
            name,
            &format!("{name}-report"),
            release,
            arch.as_str(),
        )],
        _ => Vec::new(),
    }
}

/// How the leases of a task's past ended, if there is more to tell than that its runner answered.
pub fn past(build: &Build, task: &str) -> String {
    use millrace_core::task::AttemptEnd;
    let task = build.task(&task.parse().unwrap()).unwrap();
    let tell = |attempt: &millrace_core::task::Attempt| {
        let end = match &attempt.end {
            AttemptEnd::Answered => "answered".to_owned(),
            AttemptEnd::Troubled { reason } => format!("had trouble: {reason}"),
            AttemptEnd::Lost => "fell silent".to_owned(),
            AttemptEnd::Returned => "came back without it".to_owned(),
            AttemptEnd::HandedBack { reason } => format!("handed it back: {reason}"),
            AttemptEnd::Dropped => "was told to drop it".to_owned(),
        };
        format!("{} {end}", attempt.runner)
    };
    task.attempts
        .iter()
        .map(tell)
        .collect::<Vec<_>>()
        .join(", ")
}

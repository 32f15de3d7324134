//! The line in the cloud with scripted runners outside: they speak the runners' protocol over HTTP, sleep little, and hand over real
//! packages. What a push makes there is known to the byte.

use crate::lambda::Options;
use crate::owner::{Cloud, QUIET};
use crate::services::config_at;
use crate::stack::request;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use millrace_core::build::Build;
use millrace_core::platform::Platform;
use millrace_core::plugin::Plugin;
use millrace_core::protocol::Offer;
use millrace_core::push::{Package, PushRecord};
use millrace_core::runner::Runner as RunnerRecord;
use millrace_core::task::{LEASE_MS, LeaseId};
use millrace_core::{Arch, BuildId, Digest, PlatformName, PushId, Timestamp};
use millrace_host::line::lease::rest;
use millrace_listener::Secret;
use millrace_store::builds::{load_build, load_push};
use millrace_store::dynamodb::DynamoDb;
use millrace_store::index::ready_index;
use millrace_store::packages::register;
use millrace_store::records::{create, replace};
use millrace_store::s3::S3;
use millrace_store::{Message, StateStore, Table};
use millrace_tests::forge::{Delivery, Forge};
use millrace_tests::line::platform;
use millrace_tests::runner::{Runner, Script, TaskAnswer, lease_id, spec};
use millrace_tests::wait::{wait_for_async, wait_until_async};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

/// The pause of a runner that found nothing, or that was told to come again.
const PAUSE: Duration = Duration::from_millis(100);

/// Messages looked at.
const MESSAGES_MAX: usize = 10_000;

/// What was released: the files by repository and name, and their bytes' digests.
pub type Released = BTreeMap<String, Digest>;

/// A line in the cloud, a forge, and scripted runners.
pub struct Scripted {
    pub cloud: Cloud,
    /// Its records, for the part that owns them.
    pub state: DynamoDb,
    /// Its blobs, the same.
    pub blobs: S3,
    /// Where packages are pushed to.
    pub forge: Forge,
    /// What runners were given to do, under which leases.
    pub given: Arc<Mutex<Vec<LeaseId>>>,
    /// How many of the usual steps the platforms have that are made from now on.
    pub steps: usize,
    /// What runners do beside answering.
    pub habits: Option<Habits>,
    name: &'static str,
    architectures: &'static str,
    platform: PlatformName,
    runners: Vec<Runner>,
    resting: Arc<AtomicBool>,
    hands: Vec<JoinHandle<()>>,
    releases: u64,
    deliveries: u64,
}

impl Scripted {
    /// A line on which nothing was pushed yet under this name, with a platform of these architectures, as TOML has them, and a runner
    /// for each.
    pub async fn start(
        folder: &Path,
        name: &'static str,
        architectures: &'static str,
        options: impl FnOnce(&mut Options),
    ) -> Self {
        let cloud = Cloud::start(folder, options).await;
        let config = config_at(Some(&cloud.stack.endpoint)).await;
        let state = DynamoDb::open(&config, cloud.stack.table());
        let blobs = S3::open(&config, cloud.stack.bucket());
        cloud.stack.dead_letters().await;
        for plugin in ["source", "rpm", "check"] {
            let registered = Plugin {
                name: plugin.parse().unwrap(),
                digest: Digest::of(plugin.as_bytes()),
                size: 1,
            };
            replace(&state, Table::Plugin, plugin, &registered)
                .await
                .unwrap();
        }
        let mut scripted = Self {
            cloud,
            state,
            blobs,
            forge: Forge::new(),
            given: Arc::default(),
            steps: usize::MAX,
            habits: None,
            name,
            architectures,
            platform: name.parse().unwrap(),
            runners: Vec::new(),
            resting: Arc::default(),
            hands: Vec::new(),
            releases: 0,
            deliveries: 0,
        };
        scripted.new_platform("first").await;
        for arch in platform(architectures).architectures {
            scripted.runner("1", arch).await;
        }
        scripted
    }

    /// Whatever is pushed from now on is built for another platform, which has released nothing.
    pub async fn new_platform(&mut self, which: &str) {
        self.platform = format!("{}-{which}", self.name).parse().unwrap();
        let branches = vec!["main".to_owned()];
        let mut platform = Platform {
            name: self.platform.clone(),
            branches,
            // Nothing is fetched from the repositories of a platform whose runners are scripts.
            repositories: Vec::new(),
            ..platform(self.architectures)
        };
        platform.steps.truncate(self.steps);
        let file = self.cloud.folder.join(format!("{which}.toml"));
        fs::write(&file, toml::to_string(&platform).unwrap()).unwrap();
        self.cloud
            .millrace(&["platform", "add", file.to_str().unwrap()])
            .await;
    }

    /// Ends all functions and runs them in another way; the runners find the new ones.
    pub async fn again(&mut self, options: impl FnOnce(&mut Options)) {
        self.quiet().await;
        self.hands.drain(..).for_each(|hand| hand.abort());
        self.cloud.again(options).await;
        for runner in self.runners.clone() {
            self.sets_to_work(runner);
        }
    }

    /// Adds a runner, which works from now on.
    pub async fn runner(&mut self, which: &str, arch: Arch) {
        let (runner, token) = Runner::new(&format!("{}-{which}-{arch}", self.name), arch);
        let record = RunnerRecord::new(&runner.name.parse().unwrap(), arch, &token, now());
        assert!(create(&self.state, &record).await.unwrap());
        self.runners.push(runner.clone());
        self.sets_to_work(runner);
    }

    fn sets_to_work(&mut self, runner: Runner) {
        let (desk, state) = (way(&self.cloud.lambda.url("desk")), self.state.clone());
        let (given, resting) = (Arc::clone(&self.given), Arc::clone(&self.resting));
        self.hands.push(tokio::spawn(
            Hand {
                runner,
                desk,
                state,
                given,
                resting,
                habits: self.habits,
            }
            .work(),
        ));
    }

    /// Commits a package's next release; what the forge says of it. The same name and number give the same packages.
    pub async fn commit(&mut self, package: &str, besides: &str) -> Delivery {
        self.releases += 1;
        let files = [(
            format!("{package}.spec"),
            spec(package, self.releases, besides),
        )];
        self.commit_files(package, &files).await
    }

    /// Commits exactly these files.
    pub async fn commit_files(&mut self, package: &str, files: &[(String, String)]) -> Delivery {
        let commit = self.forge.commit(package, "main", files);
        self.delivery(package, &commit).await
    }

    /// What the forge says of a commit, to be built for the present platform.
    pub async fn delivery(&mut self, package: &str, commit: &str) -> Delivery {
        let (name, clone_url) = (package.parse().unwrap(), self.forge.clone_url(package));
        let registered = Package::new(name, clone_url, vec![self.platform.clone()], now());
        register(&self.state, registered).await.unwrap();
        self.deliveries += 1;
        let delivery = self.forge.delivery(package, "main", commit);
        Delivery {
            id: format!("{}-{}", self.name, self.deliveries),
            ..delivery
        }
    }

    /// Somebody pushes a package's next release.
    pub async fn push(&mut self, package: &str) -> Delivery {
        let delivery = self.commit(package, "").await;
        self.deliver(&delivery).await;
        delivery
    }

    /// The forge delivers once; the status code and the answer.
    pub async fn hook(&self, delivery: &Delivery) -> (u16, String) {
        let signature = Secret::new(&self.cloud.secret)
            .unwrap()
            .sign(&delivery.body);
        let headers = [
            ("x-gitea-event", "push"),
            ("x-gitea-delivery", &delivery.id),
            ("x-gitea-signature", &signature),
            ("content-type", "application/json"),
        ];
        let body = String::from_utf8(delivery.body.clone()).unwrap();
        request(
            "POST",
            &format!("{}/hooks/gitea", self.cloud.lambda.api()),
            &headers,
            &body,
        )
        .await
    }

    /// The forge delivers until the line takes it, as a person who looks at a failed delivery there does.
    pub async fn deliver(&self, delivery: &Delivery) {
        wait_until_async(
            || format!("the line to take {}\n{}", delivery.id, self.cloud.logs()),
            async || {
                let (status, said) = self.hook(delivery).await;
                assert!(
                    status == 202 || status >= 500,
                    "{status} {said}\n{}",
                    self.cloud.logs()
                );
                status == 202
            },
        )
        .await;
    }

    /// What became of a push.
    pub async fn push_of(&self, delivery: &Delivery) -> Option<PushRecord> {
        Some(load_push(&self.state, &push_id(delivery)).await.unwrap()?.0)
    }

    /// Its build on the present platform.
    pub async fn build_of(&self, delivery: &Delivery) -> Option<Build> {
        let id = BuildId::of_push(&push_id(delivery), &self.platform);
        Some(load_build(&self.state, &id).await.unwrap()?.0)
    }

    /// Waits for the end of a push's build, which must be its release, by runners each of which answered once.
    pub async fn released(&self, delivery: &Delivery) -> Build {
        let build = self.ended(delivery).await;
        assert_eq!(
            build.word(),
            "released",
            "{:?}\n{}",
            build.reason(),
            self.cloud.logs()
        );
        build
    }

    /// Waits for the end of a push's build.
    pub async fn ended(&self, delivery: &Delivery) -> Build {
        let seen = RefCell::new(None);
        wait_for_async(
            || {
                let seen = seen.borrow();
                format!(
                    "the end of {}: {seen:?}\n{}",
                    delivery.id,
                    self.cloud.logs()
                )
            },
            async || {
                let build = self.build_of(delivery).await;
                seen.replace(build.clone());
                build.filter(Build::is_ended)
            },
        )
        .await
    }

    /// What lies in the present platform's repositories, as their root document says.
    pub async fn repositories(&self) -> Released {
        let (generation, _) = millrace_releaser::current(&self.platform, &self.blobs)
            .await
            .unwrap()
            .unwrap();
        let packages = generation.packages();
        let files = packages.flat_map(|(repository, packages)| {
            packages
                .iter()
                .map(move |(name, entry)| (format!("{repository}/{name}"), entry.file.digest))
        });
        files.collect()
    }

    /// How many releases the present platform has had.
    pub async fn releases(&self) -> usize {
        let (generation, _) = millrace_releaser::current(&self.platform, &self.blobs)
            .await
            .unwrap()
            .unwrap();
        generation.orders.len()
    }

    /// Messages that nobody has settled, dead letters among them.
    pub async fn messages(&self) -> Vec<Message> {
        let mut messages = self.state.unsettled(MESSAGES_MAX).await.unwrap();
        messages.extend(self.state.dead_letters(MESSAGES_MAX).await.unwrap());
        messages
    }

    /// Waits until nothing happens any more. Runners that have nothing to do ask for nothing meanwhile.
    pub async fn quiet(&self) {
        self.resting.store(true, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
        self.cloud.lambda.quiet(QUIET).await;
        self.resting.store(false, Ordering::SeqCst);
    }

    /// Waits until nothing happens any more, and sees that nothing is left to do, nothing was reported to the dead letters, and no runner
    /// holds anything.
    pub async fn is_done(&self) {
        self.quiet().await;
        let messages = self.messages().await;
        assert_eq!(
            messages,
            [],
            "messages are left over\n{}",
            self.cloud.logs()
        );
        assert_eq!(
            self.cloud.stack.dead_letters().await,
            Vec::<String>::new(),
            "{}",
            self.cloud.logs()
        );
        assert_eq!(self.cloud.lambda.troubles(), Vec::<String>::new());
        let mut indexes = vec!["leased".to_owned(), "ready/any".to_owned()];
        indexes.extend(self.runners.iter().flat_map(|runner| {
            [
                format!("held/{}", runner.name),
                format!("ready/{}", runner.arch),
            ]
        }));
        for index in indexes {
            let index_entries = self.state.index_entries(&index, None, 1).await.unwrap();
            assert_eq!(index_entries, [], "index entries in {index} are left over");
        }
        let mut given = self
            .given
            .lock()
            .unwrap()
            .iter()
            .map(|held| format!("{held:?}"))
            .collect::<Vec<_>>();
        let all = given.len();
        given.sort();
        given.dedup();
        assert_eq!(given.len(), all, "a lease was given to two");
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.hands.iter().for_each(JoinHandle::abort);
    }
}

/// The push that a delivery is.
pub fn push_id(delivery: &Delivery) -> PushId {
    PushId::of_delivery("gitea", &delivery.id)
}

/// The clock of this machine.
pub fn now() -> Timestamp {
    Timestamp(
        u64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap(),
    )
}

/// The desk at an address. What answers with another address is asked there, without the token.
pub fn way(desk: &str) -> Router {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let desk = desk.trim_end_matches('/').to_owned();
    Router::new().fallback(move |request: Request| {
        let (client, desk) = (client.clone(), desk.clone());
        async move {
            forward(client, &desk, request)
                .await
                .unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
        }
    })
}

async fn forward(
    client: Client<HttpConnector, Body>,
    desk: &str,
    mut request: Request,
) -> Result<Response, axum::Error> {
    if request.uri().authority().is_none() {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("{desk}{path}")
            .parse::<Uri>()
            .map_err(axum::Error::new)?;
    }
    let answer = client.request(request).await.map_err(axum::Error::new)?;
    let elsewhere = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|place| place.to_str().ok()?.parse::<Uri>().ok());
    match elsewhere {
        Some(place) if answer.status() == StatusCode::TEMPORARY_REDIRECT => Ok(client
            .get(place)
            .await
            .map_err(axum::Error::new)?
            .map(Body::new)),
        _ => Ok(answer.map(Body::new)),
    }
}

/// What runners do while they are at a task, and for how long, without waiting for any of it.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// How long a task lasts, in seconds.
    pub task_s: fn(&str) -> u64,
    /// Bytes of log in each of them.
    pub log_bytes_s: u64,
}

impl Habits {
    /// Renews and sends a log as a real runner would until the end of a task.
    async fn live(&self, runner: &Runner, desk: &Router, offer: &Offer) {
        let end_ms = (self.task_s)(offer.work.task.step.as_str()) * 1000;
        let renewal_ms = LEASE_MS / 3;
        let pause = |told, chunks| u64::try_from(rest(told, chunks).as_millis()).unwrap();
        let (mut renew_ms, mut log_ms, mut sent_ms, mut offset, mut chunks) =
            (renewal_ms, pause(None, 0), 0, 0, 0);
        while sent_ms < end_ms {
            let now_ms = renew_ms.min(log_ms).min(end_ms);
            if now_ms == renew_ms {
                assert_eq!(runner.renew(desk.clone(), offer).await, StatusCode::OK);
                renew_ms += renewal_ms;
            }
            if now_ms == log_ms || now_ms == end_ms {
                // No two pieces are the same, as in a real log.
                let mut bytes = format!("{now_ms} ms of {offset}\n").into_bytes();
                bytes.resize(
                    usize::try_from((now_ms - sent_ms) * self.log_bytes_s / 1000)
                        .unwrap()
                        .max(bytes.len()),
                    b'.',
                );
                let size = bytes.len() as u64;
                let (status, logged) = runner.log(desk.clone(), offer, offset, bytes).await;
                assert_eq!(status, StatusCode::OK);
                (offset, sent_ms, chunks) = (offset + size, now_ms, chunks + 1);
                log_ms = now_ms + pause(logged.and_then(|logged| logged.pause_s), chunks);
            }
        }
    }
}

/// A runner that does whatever it is given.
struct Hand {
    runner: Runner,
    desk: Router,
    state: DynamoDb,
    given: Arc<Mutex<Vec<LeaseId>>>,
    /// Whether it must leave the desk alone.
    resting: Arc<AtomicBool>,
    habits: Option<Habits>,
}

impl Hand {
    async fn work(self) {
        let mut is_heard = true;
        loop {
            // A test that counts requests counts none of those that come in vain; but one that was not answered comes again.
            while self.resting.load(Ordering::SeqCst) || is_heard && !self.is_ready().await {
                tokio::time::sleep(PAUSE).await;
            }
            let (status, offer) = self.runner.ask(self.desk.clone()).await;
            is_heard = status.is_success();
            match offer {
                Some(offer) => self.does(&offer).await,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn is_ready(&self) -> bool {
        for index in [ready_index(Some(self.runner.arch)), ready_index(None)] {
            if !self
                .state
                .index_entries(&index, None, 1)
                .await
                .unwrap()
                .is_empty()
            {
                return true;
            }
        }
        false
    }

    async fn does(&self, offer: &Offer) {
        self.given.lock().unwrap().push(lease_id(offer));
        if let Some(habits) = &self.habits {
            habits.live(&self.runner, &self.desk, offer).await;
        }
        let answer = self.made(offer).await;
        loop {
            let status = self.runner.answer(self.desk.clone(), &answer).await;
            // A conflict is somebody else's lease by now, or an answer that was taken and of which the word was lost.
            if status == StatusCode::OK || status == StatusCode::CONFLICT {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn made(&self, offer: &Offer) -> TaskAnswer {
        loop {
            if let Some(answer) = self
                .runner
                .work(self.desk.clone(), offer, Script::Passes)
                .await
            {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

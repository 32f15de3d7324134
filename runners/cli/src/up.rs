//! `millrace up`: every function, the embedded stores and one runner, in one process.

use crate::arguments::Up;
use crate::bundled;
use crate::here::{emulated, own_arch, told_to_stop, worker_config};
use crate::output::Output;
use crate::pump::{self, Functions};
pub use crate::seal::LocalSeal;
use crate::state::{Folder, now, random};
use crate::store::Store;
use crate::ticks;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use millrace_control::runner::{self, RunnerRequest};
use millrace_core::access::Actor;
use millrace_core::address::OwnHosts;
use millrace_core::runner::Token;
use millrace_core::{PlatformName, RunnerName, Timestamp};
use millrace_host::worker::WorkerError;
use millrace_listener::forge::Forge;
use millrace_listener::{Listener, Secret};
use millrace_orchestrator::{Desk, released_repository};
use millrace_signer::LocalKeys;
use millrace_source::Fetcher;
use millrace_store::local::LocalStore;
use millrace_web::Web;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

/// Tries at the right to run, and the pause between two: longer than a command has it that only looks.
const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// How long running work may take to end cleanly after Ctrl-C.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Runs the line until it is told to stop (SIGINT, SIGTERM).
pub async fn up(folder: &Folder, output: Output, options: &Up) -> Result<()> {
    if !options.no_runner {
        millrace_host::machine::emulation::check(own_arch()?, &options.manner.emulate)?;
    }
    let store = folder.local()?;
    let _lock = lock(&store)
        .await
        .context("is `millrace up` running over this state folder already?")?;
    // Who sees the port open finds the secret, too.
    folder.webhook_secret()?;
    let ready = Arc::new(Notify::new());
    let socket = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listening on {}", options.listen))?;
    let address = socket.local_addr()?;
    bundled::register(
        folder,
        &Store::Here(store.clone()),
        options.plugins.as_deref(),
    )
    .await?;
    let here = format!("http://{}", reachable(address));
    let url = options.url.clone().unwrap_or_else(|| here.clone());
    let own_hosts = Arc::new(OwnHosts::of([url.as_str(), &format!("http://{address}")]));
    if options.url.is_none() && address.ip().is_unspecified() {
        warn!(
            "runners on other machines cannot read what is released here: say with --url where they reach this line"
        );
    }
    let functions = functions(folder, &store, &ready, options)?;
    let routes = routes(folder, &store, &ready, &url)?
        .layer(from_fn_with_state(Arc::clone(&functions.posted), ring))
        .layer(from_fn_with_state(own_hosts, for_own_hosts));
    let stop = Arc::new(AtomicBool::new(false));
    let mut runner = if options.no_runner {
        None
    } else {
        Some(start_runner(folder, &store, &here, options, &stop).await?)
    };
    tell(folder, output, &here, options)?;
    // The pump takes at once what an earlier process had out; by a clock that was ahead, that would be hidden from it.
    store
        .hide_no_longer_than(now().plus_ms(pump::OUT_MS - 1))
        .await?;
    tokio::spawn(pump::run(Arc::new(functions)));
    tokio::spawn(ticks::run(store));
    let stopped = Arc::clone(&stop);
    let mut serving = tokio::spawn(async move { axum::serve(socket, routes).await });
    tokio::select! {
        served = &mut serving => served.context("serving")?.context("serving")?,
        () = told_to_stop() => stopped.store(true, Ordering::Relaxed),
        error = failed(&mut runner) => return Err(error.into()),
    }
    if let Some((runner, _)) = runner {
        info!("stopping; tasks that run here go back to the queue");
        // The line still serves, for that is where the runner hands it back to.
        let _ = tokio::time::timeout(STOP_MAX, tokio::task::spawn_blocking(|| runner.join())).await;
    }
    // Requests that wait (a runner's elsewhere, a reader's of a log) are cut off rather than waited for.
    serving.abort();
    Ok(())
}

/// The right to be the line of this folder. Commands that wait for a line look whether there is one by taking it for a moment.
async fn lock(
    store: &LocalStore,
) -> Result<millrace_store::local::Lock, millrace_store::local::OpenError> {
    for _ in 0..LOCK_TRIES {
        if let Ok(lock) = store.lock() {
            return Ok(lock);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    store.lock()
}

fn routes(folder: &Folder, store: &LocalStore, ready: &Arc<Notify>, url: &str) -> Result<Router> {
    let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(now);
    let secret = Secret::new(folder.webhook_secret()?)?;
    let secrets = Forge::ALL
        .into_iter()
        .map(|forge| (forge, secret.clone()))
        .collect();
    let listener = Listener {
        state: store.clone(),
        secrets,
        clock: Arc::clone(&clock),
    };
    let line = url.to_owned();
    let released = move |platform: &PlatformName| released_repository(&line, platform);
    let incoming = folder.folder("incoming")?;
    for left_over in std::fs::read_dir(&incoming)?.flatten() {
        let _ = std::fs::remove_file(left_over.path());
    }
    let desk = Desk {
        state: store.clone(),
        blobs: store.clone(),
        clock: Arc::clone(&clock),
        ready: Arc::clone(ready),
        released: Arc::new(released),
        incoming,
        paces: None,
    };
    let web = Web {
        state: store.clone(),
        blobs: store.clone(),
        clock,
        part_bytes: None,
        url: Some(url.to_owned()),
    };
    Ok(Router::new()
        .merge(millrace_listener::router(listener))
        .merge(millrace_orchestrator::router(desk))
        .merge(millrace_web::router(web))
        .nest(
            "/repo",
            millrace_releaser::router(store.clone(), Some(url.to_owned())),
        ))
}

/// Where somebody on this machine reaches what listens on an address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Refuses requests for other hosts than the line's own: a web page of somebody else cannot read the line through a visitor's browser.
async fn for_own_hosts(State(own): State<Arc<OwnHosts>>, request: Request, next: Next) -> Response {
    match refusal(&own, &request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(own: &OwnHosts, request: &Request) -> Option<(StatusCode, String)> {
    let in_header = request.headers().get(header::HOST);
    let in_header = in_header.map(|host| host.to_str().unwrap_or_default());
    let in_uri = request.uri().authority().map(Authority::as_str);
    let asked: Vec<&str> = in_header.into_iter().chain(in_uri).collect();
    if asked.is_empty() {
        let problem = "the request says no Host (RFC 9110, 7.2)\n".to_owned();
        return Some((StatusCode::BAD_REQUEST, problem));
    }
    let other = asked.into_iter().find(|host| !own.has(host))?;
    Some((
        StatusCode::MISDIRECTED_REQUEST,
        format!("{}\n", own.refusal(other)),
    ))
}

/// A request that posts something (a webhook, an answer) may have caused messages: the pump looks at once.
async fn ring(State(posted): State<Arc<Notify>>, request: Request, next: Next) -> Response {
    let posts = request.method() == Method::POST;
    let response = next.run(request).await;
    if posts {
        posted.notify_one();
    }
    response
}

fn functions(
    folder: &Folder,
    store: &LocalStore,
    ready: &Arc<Notify>,
    options: &Up,
) -> Result<Functions<LocalStore, LocalKeys, LocalSeal>> {
    let keys = LocalKeys::open(&folder.folder("keys")?)?;
    let lookaside = options
        .lookaside
        .iter()
        .map(|url| Ok(url.parse()?))
        .collect::<Result<_>>()?;
    let fetcher = Fetcher::new(folder.folder("git")?, lookaside);
    fetcher
        .sweep()
        .context("emptying the folder for what is being fetched")?;
    Ok(Functions {
        store: store.clone(),
        fetcher,
        seal: LocalSeal(keys.clone()),
        keys,
        ready: Arc::clone(ready),
        posted: Arc::default(),
        clock: Arc::new(now),
    })
}

async fn start_runner(
    folder: &Folder,
    store: &LocalStore,
    url: &str,
    options: &Up,
    stop: &Arc<AtomicBool>,
) -> Result<Runner> {
    let arch = own_arch()?;
    let name = RunnerName::new(&format!("local-{arch}"))?;
    // A new token at every start: the old one dies with the process that had it.
    let token = Token::from_random(random()?);
    let request = RunnerRequest {
        emulates: emulated(options.manner.emulate.clone(), arch),
        ..RunnerRequest::new(name.clone(), arch)
    };
    runner::renew(&Actor::Line, request, &token, store, now()).await?;
    let work = match &options.work {
        Some(work) => std::path::absolute(work)?,
        None => folder.folder("runner")?,
    };
    let config = worker_config(
        url,
        token.reveal(),
        name,
        arch,
        options.manner.clone(),
        &work,
    )?;
    let stop = Arc::clone(stop);
    let (give, failure) = oneshot::channel();
    let run = move || {
        if let Err(error) = millrace_host::worker::run(config, stop) {
            let _ = give.send(error);
        }
    };
    Ok((
        std::thread::Builder::new()
            .name("runner".to_owned())
            .spawn(run)?,
        failure,
    ))
}

/// A runner in a thread, and why it could not go on.
type Runner = (std::thread::JoinHandle<()>, oneshot::Receiver<WorkerError>);

/// Returns when the runner of this machine cannot go on; never if there is none, or if it was told to stop.
async fn failed(runner: &mut Option<Runner>) -> WorkerError {
    if let Some((_, failure)) = runner
        && let Ok(error) = failure.await
    {
        return error;
    }
    std::future::pending().await
}

fn tell(folder: &Folder, output: Output, url: &str, options: &Up) -> Result<()> {
    let secret = folder.webhook_secret_path();
    let value = serde_json::json!({
        "url": url, "webhooks": format!("{url}/hooks/gitea"), "webhook_secret": secret, "state": folder.path(),
        "runner_here": !options.no_runner,
    });
    let runner = if options.no_runner {
        "none here (--no-runner)"
    } else {
        "one, on this machine"
    };
    let forges = Forge::ALL.map(Forge::as_str).join(", ");
    output.one(&value, |_| {
        format!(
            "millrace is up\n  pages           {url}/\n  \
             webhooks        {url}/hooks/FORGE ({forges}), secret in {}\n  \
             repositories    {url}/repo/PLATFORM/PLATFORM.repo\n  state and keys  {}\n  runners         {runner}\n\
             Ctrl-C stops it; `millrace up` goes on where it was.",
            secret.display(),
            folder.path().display()
        )
    })
}

//! `millrace up`: every function, the embedded stores and one runner, in one process.

use crate::arguments::Up;
use crate::pump::{self, Functions};
use crate::state::{Folder, now, random};
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use millrace_core::platform::{RELEASED_REPOSITORY, Repository};
use millrace_core::{Arch, KeyName, PlatformName, RunnerName, Timestamp};
use millrace_host::worker::{WorkerConfig, WorkerError};
use millrace_listener::forge::Forge;
use millrace_listener::{Fetcher, Listener, Secret};
use millrace_orchestrator::{Desk, Token, add_runner, remove_runner};
use millrace_releaser::{Seal, SealError};
use millrace_signer::{Keys, LocalKeys};
use millrace_store::local::LocalStore;
use millrace_web::Web;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

/// How often time alone gets to decide: a lease that is over is noticed within a second.
const TICK: Duration = Duration::from_secs(1);

/// dnf's priority of what the line released: before everything that a platform names by default.
const RELEASED_PRIORITY: u32 = 10;

/// How long running work may take to come to a clean end after Ctrl-C.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Seals repository metadata with the signer's keys, in this process.
pub struct LocalSeal(pub LocalKeys);

impl Seal for LocalSeal {
    async fn seal(&self, key: &KeyName, repomd: &[u8], signed_s: u64) -> Result<Vec<u8>, SealError> {
        millrace_signer::seal(&self.0, key, repomd, signed_s).map_err(|error| SealError(error.to_string()))
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        self.0.public(key).map(String::into_bytes).map_err(|error| SealError(error.to_string()))
    }
}

/// Runs the line until it is told to stop (SIGINT, SIGTERM).
pub async fn up(folder: &Folder, options: &Up) -> Result<()> {
    let store = folder.store()?;
    let _lock = store.lock().context("is `millrace up` running over this state folder already?")?;
    // Whoever sees the port open finds the secret, too.
    folder.webhook_secret()?;
    let ready = Arc::new(Notify::new());
    let socket = TcpListener::bind(options.listen).await.with_context(|| format!("listening on {}", options.listen))?;
    let address = socket.local_addr()?;
    register_plugins(&store, options).await?;
    let functions = functions(folder, &store, &ready, options)?;
    let routes = routes(folder, &store, &ready, address)?.layer(from_fn_with_state(Arc::clone(&functions.posted), ring));
    let stop = Arc::new(AtomicBool::new(false));
    let mut runner = if options.no_runner { None } else { Some(start_runner(folder, &store, address, options, &stop).await?) };
    tell(folder, address, options);
    tokio::spawn(pump::run(Arc::new(functions)));
    tokio::spawn(ticks(store));
    let stopped = Arc::clone(&stop);
    // Requests that wait (a runner's, a reader's of a log) are cut off rather than waited for.
    tokio::select! {
        served = axum::serve(socket, routes) => served.context("serving")?,
        () = told_to_stop() => stopped.store(true, Ordering::Relaxed),
        error = failed(&mut runner) => return Err(error.into()),
    }
    if let Some((runner, _)) = runner {
        eprintln!("millrace: stopping; what runs here goes back to the queue");
        let _ = tokio::time::timeout(STOP_MAX, tokio::task::spawn_blocking(|| runner.join())).await;
    }
    Ok(())
}

fn routes(folder: &Folder, store: &LocalStore, ready: &Arc<Notify>, address: SocketAddr) -> Result<Router> {
    let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(now);
    let secret = Secret::new(folder.webhook_secret()?)?;
    let secrets = Forge::ALL.into_iter().map(|forge| (forge, secret.clone())).collect();
    let listener = Listener { state: store.clone(), secrets, clock: Arc::clone(&clock) };
    let released = move |platform: &PlatformName| released_repository(address, platform);
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
    };
    let web = Web { state: store.clone(), blobs: store.clone(), clock };
    Ok(Router::new()
        .merge(millrace_listener::router(listener))
        .merge(millrace_orchestrator::router(desk))
        .merge(millrace_web::router(web))
        .nest("/repo", millrace_releaser::router(store.clone())))
}

/// Whoever posts something (a webhook, an answer) may have caused effects: the pump looks at once.
async fn ring(State(posted): State<Arc<Notify>>, request: Request, next: Next) -> Response {
    let posts = request.method() == Method::POST;
    let response = next.run(request).await;
    if posts {
        posted.notify_one();
    }
    response
}

/// Where runners find what a platform's builds have released.
fn released_repository(address: SocketAddr, platform: &PlatformName) -> Repository {
    Repository {
        id: RELEASED_REPOSITORY.to_owned(),
        baseurl: None,
        mirrorlist: Some(format!("http://{address}/repo/{platform}/$basearch/os/mirrorlist")),
        gpgkey: Some(format!("http://{address}/repo/{platform}/RPM-GPG-KEY-millrace")),
        priority: RELEASED_PRIORITY,
    }
}

fn functions(
    folder: &Folder,
    store: &LocalStore,
    ready: &Arc<Notify>,
    options: &Up,
) -> Result<Functions<LocalStore, LocalKeys, LocalSeal>> {
    let keys = LocalKeys::open(&folder.folder("keys")?)?;
    let lookaside = options.lookaside.iter().map(|url| Ok(url.parse()?)).collect::<Result<_>>()?;
    let fetcher = Fetcher::new(folder.folder("git")?, lookaside);
    fetcher.sweep().context("emptying the folder for what is being fetched")?;
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

async fn register_plugins(store: &LocalStore, options: &Up) -> Result<()> {
    let beside = || std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("plugins")));
    let Some(folder) = options.plugins.clone().or_else(|| beside().filter(|folder| folder.is_dir())) else {
        eprintln!(
            "millrace: no plugins found beside this program; --plugins names a folder with source.wasm, rpm.wasm and check.wasm"
        );
        return Ok(());
    };
    let mut found = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading the plugins in {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            crate::commands::register_plugin(store, &name.parse()?, &path).await?;
            found += 1;
        }
    }
    anyhow::ensure!(found > 0, "no plugin (*.wasm) in {}", folder.display());
    Ok(())
}

/// This machine's architecture, where it is one of the line's.
pub(crate) fn own_arch() -> Result<Arch> {
    let name = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        name => name,
    };
    Ok(name.parse()?)
}

async fn start_runner(
    folder: &Folder,
    store: &LocalStore,
    address: SocketAddr,
    options: &Up,
    stop: &Arc<AtomicBool>,
) -> Result<Runner> {
    let arch = own_arch()?;
    let name = RunnerName::new(&format!("local-{arch}"))?;
    // A new token at every start: the old one dies with the process that had it.
    let token = Token::from_random(random()?);
    remove_runner(store, &name).await?;
    add_runner(store, &name, arch, &token, now()).await?;
    let work = match &options.work {
        Some(work) => std::path::absolute(work)?,
        None => folder.folder("runner")?,
    };
    let config = worker_config(&format!("http://{address}"), token.reveal(), name, arch, &work)?;
    let stop = Arc::clone(stop);
    let (give, failure) = oneshot::channel();
    let run = move || {
        if let Err(error) = millrace_host::worker::run(config, stop) {
            let _ = give.send(error);
        }
    };
    Ok((std::thread::Builder::new().name("runner".to_owned()).spawn(run)?, failure))
}

/// A runner in a thread, and why it could not go on.
type Runner = (std::thread::JoinHandle<()>, oneshot::Receiver<WorkerError>);

/// Comes back when the runner of this machine cannot go on; never where there is none, or where it was told to stop.
async fn failed(runner: &mut Option<Runner>) -> WorkerError {
    if let Some((_, failure)) = runner
        && let Ok(error) = failure.await
    {
        return error;
    }
    std::future::pending().await
}

pub(crate) fn worker_config(url: &str, token: &str, name: RunnerName, arch: Arch, folder: &Path) -> Result<WorkerConfig> {
    millrace_host::worker::may_run()?;
    let launcher = std::env::current_exe().context("finding this program")?;
    Ok(WorkerConfig { desk_url: url.to_owned(), token: token.to_owned(), runner: name, arch, state: folder.to_owned(), launcher })
}

async fn ticks(store: LocalStore) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = millrace_orchestrator::tick(&store, now()).await {
            eprintln!("millrace: {error}");
        }
    }
}

/// Waits for Ctrl-C or the service manager.
pub(crate) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn tell(folder: &Folder, address: SocketAddr, options: &Up) {
    println!("millrace is up");
    println!("  pages           http://{address}/");
    println!(
        "  webhooks        http://{address}/hooks/gitea (also /forgejo, /github), secret in {}",
        folder.webhook_secret_path().display()
    );
    println!("  repositories    http://{address}/repo/PLATFORM/PLATFORM.repo");
    println!("  state and keys  {}", folder.path().display());
    let runner = if options.no_runner { "none here (--no-runner)" } else { "one, on this machine" };
    println!("  runners         {runner}");
    println!("Ctrl-C stops it; `millrace up` goes on where it was.");
}

//! AWS Lambda as a stack deployed it: runs the functions' programs, and invokes them by addresses, streams, schedules and each
//! other.
//!
//! What is to run is read from the emulated account that the stack was deployed into; see [`deployed`]. Each function is processes
//! that ask for work as they do on AWS; see [`runtime`]. They stand still between invocations, may be ended at any time, and have
//! the rights of their roles and nothing else. What happens to events on their way is for the test to say; see [`faults`].

mod account;
mod activity;
mod batch;
mod children;
mod clock;
mod deployed;
mod event;
mod faults;
mod filter;
mod function;
mod http;
mod invoke;
mod invoker;
mod mapping;
mod process;
mod rights;
mod routes;
mod runtime;
#[cfg(test)]
mod tests;

use account::REGION;
pub use account::{Account, as_root};
use activity::{Activity, Reads};
use axum::Router;
use axum::body::Bytes;
use clock::{iso, now_ms};
use deployed::{Deployed, Schedule, Settings};
use http::Front;
use invoker::{Invoker, Troubles, new_id};
use process::Program;
use routes::DEFAULT;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use children::Children;
pub use faults::Faults;
pub use function::{Failure, Function};

/// The longest event that somebody waits for: 6 MiB and some room (AWS Lambda Developer Guide, "Lambda quotas").
pub const REQUEST_BYTES_MAX: usize = 6_291_556;

/// The longest answer.
pub const RESPONSE_BYTES_MAX: usize = 6_291_556;

/// The longest event that nobody waits for. AWS raised it to 1 MiB in 2025; what keeps to the old one works everywhere.
pub const EVENT_BYTES_MAX: usize = 262_144;

/// The program of a function, by its name and its handler.
pub type Binary = Box<dyn Fn(&str, &str) -> PathBuf + Send + Sync>;

/// Where a function finds the services, by its name.
pub type Services = Box<dyn Fn(&str) -> String + Send + Sync>;

/// What functions run where.
pub struct Options {
    /// Where the services of the emulated account are.
    pub account: String,
    /// The stack; names of its functions begin with it.
    pub stack: String,
    /// What each function runs.
    pub binary: Binary,
    /// Where each finds the services: at a proxy, or in the account.
    pub services: Services,
    /// Whether nobody may do more than his role allows: for an account that looks at that too.
    pub auth: bool,
    /// What happens to events on their way.
    pub faults: Faults,
    /// The pause before something is tried again.
    pub pause: Duration,
    /// Whether streams are read from now on, whatever their mappings say.
    pub from_now: bool,
    /// All processes, for tests that want to end some.
    pub children: Children,
}

impl Options {
    /// A stack in an account, without faults and without a look at rights.
    pub fn new(
        account: &str,
        stack: &str,
        binary: impl Fn(&str, &str) -> PathBuf + Send + Sync + 'static,
    ) -> Self {
        let services = account.to_owned();
        Self {
            account: account.to_owned(),
            stack: stack.to_owned(),
            binary: Box::new(binary),
            services: Box::new(move |_| services.clone()),
            auth: false,
            faults: Faults::default(),
            pause: Duration::from_millis(100),
            from_now: false,
            children: Children::default(),
        }
    }
}

/// Lambda, as long as this lives.
pub struct Lambda {
    invoker: Arc<Invoker>,
    stack: String,
    calls: String,
    schedules: Vec<Schedule>,
    apis: Vec<String>,
    urls: BTreeMap<String, String>,
    reads: Vec<Reads>,
    tasks: Vec<JoinHandle<()>>,
    children: Children,
    folder: Option<TempDir>,
}

impl Lambda {
    /// Reads what was deployed, and begins to invoke it.
    pub async fn start(options: Options) -> io::Result<Self> {
        let account = Account::at(&options.account);
        let deployed = Deployed::read(&account, &options.stack).await?;
        Self::run(options, account, deployed).await
    }

    async fn run(options: Options, account: Account, mut deployed: Deployed) -> io::Result<Self> {
        let folder = TempDir::new()?;
        let mut apis = Vec::new();
        for api in std::mem::take(&mut deployed.apis) {
            let (listener, url) = bound().await?;
            tell_where(&mut deployed.functions, &api.id, &url);
            apis.push((api, listener, url));
        }
        let calls = TcpListener::bind("127.0.0.1:0").await?;
        let invokes = format!("http://{}", calls.local_addr()?);
        let activity = Activity::default();
        let (functions, roles) = functions(
            &options,
            &account,
            deployed.functions,
            &invokes,
            &folder,
            &activity,
        )
        .await?;
        let invoker = Arc::new(Invoker {
            account,
            functions,
            roles,
            auth: options.auth,
            faults: options.faults,
            pause: options.pause,
            calls: AtomicUsize::new(0),
            activity,
            troubles: Troubles::default(),
            deliveries: Mutex::default(),
        });
        let mut lambda = Self {
            tasks: vec![serve(calls, invoke::router(Arc::clone(&invoker)))],
            invoker,
            stack: options.stack,
            calls: invokes,
            schedules: deployed.schedules,
            apis: Vec::new(),
            urls: BTreeMap::new(),
            reads: Vec::new(),
            children: options.children,
            folder: Some(folder),
        };
        lambda.open(apis).await?;
        for mapping in &mut deployed.mappings {
            if options.from_now {
                "LATEST".clone_into(&mut mapping.start);
            }
            let working = mapping::start(&lambda.invoker, mapping).await?;
            lambda.reads.extend(working.reads);
            lambda.tasks.extend(working.tasks);
        }
        Ok(lambda)
    }

    /// Opens an address for every API, and for every function that has one.
    async fn open(&mut self, apis: Vec<(deployed::Api, TcpListener, String)>) -> io::Result<()> {
        for (deployed::Api { id, routes }, listener, url) in apis {
            self.front(listener, id, routes, true);
            self.apis.push(url);
        }
        for function in self.invoker.functions.clone().into_values() {
            let Settings {
                name,
                url: Some(id),
                ..
            } = &function.settings
            else {
                continue;
            };
            let (listener, url) = bound().await?;
            self.front(
                listener,
                id.clone(),
                vec![(DEFAULT.to_owned(), name.clone())],
                false,
            );
            self.urls.insert(name.clone(), url);
        }
        Ok(())
    }

    fn front(
        &mut self,
        listener: TcpListener,
        id: String,
        routes: Vec<(String, String)>,
        is_api: bool,
    ) {
        let front = Front {
            invoker: Arc::clone(&self.invoker),
            id,
            routes,
            is_api,
        };
        self.tasks.push(serve(listener, http::router(front)));
    }

    /// The address of the stack's HTTP API, which must have one.
    pub fn api(&self) -> String {
        assert_eq!(self.apis.len(), 1, "HTTP APIs of {}", self.stack);
        self.apis[0].clone()
    }

    /// Where functions are invoked by those who may.
    pub fn calls(&self) -> &str {
        &self.calls
    }

    /// The address of a function, which must have one.
    pub fn url(&self, function: &str) -> String {
        let name = &self.function(function).settings.name;
        self.urls
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no address"))
            .clone()
    }

    /// A function by its whole name, or by what follows the stack's in it.
    pub fn function(&self, named: &str) -> &Arc<Function> {
        let (functions, inside) = (&self.invoker.functions, format!("{}-{named}", self.stack));
        let made = || {
            functions
                .iter()
                .find(|(name, _)| name.starts_with(&format!("{inside}-")))
                .map(|(_, function)| function)
        };
        let found = functions
            .get(named)
            .or_else(|| functions.get(&inside))
            .or_else(made);
        found.unwrap_or_else(|| panic!("no function {named} among {:?}", functions.keys()))
    }

    /// Where the output of a function's processes is.
    pub fn log(&self, function: &str) -> PathBuf {
        self.function(function).program.log.clone()
    }

    /// Invokes a function, and waits for its answer.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, Failure> {
        let answer = self
            .function(function)
            .invoke(&new_id(), Bytes::from(payload.to_string()))
            .await?;
        Ok(serde_json::from_slice(&answer)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&answer))))
    }

    /// Lets a rule, a schedule or whatever invokes a function by the clock do so now; see [`Lambda::quiet`] for the end of it.
    pub async fn fire(&self, named: &str) {
        let is_meant = |schedule: &&Schedule| {
            schedule.name == named
                || schedule
                    .name
                    .starts_with(&format!("{}-{named}", self.stack))
                || self.is_target(schedule, named)
        };
        let fired: Vec<_> = self.schedules.iter().filter(is_meant).collect();
        assert!(!fired.is_empty(), "nothing invokes {named} by the clock");
        for schedule in fired {
            for (function, instead) in &schedule.targets {
                let function = self.function(function);
                if !self.invoker.lets_in(schedule, function).await {
                    self.invoker.troubles.add(format!(
                        "{} may not invoke {}",
                        schedule.name, function.settings.name
                    ));
                    continue;
                }
                let event = instead
                    .clone()
                    .unwrap_or_else(|| scheduled_event(&schedule.arn));
                self.invoker.later(function, Bytes::from(event.to_string()));
            }
        }
    }

    fn is_target(&self, schedule: &Schedule, named: &str) -> bool {
        let inside = format!("{}-{named}", self.stack);
        schedule
            .targets
            .iter()
            .any(|(function, _)| function == named || *function == inside)
    }

    /// Waits until nothing is under way, in queue or unread in a stream, and nothing was for a time.
    pub async fn quiet(&self, time: Duration) {
        self.invoker.activity.quiet(time, &self.reads).await;
    }

    /// What went wrong where AWS would tell nobody, in order.
    pub fn troubles(&self) -> Vec<String> {
        self.invoker.troubles.all()
    }

    /// Ends all processes of a function now.
    pub fn end(&self, function: &str) {
        self.children.end(&self.function(function).settings.name);
    }

    /// Ends everything.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.invoker.deliveries.lock().unwrap().abort_all();
        for function in self.invoker.functions.values() {
            function.stop();
        }
        self.children.end_all();
        if std::thread::panicking() {
            let kept = self.folder.take().map(TempDir::keep);
            eprintln!("lambda: output of the functions is in {kept:?}");
        }
    }
}

/// Functions by their names, and their roles by the access keys that they are given.
async fn functions(
    options: &Options,
    account: &Account,
    deployed: Vec<Settings>,
    invokes: &str,
    folder: &TempDir,
    activity: &Activity,
) -> io::Result<(BTreeMap<String, Arc<Function>>, BTreeMap<String, String>)> {
    let (mut functions, mut roles) = (BTreeMap::new(), BTreeMap::new());
    for settings in deployed {
        let credentials = account.assume(&settings.role, &settings.name).await?;
        let program = program(options, &settings, &credentials, invokes, folder);
        roles.insert(credentials.access_key, settings.role.clone());
        let (name, place, children) = (
            settings.name.clone(),
            folder.path().to_owned(),
            options.children.clone(),
        );
        functions.insert(
            name,
            Arc::new(Function::new(
                settings,
                program,
                place,
                children,
                activity.clone(),
            )),
        );
    }
    Ok((functions, roles))
}

async fn bound() -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// Functions that are told the address of an API of the account are told where it is here.
fn tell_where(functions: &mut [Settings], api: &str, url: &str) {
    let told = format!("//{api}.execute-api.");
    for (_, value) in functions
        .iter_mut()
        .flat_map(|settings| &mut settings.environment)
    {
        if value.contains(&told) {
            url.clone_into(value);
        }
    }
}

fn serve(listener: TcpListener, router: Router) -> JoinHandle<()> {
    tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    })
}

/// What the processes of a function are started with (AWS Lambda Developer Guide, "Defined runtime environment variables").
fn program(
    options: &Options,
    settings: &Settings,
    credentials: &account::Credentials,
    invokes: &str,
    folder: &TempDir,
) -> Program {
    let name = &settings.name;
    let own = [
        ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        (
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            settings.memory_mb.to_string(),
        ),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        (
            "AWS_LAMBDA_LOG_STREAM_NAME",
            format!("[$LATEST]{:032x}", fastrand::u128(..)),
        ),
        ("_HANDLER", settings.handler.clone()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key.clone()),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret.clone()),
        ("AWS_SESSION_TOKEN", credentials.session.clone()),
        ("AWS_ENDPOINT_URL", (options.services)(name)),
        ("AWS_ENDPOINT_URL_LAMBDA", invokes.to_owned()),
    ];
    let mut environment = settings.environment.clone();
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let path = (options.binary)(name, &settings.handler);
    Program {
        function: name.clone(),
        path,
        environment,
        log: folder.path().join(format!("{name}.log")),
    }
}

/// What a rule sends that nobody told otherwise (Amazon EventBridge User Guide, "Creating a rule that runs on a schedule").
fn scheduled_event(rule: &str) -> Value {
    json!({
        "version": "0",
        "id": new_id(),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": rule.split(':').nth(4),
        "time": iso(now_ms()),
        "region": REGION,
        "resources": [rule],
        "detail": {},
    })
}

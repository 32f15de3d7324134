//! The commands: each looks up or changes one thing of a line, and says what it did.

mod build;
mod builds;
mod doctor;
mod keys;
mod logs;
mod messages;
mod package;
mod platform;
mod plugin;
mod queue;
mod release;
mod runners;
mod shell;
mod verify;

use crate::arguments::{Arguments, Command, LogFormat, Runner};
use crate::ending::{self, Ending};
use crate::output::Output;
use crate::state::Folder;
use anyhow::Context;
use millrace_host::machine::subordinate;
use std::process::ExitCode;
use tracing::error;

/// Runs a command. To be called before there are threads.
pub fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = crate::log::start(&arguments) {
        eprintln!("millrace: {error}");
        return ExitCode::from(ending::USAGE);
    }
    let log = arguments.log;
    let no_namespace = namespace(&arguments).err();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(arguments, no_namespace));
            // Requests that still wait are not waited for.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(ending) => ending.into(),
        Err(error) => {
            let problem = millrace_store::chain(error.as_ref());
            match log {
                LogFormat::Lines => eprintln!("millrace: {}", crate::output::harmless(&problem)),
                LogFormat::Json => error!(problem, "the command has failed"),
            }
            ending::failed(&error)
        }
    }
}

/// Makes an ordinary user root of a namespace, if the command builds sandboxes: this program is then started once more.
fn namespace(arguments: &Arguments) -> anyhow::Result<()> {
    let builds_sandboxes = match &arguments.command {
        Command::Up(options) => !options.no_runner,
        Command::Runner(Runner::Run { .. } | Runner::Doctor { .. }) => true,
        _ => false,
    };
    if !builds_sandboxes || !subordinate::is_needed() {
        return Ok(());
    }
    // Root's own state folder is another one.
    let folder = Folder::open(arguments.state.as_deref())?;
    let path = folder
        .path()
        .to_str()
        .context("the state folder has a path that is no text: name another with --state")?;
    match subordinate::enter(&[("MILLRACE_STATE", path)])? {}
}

async fn dispatch(
    arguments: Arguments,
    no_namespace: Option<anyhow::Error>,
) -> anyhow::Result<Ending> {
    let output = Output::new(arguments.json);
    let folder = Folder::open(arguments.state.as_deref())?;
    #[cfg(feature = "cloud")]
    let folder = folder.for_cloud(arguments.cloud);
    if let Command::Runner(Runner::Doctor { url, work }) = &arguments.command {
        let no_namespace = no_namespace.map(|problem| format!("{problem:#}"));
        return doctor::doctor(
            &folder,
            output,
            url.as_deref(),
            work.as_deref(),
            no_namespace.as_deref(),
        );
    }
    if let Some(problem) = no_namespace {
        return Err(problem
            .context("a runner builds sandboxes, as root or as a user with ids for them; for a line without a runner, use --no-runner"));
    }
    match arguments.command {
        Command::Up(options) => crate::up::up(&folder, output, &options).await?,
        Command::Build(options) => return build::build(&folder, output, options).await,
        Command::Clone {
            build,
            options,
            watch,
        } => return build::clone(&folder, output, &build, options, watch).await,
        Command::Queue { limit } => queue::queue(&folder, output, limit).await?,
        Command::Watch(options) => return builds::watch(&folder, output, &options).await,
        Command::Logs(options) => logs::logs(&folder, output, &options).await?,
        Command::Builds(options) => builds::builds(&folder, output, &options).await?,
        Command::Lock { build, output: to } => {
            verify::lock(&folder, output, &build, to.as_deref()).await?
        }
        Command::Impact { nevra, transitive } => {
            builds::impact(&folder, output, &nevra, transitive).await?
        }
        Command::Verify { build, same_runner } => {
            return verify::verify(&folder, output, &build, same_runner).await;
        }
        Command::Cancel { build } => build::cancel(&folder, output, &build).await?,
        Command::Retry(command) => build::retry(&folder, output, command).await?,
        Command::Shell(options) => return shell::shell(&folder, output, options).await,
        Command::Package(command) => package::package(&folder, output, command).await?,
        Command::Platform(command) => platform::platform(&folder, output, command).await?,
        Command::Release(command) => release::release(&folder, output, command).await?,
        Command::Key(command) => keys::key(&folder, output, command).await?,
        Command::Runner(command) => runners::runner(&folder, output, command).await?,
        Command::Plugin(command) => plugin::plugin(&folder, output, command).await?,
        #[cfg(feature = "cloud")]
        Command::Restore { from_table } => messages::restore(&folder, output, &from_table).await?,
        Command::Messages(command) => messages::messages(&folder, output, command).await?,
        Command::Events(command) => {
            eprintln!(
                "millrace: `millrace events` is called `millrace messages` now; the next version knows only that name"
            );
            messages::messages(&folder, output, command).await?;
        }
    }
    Ok(Ending::Done)
}

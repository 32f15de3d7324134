//! The commands: each looks up or changes one thing in the state folder, and says what it did.

mod events;
mod keys;
mod release;
mod setup;
mod work;

pub(crate) use setup::register_plugin;

use crate::arguments::{Arguments, Command, Runner};
use crate::output::Output;
use crate::state::Folder;
use std::process::ExitCode;

/// How a command ended, as its exit status says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It did what it should.
    Done,
    /// The build that it followed came to nothing.
    BuildFailed,
}

/// What was named is not there.
#[derive(Debug)]
pub(crate) struct NotThere(pub String);

impl std::fmt::Display for NotThere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotThere {}

/// Runs a command.
pub fn run(arguments: Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(arguments));
            // Requests that still wait are not waited for.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::BuildFailed) => ExitCode::from(1),
        Err(error) => {
            eprintln!("millrace: {}", crate::output::harmless(&format!("{error:#}")));
            ExitCode::from(if error.is::<NotThere>() { 3 } else { 4 })
        }
    }
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<Ending> {
    let output = Output::new(arguments.json);
    let folder = Folder::open(arguments.state.as_deref())?;
    #[cfg(feature = "cloud")]
    let folder = folder.for_cloud(arguments.cloud);
    match arguments.command {
        Command::Up(options) => crate::up::up(&folder, output, &options).await?,
        Command::Build(options) => return work::build(&folder, output, &options).await,
        Command::Watch(options) => return work::watch(&folder, output, &options).await,
        Command::Logs(options) => work::logs(&folder, output, &options).await?,
        Command::Builds(options) => work::builds(&folder, output, &options).await?,
        Command::Cancel { build } => work::cancel(&folder, output, &build).await?,
        Command::Retry { build, task } => work::retry(&folder, output, &build, task).await?,
        Command::Package(command) => setup::package(&folder, output, command).await?,
        Command::Platform(command) => setup::platform(&folder, output, command).await?,
        Command::Release(command) => release::release(&folder, output, command).await?,
        Command::Key(command) => keys::key(&folder, output, command).await?,
        Command::Runner(Runner::Run { name, url, token_file, spot, manner }) => {
            let told = setup::Told { name, url: &url, token_file: &token_file, spot, manner: &manner };
            setup::be_a_runner(&folder, told).await?;
        }
        Command::Runner(command) => setup::runner(&folder, output, command).await?,
        Command::Plugin(command) => setup::plugin(&folder, output, command).await?,
        #[cfg(feature = "cloud")]
        Command::Restore { from_table } => events::restore(&folder, output, &from_table).await?,
        Command::Events(command) => events::events(&folder, output, command).await?,
    }
    Ok(Ending::Done)
}

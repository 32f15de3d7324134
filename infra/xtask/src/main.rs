//! `cargo xtask`: sets up a machine, builds, tests and shows the line.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apt;
mod bench;
mod build;
mod cargo;
mod chaos;
mod cloud;
mod command;
mod demo;
mod deploy;
mod emulation;
mod folders;
mod forge;
mod hex;
mod host;
mod http;
mod line;
mod lints;
mod phases;
mod platform;
mod progress;
mod prove;
mod pypi;
mod root;
mod seed;
mod setup;
mod sources;
mod test;
mod wasm;

use anyhow::{Result, bail};
use folders::Folders;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask: sets up a machine; builds, tests and shows the line

Usage: cargo xtask VERB [OPTIONS]

Verbs:
  demo      takes two real packages from `git push` to `dnf install` on this machine
  test      sets up, builds, checks form and lints, runs every test, and says where the time went
  deploy    creates the line on AWS or updates it: shows the changes, asks, and prints its addresses
  destroy   deletes the line on AWS; keeps the data of packages, unless --drop-data is given
  bench     measures the line beside what a person would use instead: `bench core plugin line`, `--json` for programs
  chaos     runs the line while everything goes wrong, with real processes: `cargo xtask chaos --help`
  setup     installs what the line needs and what is missing
  build     builds the workspace and the plugins
  plugins   builds only the plugins; prints the folder of their components
  seed      makes the seed distribution: Debian's packages as a repository of RPMs, for machines that cannot reach a repository
            of Enterprise Linux; prints its folder
  platform  prints the platform file of seed distributions, for `millrace platform add`

Options:
  -y, --yes           install packages without asking (without a terminal, nothing is asked)
      --keep          demo: leave the line running at the end
      --platform NAME demo: build for this platform of infra/platforms [default: the seed distribution on Debian and Ubuntu,
                      almalinux-9 elsewhere]
      --suite NAME    seed, platform, demo: make the seed distribution of this suite: bookworm, trixie or noble
                      [default: that of this machine]
      --arch NAME     seed, platform: x86_64, aarch64, ppc64le or s390x; may be repeated [default: that of this machine].
                      For other architectures, the seed has only what a small package in C needs to build
      --again         seed: look for newer packages, even if a seed distribution exists
      --cloud         test: run the tests of the cloud too; installs and starts an emulator of AWS
      --stack NAME    deploy, destroy: the CloudFormation stack [default: millrace]
      --dry-run       deploy: only show the changes
      --parameter NAME=VALUE
                      deploy: a parameter of the template; may be repeated. Other parameters keep their value
      --drop-data     destroy: delete every package, build and log too
      --list          setup: only list the needs, and whether they are met
      -- ARGUMENTS    test: pass these to the test runner, for example a part of a test's name
  -h, --help          show this text

Environment:
  XDG_CACHE_HOME      xtask keeps its files in the folder `millrace` of it [default: ~/.cache]
  CARGO_TARGET_DIR    where cargo builds [default: `target` in that folder, which outlives a clone]
  MILLRACE_MIRROR     a mirror of Debian or Ubuntu for the seed distribution [default: the one that apt uses on this machine]

It works on Debian 12 and 13, Ubuntu 24.04, Fedora, and AlmaLinux 9 and 10, as root or as a user who may use sudo.
Exit status: 0 done; 1 something failed, and the message says what to do; 2 the command line is wrong.
";

/// The stack on AWS, unless another one is named.
const STACK: &str = "millrace";

/// The options on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    yes: bool,
    keep: bool,
    again: bool,
    cloud: bool,
    list: bool,
    dry_run: bool,
    drop_data: bool,
    stack: Option<String>,
    parameters: Vec<String>,
    platform: Option<String>,
    suite: Option<String>,
    architectures: Vec<String>,
    json: bool,
    names: Vec<String>,
    chaos: Vec<String>,
    rest: Vec<String>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .cloned()
                    .ok_or_else(|| anyhow::anyhow!("{word} needs a value"))
            };
            match word.as_str() {
                "-y" | "--yes" => options.yes = true,
                "--keep" => options.keep = true,
                "--again" => options.again = true,
                "--cloud" => options.cloud = true,
                "--list" => options.list = true,
                "--json" => options.json = true,
                "--dry-run" => options.dry_run = true,
                "--drop-data" => options.drop_data = true,
                "--stack" => options.stack = Some(value()?),
                "--parameter" => options.parameters.push(value()?),
                "--platform" => options.platform = Some(value()?),
                "--suite" => options.suite = Some(value()?),
                "--arch" => options.architectures.push(value()?),
                "--rounds" | "--round" | "--seed" | "--at-once" => {
                    options.chaos.extend([word.clone(), value()?])
                }
                "--short" => options.chaos.push(word.clone()),
                "--" => options.rest = words.by_ref().cloned().collect(),
                name if !name.starts_with('-') => options.names.push(name.to_owned()),
                other => bail!("there is no option `{other}`"),
            }
        }
        Ok(options)
    }

    fn architectures(&self) -> Result<Vec<host::Arch>> {
        if self.architectures.is_empty() {
            return Ok(vec![host::Arch::native()?]);
        }
        self.architectures
            .iter()
            .map(|name| host::Arch::named(name))
            .collect()
    }

    fn seeds(&self, folders: &Folders) -> Result<Vec<seed::Seed>> {
        self.architectures()?
            .into_iter()
            .map(|arch| seed::make(folders, self.suite.as_deref(), arch, self.again))
            .collect()
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let verb = words.first().map_or("--help", String::as_str);
    if matches!(verb, "-h" | "--help" | "help")
        || words
            .iter()
            .take_while(|word| *word != "--")
            .any(|word| word == "-h" || word == "--help")
    {
        print!("{}", if verb == "chaos" { chaos::HELP } else { HELP });
        return ExitCode::SUCCESS;
    }
    if verb == forge::HOOK_VERB {
        return ended(forge::hook(&words[1..]).map(|()| ExitCode::SUCCESS));
    }
    if verb == root::VERB {
        return ended(root::become_it(&words[1..]).map(|()| ExitCode::SUCCESS));
    }
    let options = match Options::parse(&words[1..]) {
        Ok(options) if !options.chaos.is_empty() && verb != "chaos" => {
            eprintln!(
                "xtask: `{}` is an option of chaos; see `cargo xtask --help`",
                options.chaos[0]
            );
            return ExitCode::from(2);
        }
        Ok(options) if options.names.is_empty() || verb == "bench" => options,
        Ok(options) => {
            eprintln!(
                "xtask: `{verb}` takes no `{}`; see `cargo xtask --help`",
                options.names.join(" ")
            );
            return ExitCode::from(2);
        }
        Err(error) => {
            eprintln!("xtask: {error}; see `cargo xtask --help`");
            return ExitCode::from(2);
        }
    };
    ended(run(verb, &options))
}

fn ended(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(verb: &str, options: &Options) -> Result<ExitCode> {
    let folders = Folders::find()?;
    let demo_options = || demo::DemoOptions {
        yes: options.yes,
        keep: options.keep,
        platform: options.platform.as_deref(),
        suite: options.suite.as_deref(),
    };
    let deploy_options = || deploy::DeployOptions {
        stack: options.stack.clone().unwrap_or_else(|| STACK.to_owned()),
        dry_run: options.dry_run,
        yes: options.yes,
        drop_data: options.drop_data,
        parameters: options.parameters.clone(),
    };
    match verb {
        "demo" => demo::demo(&folders, &demo_options())?,
        demo::AS_ROOT_VERB => demo::from_push_to_install(&folders, &demo_options())?,
        "test" => test::test(&folders, options.yes, options.cloud, &options.rest)?,
        "deploy" => deploy::deploy(&folders, &deploy_options())?,
        "destroy" => deploy::destroy(&folders, &deploy_options())?,
        "bench" => bench::bench(&folders, options.yes, options.json, &options.names)?,
        "chaos" => chaos::chaos(&folders, options.yes, &options.chaos)?,
        "setup" if options.list => setup::list(),
        "setup" => setup::set_up(&folders, setup::Purpose::Line, options.yes)?,
        "build" => build::workspace(&folders, false).and_then(|()| build::guests(&folders))?,
        "plugins" => {
            build::guests(&folders).map(|()| println!("{}", folders.plugins().display()))?
        }
        "seed" => options
            .seeds(&folders)?
            .iter()
            .for_each(|seed| println!("{}", seed.repo.display())),
        "platform" => print!(
            "{}",
            platform::of_seeds(&folders, &options.seeds(&folders)?)?
        ),
        other => {
            eprintln!("xtask: there is no verb `{other}`; see `cargo xtask --help`");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(
            &line
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn options_are_read_and_the_rest_is_left_to_the_test_runner() {
        let options = parse("--yes --suite trixie -- --no-capture zlib").unwrap();
        assert!(options.yes && !options.keep);
        assert_eq!(
            (options.suite.as_deref(), options.rest.len()),
            (Some("trixie"), 2)
        );
    }

    #[test]
    fn a_misspelt_option_is_refused() {
        assert_eq!(
            parse("--ye").unwrap_err().to_string(),
            "there is no option `--ye`"
        );
        assert_eq!(
            parse("--suite").unwrap_err().to_string(),
            "--suite needs a value"
        );
    }
}

//! The AWS command line, which knows credentials, profiles and regions as its users have them.

use crate::command::{self, find, tail};
use crate::folders::Folders;
use crate::pypi;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Lines that are shown of what it says when it fails.
const LINES: usize = 10;

/// The program, and where it works.
#[derive(Debug)]
pub struct Aws {
    program: PathBuf,
    /// Where it goes instead of the services, and with which keys: for an emulator.
    environment: Vec<(String, String)>,
    pub account: String,
    pub region: String,
}

impl Aws {
    /// The one that is installed, or one that is installed for this, with the credentials and the region of its user.
    pub fn find(folders: &Folders, environment: Vec<(String, String)>) -> Result<Self> {
        let program = match find("aws") {
            Some(program) if environment.is_empty() => program,
            Some(_) | None => pypi::aws_tools(folders)?.join("aws"),
        };
        let mut aws = Self {
            program,
            environment,
            account: String::new(),
            region: String::new(),
        };
        aws.region = aws.configured_region()?;
        // The older of its two versions respects this name only.
        aws.environment
            .push(("AWS_DEFAULT_REGION".to_owned(), aws.region.clone()));
        let said = aws.ask(&["sts", "get-caller-identity"]);
        let said =
            said.context("no access to an account: `aws configure` or AWS_PROFILE gives it")?;
        aws.account = said["Account"]
            .as_str()
            .context("AWS names no account")?
            .to_owned();
        Ok(aws)
    }

    fn configured_region(&self) -> Result<String> {
        let set = |name: &str| {
            let own = self
                .environment
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone());
            own.or_else(|| std::env::var(name).ok())
                .filter(|value| !value.is_empty())
        };
        if let Some(region) = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")) {
            return Ok(region);
        }
        let said = command::output_of(&mut self.command(&["configure", "get", "region"]));
        let said = said.context(
            "no region is set: `aws configure set region eu-central-1`, for example, or AWS_REGION",
        )?;
        Ok(said.trim().to_owned())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .envs(self.environment.iter().cloned())
            .env("AWS_PAGER", "")
            .stdin(Stdio::null());
        command
    }

    /// What it answers, as JSON; nothing if it says nothing.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        let said = self
            .command(words)
            .args(["--output", "json"])
            .output()
            .with_context(|| self.program.display().to_string())?;
        if !said.status.success() {
            bail!(
                "{}",
                tail(&String::from_utf8_lossy(&said.stderr), LINES).trim()
            );
        }
        let text = String::from_utf8_lossy(&said.stdout);
        if text.trim().is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_str(&text).context("AWS answers no JSON")
        }
    }

    /// Puts a file into a bucket, if it is not there yet.
    pub fn upload(&self, file: &Path, bucket: &str, key: &str) -> Result<()> {
        if self
            .ask(&["s3api", "head-object", "--bucket", bucket, "--key", key])
            .is_ok()
        {
            return Ok(());
        }
        let file = file.display().to_string();
        self.ask(&[
            "s3api",
            "put-object",
            "--bucket",
            bucket,
            "--key",
            key,
            "--body",
            &file,
        ])
        .map(drop)
    }
}

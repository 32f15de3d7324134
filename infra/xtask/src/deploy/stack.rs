//! A CloudFormation stack: what is known of it, and changes of it.

use super::aws::Aws;
use crate::folders::Folders;
use crate::progress;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a change that is under way is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long a change may take: CloudFormation makes this stack in some minutes.
const CHANGE_MAX: Duration = Duration::from_secs(1800);

/// What deploying ends with.
pub type Outputs = BTreeMap<String, String>;

/// A change of a stack that is proposed, but not made.
#[derive(Debug)]
pub struct Change {
    stack: String,
    name: String,
    /// Whether there was no such stack.
    is_new: bool,
    said: Value,
}

impl Change {
    /// None if nothing would change. Parameters are `NAME=VALUE`.
    pub fn propose(
        aws: &Aws,
        stack: &str,
        given: &[String],
        template_url: &str,
    ) -> Result<Option<Self>> {
        let known = describe(aws, stack)?;
        let is_new = known
            .as_ref()
            .is_none_or(|known| known["StackStatus"] == "REVIEW_IN_PROGRESS");
        let name = format!("millrace-{}", std::time::UNIX_EPOCH.elapsed()?.as_secs());
        let before = known.filter(|_| !is_new);
        let parameters = parameters(given, before.as_ref())?;
        let tag = format!("Key=millrace,Value={stack}");
        let kind = if is_new { "CREATE" } else { "UPDATE" };
        aws.ask(&[
            "cloudformation",
            "create-change-set",
            "--stack-name",
            stack,
            "--change-set-name",
            &name,
            "--change-set-type",
            kind,
            "--template-url",
            template_url,
            "--capabilities",
            "CAPABILITY_IAM",
            "--tags",
            &tag,
            "--parameters",
            &parameters.to_string(),
        ])?;
        let proposed = Self {
            stack: stack.to_owned(),
            name,
            is_new,
            said: Value::Null,
        };
        proposed.ready(aws)
    }

    /// Waits until CloudFormation has compared the change with the stack; none if nothing would change.
    fn ready(mut self, aws: &Aws) -> Result<Option<Self>> {
        let end = Instant::now() + CHANGE_MAX;
        loop {
            self.said = aws.ask(&[
                "cloudformation",
                "describe-change-set",
                "--stack-name",
                &self.stack,
                "--change-set-name",
                &self.name,
            ])?;
            match self.said["Status"].as_str() {
                Some("CREATE_COMPLETE") => return Ok(Some(self)),
                Some("FAILED") => {
                    let reason = self.said["StatusReason"]
                        .as_str()
                        .unwrap_or("AWS gives no reason")
                        .to_owned();
                    self.withdraw(aws)?;
                    let nothing = reason.contains("didn't contain changes")
                        || reason.contains("No updates are to be performed");
                    ensure!(nothing, "CloudFormation refuses the change: {reason}");
                    return Ok(None);
                }
                Some(_) | None if Instant::now() < end => std::thread::sleep(LOOK),
                Some(_) | None => bail!(
                    "CloudFormation does not finish the proposed change: look at the stack {}",
                    self.stack
                ),
            }
        }
    }

    /// Prints it, one line per resource.
    pub fn show(&self) {
        let changes = self.said["Changes"].as_array();
        for change in changes
            .into_iter()
            .flatten()
            .map(|change| &change["ResourceChange"])
        {
            let text = |name: &str| change[name].as_str().unwrap_or_default();
            let replaced = if text("Replacement") == "True" {
                "  (replaced by a new one)"
            } else {
                ""
            };
            println!(
                "  {:<8} {:<44} {}{replaced}",
                text("Action").to_lowercase(),
                text("ResourceType"),
                text("LogicalResourceId")
            );
        }
    }

    /// Leaves everything as it is.
    pub fn withdraw(&self, aws: &Aws) -> Result<()> {
        aws.ask(&[
            "cloudformation",
            "delete-change-set",
            "--stack-name",
            &self.stack,
            "--change-set-name",
            &self.name,
        ])?;
        if self.is_new {
            aws.ask(&[
                "cloudformation",
                "delete-stack",
                "--stack-name",
                &self.stack,
            ])?;
        }
        Ok(())
    }

    /// Makes it, and waits for its end.
    pub fn carry_out(&self, folders: &Folders, aws: &Aws) -> Result<()> {
        aws.ask(&[
            "cloudformation",
            "execute-change-set",
            "--stack-name",
            &self.stack,
            "--change-set-name",
            &self.name,
        ])?;
        wait_for(folders, aws, &self.stack, "bring up the stack").map(drop)
    }
}

/// The parameters of a change. Those of the stack before it that are not given keep their values.
fn parameters(given: &[String], before: Option<&Value>) -> Result<Value> {
    let mut parameters = Vec::new();
    for parameter in given {
        let (name, value) = parameter
            .split_once('=')
            .with_context(|| format!("`{parameter}` is not of the form NAME=VALUE"))?;
        parameters.push(json!({ "ParameterKey": name, "ParameterValue": value }));
    }
    let old = before
        .iter()
        .flat_map(|before| before["Parameters"].as_array().into_iter().flatten());
    for old in old {
        let name = &old["ParameterKey"];
        if !parameters
            .iter()
            .any(|known| known["ParameterKey"] == *name)
        {
            parameters.push(json!({ "ParameterKey": name, "UsePreviousValue": true }));
        }
    }
    Ok(Value::from(parameters))
}

/// The bucket for the programs of a stack.
pub fn code_bucket(aws: &Aws, stack: &str) -> String {
    format!("{stack}-code-{}-{}", aws.account, aws.region)
}

/// What CloudFormation says of a stack; none if there is no such stack.
pub fn describe(aws: &Aws, stack: &str) -> Result<Option<Value>> {
    match aws.ask(&["cloudformation", "describe-stacks", "--stack-name", stack]) {
        Ok(said) => Ok(Some(said["Stacks"][0].clone())),
        Err(error) if error.to_string().contains("does not exist") => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a stack says about itself.
pub fn outputs(aws: &Aws, stack: &str) -> Result<Outputs> {
    let said = describe(aws, stack)?.with_context(|| format!("there is no stack {stack}"))?;
    let outputs = said["Outputs"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(outputs
        .iter()
        .map(|output| (text(&output["OutputKey"]), text(&output["OutputValue"])))
        .collect())
}

/// Waits until a change of a stack has ended; none if the stack is gone then.
pub fn wait_for(folders: &Folders, aws: &Aws, stack: &str, title: &str) -> Result<Option<Value>> {
    progress::timed(folders, "stack", title, 240, |progress| {
        let end = Instant::now() + CHANGE_MAX;
        loop {
            let Some(said) = describe(aws, stack)? else {
                return Ok(None);
            };
            let status = said["StackStatus"].as_str().unwrap_or_default().to_owned();
            progress.set(status.to_lowercase().replace('_', " "));
            match status.as_str() {
                "CREATE_COMPLETE" | "UPDATE_COMPLETE" => return Ok(Some(said)),
                "DELETE_COMPLETE" => return Ok(None),
                status if status.ends_with("_FAILED") || status.ends_with("ROLLBACK_COMPLETE") => {
                    bail!("the stack {stack} is {status}:\n{}", failures(aws, stack)?)
                }
                _ => {}
            }
            ensure!(
                Instant::now() < end,
                "the stack {stack} is still {status}: look at it in the console"
            );
            std::thread::sleep(LOOK);
        }
    })
}

/// What went wrong with a stack, the cause first.
fn failures(aws: &Aws, stack: &str) -> Result<String> {
    let said = aws.ask(&[
        "cloudformation",
        "describe-stack-events",
        "--stack-name",
        stack,
    ])?;
    let mut failed = Vec::new();
    for event in said["StackEvents"].as_array().into_iter().flatten() {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        if text("ResourceStatus").ends_with("_FAILED") {
            failed.insert(
                0,
                format!(
                    "  {}: {}",
                    text("LogicalResourceId"),
                    text("ResourceStatusReason")
                ),
            );
        }
    }
    Ok(failed.join("\n"))
}

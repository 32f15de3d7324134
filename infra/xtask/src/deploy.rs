//! `cargo xtask deploy` and `destroy`: the line on AWS, from the template and the programs of this clone.

mod aws;
mod programs;
mod template;

use crate::folders::{self, Folders};
use crate::{build, progress};
use anyhow::{Context, Result, bail, ensure};
use aws::Aws;
use programs::{Architecture, Programs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How often a change that is under way is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long a change may take: CloudFormation makes this stack in some minutes.
const CHANGE_MAX: Duration = Duration::from_secs(1800);

/// Days until a signing key that was let go is gone, and can no longer be called back: the longest that KMS and Secrets Manager take,
/// for what was signed with it can never be signed again.
const KEY_DAYS: &str = "30";

/// How the parameter of the functions' architecture begins.
const ARCHITECTURE: &str = "FunctionArchitecture=";

/// What is deployed, and how.
#[derive(Debug, Default)]
pub struct DeployOptions {
    /// The stack's name.
    pub stack: String,
    /// Only say what would change.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
    /// destroy: the data too.
    pub drop_data: bool,
    /// `NAME=VALUE`, for the template.
    pub parameters: Vec<String>,
}

/// What deploying ends with.
pub type Outputs = BTreeMap<String, String>;

/// Packs, shows the change, deploys, and says where everything is.
pub fn deploy(folders: &Folders, options: &DeployOptions) -> Result<()> {
    let aws = Aws::find(folders, Vec::new())?;
    println!(
        "stack {} in account {}, {}",
        options.stack, aws.account, aws.region
    );
    let mut options = DeployOptions {
        stack: options.stack.clone(),
        parameters: options.parameters.clone(),
        ..*options
    };
    let architecture = architecture(&aws, &options)?;
    options
        .parameters
        .retain(|parameter| !parameter.starts_with(ARCHITECTURE));
    options
        .parameters
        .push(format!("{ARCHITECTURE}{}", architecture.as_str()));
    let programs = programs::make(folders, architecture)?;
    let Some(outputs) = bring_up(folders, &aws, &options, &programs)? else {
        return Ok(());
    };
    register_plugins(folders, &options.stack, &outputs)?;
    let brought = key_to_bring(&aws, &outputs)?;
    tell(&options.stack, &outputs, brought);
    Ok(())
}

/// The architecture that functions run on: the one that is wished for, or the one that the stack has, or this machine's.
fn architecture(aws: &Aws, options: &DeployOptions) -> Result<Architecture> {
    if let Some(wished) = options
        .parameters
        .iter()
        .rev()
        .find_map(|parameter| parameter.strip_prefix(ARCHITECTURE))
    {
        return Architecture::named(wished);
    }
    let known = describe(aws, &options.stack)?;
    let parameters = known
        .iter()
        .flat_map(|known| known["Parameters"].as_array().into_iter().flatten());
    let before = parameters
        .into_iter()
        .find(|parameter| parameter["ParameterKey"] == ARCHITECTURE.trim_end_matches('='));
    match before.and_then(|parameter| parameter["ParameterValue"].as_str()) {
        Some(before) => Architecture::named(before),
        None => Architecture::here(),
    }
}

/// The name of a key whose secret is still empty.
fn key_to_bring<'a>(aws: &Aws, outputs: &'a Outputs) -> Result<Option<&'a str>> {
    let Some(secret) = outputs.get("SigningSecret") else {
        return Ok(None);
    };
    let said = aws.ask(&["secretsmanager", "describe-secret", "--secret-id", secret])?;
    let is_empty = said["VersionIdsToStages"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty);
    let name = outputs
        .get("Keys")
        .and_then(|keys| keys.split_once('='))
        .map(|(name, _)| name);
    Ok(name.filter(|_| is_empty))
}

/// Builds the programs as they are deployed, for this machine; the folder where they lie.
pub fn build_programs(folders: &Folders) -> Result<PathBuf> {
    programs::build(folders, Architecture::here()?)
}

/// The same for an emulator at an address, where nobody runs the programs.
pub fn deploy_to_emulator(
    folders: &Folders,
    endpoint: &str,
    stack: &str,
    parameters: &[&str],
) -> Result<Outputs> {
    let said = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ];
    let aws = Aws::find(
        folders,
        said.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    )?;
    let parameters = parameters
        .iter()
        .map(|&parameter| parameter.to_owned())
        .collect();
    let options = DeployOptions {
        stack: stack.to_owned(),
        yes: true,
        parameters,
        ..DeployOptions::default()
    };
    bring_up(folders, &aws, &options, &programs::none(folders)?)?
        .context("a new stack changes something")
}

fn bring_up(
    folders: &Folders,
    aws: &Aws,
    options: &DeployOptions,
    programs: &Programs,
) -> Result<Option<Outputs>> {
    let bucket = code_bucket(aws, &options.stack);
    make_bucket(aws, &bucket)?;
    for program in &programs.packed {
        aws.upload(
            &program.file,
            &bucket,
            &format!("{}/{}", programs.state, program.name),
        )?;
    }
    let file = template_of(folders)?;
    let text = std::fs::read_to_string(&file)?;
    // Too large to be sent with the call (AWS CloudFormation quotas, "Template body size in a request").
    let key = format!("templates/{:016x}.yaml", digest(&text));
    aws.upload(&file, &bucket, &key)?;
    let Some(change) = Change::propose(aws, options, &bucket, &key, &programs.state)? else {
        println!("nothing to change");
        return outputs(aws, &options.stack).map(Some);
    };
    change.show();
    if options.dry_run {
        change.withdraw(aws)?;
        println!("nothing was changed (--dry-run)");
        return Ok(None);
    }
    if !options.yes && !agreed("Deploy this? [y/N] ")? {
        change.withdraw(aws)?;
        println!("nothing was changed");
        return Ok(None);
    }
    change.carry_out(folders, aws)?;
    outputs(aws, &options.stack).map(Some)
}

/// The file of the whole template, made anew.
pub fn template_of(folders: &Folders) -> Result<PathBuf> {
    let file = folders.cache.join("cloud/template.yaml");
    folders::write(
        &file,
        template::join(&folders.workspace.join("infra/cloud"))?,
    )?;
    Ok(file)
}

/// The bucket with the functions' programs: its name must be nobody else's in the world.
fn code_bucket(aws: &Aws, stack: &str) -> String {
    format!("{stack}-code-{}-{}", aws.account, aws.region)
}

fn make_bucket(aws: &Aws, bucket: &str) -> Result<()> {
    if aws
        .ask(&["s3api", "head-bucket", "--bucket", bucket])
        .is_ok()
    {
        return Ok(());
    }
    let place = format!("LocationConstraint={}", aws.region);
    let mut words = vec!["s3api", "create-bucket", "--bucket", bucket];
    // The oldest region is the one that must not be named.
    if aws.region != "us-east-1" {
        words.extend(["--create-bucket-configuration", &place]);
    }
    aws.ask(&words)?;
    let closed = "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true";
    aws.ask(&[
        "s3api",
        "put-public-access-block",
        "--bucket",
        bucket,
        "--public-access-block-configuration",
        closed,
    ])
    .map(drop)
}

fn digest(text: &str) -> u64 {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A change of a stack that is proposed, and not made.
struct Change {
    stack: String,
    name: String,
    /// Whether there was no such stack.
    is_new: bool,
    said: Value,
}

impl Change {
    /// None where nothing would change.
    fn propose(
        aws: &Aws,
        options: &DeployOptions,
        bucket: &str,
        key: &str,
        state: &str,
    ) -> Result<Option<Self>> {
        let stack = &options.stack;
        let known = describe(aws, stack)?;
        let is_new = known
            .as_ref()
            .is_none_or(|known| known["StackStatus"] == "REVIEW_IN_PROGRESS");
        let name = format!("millrace-{}", std::time::UNIX_EPOCH.elapsed()?.as_secs());
        let own = [
            format!("CodeBucket={bucket}"),
            format!("CodePrefix={state}"),
        ];
        let given = options.parameters.iter().chain(&own);
        let mut parameters = Vec::new();
        for parameter in given {
            let (name, value) = parameter
                .split_once('=')
                .with_context(|| format!("`{parameter}` is not of the form NAME=VALUE"))?;
            parameters.push(json!({ "ParameterKey": name, "ParameterValue": value }));
        }
        // What an earlier deployment was told stays as it is.
        for old in known
            .iter()
            .filter(|_| !is_new)
            .flat_map(|known| known["Parameters"].as_array().into_iter().flatten())
        {
            if !parameters
                .iter()
                .any(|parameter| parameter["ParameterKey"] == old["ParameterKey"])
            {
                parameters
                    .push(json!({ "ParameterKey": old["ParameterKey"], "UsePreviousValue": true }));
            }
        }
        let (url, parameters) = (
            format!("https://s3.{}.amazonaws.com/{bucket}/{key}", aws.region),
            Value::from(parameters).to_string(),
        );
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
            &url,
            "--capabilities",
            "CAPABILITY_IAM",
            "--tags",
            &tag,
            "--parameters",
            &parameters,
        ])?;
        let end = Instant::now() + CHANGE_MAX;
        loop {
            let said = aws.ask(&[
                "cloudformation",
                "describe-change-set",
                "--stack-name",
                stack,
                "--change-set-name",
                &name,
            ])?;
            let change = Self {
                stack: stack.clone(),
                name: name.clone(),
                is_new,
                said,
            };
            match change.said["Status"].as_str() {
                Some("CREATE_COMPLETE") => return Ok(Some(change)),
                Some("FAILED") => {
                    let reason = change.said["StatusReason"]
                        .as_str()
                        .unwrap_or("AWS says no reason")
                        .to_owned();
                    change.withdraw(aws)?;
                    let nothing = reason.contains("didn't contain changes")
                        || reason.contains("No updates are to be performed");
                    ensure!(nothing, "CloudFormation refuses the change: {reason}");
                    return Ok(None);
                }
                Some(_) | None if Instant::now() < end => std::thread::sleep(LOOK),
                Some(_) | None => {
                    bail!(
                        "CloudFormation does not come to an end with proposing the change: look at the stack {stack}"
                    )
                }
            }
        }
    }

    fn show(&self) {
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
    fn withdraw(&self, aws: &Aws) -> Result<()> {
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

    fn carry_out(&self, folders: &Folders, aws: &Aws) -> Result<()> {
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

/// What CloudFormation says of a stack; none where there is none.
fn describe(aws: &Aws, stack: &str) -> Result<Option<Value>> {
    match aws.ask(&["cloudformation", "describe-stacks", "--stack-name", stack]) {
        Ok(said) => Ok(Some(said["Stacks"][0].clone())),
        Err(error) if error.to_string().contains("does not exist") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until a change of a stack has come to its end; none where the stack is gone then.
fn wait_for(folders: &Folders, aws: &Aws, stack: &str, title: &str) -> Result<Option<Value>> {
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

fn outputs(aws: &Aws, stack: &str) -> Result<Outputs> {
    let said = describe(aws, stack)?.with_context(|| format!("there is no stack {stack}"))?;
    let outputs = said["Outputs"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(outputs
        .iter()
        .map(|output| (text(&output["OutputKey"]), text(&output["OutputValue"])))
        .collect())
}

/// What the `millrace` command is told to work on a stack.
fn environment(stack: &str, outputs: &Outputs) -> [(&'static str, String); 6] {
    let get = |name: &str| outputs.get(name).cloned().unwrap_or_default();
    let desk = get("DeskUrl").trim_end_matches('/').to_owned();
    [
        ("MILLRACE_TABLE", get("Table")),
        ("MILLRACE_BUCKET", get("Bucket")),
        ("MILLRACE_SIGN", format!("{stack}-sign")),
        ("MILLRACE_KEYS", get("Keys")),
        ("MILLRACE_DESK", desk),
        ("MILLRACE_DEAD_LETTERS", get("DeadLetters")),
    ]
}

/// Puts the plugins of this clone into the line.
fn register_plugins(folders: &Folders, stack: &str, outputs: &Outputs) -> Result<()> {
    build::workspace(folders, true)?;
    build::guests(folders)?;
    for guest in build::GUESTS {
        let mut add = Command::new(folders.millrace());
        add.args(["plugin", "add", guest])
            .arg(folders.plugins().join(format!("{guest}.wasm")))
            .envs(environment(stack, outputs));
        crate::command::logged(&mut add, &folders.log("plugin"))?;
    }
    Ok(())
}

fn tell(stack: &str, outputs: &Outputs, key_to_bring: Option<&str>) {
    let get = |name: &str| outputs.get(name).map_or("", String::as_str);
    println!("✓ {stack} is up");
    println!(
        "  webhooks     {}/gitea (also /forgejo, /github)",
        get("WebhookUrl")
    );
    println!("  their secret {} in Secrets Manager", get("WebhookSecret"));
    println!("  pages        {}/", get("Url"));
    println!("  repositories {}/repo/PLATFORM/PLATFORM.repo", get("Url"));
    println!("  runners ask  {}", get("DeskUrl").trim_end_matches('/'));
    println!("\nThe next step: in a shell that has said\n");
    for (name, value) in environment(stack, outputs) {
        println!("  export {name}={value}");
    }
    if let Some(key) = key_to_bring {
        println!(
            "\nBring the key that it signs with, before anything else (`millrace key create {key}` makes a new one there):\n"
        );
        println!(
            "  gpg --export-secret-keys --export-options export-minimal ID | millrace key import {key} -"
        );
    }
    println!(
        "\n`millrace platform add FILE`, `millrace package add NAME URL` and `millrace runner add --arch ARCH` work on this line."
    );
}

/// Takes the line down. What people's packages are made of stays, unless it is to go as well.
pub fn destroy(folders: &Folders, options: &DeployOptions) -> Result<()> {
    let aws = Aws::find(folders, Vec::new())?;
    let stack = &options.stack;
    ensure!(
        describe(&aws, stack)?.is_some(),
        "there is no stack {stack} in account {}, {}",
        aws.account,
        aws.region
    );
    let outputs = outputs(&aws, stack)?;
    println!("stack {stack} in account {}, {}", aws.account, aws.region);
    if !options.yes && !agreed("Take it down? Builds that run are lost. [y/N] ")? {
        println!("nothing was changed");
        return Ok(());
    }
    let drop_data = options.drop_data && (options.yes || is_typed(stack)?);
    let get = |name: &str| outputs.get(name).map_or("", String::as_str);
    let secret = outputs.get("SigningSecret");
    let mut data = format!(
        "  table  {}\n  bucket {}\n  key    {}",
        get("Table"),
        get("Bucket"),
        get("SigningKey")
    );
    data.extend(secret.map(|secret| format!("\n  secret {secret}, which that key wraps")));
    // Said first: whoever is interrupted still knows what there is.
    println!("its data:\n{data}");
    aws.ask(&["cloudformation", "delete-stack", "--stack-name", stack])?;
    wait_for(folders, &aws, stack, "take down the stack")?;
    empty(&aws, &code_bucket(&aws, stack))?;
    if !drop_data {
        let key_usd = if secret.is_some() { "1.40" } else { "1.00" };
        println!(
            "✓ {stack} is down; nothing of it runs. Its data stays, and costs what storage costs, and the key {key_usd} USD a month."
        );
        println!(
            "`cargo xtask destroy --drop-data` would have taken it too; now the console does."
        );
        return Ok(());
    }
    empty(&aws, get("Bucket"))?;
    aws.ask(&[
        "dynamodb",
        "update-table",
        "--table-name",
        get("Table"),
        "--no-deletion-protection-enabled",
    ])?;
    aws.ask(&["dynamodb", "delete-table", "--table-name", get("Table")])?;
    if let Some(secret) = secret {
        aws.ask(&[
            "secretsmanager",
            "delete-secret",
            "--secret-id",
            secret,
            "--recovery-window-in-days",
            KEY_DAYS,
        ])?;
    }
    aws.ask(&[
        "kms",
        "schedule-key-deletion",
        "--key-id",
        get("SigningKey"),
        "--pending-window-in-days",
        KEY_DAYS,
    ])?;
    println!(
        "✓ {stack} and its data are gone; its key can be called back for {KEY_DAYS} days, and costs nothing meanwhile"
    );
    Ok(())
}

/// Removes a bucket with every version of what is in it, where there is such a bucket.
fn empty(aws: &Aws, bucket: &str) -> Result<()> {
    if bucket.is_empty()
        || aws
            .ask(&["s3api", "head-bucket", "--bucket", bucket])
            .is_err()
    {
        return Ok(());
    }
    loop {
        let said = aws.ask(&[
            "s3api",
            "list-object-versions",
            "--bucket",
            bucket,
            "--max-items",
            "1000",
        ])?;
        let all = ["Versions", "DeleteMarkers"]
            .into_iter()
            .flat_map(|kind| said[kind].as_array().into_iter().flatten());
        let objects: Vec<Value> = all
            .map(|one| json!({ "Key": one["Key"], "VersionId": one["VersionId"] }))
            .collect();
        if objects.is_empty() {
            break;
        }
        let delete = json!({ "Objects": objects, "Quiet": true }).to_string();
        aws.ask(&[
            "s3api",
            "delete-objects",
            "--bucket",
            bucket,
            "--delete",
            &delete,
        ])?;
    }
    aws.ask(&["s3api", "delete-bucket", "--bucket", bucket])
        .map(drop)
}

/// Asks on a terminal; where there is none, nobody has agreed.
fn agreed(question: &str) -> Result<bool> {
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody is there to agree: say it with --yes"
    );
    Ok(matches!(
        answer(question)?.to_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Whether somebody knows what is about to be dropped, and says its name.
fn is_typed(stack: &str) -> Result<bool> {
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody is there to agree: say it with --yes"
    );
    let said = answer(&format!(
        "Every package, build and log of {stack} will be gone. Type its name to drop them: "
    ))?;
    ensure!(said == stack, "that is not its name: nothing was changed");
    Ok(true)
}

fn answer(question: &str) -> Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

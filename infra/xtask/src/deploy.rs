//! `cargo xtask deploy` and `destroy`: the line on AWS, from the template and the programs of this clone.

mod aws;
mod destroy;
mod programs;
mod stack;
mod template;
mod terminal;

pub use destroy::destroy;
pub use stack::Outputs;

use crate::build;
use crate::folders::{self, Folders};
use anyhow::{Context, Result};
use aws::Aws;
use programs::{Architecture, Programs};
use stack::{Change, code_bucket, describe, outputs};
use std::path::PathBuf;
use std::process::Command;
use terminal::agreed;

/// How the parameter of the functions' architecture begins.
const ARCHITECTURE: &str = "FunctionArchitecture=";

/// What is deployed, and how.
#[derive(Debug, Default)]
pub struct DeployOptions {
    pub stack: String,
    /// Only say what would change.
    pub dry_run: bool,
    pub yes: bool,
    /// destroy: the data too.
    pub drop_data: bool,
    /// `NAME=VALUE`, for the template.
    pub parameters: Vec<String>,
}

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
    let own = [
        format!("CodeBucket={bucket}"),
        format!("CodePrefix={}", programs.state),
    ];
    let parameters = [&options.parameters[..], &own].concat();
    let url = format!("https://s3.{}.amazonaws.com/{bucket}/{key}", aws.region);
    let Some(change) = Change::propose(aws, &options.stack, &parameters, &url)? else {
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

/// The file of the whole template, made again.
pub fn template_of(folders: &Folders) -> Result<PathBuf> {
    let file = folders.cache.join("cloud/template.yaml");
    folders::write(
        &file,
        template::join(&folders.workspace.join("infra/cloud"))?,
    )?;
    Ok(file)
}

/// The bucket with the functions' programs: its name must be nobody else's in the world.
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

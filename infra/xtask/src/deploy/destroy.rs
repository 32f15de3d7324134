//! `cargo xtask destroy`: deletes the line on AWS, and its data only if told to.

use super::DeployOptions;
use super::aws::Aws;
use super::stack::{Outputs, code_bucket, describe, outputs, wait_for};
use super::terminal::{agreed, answer, ensure_somebody};
use crate::folders::Folders;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Days until a signing key that was let go is gone, and can no longer be called back. That is the longest that KMS and Secrets Manager
/// take, for what was signed with it can never be signed again.
const KEY_DAYS: &str = "30";

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
    // Before anything is deleted: after an interruption its user still knows what there is.
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
    drop_all(&aws, &outputs)?;
    println!(
        "✓ {stack} and its data are gone; its key can be called back for {KEY_DAYS} days, and costs nothing meanwhile"
    );
    Ok(())
}

/// Deletes the bucket, the table, the secret and the key.
fn drop_all(aws: &Aws, outputs: &Outputs) -> Result<()> {
    let get = |name: &str| outputs.get(name).map_or("", String::as_str);
    empty(aws, get("Bucket"))?;
    aws.ask(&[
        "dynamodb",
        "update-table",
        "--table-name",
        get("Table"),
        "--no-deletion-protection-enabled",
    ])?;
    aws.ask(&["dynamodb", "delete-table", "--table-name", get("Table")])?;
    if let Some(secret) = outputs.get("SigningSecret") {
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
    Ok(())
}

/// Removes a bucket with every version of what is in it, if there is such a bucket.
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

/// Asks for the stack's name, so that nobody drops data by mistake.
fn is_typed(stack: &str) -> Result<bool> {
    ensure_somebody()?;
    let said = answer(&format!(
        "Every package, build and log of {stack} will be gone. Type its name to drop them: "
    ))?;
    ensure!(said == stack, "that is not its name: nothing was changed");
    Ok(true)
}

//! A line in the cloud, which commands on this machine work on with the credentials of their user.

pub(crate) mod keys;

use crate::store::Store;
use anyhow::{Context, Result, bail};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::operation::purge_queue::PurgeQueueError;
use clap::Args;
use millrace_lambda::Functions;
use millrace_releaser::lambda::Signer;
use millrace_signer::KeyLocations;
use millrace_store::aws::sdk_config;
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;

/// Where a line in the cloud is: `cargo xtask deploy` prints it. `AWS_PROFILE`, `AWS_REGION` and the other variables of AWS count.
#[derive(Debug, Clone, Args)]
pub struct Cloud {
    /// Work on the line whose records are in this DynamoDB table, instead of the state folder.
    #[arg(
        long,
        global = true,
        env = "MILLRACE_TABLE",
        requires = "bucket",
        value_name = "NAME"
    )]
    pub table: Option<String>,
    /// The bucket with that line's packages.
    #[arg(
        long,
        global = true,
        env = "MILLRACE_BUCKET",
        requires = "table",
        value_name = "NAME"
    )]
    pub bucket: Option<String>,
    /// The Lambda function that signs for that line: `platform add`, `release rollback` and `key show` ask it.
    #[arg(long, global = true, env = "MILLRACE_SIGN", value_name = "NAME")]
    pub sign: Option<String>,
    /// The keys of that line and the place of each, NAME=ARN with spaces between: the other commands on keys use it.
    #[arg(long, global = true, env = "MILLRACE_KEYS", value_name = "PLACES")]
    pub keys: Option<KeyLocations>,
    /// The queue of that line's dead letters: `messages retry` empties it.
    #[arg(long, global = true, env = "MILLRACE_DEAD_LETTERS", value_name = "URL")]
    pub dead_letters: Option<String>,
}

impl Cloud {
    /// Its stores; none if no line in the cloud is named.
    pub(crate) async fn store(&self) -> Option<Store> {
        let (table, bucket) = (self.table.as_ref()?, self.bucket.as_ref()?);
        let config = sdk_config(None).await;
        Some(Store::Cloud(
            DynamoDb::open(&config, table),
            S3::open(&config, bucket),
        ))
    }

    /// Empties the queue of its dead letters; so its alarm is over.
    pub(crate) async fn forget_dead_letters(&self) -> Result<()> {
        let Some(queue) = &self.dead_letters else {
            eprintln!(
                "millrace: the queue of dead letters stays as it is: --dead-letters or MILLRACE_DEAD_LETTERS names it"
            );
            return Ok(());
        };
        let purged = Client::new(&sdk_config(None).await)
            .purge_queue()
            .queue_url(queue)
            .send()
            .await;
        match purged {
            // Somebody else has just emptied it.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PurgeQueueError::is_purge_queue_in_progress) =>
            {
                Ok(())
            }
            Err(error) => bail!("the queue of dead letters: {}", DisplayErrorContext(error)),
            Ok(_) => Ok(()),
        }
    }

    /// Where its keys lie.
    pub(crate) async fn keys(&self) -> Result<keys::Secrets> {
        let places = self
            .keys
            .clone()
            .context("say where the keys of that line lie with --keys or MILLRACE_KEYS")?;
        Ok(keys::Secrets::new(places).await)
    }

    /// Who signs there.
    pub(crate) async fn signer(&self) -> Result<Option<Signer>> {
        if self.table.is_none() {
            return Ok(None);
        }
        let name = self
            .sign
            .clone()
            .context("name the function that signs there with --sign or MILLRACE_SIGN")?;
        Ok(Some(Signer {
            functions: Functions::new(&sdk_config(None).await),
            name,
        }))
    }
}

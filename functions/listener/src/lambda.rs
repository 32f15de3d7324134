//! The listener as functions of AWS Lambda.

use crate::forge::Forge;
use crate::{Fetcher, Listener, PushFetcher, Secret, router};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use millrace_lambda::{
    EnvironmentError, Error, Wake, blobs, config, deliver, now, on_call, serve, state, variable,
};
use millrace_store::DeliverError;
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;
use std::sync::Arc;

/// The secret that forges sign their webhooks with: where it lies in Secrets Manager.
const SECRET: &str = "MILLRACE_WEBHOOK_SECRET";

/// Where sources are looked for that the line does not hold yet: addresses with spaces between.
const LOOKASIDE: &str = "MILLRACE_LOOKASIDE";

/// Hears webhooks. A new secret is heard of by the processes that start after it.
pub async fn hooks() -> Result<(), Error> {
    let config = config();
    let asked = Client::new(&config)
        .get_secret_value()
        .secret_id(variable(SECRET)?);
    let said = asked
        .send()
        .await
        .map_err(|error| format!("the webhook secret: {}", DisplayErrorContext(error)))?;
    let secret = Secret::new(said.secret_string.unwrap_or_default())?;
    let secrets = Forge::ALL
        .into_iter()
        .map(|forge| (forge, secret.clone()))
        .collect();
    serve(router(Listener {
        state: state(&config)?,
        secrets,
        clock: Arc::new(now),
    }))
    .await
}

/// Fetches what was announced, when it is woken for it.
pub async fn fetch() -> Result<(), Error> {
    let config = config();
    let said = std::env::var(LOOKASIDE).unwrap_or_default();
    let odd = |problem: String| EnvironmentError::Odd {
        name: LOOKASIDE,
        problem,
    };
    let lookaside = said
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>();
    let fetcher = Fetcher::new(
        std::env::temp_dir().join("fetch"),
        lookaside.map_err(|error: crate::lookaside::TemplateError| odd(error.to_string()))?,
    );
    fetcher.sweep()?;
    let fetching = Fetching {
        fetcher,
        state: state(&config)?,
        blobs: blobs(&config)?,
    };
    on_call(move |wake: Wake| {
        let fetching = fetching.clone();
        async move { fetching.act(wake).await }
    })
    .await
}

#[derive(Clone)]
struct Fetching {
    fetcher: Fetcher,
    state: DynamoDb,
    blobs: S3,
}

impl Fetching {
    async fn act(&self, wake: Wake) -> Result<(), DeliverError> {
        let fetcher = PushFetcher {
            fetcher: &self.fetcher,
            state: &self.state,
            blobs: &self.blobs,
        };
        deliver(wake.id(), &self.state, &fetcher).await
    }
}

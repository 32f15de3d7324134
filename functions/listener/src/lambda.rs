//! The listener as a function of AWS Lambda.

use crate::forge::Forge;
use crate::{Listener, Secret, router};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use millrace_lambda::{Error, config, now, serve, state, variable};
use std::sync::Arc;

/// The secret that forges sign their webhooks with: where it lies in Secrets Manager.
const SECRET: &str = "MILLRACE_WEBHOOK_SECRET";

/// Receives webhooks. Only processes that start after a change of the secret know the new one.
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

//! The signer as a function of AWS Lambda: it signs packages when it is woken for an order, and repository metadata when it is asked.

use crate::{CloudKeys, Keys, give_up, seal, sign as carry_out};
use millrace_core::order::Effect;
use millrace_lambda::seal::{Certificate, Seal};
use millrace_lambda::{
    Deliver, Error, Wake, blobs, config, deliver, not_mine, now, on_call, state,
};
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;
use serde::Deserialize;

/// Signs.
pub async fn sign() -> Result<(), Error> {
    let config = config();
    let signing = Signing {
        keys: CloudKeys::open(&config)?,
        state: state(&config)?,
        blobs: blobs(&config)?,
    };
    on_call(move |call: Call| {
        let signing = signing.clone();
        async move { signing.answer(call).await }
    })
    .await
}

/// What the signer is called for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Call {
    Message(Wake),
    Seal(Seal),
    Certificate(Certificate),
}

#[derive(Clone)]
struct Signing {
    keys: CloudKeys,
    state: DynamoDb,
    blobs: S3,
}

impl Signing {
    async fn answer(&self, call: Call) -> Result<Option<String>, String> {
        let keys = self.keys.clone();
        match call {
            Call::Message(wake) => deliver(wake.id(), &self.state, self).await.map(|()| None),
            Call::Seal(Seal {
                seal: key,
                repomd,
                signed_s,
            }) => {
                aside(move || {
                    seal(&keys, &key, repomd.as_bytes(), signed_s)
                        .map(|armored| String::from_utf8_lossy(&armored).into_owned())
                })
                .await
            }
            Call::Certificate(Certificate { certificate: key }) => {
                aside(move || keys.public(&key)).await
            }
        }
    }
}

/// Asks for a signature where that holds up nobody.
async fn aside(
    ask: impl FnOnce() -> Result<String, crate::KeyError> + Send + 'static,
) -> Result<Option<String>, String> {
    let done = tokio::task::spawn_blocking(ask)
        .await
        .map_err(|error| error.to_string())?;
    done.map(Some).map_err(|error| error.to_string())
}

impl Deliver for Signing {
    async fn act(&self, effect: &Effect) -> Result<(), String> {
        let Effect::Sign(order) = effect else {
            return Err(not_mine(effect));
        };
        carry_out(order, &self.keys, &self.state, &self.blobs, now())
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), String> {
        let Effect::Sign(order) = effect else {
            return Err(not_mine(effect));
        };
        give_up(order, reason, &self.state, now())
            .await
            .map_err(|error| error.to_string())
    }
}

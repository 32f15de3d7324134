//! The signer as a function of AWS Lambda: it signs packages when it is woken for an order, and repository metadata when it is asked.

use crate::{CloudKeys, KeyError, Keys, OrderSigner, seal};
use millrace_lambda::seal::{Certificate, Seal};
use millrace_lambda::{Error, Wake, blobs, config, deliver, now, on_call, state};
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
    async fn answer(&self, call: Call) -> Result<Option<String>, Error> {
        let keys = self.keys.clone();
        match call {
            Call::Message(wake) => {
                let signer = OrderSigner {
                    keys: &self.keys,
                    state: &self.state,
                    blobs: &self.blobs,
                    now: now(),
                };
                deliver(wake.id(), &self.state, &signer).await?;
                Ok(None)
            }
            Call::Seal(Seal {
                seal: key,
                repomd,
                signed_s,
            }) => {
                unhurried(move || {
                    seal(&keys, &key, repomd.as_bytes(), signed_s)
                        .map(|armored| String::from_utf8_lossy(&armored).into_owned())
                })
                .await
            }
            Call::Certificate(Certificate { certificate: key }) => {
                unhurried(move || keys.public(&key)).await
            }
        }
    }
}

/// Asks for a signature where that holds up nobody.
async fn unhurried(
    ask: impl FnOnce() -> Result<String, KeyError> + Send + 'static,
) -> Result<Option<String>, Error> {
    Ok(Some(tokio::task::spawn_blocking(ask).await??))
}

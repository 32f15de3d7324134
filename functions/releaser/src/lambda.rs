//! The releaser as functions of AWS Lambda.

use crate::{Seal, SealError, release as carry_out, router};
use axum::Router;
use millrace_core::KeyName;
use millrace_core::order::Effect;
use millrace_lambda::seal::{Certificate, Seal as Question};
use millrace_lambda::{
    Deliver, Error, Functions, Wake, blobs, config, deliver, not_mine, now, on_call, serve, state,
    variable,
};
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;

/// The name of the function that signs.
const SIGN: &str = "MILLRACE_SIGN";

/// The address of the line.
const URL: &str = "MILLRACE_URL";

/// Carries releases out, when it is woken for one.
pub async fn release() -> Result<(), Error> {
    let config = config();
    let signer = Signer {
        functions: Functions::new(&config),
        name: variable(SIGN)?,
    };
    let releasing = Releasing {
        signer,
        state: state(&config)?,
        blobs: blobs(&config)?,
    };
    on_call(move |wake: Wake| {
        let releasing = releasing.clone();
        async move { deliver(wake.id(), &releasing.state, &releasing).await }
    })
    .await
}

/// Serves repositories.
pub async fn repository() -> Result<(), Error> {
    serve(Router::new().nest("/repo", router(blobs(&config())?, Some(variable(URL)?)))).await
}

#[derive(Clone)]
struct Releasing {
    signer: Signer,
    state: DynamoDb,
    blobs: S3,
}

impl Deliver for Releasing {
    async fn act(&self, effect: &Effect) -> Result<(), String> {
        let Effect::Release(order) = effect else {
            return Err(not_mine(effect));
        };
        carry_out(order, &self.signer, &self.state, &self.blobs, now())
            .await
            .map_err(|error| error.to_string())
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), String> {
        let Effect::Release(order) = effect else {
            return Err(not_mine(effect));
        };
        crate::give_up(order, reason, &self.state, &self.blobs, now())
            .await
            .map_err(|error| error.to_string())
    }
}

/// The function that signs, which alone may use the keys.
#[derive(Debug, Clone)]
pub struct Signer {
    /// How it is called.
    pub functions: Functions,
    /// Its name.
    pub name: String,
}

impl Seal for Signer {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        let repomd =
            String::from_utf8(repomd.to_vec()).map_err(|error| SealError(error.to_string()))?;
        let question = Question {
            seal: key.clone(),
            repomd,
            signed_s,
        };
        let armored: Result<String, _> = self.functions.ask(&self.name, &question).await;
        armored
            .map(String::into_bytes)
            .map_err(|error| SealError(error.to_string()))
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        let armored: Result<String, _> = self
            .functions
            .ask(
                &self.name,
                &Certificate {
                    certificate: key.clone(),
                },
            )
            .await;
        armored
            .map(String::into_bytes)
            .map_err(|error| SealError(error.to_string()))
    }
}

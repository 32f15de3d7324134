//! The releaser as functions of AWS Lambda.

use crate::{OrderReleaser, Seal, SealError, router};
use axum::Router;
use millrace_core::KeyName;
use millrace_lambda::seal::{Certificate, Seal as Question};
use millrace_lambda::{
    Error, Functions, LoggedError, Wake, blobs, config, deliver, now, on_call, serve, state,
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
        async move { releasing.act(wake).await }
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

impl Releasing {
    async fn act(&self, wake: Wake) -> Result<(), LoggedError> {
        let releaser = OrderReleaser {
            seal: &self.signer,
            state: &self.state,
            blobs: &self.blobs,
            now: now(),
        };
        deliver(wake.id(), &self.state, &releaser).await
    }
}

/// The function that signs, which alone may use the keys.
#[derive(Debug, Clone)]
pub struct Signer {
    /// How it is called.
    pub functions: Functions,
    pub name: String,
}

impl Seal for Signer {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        let repomd = String::from_utf8(repomd.to_vec()).map_err(SealError::new)?;
        let question = Question {
            seal: key.clone(),
            repomd,
            signed_s,
        };
        let armored: Result<String, _> = self.functions.ask(&self.name, &question).await;
        armored.map(String::into_bytes).map_err(SealError::new)
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
        armored.map(String::into_bytes).map_err(SealError::new)
    }
}

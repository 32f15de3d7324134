//! Calls to other functions (AWS Lambda API Reference, "Invoke").

use crate::messages::Wake;
use aws_config::SdkConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use millrace_store::MessageId;
use millrace_store::state::Cause;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A call that failed. A retry may help.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function was not reached, or may not be called.
    #[error("the function {function} cannot be called")]
    Unreached { function: String, source: Cause },
    /// Its answer is not what was asked for.
    #[error("the answer of the function {function} makes no sense")]
    Answer {
        function: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It was reached, and failed.
    #[error("the function {function} failed: {problem}")]
    Failed { function: String, problem: String },
}

/// Calls functions by their names.
#[derive(Debug, Clone)]
pub struct Functions(Client);

impl Functions {
    /// Those of the account that these credentials are for.
    pub fn new(config: &SdkConfig) -> Self {
        Self(Client::new(config))
    }

    /// Wakes a function for a message, and does not wait for what comes of it: Lambda keeps the call, tries it three times, and
    /// puts it with the dead letters then.
    pub async fn wake(&self, function: &str, message: MessageId) -> Result<(), InvokeError> {
        self.invoke(
            function,
            InvocationType::Event,
            &Wake { message: message.0 },
        )
        .await
        .map(drop)
    }

    /// Asks a function something and waits for its answer.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        function: &str,
        question: &impl Serialize,
    ) -> Result<T, InvokeError> {
        let answer = self
            .invoke(function, InvocationType::RequestResponse, question)
            .await?;
        serde_json::from_slice(&answer).map_err(|source| InvokeError::Answer {
            function: function.to_owned(),
            source,
        })
    }

    async fn invoke(
        &self,
        function: &str,
        kind: InvocationType,
        what: &impl Serialize,
    ) -> Result<Vec<u8>, InvokeError> {
        let unreached = |source: Cause| InvokeError::Unreached {
            function: function.to_owned(),
            source,
        };
        let payload = serde_json::to_vec(what).map_err(|error| unreached(error.into()))?;
        let call = self
            .0
            .invoke()
            .function_name(function)
            .invocation_type(kind)
            .payload(Blob::new(payload));
        let answer = call.send().await.map_err(|error| unreached(error.into()))?;
        let said = answer.payload.map(Blob::into_inner).unwrap_or_default();
        match answer.function_error {
            None => Ok(said),
            Some(_) => Err(InvokeError::Failed {
                function: function.to_owned(),
                problem: String::from_utf8_lossy(&said).into_owned(),
            }),
        }
    }
}

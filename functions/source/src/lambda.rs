//! Fetching as a function of AWS Lambda.

use crate::{Fetcher, PushFetcher, TemplateError};
use millrace_lambda::{
    EnvironmentError, Error, LoggedError, Wake, blobs, config, deliver, now, on_call, state,
};
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;

/// Where sources are looked for that the line does not hold yet: addresses with spaces between.
const LOOKASIDE: &str = "MILLRACE_LOOKASIDE";

/// Fetches what was announced, when it is woken for it.
pub async fn fetch() -> Result<(), Error> {
    let config = config();
    let said = std::env::var(LOOKASIDE).unwrap_or_default();
    let odd = |error: TemplateError| EnvironmentError::Odd {
        name: LOOKASIDE,
        source: error.into(),
    };
    let lookaside = said
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>();
    let fetcher = Fetcher::new(std::env::temp_dir().join("fetch"), lookaside.map_err(odd)?);
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
    async fn act(&self, wake: Wake) -> Result<(), LoggedError> {
        let fetcher = PushFetcher {
            fetcher: &self.fetcher,
            state: &self.state,
            blobs: &self.blobs,
            now: now(),
        };
        deliver(wake.id(), &self.state, &fetcher).await
    }
}

//! The HTTP client that fetches all there is to fetch: commits and sources.

use std::time::Duration;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// A client that trusts whom this machine trusts: a company's forge may have a certificate of the company's own. A server may take
/// `connect` to be there, and may say nothing for `silence`.
pub(crate) fn agent(name: &str, connect: Duration, silence: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(name)
        .timeout_connect(Some(connect))
        .timeout_per_read(Some(silence))
        .tls_config(
            TlsConfig::builder()
                .root_certs(RootCerts::PlatformVerifier)
                .build(),
        )
        .build()
        .into()
}

//! Whose certificates a runner takes: those that its machine takes, among which a company's own may be.

use ureq::tls::{RootCerts, TlsConfig};

/// The machine's authorities, and no others.
pub(crate) fn of_this_machine() -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build()
}

//! What the releaser asks the signer, which alone may use the keys. The answer to each is a text in ASCII armor.

use millrace_core::KeyName;
use serde::{Deserialize, Serialize};

/// "Sign this `repomd.xml`."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub seal: KeyName,
    /// Its text: a few kilobytes.
    pub repomd: String,
    /// The signature's time, in seconds since 1970.
    pub signed_s: u64,
}

/// "Give me this key's certificate."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub certificate: KeyName,
}

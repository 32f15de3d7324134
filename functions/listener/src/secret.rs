//! The secret that a forge signs its deliveries with.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Shortest secret, in bytes: anyone who sees one signed delivery can try secrets as fast as a computer hashes, and 16 random
/// letters withstand that.
pub const SECRET_BYTES_MIN: usize = 16;

/// A secret that is shared with a forge. Never shown, compared only in constant time.
#[derive(Clone)]
pub struct Secret(String);

/// A secret that is too short; a person must choose another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a webhook secret needs at least {SECRET_BYTES_MIN} bytes, this one has {bytes}: `openssl rand -hex 32` makes a good one"
)]
pub struct SecretError {
    /// How many it has.
    pub bytes: usize,
}

impl Secret {
    /// Takes a secret of at least 16 bytes (`SECRET_BYTES_MIN`).
    pub fn new(text: impl Into<String>) -> Result<Self, SecretError> {
        let text = text.into();
        if text.len() < SECRET_BYTES_MIN {
            return Err(SecretError { bytes: text.len() });
        }
        Ok(Self(text))
    }

    /// The signature of a body, as forges send it: HMAC-SHA256 (RFC 2104) in lower-case hexadecimal digits.
    pub fn sign(&self, body: &[u8]) -> String {
        self.mac(body)
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether a signature in hexadecimal digits is that of the body; takes the same time whichever digit is wrong.
    pub fn vouches_for(&self, body: &[u8], signature: &str) -> bool {
        bytes(signature).is_some_and(|signature| self.mac(body).verify_slice(&signature).is_ok())
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(body);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Reads hexadecimal digits; none if there are other characters, or an odd number of digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let nibbles: Vec<u8> = digits
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    nibbles.len().is_multiple_of(2).then(|| {
        nibbles
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_githubs_own_example() {
        // "Validating webhook deliveries", docs.github.com: secret, payload and digest of the example.
        let secret = Secret::new("It's a Secret to Everybody").unwrap();
        let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(secret.sign(b"Hello, World!"), signature);
        assert!(secret.vouches_for(b"Hello, World!", signature));
        assert!(secret.vouches_for(b"Hello, World!", &signature.to_uppercase()));
    }

    #[test]
    fn neither_a_changed_body_nor_a_cut_signature_is_vouched_for() {
        let secret = Secret::new("It's a Secret to Everybody").unwrap();
        let signature = secret.sign(b"Hello, World!");
        assert!(!secret.vouches_for(b"Hello, world!", &signature));
        for odd in [&signature[..63], &signature[..62], "", "zz", "é"] {
            assert!(!secret.vouches_for(b"Hello, World!", odd), "{odd}");
        }
    }

    #[test]
    fn a_secret_is_never_shown_and_a_short_one_never_taken() {
        let secret = Secret::new("0123456789abcdef").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        assert_eq!(Secret::new("short").unwrap_err(), SecretError { bytes: 5 });
        assert!(!SecretError { bytes: 5 }.to_string().contains("short"));
    }
}

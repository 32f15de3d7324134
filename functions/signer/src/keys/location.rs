//! Where the keys of a line in the cloud lie: each in KMS or in a secret, as one variable of the template says.

use millrace_core::{KeyName, NameError};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Where a key lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLocation {
    /// In KMS, which signs with it and shows it to nobody: its ARN there.
    Kms(String),
    /// In a secret of Secrets Manager, which the signer reads: the ARN of that.
    Secret(String),
}

/// Why a text names no locations of keys. It must be set right where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyLocationError {
    /// The ARN of something else, or none.
    #[error("`{0}` is no ARN of a key in KMS or of a secret in Secrets Manager")]
    Arn(String),
    /// Something stands between the spaces that names no key.
    #[error("`{0}` is not of the form NAME=ARN")]
    Form(String),
    /// A name that no key can have.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for KeyLocation {
    type Err = KeyLocationError;

    /// The service stands third in an ARN (AWS IAM User Guide, "Amazon Resource Names").
    fn from_str(arn: &str) -> Result<Self, KeyLocationError> {
        match arn.split(':').collect::<Vec<_>>()[..] {
            ["arn", _, "kms", _, _, _] => Ok(Self::Kms(arn.to_owned())),
            ["arn", _, "secretsmanager", _, _, "secret", _] => Ok(Self::Secret(arn.to_owned())),
            _ => Err(KeyLocationError::Arn(arn.to_owned())),
        }
    }
}

/// The locations of a line's keys, by the keys' names. As a text: `NAME=ARN`, with spaces between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyLocations(BTreeMap<KeyName, KeyLocation>);

impl KeyLocations {
    /// Where a key lies; none if the line has no such key.
    pub fn of(&self, key: &KeyName) -> Option<&KeyLocation> {
        self.0.get(key)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyName, &KeyLocation)> {
        self.0.iter()
    }
}

impl FromStr for KeyLocations {
    type Err = KeyLocationError;

    fn from_str(text: &str) -> Result<Self, KeyLocationError> {
        let mut all = BTreeMap::new();
        for word in text.split_whitespace() {
            let (name, arn) = word
                .split_once('=')
                .ok_or_else(|| KeyLocationError::Form(word.to_owned()))?;
            all.insert(KeyName::new(name)?, arn.parse()?);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_told_by_the_service_of_its_arn() {
        let kms = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let secret = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:line-default-a1b2c3";
        let locations: KeyLocations = format!("default={kms}  brought={secret}").parse().unwrap();
        let of = |name: &str| locations.of(&KeyName::new(name).unwrap()).cloned();
        assert_eq!(of("default"), Some(KeyLocation::Kms(kms.to_owned())));
        assert_eq!(of("brought"), Some(KeyLocation::Secret(secret.to_owned())));
        assert_eq!(of("other"), None);
        assert_eq!("".parse(), Ok(KeyLocations::default()));
    }

    #[test]
    fn what_is_no_location_is_refused_with_what_was_said() {
        for text in [
            "default",
            "a b=c",
            "default=arn:aws:s3:::bucket",
            "default=alias/x",
            "=arn:aws:kms:r:1:key/k",
        ] {
            assert!(text.parse::<KeyLocations>().is_err(), "{text}");
        }
        let error = "default=arn:aws:s3:::bucket"
            .parse::<KeyLocations>()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`arn:aws:s3:::bucket` is no ARN of a key in KMS or of a secret in Secrets Manager"
        );
    }
}

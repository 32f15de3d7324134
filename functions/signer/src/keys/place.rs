//! Where the keys of a line in the cloud lie: each in KMS or in a secret, as the template says it in one variable.

use millrace_core::KeyName;
use std::collections::BTreeMap;
use std::str::FromStr;

/// Where a key lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In KMS, which signs with it and shows it to nobody: its ARN there.
    Kms(String),
    /// In a secret of Secrets Manager, which the signer reads: the ARN of that.
    Secret(String),
}

impl FromStr for Place {
    type Err = String;

    /// The service stands third in an ARN (AWS IAM User Guide, "Amazon Resource Names").
    fn from_str(arn: &str) -> Result<Self, String> {
        match arn.split(':').collect::<Vec<_>>()[..] {
            ["arn", _, "kms", _, _, _] => Ok(Self::Kms(arn.to_owned())),
            ["arn", _, "secretsmanager", _, _, "secret", _] => Ok(Self::Secret(arn.to_owned())),
            _ => Err(format!(
                "`{arn}` is no ARN of a key in KMS or of a secret in Secrets Manager"
            )),
        }
    }
}

/// The places of a line's keys, by the keys' names. As a text: `NAME=ARN`, with spaces between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<KeyName, Place>);

impl Places {
    /// Where a key lies; none where the line has no such key.
    pub fn of(&self, key: &KeyName) -> Option<&Place> {
        self.0.get(key)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyName, &Place)> {
        self.0.iter()
    }
}

impl FromStr for Places {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = |word: &str| {
            let (name, arn) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}` is not of the form NAME=ARN"))?;
            Ok((
                KeyName::new(name).map_err(|error| error.to_string())?,
                arn.parse()?,
            ))
        };
        text.split_whitespace()
            .map(place)
            .collect::<Result<_, String>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_the_service_of_its_arn() {
        let kms = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let secret = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:line-default-a1b2c3";
        let places: Places = format!("default={kms}  brought={secret}").parse().unwrap();
        let of = |name: &str| places.of(&KeyName::new(name).unwrap()).cloned();
        assert_eq!(of("default"), Some(Place::Kms(kms.to_owned())));
        assert_eq!(of("brought"), Some(Place::Secret(secret.to_owned())));
        assert_eq!(of("other"), None);
        assert_eq!("".parse(), Ok(Places::default()));
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_was_said() {
        for text in [
            "default",
            "a b=c",
            "default=arn:aws:s3:::bucket",
            "default=alias/x",
            "=arn:aws:kms:r:1:key/k",
        ] {
            assert!(text.parse::<Places>().is_err(), "{text}");
        }
        let error = "default=arn:aws:s3:::bucket".parse::<Places>().unwrap_err();
        assert_eq!(
            error,
            "`arn:aws:s3:::bucket` is no ARN of a key in KMS or of a secret in Secrets Manager"
        );
    }
}

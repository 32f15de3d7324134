//! What a step asks of the machine that does it.

use crate::FeatureName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most features that a step may ask for: each is part of the place of its tasks in the queue, which has a bound.
pub const FEATURES_MAX: usize = 8;

/// What a machine must have for a step's tasks. Unlike its limits this is what the step cannot do without: runners that have less are
/// passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Requires {
    /// Memory of the machine, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Free disk below the runner's folder, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// What not every machine has, as its keeper names it (`millrace runner run --feature`): `secure-boot`, `kvm`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<FeatureName>,
}

impl Requires {
    /// Whether any machine will do.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// In a few letters that have no `/`: `m17179869184,fsecure-boot`. Empty if nothing is required.
    pub fn brief(&self) -> String {
        let memory = self.memory_bytes.map(|bytes| format!("m{bytes}"));
        let disk = self.disk_bytes.map(|bytes| format!("d{bytes}"));
        let features = self.features.iter().map(|feature| format!("f{feature}"));
        memory
            .into_iter()
            .chain(disk)
            .chain(features)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// What [`brief`](Self::brief) said; what is no such thing is passed over.
    pub fn of_brief(text: &str) -> Self {
        let mut requires = Self::default();
        for part in text.split(',') {
            let Some((kind, value)) = part.split_at_checked(1) else {
                continue;
            };
            match kind {
                "m" => requires.memory_bytes = value.parse().ok(),
                "d" => requires.disk_bytes = value.parse().ok(),
                "f" => requires.features.extend(value.parse()),
                _ => {}
            }
        }
        requires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_into_a_few_letters_is_read_again() {
        let features = BTreeSet::from(["kvm".parse().unwrap(), "secure-boot".parse().unwrap()]);
        let all = Requires {
            memory_bytes: Some(16 << 30),
            disk_bytes: Some(1),
            features,
        };
        assert_eq!(all.brief(), "m17179869184,d1,fkvm,fsecure-boot");
        for requires in [
            all,
            Requires::default(),
            Requires {
                disk_bytes: Some(7),
                ..Requires::default()
            },
        ] {
            assert_eq!(Requires::of_brief(&requires.brief()), requires);
        }
        assert_eq!(Requires::of_brief("x1,,mmany,é"), Requires::default());
    }
}

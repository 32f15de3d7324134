//! Auto Scaling groups of runner hosts: as many hosts as tasks need, and none if nothing waits.

use crate::demand::demand;
use aws_config::SdkConfig;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::error::SdkError;
use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsError;
use aws_sdk_autoscaling::operation::set_desired_capacity::SetDesiredCapacityError;
use millrace_core::hosts::hosts_wanted;
use millrace_core::{Arch, ArchError};
use millrace_lambda::{EnvironmentError, pairs};
use millrace_store::{StateError, StateStore};
use std::collections::BTreeMap;
use tracing::info;

/// The groups by the architectures of their hosts: `x86_64=GROUP aarch64=GROUP`. An architecture without one has runners elsewhere,
/// or none.
const RUNNERS: &str = "MILLRACE_RUNNERS";

/// Groups that were not given their hosts. A retry may help, unless a group is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    /// What tasks want is not known.
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the group {group} cannot be looked at")]
    Describe {
        group: String,
        source: Box<SdkError<DescribeAutoScalingGroupsError>>,
    },
    #[error("there is no group {0}: the environment of this function names it")]
    Missing(String),
    #[error("the group {group} is not given its hosts")]
    Resize {
        group: String,
        source: Box<SdkError<SetDesiredCapacityError>>,
    },
}

/// The groups of this line.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    client: Client,
    names: BTreeMap<Arch, String>,
}

impl Groups {
    /// Those that the environment names.
    pub(crate) fn open(config: &SdkConfig) -> Result<Self, EnvironmentError> {
        let odd = |error: ArchError| EnvironmentError::Odd {
            name: RUNNERS,
            source: error.into(),
        };
        let names = pairs(RUNNERS)?
            .into_iter()
            .map(|(arch, name)| Ok((arch.parse().map_err(odd)?, name)));
        Ok(Self {
            client: Client::new(config),
            names: names.collect::<Result<_, EnvironmentError>>()?,
        })
    }

    /// Gives each group the hosts that its tasks want now.
    pub(crate) async fn fit(&self, state: &impl StateStore) -> Result<(), GroupError> {
        for (arch, name) in &self.names {
            // Tasks that any runner may do wake the hosts of one architecture, the first.
            let any = self.names.keys().next() == Some(arch);
            let tasks = demand(state, *arch, any).await?;
            let (hosts, hosts_max) = self.size(name).await?;
            if let Some(wanted) = hosts_wanted(tasks, hosts, hosts_max) {
                self.resize(name, wanted).await?;
                info!(%arch, tasks, hosts, wanted, "the number of runner hosts changes");
            }
        }
        Ok(())
    }

    /// Hosts that there should be now, and the most that there may be.
    async fn size(&self, name: &str) -> Result<(u32, u32), GroupError> {
        let asked = self
            .client
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(name)
            .send()
            .await;
        let groups = asked
            .map_err(|error| GroupError::Describe {
                group: name.to_owned(),
                source: Box::new(error),
            })?
            .auto_scaling_groups;
        let group = groups
            .unwrap_or_default()
            .into_iter()
            .next()
            .ok_or_else(|| GroupError::Missing(name.to_owned()))?;
        let count = |count: Option<i32>| {
            count
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or_default()
        };
        Ok((count(group.desired_capacity), count(group.max_size)))
    }

    async fn resize(&self, name: &str, hosts: u32) -> Result<(), GroupError> {
        let hosts = i32::try_from(hosts).unwrap_or(i32::MAX);
        let set = self
            .client
            .set_desired_capacity()
            .auto_scaling_group_name(name)
            .desired_capacity(hosts);
        set.send()
            .await
            .map(drop)
            .map_err(|error| GroupError::Resize {
                group: name.to_owned(),
                source: Box::new(error),
            })
    }
}

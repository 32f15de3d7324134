//! What a runner is given with a lease: all that it takes to do the task.

use super::Desk;
use millrace_core::Timestamp;
use millrace_core::build::Build;
use millrace_core::platform::SandboxOptions;
use millrace_core::protocol::{Offer, Work};
use millrace_core::task::{RunnerProfile, TaskId};

/// How often a runner says that it is still at it if a process runs anyway, in seconds: so soon a task that was cancelled ends.
const RENEW_S: u32 = 2;

/// The task as it was just leased; none if it is gone from its build.
pub(super) fn offer<S, B>(
    desk: &Desk<S, B>,
    build: &Build,
    id: &TaskId,
    machine: &RunnerProfile,
    now: Timestamp,
) -> Option<Offer> {
    let lease = build.task(id)?.lease()?.clone();
    let step = build.step_of(id)?;
    let (platform, push) = (&build.platform, &build.push);
    let mut repositories = vec![(desk.released)(&platform.name)];
    repositories.extend(platform.repositories.iter().cloned());
    let work = Work {
        build: build.id.clone(),
        task: id.clone(),
        package: push.announced.package.clone(),
        commit: push.announced.commit.clone(),
        arch: Some(machine.root_arch(id.arch, &platform.architectures)),
        platform: platform.name.clone(),
        releasever: platform.releasever.clone(),
        module_platform: platform.module_platform.clone(),
        macros: platform.macros.clone(),
        source_date_epoch_s: push.committed_s,
        spec: push.spec.clone(),
        repositories,
        buildroot: platform.buildroot.clone(),
        sandbox: SandboxOptions {
            limits: build.limits_of(id),
            network: step.network,
            disk_order: step.disk_order,
        },
        lock: push.announced.options.lock,
        plugin: *build.plugins.get(&step.plugin)?,
        plugin_name: step.plugin.to_string(),
        inputs: build.inputs(id),
        config: step.config.clone(),
        hold_s: push.announced.options.hold_s,
    };
    let renew_s = Some(desk.paces.map_or(RENEW_S, |paces| paces.renew_s));
    Some(Offer {
        lease,
        now,
        work,
        renew_s,
    })
}

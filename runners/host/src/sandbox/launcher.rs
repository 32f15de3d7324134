//! The launcher: a process with one thread that builds the sandbox around itself and then becomes the command.
//!
//! There are three processes: the launcher, the first process of the PID namespace, which sets everything up and reaps, and the command.
//! The host can kill the launcher, whose death kills the next, and which answers what folders list.

use super::cgroup::GroupEntries;
use super::handles::has_ended;
use super::order::ListingChannel;
use super::plan::LaunchPlan;
use super::process::{NOT_SET_UP, die_with_parent, stand_alone};
use super::setup_error::{Doing, SetupResult};
use super::{exec, roots, terminal};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::raise;
use nix::sys::wait::{WaitStatus, wait, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

/// Does as planned; the status for the host. What did not work out is said in words.
pub(super) fn main(plan: &str, mut word: File) -> i32 {
    let plan: LaunchPlan = match serde_json::from_str(plan) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("sandbox: {error}");
            return NOT_SET_UP;
        }
    };
    match launch(&plan, &mut word) {
        Ok(status) => status,
        Err(problem) => {
            let _ = word.write_all(problem.to_string().as_bytes());
            NOT_SET_UP
        }
    }
}

fn launch(plan: &LaunchPlan, word: &mut File) -> SetupResult<i32> {
    // As ps(1) and top(1) show it.
    nix::sys::prctl::set_name(c"launcher").doing("its name")?;
    die_with_parent()?;
    if getppid().as_raw() != plan.host {
        // It was killed before the kernel knew of this process: nobody is there to be told, and nobody waits for the command.
        return Ok(NOT_SET_UP);
    }
    stand_alone(word.as_raw_fd() + 1)?;
    // Opened before the first process changes the root of both.
    let mut groups = GroupEntries::open(&plan.cgroups).doing("control groups")?;
    let mut spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !plan.network {
        spaces |= CloneFlags::CLONE_NEWNET;
    }
    unshare(spaces).doing("namespaces")?;
    let (launcher, life) = std::io::pipe().doing("a pipe")?;
    let way = plan.ordered.then(ListingChannel::new).transpose()?;
    // SAFETY: this process has one thread, so the child may do whatever the parent could.
    match unsafe { groups.fork() }.doing("fork")? {
        (ForkResult::Parent { child }, _) => {
            drop((launcher, groups));
            way.map_or(Ok(()), |way| way.answer(child))?;
            let status = reap(child);
            drop(life);
            status
        }
        (ForkResult::Child, inside) => {
            drop(life);
            let result = die_with_parent().and_then(|()| {
                if has_ended(&launcher).doing("poll")? {
                    // It was killed before this process was bound to its life.
                    return Ok(NOT_SET_UP);
                }
                // Nothing foreign is begun that no group bounds.
                if !inside {
                    groups.enter().doing("joining a control group")?;
                }
                drop((launcher, groups));
                first_process(plan, way.map(ListingChannel::into_theirs), word)
            });
            if let Err(problem) = &result {
                let _ = word.write_all(problem.to_string().as_bytes());
            }
            std::process::exit(result.unwrap_or(NOT_SET_UP))
        }
    }
}

fn status_of(status: WaitStatus) -> Option<i32> {
    match status {
        WaitStatus::Exited(_, status) => Some(status),
        WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
        _ => None,
    }
}

/// Waits for the first process. Nothing inside can end that, so a signal that did is no status of the command: it ends this one, too.
fn reap(child: Pid) -> SetupResult<i32> {
    let status = waitpid(child, None).doing("wait")?;
    if let WaitStatus::Signaled(_, signal, _) = status {
        raise(signal).doing("ending as the first process did")?;
    }
    Ok(status_of(status).unwrap_or(NOT_SET_UP))
}

/// The first process of the namespace: sets up, starts the command, and reaps the processes that die. When it ends, all others do.
fn first_process(plan: &LaunchPlan, way: Option<OwnedFd>, word: &File) -> SetupResult<i32> {
    roots::own_all_mounts(plan)?;
    roots::enter(plan)?;
    if !plan.network {
        bring_loopback_up();
    }
    let terminal = plan.terminal.map(terminal::open).transpose()?;
    if has_ended(word).doing("poll")? {
        // The runner took this for one that would never begin, and started another.
        return Ok(NOT_SET_UP);
    }
    // SAFETY: this process has one thread.
    match unsafe { fork() }.doing("fork")? {
        ForkResult::Child => {
            terminal.map_or(Ok(()), terminal::sit_at)?;
            exec::become_command(plan, way)
        }
        ForkResult::Parent { child } => {
            // The launcher waits until nobody has this end.
            drop(way);
            // A process that has an end of it open keeps the other from seeing that all who sat there have gone.
            drop(terminal);
            loop {
                match wait().doing("wait")? {
                    status if status.pid() == Some(child) => {
                        return Ok(status_of(status).unwrap_or(NOT_SET_UP));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Programs that talk to themselves over loopback work; nobody else is there.
fn bring_loopback_up() {
    // SAFETY: the request is a zeroed `ifreq` with a name and flags, which is what SIOCSIFFLAGS takes (netdevice(7)); the socket is
    // closed in the same block.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request);
        libc::close(socket);
    }
}

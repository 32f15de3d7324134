//! Handles that one process gives another, along with some bytes (unix(7), SCM_RIGHTS), and waiting for what comes by one.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Most that are given at a time: three streams of a command, and what its launcher has to say.
const HANDLES_MAX: usize = 4;

/// Gives handles away. A socket takes so few bytes as go along here as a whole or not at all.
pub(super) fn give(way: impl AsFd, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let handles: Vec<RawFd> = handles.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&handles)];
    sendmsg::<()>(
        way.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes)],
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// Takes what was given, and how many bytes came along; none if nobody is there any more who could give.
pub(super) fn take(way: impl AsFd, bytes: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; HANDLES_MAX]);
    let mut pieces = [IoSliceMut::new(bytes)];
    let message = loop {
        match recvmsg::<()>(
            way.as_fd().as_raw_fd(),
            &mut pieces,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut handles = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(given) = part {
            // SAFETY: the kernel has just opened these for this process, and nobody else knows of them.
            handles.extend(
                given
                    .into_iter()
                    .map(|handle| unsafe { OwnedFd::from_raw_fd(handle) }),
            );
        }
    }
    Ok((message.bytes, handles))
}

/// Waits until there is something to be read, or nobody could say anything any more; whether that happened in time.
pub(super) fn is_readable_within(handle: impl AsFd, time: Duration) -> nix::Result<bool> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

/// Whether nobody has the other end of a pipe any more, whichever end this is.
pub(super) fn has_ended(pipe: impl AsFd) -> nix::Result<bool> {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO)?;
    Ok(polled[0]
        .revents()
        .is_some_and(|found| found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)))
}

//! The order in which a folder lists its files, which is the same on every machine.
//!
//! File systems list as they like: ext4 by a hash with a seed of each disk, tmpfs the newest first, XFS as entries were made, by however
//! many processes at the same time. What is made of a list that nobody sorted is then another file on each runner. So the calls that read a
//! folder (getdents64(2)) are answered by the launcher, which reads it and lists by a hash of the names alone (seccomp_unotify(2)).
//!
//! An entry's place is the hash of its name, and where a reader goes on is kept by the kernel, as always: by the position of its handle. So
//! nothing is remembered here, folders may change while they are read as on any disk, and who goes back with seekdir(3) finds its place.
//!
//! Until the launcher has taken a call, which takes microseconds, a signal breaks it off. It is made again by itself, as with all calls
//! that wait, unless the program has a handler without SA_RESTART, which then sees EINTR.

use super::calls::{ABI, ANSWER, IF_EQUAL, LOAD, NUMBER, instruction};
use super::handles;
use super::listing::{ListingBatch, entries};
use super::setup_error::{Doing, SetupResult};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{
    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, FsType, PROC_SUPER_MAGIC,
    SYSFS_MAGIC, fstatfs,
};
use nix::unistd::{Pid, Whence, lseek64};
use seccompiler::sock_filter;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

/// File systems whose lists are the kernel's own, and mean something as they are.
const LEFT_ALONE: [FsType; 5] = [
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEVPTS_SUPER_MAGIC,
];

/// Bytes of a folder that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Most bytes that one call gets, whatever room it has: a third of a million of the shortest names would fit in.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What the kernel calls the ABI of 64 bits here (Linux, `audit.h`). Programs of 32 bits are left alone: their positions would not fit.
#[cfg(target_arch = "x86_64")]
const OWN_ABI: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN_ABI: u32 = 0xc000_00b7;
#[cfg(target_arch = "powerpc64")]
const OWN_ABI: u32 = if cfg!(target_endian = "little") {
    0xc000_0015
} else {
    0x8000_0015
};
#[cfg(target_arch = "s390x")]
const OWN_ABI: u32 = 0x8000_0016;

/// The way on which a command hands over what hears its calls.
pub(super) struct ListingChannel {
    own: OwnedFd,
    theirs: OwnedFd,
    /// `/proc` of the runner. Under that name the launcher finds the sandbox's later on, whose root becomes its own.
    processes: OwnedFd,
}

impl ListingChannel {
    pub(super) fn new() -> SetupResult<Self> {
        let ends = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        );
        let (own, theirs) = ends.doing("a pair of sockets")?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let processes = open("/proc", flags, Mode::empty()).doing("/proc")?;
        Ok(Self {
            own,
            theirs,
            processes,
        })
    }

    /// The command's end alone.
    pub(super) fn into_theirs(self) -> OwnedFd {
        self.theirs
    }

    /// In the launcher: answers until the first process of the sandbox has ended. Nobody comes after that.
    pub(super) fn answer(self, first: Pid) -> SetupResult<()> {
        let Self {
            own,
            theirs,
            processes,
        } = self;
        drop(theirs);
        // None comes if the command did not get that far, or the kernel cannot do it.
        let (_, mut given) = handles::take(&own, &mut [0]).doing("a listener")?;
        let Some(listener) = given.pop() else {
            return Ok(());
        };
        let first = process_handle(first).doing("a handle on the first process")?;
        be_quick(&listener);
        let mut desk = ListingResponder {
            listener,
            processes,
            buffer: vec![0; READ_BYTES],
        };
        loop {
            let mut polled = [
                PollFd::new(desk.listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(first.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.doing("poll")?,
            };
            let has = |which: usize, flags| {
                polled[which]
                    .revents()
                    .is_some_and(|found| found.intersects(flags))
            };
            if has(1, PollFlags::POLLIN)
                || (has(0, PollFlags::POLLHUP) && !has(0, PollFlags::POLLIN))
            {
                return Ok(());
            }
            desk.answer_one().doing("answering for a list")?;
        }
    }
}

/// In the process that becomes the command: from now on the launcher is asked for lists, by this process and all that it starts. If the
/// kernel cannot do that, lists stay as they are.
pub(super) fn be_heard(way: OwnedFd) -> SetupResult<()> {
    let program = [
        instruction(LOAD, ABI, 0, 0),
        instruction(IF_EQUAL, OWN_ABI, 0, 3),
        instruction(LOAD, NUMBER, 0, 0),
        instruction(IF_EQUAL, libc::SYS_getdents64 as u32, 0, 1),
        instruction(ANSWER, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        instruction(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let Some(listener) = listen(&program)? else {
        return Ok(());
    };
    handles::give(&way, b"l", &[listener.as_fd()]).doing("handing a listener over")
}

/// Installs a filter that asks; none on a kernel that cannot let a caller wait, whatever signals come, once its call was heard (before 5.19). A
/// caller that a signal takes away may have given the memory back that the answer is written to (seccomp_unotify(2)).
fn listen(program: &[sock_filter]) -> SetupResult<Option<OwnedFd>> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the kernel copies the program, which lives through the call.
    match Errno::result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    }) {
        // SAFETY: the kernel has just opened it, and nobody else knows of it.
        Ok(handle) => Ok(Some(unsafe { OwnedFd::from_raw_fd(handle as RawFd) })),
        Err(Errno::EINVAL | Errno::ENOSYS) => Ok(None),
        Err(error) => Err(error).doing("a listener for lists"),
    }
}

/// A process's handle, as one of this process.
fn handle_of(process: Pid, handle: RawFd) -> nix::Result<OwnedFd> {
    let process = process_handle(process)?;
    // SAFETY: it takes numbers.
    let handle = Errno::result(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), handle, 0)
    })?;
    // SAFETY: the kernel has just opened it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(handle as RawFd) })
}

fn process_handle(process: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: it takes numbers.
    let handle =
        Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) })?;
    // SAFETY: the kernel has just opened it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(handle as RawFd) })
}

/// How a call is answered.
enum ListingVerdict {
    /// The kernel does it.
    GoOn,
    Failed(Errno),
    /// As many bytes are in the caller's memory, and its handle is to go on there.
    Listed {
        bytes: usize,
        handle: OwnedFd,
        next: u64,
    },
}

/// Takes calls as soon as possible, since their callers wait. The machine may refuse all of it, and lists are the same then.
fn be_quick(listener: &OwnedFd) {
    /// Above what builds run at, below what looks after the machine.
    const NICE: libc::c_int = -5;
    // SAFETY: it takes numbers; only root of the machine may do it.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    // SAFETY: it takes a number. From Linux 6.6 on the caller's processor goes on with this process at once.
    let _ = unsafe { set_flags(listener.as_raw_fd(), SYNC_WAKE_UP) };
}

/// Where calls are heard and answered.
struct ListingResponder {
    listener: OwnedFd,
    /// `/proc` of the runner.
    processes: OwnedFd,
    buffer: Vec<u8>,
}

impl ListingResponder {
    fn answer_one(&mut self) -> nix::Result<()> {
        // SAFETY: all of it may be zero, and must be (seccomp_unotify(2)).
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes a notification, for which there is room.
        match unsafe { receive_call(self.listener.as_raw_fd(), &raw mut call) } {
            // The caller was killed, or a signal was more urgent to it.
            Err(Errno::ENOENT | Errno::EINTR) => return Ok(()),
            other => other.map(drop)?,
        }
        let verdict = self.list(&call).unwrap_or_else(ListingVerdict::Failed);
        let mut said = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: 0,
            flags: 0,
        };
        match verdict {
            ListingVerdict::GoOn => said.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            ListingVerdict::Failed(error) => said.error = -(error as i32),
            ListingVerdict::Listed {
                bytes,
                handle,
                next,
            } if lseek64(&handle, next as i64, Whence::SeekSet).is_ok() => said.val = bytes as i64,
            // A file system that has no such positions.
            ListingVerdict::Listed { .. } => {
                said.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32
            }
        }
        // SAFETY: the kernel reads an answer, which lives through the call.
        match unsafe { send_answer(self.listener.as_raw_fd(), &raw mut said) } {
            // The caller was killed.
            Err(Errno::ENOENT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Does what a call wants, but for the position of its handle.
    fn list(&mut self, call: &libc::seccomp_notif) -> Result<ListingVerdict, Errno> {
        let [handle, address, room, ..] = call.data.args;
        let thread = Pid::from_raw(call.pid as i32);
        // Opened before the call is known to be waited for still: the process with this id may be another one afterwards.
        let memory = self
            .open(&format!("{thread}/mem"), OFlag::O_WRONLY)
            .map(File::from);
        let theirs = handle_of(thread, handle as RawFd)
            .or_else(|_| handle_of(self.leader(thread)?, handle as RawFd));
        // SAFETY: the kernel reads a number.
        unsafe { is_valid(self.listener.as_raw_fd(), &raw const call.id) }?;
        let (Ok(memory), Ok(theirs)) = (memory, theirs) else {
            return Ok(ListingVerdict::GoOn);
        };
        if !is_listed(theirs.as_fd()) {
            return Ok(ListingVerdict::GoOn);
        }
        // Another handle on the same folder, with a position of its own.
        let Ok(folder) = self.open(
            &format!("self/fd/{}", theirs.as_raw_fd()),
            OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        ) else {
            return Ok(ListingVerdict::GoOn);
        };
        let from = lseek64(&theirs, 0, Whence::SeekCur)? as u64;
        let mut found = ListingBatch::new(from, (room as usize).min(ANSWER_BYTES_MAX));
        loop {
            // SAFETY: the kernel writes no more than there is room for.
            let read = unsafe {
                libc::syscall(
                    libc::SYS_getdents64,
                    folder.as_raw_fd(),
                    self.buffer.as_mut_ptr(),
                    self.buffer.len(),
                )
            };
            match Errno::result(read)? as usize {
                0 => break,
                read => entries(&self.buffer[..read]).for_each(|entry| found.take(entry)),
            }
        }
        let (answer, next) = found.answer()?;
        memory
            .write_all_at(&answer, address)
            .map_err(|_| Errno::EFAULT)?;
        Ok(ListingVerdict::Listed {
            bytes: answer.len(),
            handle: theirs,
            next,
        })
    }

    /// The process of a thread: it is processes that hand handles over.
    fn leader(&self, thread: Pid) -> nix::Result<Pid> {
        let status = self
            .open(&format!("{thread}/status"), OFlag::O_RDONLY)
            .map(File::from);
        let status = status.and_then(|file| io::read_to_string(file).map_err(|_| Errno::ESRCH))?;
        let process = status
            .lines()
            .find_map(|line| line.strip_prefix("Tgid:"))
            .and_then(|id| id.trim().parse().ok());
        process.map(Pid::from_raw).ok_or(Errno::ESRCH)
    }

    /// Opens something in the runner's `/proc`.
    fn open(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        openat(
            &self.processes,
            path,
            flags | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    }
}

// SECCOMP_IOCTL_NOTIF_RECV, _SEND, _ID_VALID and _SET_FLAGS, and a flag for the last (Linux, `seccomp.h`).
nix::ioctl_readwrite!(receive_call, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(send_answer, b'!', 1, libc::seccomp_notif_resp);
nix::ioctl_write_ptr!(is_valid, b'!', 2, u64);
nix::ioctl_write_int_bad!(
    set_flags,
    nix::request_code_write!(b'!', 4, size_of::<u64>())
);
const SYNC_WAKE_UP: libc::c_int = 1;

/// Whether it is a folder that is open to be read, on a file system that has an order of its own.
fn is_listed(handle: BorrowedFd<'_>) -> bool {
    let is_folder = fstat(handle).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR);
    let is_open = fcntl(handle, FcntlArg::F_GETFL)
        .is_ok_and(|flags| !OFlag::from_bits_retain(flags).contains(OFlag::O_PATH));
    is_folder
        && is_open
        && fstatfs(handle).is_ok_and(|found| !LEFT_ALONE.contains(&found.filesystem_type()))
}

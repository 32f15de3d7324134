//! System calls that no build needs and that reach deep into the kernel: refused, under every ABI that the kernel has here.
//!
//! seccompiler makes a filter for one ABI, and its filters kill processes of any other: a build that runs what `gcc -m32` made would die
//! of SIGSYS. So what it makes is put together here with a few instructions in front (seccomp(2), Linux `filter.h`):
//!
//! | ABI                          | its calls                              |
//! |------------------------------|----------------------------------------|
//! | the machine's own            | a filter of seccompiler                |
//! | i386, on x86_64              | the same, with the numbers of i386     |
//! | x32 on x86_64, all others    | are not there (ENOSYS)                 |

use super::setup_error::{Doing, SetupResult};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;

/// Refused with EPERM whatever their arguments are.
const REFUSED: [i64; 33] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// The same calls by their numbers on i386 (Linux, `arch/x86/entry/syscalls/syscall_32.tbl`), with those that only it has: `stime` (25),
/// the old `umount` (22), and `clock_settime64` (404).
const REFUSED_I386: [i64; 36] = [
    51,             // acct
    286,            // add_key
    357,            // bpf
    264,            // clock_settime
    404,            // clock_settime64
    129,            // delete_module
    350,            // finit_module
    431,            // fsconfig
    432,            // fsmount
    430,            // fsopen
    433,            // fspick
    128,            // init_module
    425,            // io_uring_setup
    283,            // kexec_load
    288,            // keyctl
    21,             // mount
    442,            // mount_setattr
    429,            // move_mount
    342,            // open_by_handle_at
    428,            // open_tree
    OPEN_TREE_ATTR, // open_tree_attr
    336,            // perf_event_open
    217,            // pivot_root
    131,            // quotactl
    88,             // reboot
    287,            // request_key
    346,            // setns
    79,             // settimeofday
    25,             // stime
    115,            // swapoff
    87,             // swapon
    103,            // syslog
    22,             // umount
    52,             // umount2
    310,            // unshare
    374,            // userfaultfd
];

/// Linux 6.15; calls as young as this have the same number everywhere.
const OPEN_TREE_ATTR: i64 = 467;

/// Calls that are refused for some arguments only, by their numbers under one ABI.
struct Numbers {
    refused: &'static [i64],
    chroot: i64,
    clone: i64,
    ioctl: i64,
}

const OWN: Numbers = Numbers {
    refused: &REFUSED,
    chroot: libc::SYS_chroot,
    clone: libc::SYS_clone,
    ioctl: libc::SYS_ioctl,
};

const I386: Numbers = Numbers {
    refused: &REFUSED_I386,
    chroot: 61,
    clone: 120,
    ioctl: 54,
};

/// New namespaces, in which a process has every right. clone(2) has no CLONE_NEWTIME: there its bit belongs to a signal's number.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Types keys into a terminal, as if somebody had (ioctl_tty(2)), and does many things to a console (ioctl_console(2)).
const TERMINAL: [libc::Ioctl; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// clone3(2) has its flags in memory, where no filter sees them. If it is not there, C libraries take clone(2).
const CLONE3: u32 = 435;

/// Calls from this number on are those of x32 (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;

/// The ABI of i386 (Linux, `audit.h`).
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// Where a call's number and its ABI are (`struct seccomp_data`).
pub(super) const NUMBER: u32 = 0;
pub(super) const ABI: u32 = 4;

/// Instructions: load a word of the call, jump if it is or is at least a constant, jump anyway, answer (Linux, `bpf_common.h`).
pub(super) const LOAD: u16 = 0x20;
pub(super) const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const GO: u16 = 0x05;
pub(super) const ANSWER: u16 = 0x06;

/// Instructions of seccompiler's with which a filter looks at the ABI; the last is what it answers for another one.
const PROLOGUE: usize = 3;

/// Whether calls are refused at all: seccompiler knows x86_64, aarch64 and riscv64; elsewhere namespaces and capabilities must do.
pub(crate) fn are_filtered() -> bool {
    TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// Refuses the calls for this process and all that it starts. `chroots` are allowed if scriptlets of packages are run.
pub(super) fn filter(chroots: bool) -> SetupResult<()> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(());
    };
    apply_filter(&program(arch, chroots).doing("seccomp")?).doing("seccomp")
}

fn program(arch: TargetArch, chroots: bool) -> Result<BpfProgram, BackendError> {
    let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut own = one_abi(&OWN, arch, chroots)?;
    own[PROLOGUE - 1].k = missing;
    let mut all = vec![
        instruction(LOAD, NUMBER, 0, 0),
        instruction(IF_EQUAL, CLONE3, 0, 1),
        instruction(ANSWER, missing, 0, 0),
    ];
    if arch == TargetArch::x86_64 {
        let length = own.len() as u32;
        all.extend([
            instruction(IF_AT_LEAST, X32, 0, 1),
            instruction(ANSWER, missing, 0, 0),
            instruction(LOAD, ABI, 0, 0),
            instruction(IF_EQUAL, AUDIT_ARCH_I386, 0, 1),
            instruction(GO, length, 0, 0),
        ]);
    }
    all.append(&mut own);
    if arch == TargetArch::x86_64 {
        all.extend(one_abi(&I386, arch, chroots)?.into_iter().skip(PROLOGUE));
    }
    Ok(all)
}

pub(super) fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn one_abi(numbers: &Numbers, arch: TargetArch, chroots: bool) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = numbers
        .refused
        .iter()
        .map(|call| (*call, Vec::new()))
        .collect();
    if !chroots {
        rules.insert(numbers.chroot, Vec::new());
    }
    let mut when =
        |call, argument, condition: fn(u64) -> seccompiler::SeccompCmpOp, values: &[u64]| {
            let one = |value: &u64| {
                SeccompRule::new(vec![SeccompCondition::new(
                    argument,
                    Dword,
                    condition(*value),
                    *value,
                )?])
            };
            values
                .iter()
                .map(one)
                .collect::<Result<Vec<_>, _>>()
                .map(|some| rules.insert(call, some))
        };
    when(
        numbers.clone,
        0,
        MaskedEq,
        &NAMESPACES.map(|flag| flag as u64),
    )?;
    when(numbers.ioctl, 1, |_| Eq, &TERMINAL.map(u64::from))?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
}

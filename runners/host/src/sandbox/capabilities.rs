//! The capabilities that root of a sandbox has (capabilities(7)).

/// Capabilities that package scriptlets and tests of installed packages need inside (capabilities(7)); all others are given up for
/// good. None of them reaches out of the namespaces.
pub(super) const KEPT: [u32; 10] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    18, // SYS_CHROOT
    31, // SETFCAP
];

/// Highest capability that kernels know so far is 40; those beyond are refused without harm.
const CAPABILITIES: u32 = 64;

/// Capabilities that are not kept are gone from the bounding set, so that no file brings them back, and from this process.
pub(super) fn drop_capabilities() {
    for capability in (0..CAPABILITIES).filter(|capability| !KEPT.contains(capability)) {
        // SAFETY: PR_CAPBSET_DROP takes a number; one that the kernel does not know is refused.
        unsafe {
            libc::prctl(
                libc::PR_CAPBSET_DROP,
                libc::c_ulong::from(capability),
                0,
                0,
                0,
            )
        };
    }
    let kept = KEPT
        .iter()
        .fold(0u64, |bits, capability| bits | 1 << capability);
    let low = kept as u32;
    let high = (kept >> 32) as u32;
    // Version 3 of the interface (capget(2)), for this process; effective, permitted, inheritable, twice 32 bits.
    let header = [0x2008_0522u32, 0];
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: both point to arrays of the sizes that version 3 says, which live through the call.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
}

//! How many runner hosts an architecture wants, where hosts come and go.

/// How many hosts there should be, given how many tasks wait or run, how many hosts there are or come, and how many there may be;
/// none if they should stay as they are.
///
/// A host works on one task at a time. There are never fewer while anything waits or runs: nobody here can tell which host has
/// nothing to do, and a build must not lose its machine. When nothing does, all of them go.
pub fn hosts_wanted(tasks: usize, hosts: u32, hosts_max: u32) -> Option<u32> {
    let wanted = u32::try_from(tasks).unwrap_or(u32::MAX).min(hosts_max);
    let right = if tasks == 0 { 0 } else { wanted.max(hosts) };
    (right != hosts).then_some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_for_each_task_and_go_when_there_is_none() {
        assert_eq!(hosts_wanted(1, 0, 8), Some(1));
        assert_eq!(hosts_wanted(3, 1, 8), Some(3));
        assert_eq!(
            hosts_wanted(20, 3, 8),
            Some(8),
            "never more than there may be"
        );
        assert_eq!(hosts_wanted(20, 8, 8), None);
        assert_eq!(
            hosts_wanted(1, 3, 8),
            None,
            "which of them are idle is not known"
        );
        assert_eq!(hosts_wanted(0, 3, 8), Some(0));
        assert_eq!(hosts_wanted(0, 0, 8), None);
        assert_eq!(
            hosts_wanted(5, 0, 0),
            None,
            "a group that may have none has none"
        );
    }
}

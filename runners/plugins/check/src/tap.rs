//! What a test says: its exit status decides, and if it speaks TAP (Test Anything Protocol 14) its failed points are named.

use millrace_sdk::tail_of;

/// Why a test failed, if it did. A point that is marked `# TODO` or `# SKIP` is not expected to hold.
pub fn verdict(test: &str, status: u8, stdout: &str, tail: &str) -> Result<(), String> {
    let failed: Vec<&str> = stdout
        .lines()
        .filter(|line| is_failed_point(line))
        .collect();
    if status == 0 && failed.is_empty() {
        return Ok(());
    }
    let said = if failed.is_empty() {
        tail_of(tail, 8)
    } else {
        failed.join("\n")
    };
    Err(match status {
        0 => format!("{test} failed, though it ended with status 0:\n{said}"),
        _ => format!("{test} failed with status {status}:\n{said}"),
    })
}

fn is_failed_point(line: &str) -> bool {
    let point = line
        .strip_prefix("not ok")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let upper = line.to_ascii_uppercase();
    point && !upper.contains("# TODO") && !upper.contains("# SKIP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_decides() {
        assert_eq!(verdict("tests/run", 0, "fine\n", "fine\n"), Ok(()));
        assert_eq!(
            verdict("tests/run", 2, "", "no such option\n"),
            Err("tests/run failed with status 2:\nno such option".to_owned())
        );
    }

    #[test]
    fn failed_points_are_named() {
        let stdout = "1..3\nok 1 - inflates\nnot ok 2 - deflates\nnot ok 3 - soon # TODO\n";
        assert_eq!(
            verdict("tests/run", 1, stdout, stdout),
            Err("tests/run failed with status 1:\nnot ok 2 - deflates".to_owned())
        );
        assert_eq!(
            verdict("tests/run", 0, stdout, stdout),
            Err("tests/run failed, though it ended with status 0:\nnot ok 2 - deflates".to_owned())
        );
    }

    #[test]
    fn points_that_are_not_expected_to_hold_do_not_fail_a_test() {
        assert_eq!(
            verdict(
                "tests/run",
                0,
                "not ok 1 # skip no network\nnot okay, just prose\n",
                ""
            ),
            Ok(())
        );
    }
}

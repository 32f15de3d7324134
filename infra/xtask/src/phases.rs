//! Where the time of a long run goes: its phases, and a table of them at the end.

use crate::progress::spoken_exactly;
use anyhow::Result;
use std::time::{Duration, Instant};

/// The phases of a run so far.
#[derive(Debug)]
pub struct Phases {
    begin: Instant,
    rows: Vec<(String, Duration)>,
}

impl Phases {
    /// The run begins now.
    pub fn begin() -> Self {
        Self {
            begin: Instant::now(),
            rows: Vec::new(),
        }
    }

    /// Does `work`, and remembers how long it took.
    pub fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begin = Instant::now();
        let result = work();
        self.rows.push((name.to_owned(), begin.elapsed()));
        result
    }

    /// Remembers a phase that ran beside others.
    pub fn add_beside(&mut self, name: &str, time: Duration) {
        self.rows.push((format!("(beside) {name}"), time));
    }

    /// One line per phase, and the time of them all.
    pub fn table(&self) -> String {
        table(&self.rows, self.begin.elapsed())
    }
}

fn table(rows: &[(String, Duration)], all: Duration) -> String {
    rows.iter()
        .map(|(name, time)| (name.as_str(), *time))
        .chain([("all", all)])
        .map(|(name, time)| format!("  {name:<28} {:>12}\n", spoken_exactly(time)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_a_line_with_its_time() {
        let rows = [
            ("build".to_owned(), Duration::from_secs(62)),
            ("tests".to_owned(), Duration::from_millis(4200)),
        ];
        assert_eq!(
            table(&rows, Duration::from_secs(70)),
            "  build                           1 min 2 s\n  tests                               4.2 s\n  all                            1 min 10 s\n"
        );
    }
}

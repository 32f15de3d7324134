//! What is printed: a line a round, and the result at the end.

use crate::round::{RoundReport, is_as_asked};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Everything that was reported.
pub struct Report {
    seed: u64,
    rounds: usize,
    lines: u64,
    short: bool,
    began: Instant,
    told: Vec<RoundReport>,
}

impl Report {
    /// Nothing yet.
    pub fn new(seed: u64, rounds: usize, lines: u64, short: bool) -> Self {
        Self {
            seed,
            rounds,
            lines,
            short,
            began: Instant::now(),
            told: Vec::new(),
        }
    }

    /// Rounds that were reported.
    pub fn heard(&self) -> usize {
        self.told.len()
    }

    /// Says what is about to happen.
    pub fn begin(&self) {
        let lines = if self.lines == 1 {
            "one line".to_owned()
        } else {
            format!("{} lines, which share them,", self.lines)
        };
        let short = if self.short { " --short" } else { "" };
        println!(
            "chaos: {} rounds on {lines} with three runners each; --seed {}{short} plays them again",
            self.rounds, self.seed
        );
    }

    /// Reports a round, and says what to do if an invariant was broken.
    pub fn round(&mut self, told: RoundReport) {
        println!("{}", line(&told));
        for problem in &told.broken {
            println!("        BROKEN: {problem}");
        }
        if !told.broken.is_empty() {
            let short = if self.short { " --short" } else { "" };
            println!(
                "        again: cargo xtask chaos --seed {} --round {}{short}",
                self.seed, told.round
            );
        }
        self.told.push(told);
    }

    /// Prints the result.
    pub fn end(&self) {
        print!("{}", summary(&self.told, self.began.elapsed()));
    }
}

/// `   7  tally released 14.2 s, broken failed 9.0 s; kill r2 2.1-3.4 s, cut r1 5.0-17.2 s`.
fn line(told: &RoundReport) -> String {
    let builds: Vec<String> = told
        .builds
        .iter()
        .map(|(name, end, after_s)| format!("{name} {end} {after_s:.1} s"))
        .collect();
    format!(
        "{:>4}  {:<62} {}",
        told.round,
        builds.join(", "),
        told.troubles.join(", ")
    )
}

fn summary(told: &[RoundReport], took: Duration) -> String {
    let mut text = format!("\n{} rounds in {}\n", told.len(), spoken(took));
    let (mut ends, mut counts, mut unanswered, mut muddled) = (
        BTreeMap::new(),
        BTreeMap::new(),
        BTreeMap::new(),
        BTreeMap::new(),
    );
    for (name, end, _) in told.iter().flat_map(|told| &told.builds) {
        let words = if is_as_asked(name, end) {
            format!("builds {end}, as they were to be")
        } else {
            format!("builds {end}")
        };
        *ends.entry(words).or_default() += 1;
    }
    for told in told {
        add(&mut counts, &told.counts);
        add(&mut unanswered, &told.unanswered);
        add(&mut muddled, &told.muddled);
    }
    let unanswered: BTreeMap<String, u64> = unanswered
        .into_iter()
        .map(|(how, count)| (format!("leases {how}"), count))
        .collect();
    let muddled: BTreeMap<String, u64> = muddled
        .into_iter()
        .map(|(fate, count)| (format!("  of muddled ways: {fate}"), count))
        .collect();
    for (what, count) in ends
        .iter()
        .chain(&counts)
        .chain(&muddled)
        .chain(&unanswered)
    {
        text += &format!("{count:>6} {what}\n");
    }
    text + &recovery(
        told.iter()
            .flat_map(|told| told.recovered_s.iter().copied())
            .collect(),
    )
}

fn add(sum: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more {
        *sum.entry(name.clone()).or_default() += count;
    }
}

/// From `kill -9` of a runner to the next lease of what it was at.
fn recovery(mut times_s: Vec<f64>) -> String {
    times_s.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        times_s
            .get((times_s.len() * percent).div_ceil(100).saturating_sub(1))
            .copied()
    };
    match (at(50), at(99), times_s.last()) {
        (Some(half), Some(most_of_all), Some(most)) => format!(
            "from kill -9 of a runner to the next lease of its task, {} times: p50 {half:.1} s, p99 {most_of_all:.1} s, most {most:.1} s\n",
            times_s.len()
        ),
        _ => "no runner was killed while it was at a task\n".to_owned(),
    }
}

fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{seconds} s")
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> RoundReport {
        RoundReport {
            round: 7,
            builds: vec![
                ("tally".to_owned(), "released".to_owned(), 14.21),
                ("broken".to_owned(), "quarantined".to_owned(), 200.0),
            ],
            troubles: vec!["kill r2 2.1-3.4 s".to_owned()],
            counts: BTreeMap::from([("kill -9 of a runner".to_owned(), 1)]),
            unanswered: BTreeMap::from([("lost".to_owned(), 3)]),
            recovered_s: vec![3.0, 61.0],
            ..RoundReport::default()
        }
    }

    #[test]
    fn a_round_is_a_line() {
        let expected = "   7  tally released 14.2 s, broken quarantined 200.0 s              kill r2 2.1-3.4 s";
        assert_eq!(line(&told()), expected);
    }

    #[test]
    fn the_end_has_counts_and_times() {
        let expected = "\n1 rounds in 1 min 15 s\n     1 builds quarantined\n     1 builds released, as they were to be\n     1 kill -9 of a runner\n     \
                        3 leases lost\nfrom kill -9 of a runner to the next lease of its task, 2 times: p50 3.0 s, p99 61.0 s, most 61.0 s\n";
        assert_eq!(summary(&[told()], Duration::from_secs(75)), expected);
    }
}

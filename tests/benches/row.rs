//! A row of the table: our figure, the other's, and whether the goal is met.

use std::time::{Duration, Instant};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
}

/// Figures of several runs; the median is what is quoted.
#[derive(Debug, Clone)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Of these runs.
    pub fn new(mut runs: Vec<f64>) -> Self {
        assert!(!runs.is_empty(), "a figure of no runs");
        runs.sort_by(f64::total_cmp);
        Self(runs)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn told(&self) -> String {
        format!(
            "{} ({} to {})",
            number(self.median()),
            number(self.0[0]),
            number(self.0[self.0.len() - 1])
        )
    }
}

/// One row.
#[derive(Debug)]
pub struct Row {
    pub row: &'static str,
    pub ours: Figures,
    pub unit: &'static str,
    /// What a person would use instead.
    pub peer: &'static str,
    pub theirs: Figures,
    /// What ours shall reach; none if the row only tells.
    pub goal: Option<f64>,
    /// Which way is better.
    pub better: Better,
}

impl Row {
    /// The table's first lines.
    pub fn heading() -> String {
        let names = format!(
            "{:<7} {:<44} {:>34} {:<8} {:>34} {:>8} {:>10} {:<4} {}",
            "bench",
            "row",
            "ours (least to most)",
            "unit",
            "theirs",
            "ratio",
            "goal",
            "met",
            "against"
        );
        format!("{names}\n{}", "-".repeat(names.len() + 24))
    }

    fn ratio(&self) -> f64 {
        self.ours.median() / self.theirs.median()
    }

    fn met(&self) -> Option<bool> {
        self.goal.map(|goal| match self.better {
            Better::Less => self.ours.median() <= goal,
            Better::More => self.ours.median() >= goal,
        })
    }

    /// For people.
    pub fn line(&self, bench: &str) -> String {
        let met = self.met().map_or("", |met| if met { "yes" } else { "NO" });
        let goal = self.goal.map(number).unwrap_or_default();
        let (ours, theirs, ratio) = (self.ours.told(), self.theirs.told(), number(self.ratio()));
        format!(
            "{bench:<7} {:<44} {ours:>34} {:<8} {theirs:>34} {ratio:>8} {goal:>10} {met:<4} {}",
            self.row, self.unit, self.peer
        )
    }

    /// For programs.
    pub fn json(&self, bench: &str) -> String {
        serde_json::json!({
            "bench": bench, "row": self.row, "ours": self.ours.median(), "unit": self.unit, "peer": self.peer,
            "theirs": self.theirs.median(), "ratio": self.ratio(), "goal": self.goal, "met": self.met(),
        })
        .to_string()
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// How long something took, in seconds.
pub fn seconds(what: impl FnOnce()) -> f64 {
    let start = Instant::now();
    what();
    start.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
}

/// Two things in turn, so that a machine whose speed drifts treats both alike.
pub fn in_turn(
    runs: usize,
    mut ours: impl FnMut() -> f64,
    mut theirs: impl FnMut() -> f64,
) -> (Figures, Figures) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    // Who is first changes, so that a machine that becomes slower or faster does it to both.
    for run in 0..runs {
        if run % 2 == 0 {
            a.push(ours());
            b.push(theirs());
        } else {
            b.push(theirs());
            a.push(ours());
        }
    }
    (Figures::new(a), Figures::new(b))
}

//! Says which protections and needs of a runner this machine gives, in words: by building a sandbox and looking around in it.
//!
//! `seen` tries, `judge` says what follows. A runner asks the same when it starts, and does not where something that matters is missing.

mod judge;
mod seen;

pub(crate) use judge::FREE_BYTES_MIN;
use seen::Seen;
use serde::Serialize;
use std::path::Path;

/// The machine, and the runner that it may have.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Where roots and tasks would lie.
    pub folder: &'a Path,
    /// The program that starts commands in the sandbox.
    pub launcher: &'a Path,
    /// The line, where its clock is to be compared.
    pub line_url: Option<&'a str>,
    /// Why an ordinary user could not become root of a namespace, where it was tried in vain.
    pub no_namespace: Option<&'a str>,
}

/// What comes of something for runners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Tasks are run, and something is weaker or will not work.
    Weaker,
    /// No task may run here.
    Refused,
}

/// One protection or need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, in a word.
    pub about: &'static str,
    /// Whether this machine gives it.
    pub verdict: Verdict,
    /// What was found, and what follows or whoever looks after the machine should do.
    pub says: String,
}

/// Everything that there is to say of this machine. Takes some tenths of a second, and as long as the line takes to answer.
pub fn examine(candidate: &Candidate<'_>) -> Vec<Finding> {
    judge::judge(&Seen::on(candidate))
}

/// Why no task may run here, in words, a line each; none where tasks may.
pub fn refusal(findings: &[Finding]) -> Option<String> {
    let refused = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Refused);
    let lines: Vec<String> = refused
        .map(|finding| format!("{}: {}", finding.about, finding.says))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

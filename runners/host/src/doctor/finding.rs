//! What the doctor says: a candidate is examined, and each protection or need is a finding.

use serde::Serialize;
use std::path::Path;

/// The machine, and the runner that it may have.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Where roots and tasks would lie.
    pub folder: &'a Path,
    /// The program that starts commands in the sandbox.
    pub launcher: &'a Path,
    /// The line, if its clock shall be compared.
    pub line_url: Option<&'a str>,
    /// Why an ordinary user could not become root of a namespace, if that was tried and failed.
    pub no_namespace: Option<&'a str>,
}

/// What a finding means for runners.
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
    /// What was found, and what follows from it or should be done about it.
    pub says: String,
}

/// Why no task may run here, one line per reason; none if tasks may.
pub fn refusal(findings: &[Finding]) -> Option<String> {
    let refused = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Refused);
    let lines: Vec<String> = refused
        .map(|finding| format!("{}: {}", finding.about, finding.says))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

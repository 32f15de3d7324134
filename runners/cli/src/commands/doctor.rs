//! `millrace runner doctor`: what this machine gives to runners.

use crate::ending::Ending;
use crate::output::Output;
use crate::state::Folder;
use anyhow::{Context, Result};
use millrace_host::doctor::{self, Candidate, Finding, Verdict};
use std::path::Path;

pub(super) fn doctor(
    folder: &Folder,
    output: Output,
    url: Option<&str>,
    work: Option<&Path>,
    no_namespace: Option<&str>,
) -> Result<Ending> {
    let work = match work {
        Some(work) => std::path::absolute(work)?,
        None => folder.folder("runner")?,
    };
    let launcher = std::env::current_exe().context("finding this program")?;
    let findings = doctor::examine(&Candidate {
        folder: &work,
        launcher: &launcher,
        line_url: url,
        no_namespace,
    });
    findings
        .iter()
        .try_for_each(|finding| output.one(finding, line))?;
    let refused = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Refused)
        .count();
    output.say(&match refused {
        0 => "Runners may work on this machine.".to_owned(),
        number => {
            format!("No task may run on this machine, because of {number} of these, marked with ✗.")
        }
    })?;
    Ok(if refused == 0 {
        Ending::Done
    } else {
        Ending::Unfit
    })
}

fn line(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Good => "✓",
        Verdict::Weaker => "!",
        Verdict::Refused => "✗",
    };
    format!("{mark} {:<20} {}", finding.about, finding.says)
}

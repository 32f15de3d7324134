//! One database for the rpm of a root and the rpm of this machine, wherever each looks for it.

use super::super::{RootError, Session};
use super::words::{last_words, marked};
use super::{DATABASE, Dnf};
use crate::sandbox::{Overlay, Sandbox, View};

/// Makes another folder the database's, and lets the old one lead there. Links in the root lead nowhere else: it runs where nothing
/// else is. The arguments are the root, and the folder as the root sees it.
const MOVE: &str = r#"
set -e
old=$1/var/lib/rpm new=$1$2
[ "$old" -ef "$new" ] && exit 0
rm -rf "$new"
mkdir -p "$new"
cp -a "$old/." "$new/"
rm -rf "$old"
ln -s "../..$2" "$old"
"#;

/// Asks for the names of all packages.
const NAMES: [&str; 4] = ["--query", "--all", "--queryformat", "=%{NAME}\\n"];

impl Dnf {
    /// Puts the database of a new root where the root's own rpm looks for it, and makes sure that it reads there what dnf wrote.
    /// The names of the packages in it, sorted.
    pub(in super::super) fn settle(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        session: &mut Session<'_>,
    ) -> Result<Vec<String>, RootError> {
        let root = self.path("root").display().to_string();
        if let Some(place) = self.inside(sandbox, overlay, &["--eval", "=%{_dbpath}"], session)? {
            let place = place.first().cloned().unwrap_or_default();
            if !place.strip_prefix('/').is_some_and(millrace_core::sources::is_inside) {
                return Err(RootError::Refused(format!("rpm of the root keeps its database in `{place}`, which is no folder")));
            }
            if place != DATABASE {
                let argv = ["/bin/sh", "-c", MOVE, "sh", &root, &place].map(str::to_owned).to_vec();
                let (status, said) = self.run_quietly(sandbox, overlay, argv, session)?;
                if status != 0 {
                    return Err(RootError::Refused(format!("moving the root's database to {place}: {}", last_words(&said))));
                }
            }
        }
        let outside = match self.run_quietly(sandbox, overlay, self.rpm(&NAMES), session)? {
            (0, said) => sorted(&said),
            (_, said) => return Err(RootError::Transaction(last_words(&said))),
        };
        if let Some(inside) = self.inside(sandbox, overlay, &NAMES, session)? {
            in_step(&outside, &inside)?;
        }
        Ok(outside)
    }

    /// What the root's own rpm says, sorted; none where it has none.
    fn inside(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        arguments: &[&str],
        session: &mut Session<'_>,
    ) -> Result<Option<Vec<String>>, RootError> {
        let argv = std::iter::once("rpm").chain(arguments.iter().copied()).map(str::to_owned).collect();
        let mut command = self.command(View::Root(overlay.clone()), argv, session);
        command.env = Vec::new();
        command.cwd = "/".to_owned();
        match self.heard(sandbox, &command, session.cancelled, &mut |_| {})? {
            (0, said) => Ok(Some(sorted(&said))),
            (NO_SUCH_PROGRAM, _) => Ok(None),
            (_, said) => Err(RootError::Refused(format!("rpm of the root: {}", last_words(&said)))),
        }
    }
}

fn sorted(said: &str) -> Vec<String> {
    let mut lines: Vec<String> = marked(said).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Status of a program that is not there, as shells have it.
const NO_SUCH_PROGRAM: u8 = 127;

/// Whether both see the same packages. Where they do not, a build would find none of its BuildRequires.
fn in_step(outside: &[String], inside: &[String]) -> Result<(), RootError> {
    if outside == inside {
        return Ok(());
    }
    Err(RootError::Refused(format!(
        "rpm of the root sees {} of the {} packages that were installed: it cannot read the database that this machine's rpm writes \
         (sqlite). Roots of EL 8 need a machine whose own rpm writes Berkeley DB, as that of EL 8 does: run the runner of this \
         platform there",
        inside.len(),
        outside.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_whose_rpm_sees_less_is_refused_in_words_that_say_what_to_do() {
        let (outside, inside) = (sorted("=bash\n=rpm\n"), sorted("warning: x\n=rpm\n=bash\n"));
        assert!(in_step(&outside, &inside).is_ok());
        let problem = in_step(&outside, &[]).unwrap_err();
        assert!(matches!(problem, RootError::Refused(_)));
        let problem = problem.to_string();
        assert!(problem.starts_with("rpm of the root sees 0 of the 2 packages") && problem.contains("EL 8"), "{problem}");
    }
}

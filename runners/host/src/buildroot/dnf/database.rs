//! One database for the rpm of a root and the rpm of this machine, wherever each looks for it; or, where the two cannot read the same kind
//! of it, one for each with the same in both.

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

/// Writes the headers of all packages as this machine's rpm has them into a file of the root (rpmdb(8), "--exportdb").
const EXPORT: &str = r#"
set -e
rm -rf "$1/.headers"
rpmdb --root "$1" --exportdb > "$1/.headers"
"#;

/// Makes them all that the root's own rpm knows of. What this machine's rpm keeps lies in the same folder and stays.
const IMPORT: &str = r#"
set -e
cd "$(rpm --eval '%{_dbpath}')"
for file in * .[!.]*; do
    case $file in
        rpmdb.sqlite* | .rpm.lock) ;;
        *) rm -rf -- "$file" ;;
    esac
done
rpmdb --importdb < /.headers
rm -f /.headers
"#;

/// Writes the headers of all packages as the root's own rpm has them.
const EXPORT_INSIDE: &str = "rpmdb --exportdb > /.headers";

/// Makes them all that this machine's rpm knows of the root.
const IMPORT_OUTSIDE: &str = r#"
set -e
rpmdb --root "$1" --importdb < "$1/.headers"
rm -f "$1/.headers"
"#;

/// What there is in the database of a new root, and how the root's own rpm comes to see it.
#[derive(Debug)]
pub(in super::super) struct Settled {
    /// The names of the packages, sorted.
    pub(in super::super) names: Vec<String>,
    /// Whether each change of the root must be handed over to its own rpm.
    pub(in super::super) carried: bool,
}

/// Asks for the names of all packages.
const NAMES: [&str; 4] = ["--query", "--all", "--queryformat", "=%{NAME}\\n"];

impl Dnf {
    /// Puts the database of a new root where the root's own rpm looks for it, and makes sure that it reads there what dnf wrote: rpm of
    /// EL 8 knows no SQLite, and newer ones write no Berkeley DB, so there the headers are handed over.
    pub(in super::super) fn settle(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        session: &mut Session<'_>,
    ) -> Result<Settled, RootError> {
        let root = self.path("root").display().to_string();
        if let Some(place) = self.inside(sandbox, overlay, &["--eval", "=%{_dbpath}"], session)? {
            let place = place.first().cloned().unwrap_or_default();
            if !place
                .strip_prefix('/')
                .is_some_and(millrace_core::sources::is_inside)
            {
                return Err(RootError::Refused(format!(
                    "rpm of the root keeps its database in `{place}`, which is no folder"
                )));
            }
            if place != DATABASE {
                let argv = ["/bin/sh", "-c", MOVE, "sh", &root, &place]
                    .map(str::to_owned)
                    .to_vec();
                let (status, said) = self.run_quietly(sandbox, overlay, argv, session)?;
                if status != 0 {
                    return Err(RootError::Refused(format!(
                        "moving the root's database to {place}: {}",
                        last_words(&said)
                    )));
                }
            }
        }
        let outside = match self.run_quietly(sandbox, overlay, self.rpm(&NAMES), session)? {
            (0, said) => sorted(&said),
            (_, said) => return Err(RootError::Transaction(last_words(&said))),
        };
        let carried = match self.inside(sandbox, overlay, &NAMES, session)? {
            Some(inside) if inside != outside => {
                self.carry(sandbox, overlay, session)?;
                let inside = self
                    .inside(sandbox, overlay, &NAMES, session)?
                    .unwrap_or_default();
                in_step(&outside, &inside)?;
                true
            }
            Some(_) | None => false,
        };
        Ok(Settled {
            names: outside,
            carried,
        })
    }

    /// Takes over what the rpm of a root that somebody else has made knows, where this machine's rpm cannot read its database.
    pub(in super::super) fn adopt(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let outside = match self.run_quietly(sandbox, overlay, self.rpm(&NAMES), session)? {
            (0, said) => sorted(&said),
            (_, said) => return Err(RootError::Transaction(last_words(&said))),
        };
        let inside = self
            .inside(sandbox, overlay, &NAMES, session)?
            .unwrap_or_default();
        if !outside.is_empty() || inside.is_empty() {
            return Ok(());
        }
        let failed = |said: &str| {
            RootError::Refused(format!(
                "this machine's rpm cannot be handed what is in the root's database: {}",
                last_words(said)
            ))
        };
        let export = ["/bin/sh", "-c", EXPORT_INSIDE].map(str::to_owned).to_vec();
        let (status, said) = self.run_inside(sandbox, overlay, export, session)?;
        if status != 0 {
            return Err(failed(&said));
        }
        let root = self.path("root").display().to_string();
        let import = ["/bin/sh", "-c", IMPORT_OUTSIDE, "sh", &root]
            .map(str::to_owned)
            .to_vec();
        match self.run_quietly(sandbox, overlay, import, session)? {
            (0, _) => Ok(()),
            (_, said) => Err(failed(&said)),
        }
    }

    /// Hands what this machine's rpm knows of a root over to the root's own.
    pub(super) fn carry(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        session: &mut Session<'_>,
    ) -> Result<(), RootError> {
        let failed = |said: &str| {
            let problem = last_words(said);
            RootError::Refused(format!(
                "rpm of the root cannot read this machine's database, nor be handed what is in it: {problem}"
            ))
        };
        let root = self.path("root").display().to_string();
        let export = ["/bin/sh", "-c", EXPORT, "sh", &root]
            .map(str::to_owned)
            .to_vec();
        let (status, said) = self.run_quietly(sandbox, overlay, export, session)?;
        if status != 0 {
            return Err(failed(&said));
        }
        let import = ["/bin/sh", "-c", IMPORT].map(str::to_owned).to_vec();
        match self.run_inside(sandbox, overlay, import, session)? {
            (0, _) => Ok(()),
            (_, said) => Err(failed(&said)),
        }
    }

    /// What the root's own rpm says, sorted; none where it has none.
    fn inside(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        arguments: &[&str],
        session: &mut Session<'_>,
    ) -> Result<Option<Vec<String>>, RootError> {
        let argv = std::iter::once("rpm")
            .chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect();
        match self.run_inside(sandbox, overlay, argv, session)? {
            (0, said) => Ok(Some(sorted(&said))),
            (NO_SUCH_PROGRAM, _) => Ok(None),
            (_, said) => Err(RootError::Refused(format!(
                "rpm of the root: {}",
                last_words(&said)
            ))),
        }
    }

    fn run_inside(
        &self,
        sandbox: &Sandbox,
        overlay: &Overlay,
        argv: Vec<String>,
        session: &mut Session<'_>,
    ) -> Result<(u8, String), RootError> {
        let mut command = self.command(View::Root(overlay.clone()), argv, session);
        command.env = Vec::new();
        command.cwd = "/".to_owned();
        self.heard(sandbox, &command, session.cancelled, &mut |_| {})
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
        "rpm of the root sees {} of the {} packages that were installed, though it was handed the headers of all: build this platform on \
         a runner whose own rpm is as old",
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
        assert!(
            problem.starts_with("rpm of the root sees 0 of the 2 packages"),
            "{problem}"
        );
    }
}

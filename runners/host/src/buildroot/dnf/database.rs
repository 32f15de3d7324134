//! One database for the rpm of a root and the rpm of this machine, wherever each looks for it. Or, if the two cannot read the same kind
//! of it, one for each with the same in both.

use super::super::error::RootError;
use super::super::session::RootSession;
use super::configuration::DATABASE;
use super::tool::{Dnf, Reach, RootCommand};
use super::words::{last_words, marked};
use crate::sandbox::Overlay;

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

/// What there is in the database of a new root, and how the root's own rpm sees it.
#[derive(Debug)]
pub(in super::super) struct SettledDatabase {
    /// The names of the packages, sorted.
    pub(in super::super) names: Vec<String>,
    /// Whether each change of the root must be handed over to its own rpm.
    pub(in super::super) carried: bool,
}

/// Asks for the names of all packages.
const NAMES: [&str; 4] = ["--query", "--all", "--queryformat", "=%{NAME}\\n"];

/// Status of a program that is not there, as shells have it.
const NO_SUCH_PROGRAM: u8 = 127;

impl Dnf {
    /// Puts the database of a new root where the root's own rpm looks for it, and makes sure that it reads there what dnf wrote. The rpm of
    /// EL 8 knows no SQLite, and newer ones write no Berkeley DB, so there the headers are handed over.
    pub(in super::super) fn settle(
        &self,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<SettledDatabase, RootError> {
        if let Some(place) = self.inside(overlay, &["--eval", "=%{_dbpath}"], session)? {
            let place = place.first().cloned().unwrap_or_default();
            self.move_database(overlay, &place, session)?;
        }
        let outside = self.outside_names(overlay, session)?;
        let carried = match self.inside(overlay, &NAMES, session)? {
            Some(inside) if inside != outside => {
                self.carry(overlay, session)?;
                let inside = self.inside(overlay, &NAMES, session)?;
                in_step(&outside, &inside.unwrap_or_default())?;
                true
            }
            Some(_) | None => false,
        };
        Ok(SettledDatabase {
            names: outside,
            carried,
        })
    }

    /// Moves the database to where the root's own rpm looks for it.
    fn move_database(
        &self,
        overlay: &Overlay,
        place: &str,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let is_folder = place
            .strip_prefix('/')
            .is_some_and(millrace_core::sources::is_inside);
        if !is_folder {
            return Err(RootError::Refused(format!(
                "rpm of the root keeps its database in `{place}`, which is no folder"
            )));
        }
        if place == DATABASE {
            return Ok(());
        }
        let root = self.path("root").display().to_string();
        let command = RootCommand::quiet(shell(MOVE, &[&root, place]), Reach::Root);
        let output = self.run(overlay, command, session)?;
        if output.status == 0 {
            return Ok(());
        }
        Err(RootError::Refused(format!(
            "moving the root's database to {place}: {}",
            last_words(&output.text)
        )))
    }

    /// Takes over what the rpm of a root that somebody else has made knows, if this machine's rpm cannot read its database.
    pub(in super::super) fn adopt(
        &self,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let outside = self.outside_names(overlay, session)?;
        let inside = self.inside(overlay, &NAMES, session)?.unwrap_or_default();
        if !outside.is_empty() || inside.is_empty() {
            return Ok(());
        }
        let root = self.path("root").display().to_string();
        let steps = [
            RootCommand::quiet(shell(EXPORT_INSIDE, &[]), Reach::Inside),
            RootCommand::quiet(shell(IMPORT_OUTSIDE, &[&root]), Reach::Root),
        ];
        self.hand_over(
            overlay,
            steps,
            "importing the headers of the root's database into this machine's rpm failed",
            session,
        )
    }

    /// Hands what this machine's rpm knows of a root over to the root's own.
    pub(super) fn carry(
        &self,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        let root = self.path("root").display().to_string();
        let steps = [
            RootCommand::quiet(shell(EXPORT, &[&root]), Reach::Root),
            RootCommand::quiet(shell(IMPORT, &[]), Reach::Inside),
        ];
        self.hand_over(
            overlay,
            steps,
            "rpm of the root cannot read this machine's database, and importing its headers failed",
            session,
        )
    }

    /// One rpm writes down the headers of all packages, and the other reads them.
    fn hand_over(
        &self,
        overlay: &Overlay,
        steps: [RootCommand; 2],
        failed: &str,
        session: &mut RootSession<'_>,
    ) -> Result<(), RootError> {
        for command in steps {
            let output = self.run(overlay, command, session)?;
            if output.status != 0 {
                let problem = last_words(&output.text);
                return Err(RootError::Refused(format!("{failed}: {problem}")));
            }
        }
        Ok(())
    }

    /// The names of all packages that this machine's rpm sees in a root, sorted.
    fn outside_names(
        &self,
        overlay: &Overlay,
        session: &mut RootSession<'_>,
    ) -> Result<Vec<String>, RootError> {
        let query = RootCommand::quiet(self.rpm(&NAMES), Reach::Root);
        let output = self.run(overlay, query, session)?;
        if output.status == 0 {
            Ok(sorted(&output.text))
        } else {
            Err(RootError::Transaction(last_words(&output.text)))
        }
    }

    /// What the root's own rpm says, sorted; none if it has none.
    fn inside(
        &self,
        overlay: &Overlay,
        arguments: &[&str],
        session: &mut RootSession<'_>,
    ) -> Result<Option<Vec<String>>, RootError> {
        let argv = std::iter::once("rpm")
            .chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect();
        let output = self.run(overlay, RootCommand::quiet(argv, Reach::Inside), session)?;
        match output.status {
            0 => Ok(Some(sorted(&output.text))),
            NO_SUCH_PROGRAM => Ok(None),
            _ => Err(RootError::Refused(format!(
                "rpm of the root: {}",
                last_words(&output.text)
            ))),
        }
    }
}

/// A command line that runs a script with arguments.
fn shell(script: &str, arguments: &[&str]) -> Vec<String> {
    ["/bin/sh", "-c", script, "sh"]
        .iter()
        .chain(arguments)
        .map(|word| (*word).to_owned())
        .collect()
}

fn sorted(said: &str) -> Vec<String> {
    let mut lines: Vec<String> = marked(said).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Whether both see the same packages. If they do not, a build would find none of its BuildRequires.
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
    fn a_root_whose_rpm_sees_less_is_refused_with_advice() {
        let outside = sorted("=bash\n=rpm\n");
        let inside = sorted("warning: x\n=rpm\n=bash\n");
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

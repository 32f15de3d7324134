//! The step `source`: the commit's tree and the sources that it names become a source package.

use millrace_sdk::prelude::*;
use millrace_sdk::rpmbuild::{self, define, rpmbuild};

fn run(task: Task) -> Result<Outcome, Failure> {
    fetch_tree(&task)?;
    for source in task.inputs.iter().filter(|input| input.name != "tree.tar") {
        fetch(source, &format!("tree/{}", source.name))?;
    }
    log::section("root");
    let root = Root::create(Kind::Build, &[])?;
    log::section("source package");
    files::make_folder(rpmbuild::TOP_FOLDER)?;
    build(&task, &root)?;
    publish()
}

fn build(task: &Task, root: &Root) -> Result<(), Failure> {
    let places = RpmbuildFolders::of(&task.spec);
    let command = rpmbuild(task)
        .args(["-bs", "--nodeps"])
        .args(define("_sourcedir", &places.sources))
        .args(define("_specdir", &places.specs))
        .arg(format!("/work/tree/{}", task.spec))
        .cwd("/work/tree");
    let exit = command
        .run(root)
        .map_err(|error| Failure::from(error).while_doing(&task.spec))?;
    if exit.status == 0 {
        Ok(())
    } else {
        Err(Failure::package(reason(
            &task.spec,
            &rpmbuild::errors(&exit),
            &exit.tail,
        )))
    }
}

/// Where rpmbuild looks for things. In a repository of the CentOS layout the spec lies in `SPECS/` and all else in `SOURCES/`;
/// in one of the Fedora layout everything lies beside the spec.
struct RpmbuildFolders {
    specs: String,
    sources: String,
}

impl RpmbuildFolders {
    fn of(spec: &str) -> Self {
        let folder = spec.rsplit_once('/').map_or("", |(folder, _)| folder);
        let at = |folder: &str| {
            if folder.is_empty() {
                "/work/tree".to_owned()
            } else {
                format!("/work/tree/{folder}")
            }
        };
        let sources = match folder.strip_suffix("SPECS") {
            Some(above) if above.is_empty() || above.ends_with('/') => format!("{above}SOURCES"),
            _ => folder.to_owned(),
        };
        Self {
            specs: at(folder),
            sources: at(&sources),
        }
    }
}

/// What is wrong with the spec, for its author. rpm 4.14 to 4.20 say `Bad file: PATH: No such file or directory` for a source that
/// is not there, and `Bad source` in some places.
fn reason(spec: &str, errors: &str, tail: &str) -> String {
    let missing = tail.lines().find_map(|line| {
        let (_, rest) = line
            .split_once("Bad file: ")
            .or_else(|| line.split_once("Bad source: "))?;
        rest.strip_suffix(": No such file or directory")
    });
    match missing.map(|path| path.rsplit('/').next().unwrap_or(path)) {
        Some(name) => format!(
            "{spec} wants the source `{name}`, which the commit does not bring: commit it, or name it in `sources` (or in `.NAME.metadata`) \
             and upload it to the lookaside store"
        ),
        None => format!("no source package can be made from {spec}:\n{errors}"),
    }
}

fn publish() -> Result<Outcome, Failure> {
    let made = files::find(rpmbuild::TOP_FOLDER, "SRPMS/*.src.rpm")?;
    let [package] = made.as_slice() else {
        return Err(Failure::package(format!(
            "rpmbuild made {} source packages where it should make one",
            made.len()
        )));
    };
    let artifact = artifacts::publish(&package.path)?;
    Ok(Outcome::Passed(artifact.name))
}

millrace_sdk::plugin!(run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_lie_beside_the_spec_or_in_sources() {
        let sources = |spec| RpmbuildFolders::of(spec).sources;
        assert_eq!(sources("zlib.spec"), "/work/tree");
        assert_eq!(sources("SPECS/zlib.spec"), "/work/tree/SOURCES");
        assert_eq!(sources("rpm/zlib.spec"), "/work/tree/rpm");
        assert_eq!(sources("MYSPECS/zlib.spec"), "/work/tree/MYSPECS");
    }

    #[test]
    fn a_missing_source_is_named_with_what_to_do() {
        let tail =
            "warning: x\nerror: Bad file: /work/tree/zlib-1.3.tar.gz: No such file or directory\n";
        assert!(reason("zlib.spec", "", tail).starts_with(
            "zlib.spec wants the source `zlib-1.3.tar.gz`, which the commit does not bring"
        ));
    }

    #[test]
    fn other_errors_are_quoted() {
        let said = reason("x.spec", "error: line 3: Unknown tag: Vrsion: 1", "");
        assert_eq!(
            said,
            "no source package can be made from x.spec:\nerror: line 3: Unknown tag: Vrsion: 1"
        );
    }
}

//! The step `rpm`: a source package becomes the packages of one architecture.

use millrace_sdk::command::Exit;
use millrace_sdk::prelude::*;
use millrace_sdk::rpmbuild::{self, rpmbuild};
use millrace_sdk::{buildroot, tail_of};

/// How often what `%generate_buildrequires` asks for is installed and asked again: each language has one or two levels of it.
const ROUNDS_MAX: usize = 8;

/// Status of an rpmbuild that wants more packages and says which in a package of its own (rpmbuild(8), `-br`).
const MORE_REQUIRES: u8 = 11;

fn run(task: Task) -> Result<Outcome, Failure> {
    let sources = packages(&task, true);
    let [source] = sources.as_slice() else {
        return Err(Failure::configuration(format!(
            "the step needs one source package and was given {}",
            sources.len()
        )));
    };
    let path = format!("in/{}", source.name);
    fetch(source, &path)?;
    log::section("root with build dependencies");
    let root = Root::create(Kind::Build, std::slice::from_ref(&path)).map_err(build_requires)?;
    log::section("build");
    files::make_folder(rpmbuild::TOP_FOLDER)?;
    build(&task, &path, &root)?;
    log::section("packages");
    publish()
}

/// Builds; what the spec finds out only then that it needs is installed, and it is built again.
fn build(task: &Task, path: &str, root: &Root) -> Result<(), Failure> {
    let mut asked = String::new();
    for _ in 0..=ROUNDS_MAX {
        let command = rpmbuild(task)
            .args(["--rebuild", "--target", &task.arch])
            .arg(format!("/work/{path}"));
        let exit = command
            .run(root)
            .map_err(|error| Failure::from(error).while_doing("rpmbuild"))?;
        let more = if exit.status == MORE_REQUIRES {
            files::find(rpmbuild::TOP_FOLDER, "SRPMS/*.buildreqs.nosrc.rpm")?
        } else {
            Vec::new()
        };
        let more: Vec<String> = more.into_iter().map(|file| file.path).collect();
        if more.is_empty() {
            return if exit.status == 0 {
                Ok(())
            } else {
                Err(Failure::package(reason(&exit)))
            };
        }
        let wanted = required(&more, root)?;
        if wanted == asked {
            return Err(Failure::package(reason(&exit))
                .while_doing("%generate_buildrequires asks for what is installed already"));
        }
        asked = wanted;
        log::section("generated build dependencies");
        root.install(&more).map_err(build_requires)?;
        for file in &more {
            files::remove(file)?;
        }
        log::section("build");
    }
    Err(Failure::package(format!(
        "%generate_buildrequires asks for more each time it is run, {ROUNDS_MAX} times by now"
    )))
}

/// What source packages need, a line each.
fn required(packages: &[String], root: &Root) -> Result<String, Failure> {
    let paths = packages.iter().map(|path| format!("/work/{path}"));
    Command::new(["rpm", "-qp", "--requires"])
        .args(paths)
        .output(root, "reading the generated build dependencies")
}

/// Dependencies that cannot be had are the spec's business.
fn build_requires(error: buildroot::Error) -> Failure {
    match error {
        buildroot::Error::Unresolved(problems) => Failure::package(format!(
            "BuildRequires that no repository of the platform can satisfy:\n{}\ncorrect the spec, or release what it needs first",
            problems.join("\n")
        )),
        other => Failure::from(other).while_doing("installing BuildRequires"),
    }
}

/// Which part of the spec failed, and the last lines before it did.
fn reason(exit: &Exit) -> String {
    let stage = exit.tail.lines().rev().find_map(stage_of);
    let before = exit
        .tail
        .split("\nRPM build errors:")
        .next()
        .unwrap_or(&exit.tail);
    let before = before
        .split("\nerror: Bad exit status from ")
        .next()
        .unwrap_or(before);
    match stage {
        Some(stage) => format!("{stage} failed:\n{}", tail_of(before, 12)),
        None => format!("rpmbuild failed:\n{}", tail_of(&exit.tail, 12)),
    }
}

/// `%build` of `error: Bad exit status from /var/tmp/rpm-tmp.d4Xm2o (%build)`.
fn stage_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("Bad exit status from ")?;
    let (_, stage) = rest.rsplit_once('(')?;
    stage.trim_end().strip_suffix(')')
}

fn publish() -> Result<Outcome, Failure> {
    let made = files::find(rpmbuild::TOP_FOLDER, "RPMS/*.rpm")?;
    if made.is_empty() {
        return Err(Failure::package(
            "the build made no packages: the spec has no %files section",
        ));
    }
    for package in &made {
        let artifact = artifacts::publish(&package.path)?;
        log::line(&format!("{}  {} bytes", artifact.name, artifact.size));
    }
    Ok(Outcome::Passed(if made.len() == 1 {
        "1 package".to_owned()
    } else {
        format!("{} packages", made.len())
    }))
}

millrace_sdk::plugin!(run);

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(tail: &str) -> Exit {
        Exit {
            status: 1,
            stdout: Vec::new(),
            cut: false,
            tail: tail.to_owned(),
            elapsed_ms: 1,
        }
    }

    #[test]
    fn a_failure_names_the_stage_and_what_was_printed_before_it() {
        let tail = "gcc -c x.c\nx.c:1:1: error: unknown type name `itn`\nmake: *** [x.o] Error 1\n\
                    error: Bad exit status from /var/tmp/rpm-tmp.d4Xm2o (%build)\n\nRPM build errors:\n    \
                    Bad exit status from /var/tmp/rpm-tmp.d4Xm2o (%build)\n";
        let expected = "%build failed:\ngcc -c x.c\nx.c:1:1: error: unknown type name `itn`\nmake: *** [x.o] Error 1";
        assert_eq!(reason(&exit(tail)), expected);
    }

    #[test]
    fn a_failure_without_a_stage_quotes_the_end() {
        let tail = "error: Installed (but unpackaged) file(s) found:\n   /usr/bin/extra\n";
        assert_eq!(
            reason(&exit(tail)),
            "rpmbuild failed:\nerror: Installed (but unpackaged) file(s) found:\n   /usr/bin/extra"
        );
    }
}

//! The step `rpm`: a source package becomes the packages of one architecture.

use millrace_sdk::command::Exit;
use millrace_sdk::prelude::*;
use millrace_sdk::rpmbuild::{self, rpmbuild};
use millrace_sdk::{buildroot, tail_of};

fn run(task: Task) -> Result<Outcome, Failure> {
    let sources = packages(&task, true);
    let [source] = sources.as_slice() else {
        return Err(Failure::configuration(format!("the step needs one source package and was given {}", sources.len())));
    };
    let path = format!("in/{}", source.name);
    fetch(source, &path)?;
    log::section("root with build dependencies");
    let root = Root::create(Kind::Build, std::slice::from_ref(&path)).map_err(build_requires)?;
    log::section("build");
    files::make_folder(rpmbuild::TOP_FOLDER)?;
    let command = rpmbuild(&task).args(["--rebuild", "--target", &task.arch]).arg(format!("/work/{path}"));
    let exit = command.run(&root).map_err(|error| Failure::from(error).while_doing("rpmbuild"))?;
    if exit.status != 0 {
        return Err(Failure::package(reason(&exit)));
    }
    log::section("packages");
    publish()
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
    let before = exit.tail.split("\nRPM build errors:").next().unwrap_or(&exit.tail);
    let before = before.split("\nerror: Bad exit status from ").next().unwrap_or(before);
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
        return Err(Failure::package("the build made no packages: the spec has no %files section"));
    }
    for package in &made {
        let artifact = artifacts::publish(&package.path)?;
        log::line(&format!("{}  {} bytes", artifact.name, artifact.size));
    }
    Ok(Outcome::Passed(if made.len() == 1 { "1 package".to_owned() } else { format!("{} packages", made.len()) }))
}

millrace_sdk::plugin!(run);

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(tail: &str) -> Exit {
        Exit { status: 1, stdout: Vec::new(), cut: false, tail: tail.to_owned(), elapsed_ms: 1 }
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
        assert_eq!(reason(&exit(tail)), "rpmbuild failed:\nerror: Installed (but unpackaged) file(s) found:\n   /usr/bin/extra");
    }
}

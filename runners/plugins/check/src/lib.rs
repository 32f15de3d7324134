//! The step `check`: the built packages go into a clean root, are verified, tried and removed again.

mod tap;

use millrace_sdk::buildroot;
use millrace_sdk::prelude::*;
use std::collections::BTreeSet;

/// Standard output of a test that is searched for failed points, in bytes.
const TEST_OUTPUT_BYTES_MAX: u32 = 1 << 20;

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Programs of the tree that try the installed packages, as paths in the tree; all executable files in `tests/` unless it is set.
    tests: Option<Vec<String>>,
    /// Packages that the tests need besides.
    packages: Vec<String>,
}

fn run(task: Task) -> Result<Outcome, Failure> {
    let config: Config = config(&task)?;
    let tried: Vec<&Artifact> = packages(&task, false)
        .into_iter()
        .filter(|package| !is_debug(package))
        .collect();
    if tried.is_empty() {
        return Ok(Outcome::Passed("no packages to install".to_owned()));
    }
    fetch_tree(&task)?;
    let tests = tests(&config)?;
    log::section("clean root");
    let root = Root::create(Kind::Minimal, &config.packages)?;
    let names: Vec<String> = tried
        .iter()
        .filter_map(|package| package.rpm.as_ref())
        .map(|rpm| rpm.name.clone())
        .collect();
    let before = installed(&root)?;
    install(&root, &tried)?;
    verify(&root, &names)?;
    for test in &tests {
        run_test(&root, test)?;
    }
    // What the minimal root had before is only newer now: taking it out would take the root apart.
    let new: Vec<String> = names
        .iter()
        .filter(|name| !before.contains(*name))
        .cloned()
        .collect();
    remove(&root, &new)?;
    let tests = match tests.len() {
        0 => "it has no tests of its own".to_owned(),
        1 => "1 test passed".to_owned(),
        n => format!("{n} tests passed"),
    };
    Ok(Outcome::Passed(format!(
        "{} installed, verified and removed; {tests}",
        names.join(", ")
    )))
}

/// Debugging packages are not what people install, and need the sources of their build beside them.
fn is_debug(package: &Artifact) -> bool {
    package
        .rpm
        .as_ref()
        .is_some_and(|rpm| is_debug_name(&rpm.name))
}

/// Whether it is a debugging package's name, by the rule that puts packages into the repository `debug`.
fn is_debug_name(name: &str) -> bool {
    name.ends_with("-debuginfo") || name.ends_with("-debugsource") || name.contains("-debuginfo-")
}

fn tests(config: &Config) -> Result<Vec<String>, Failure> {
    if let Some(named) = &config.tests {
        return Ok(named.clone());
    }
    let found = match files::find("tree/tests", "*") {
        Ok(found) => found,
        Err(files::Error::NotFound(_) | files::Error::NotAFile(_)) => Vec::new(),
        Err(other) => return Err(other.into()),
    };
    let programs = found
        .into_iter()
        .filter(|entry| entry.executable && !entry.is_folder);
    let inside = programs.filter_map(|entry| entry.path.strip_prefix("tree/").map(str::to_owned));
    Ok(inside
        .filter(|path| path.matches('/').count() == 1)
        .collect())
}

fn install(root: &Root, tried: &[&Artifact]) -> Result<(), Failure> {
    log::section("install");
    let mut paths = Vec::new();
    for package in tried {
        let path = format!("in/{}", package.name);
        fetch(package, &path)?;
        paths.push(path);
    }
    root.install(&paths).map_err(|error| match error {
        buildroot::Error::Unresolved(problems) => Failure::package(format!(
            "the packages cannot be installed on a machine that has the platform's repositories:\n{}",
            problems.join("\n")
        )),
        other => Failure::from(other).while_doing("installing the packages"),
    })
}

/// Checks what lies on the disk against what the packages say.
fn verify(root: &Root, names: &[String]) -> Result<(), Failure> {
    log::section("verify");
    Command::new(["rpm", "-V"])
        .args(names)
        .as_root()
        .run_checked(
            root,
            "files are not as their package says right after installation",
        )?;
    let files = Command::new(["rpm", "-ql"])
        .args(names)
        .as_root()
        .output(root, "listing files")?;
    let missing = Command::new(["/bin/bash", "-c", MISSING_LIBRARIES])
        .stdin(files)
        .output(root, "looking for libraries")?;
    let missing: BTreeSet<&str> = missing.lines().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.into_iter().take(20).collect::<Vec<_>>().join("\n");
    Err(Failure::package(format!(
        "programs or libraries need what no installed package brings:\n{list}"
    )))
}

/// For every ELF file (the first four bytes say so) among the paths that it reads: libraries that the loader does not find.
const MISSING_LIBRARIES: &str = r#"
LC_ALL=C
while IFS= read -r file; do
    [[ -f $file && ! -L $file && -r $file ]] || continue
    magic=
    IFS= read -r -N 4 magic 2>/dev/null <"$file"
    [[ $magic == $'\x7fELF' ]] || continue
    while IFS= read -r line; do
        [[ $line == *'=> not found'* ]] && echo "$file: ${line//[[:space:]]/ }"
    done < <(ldd "$file" 2>/dev/null)
done
exit 0
"#;

fn run_test(root: &Root, test: &str) -> Result<(), Failure> {
    log::section(test);
    let command = Command::new([format!("/work/tree/{test}")])
        .cwd("/work/tree")
        .capture(TEST_OUTPUT_BYTES_MAX);
    let exit = command
        .run(root)
        .map_err(|error| Failure::from(error).while_doing(test))?;
    tap::verdict(
        test,
        exit.status,
        &String::from_utf8_lossy(&exit.stdout),
        &exit.tail,
    )
    .map_err(Failure::package)
}

/// Names of the packages in a root.
fn installed(root: &Root) -> Result<BTreeSet<String>, Failure> {
    let names = Command::new(["rpm", "-qa", "--queryformat", "%{NAME}\\n"])
        .as_root()
        .output(root, "listing packages")?;
    Ok(names.lines().map(str::to_owned).collect())
}

fn remove(root: &Root, names: &[String]) -> Result<(), Failure> {
    log::section("remove");
    if names.is_empty() {
        log::line("nothing to remove: the minimal root has an earlier version of each");
        return Ok(());
    }
    let files = Command::new(["rpm", "-ql"])
        .args(names)
        .as_root()
        .output(root, "listing files")?;
    root.remove(names)
        .map_err(|error| Failure::from(error).while_doing("removing the packages"))?;
    let left = installed(root)?;
    if let Some(name) = names.iter().find(|name| left.contains(*name)) {
        return Err(Failure::package(format!(
            "{name} is still installed after it was removed"
        )));
    }
    let stale = Command::new(["/bin/bash", "-c", STALE_FILES])
        .stdin(files)
        .as_root()
        .output(root, "looking for files that were left")?;
    match stale.lines().next() {
        None => Ok(()),
        Some(_) => Err(Failure::package(format!(
            "files are left after the packages were removed:\n{}",
            stale.trim_end()
        ))),
    }
}

/// Of the paths that it reads, those that are still there and belong to no package any more. Folders may be shared.
const STALE_FILES: &str = r#"
while IFS= read -r file; do
    [[ -e $file || -L $file ]] && ! [[ -d $file && ! -L $file ]] || continue
    rpm -qf "$file" >/dev/null 2>&1 || echo "$file"
done
exit 0
"#;

millrace_sdk::plugin!(run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_debuggers_read_is_not_tried() {
        for name in [
            "zlib-debuginfo",
            "zlib-debugsource",
            "kernel-debuginfo-common-x86_64",
            "kernel-rt-debuginfo-common-aarch64",
        ] {
            assert!(is_debug_name(name), "{name}");
        }
        for name in [
            "zlib",
            "debuginfo",
            "debugsource-tools",
            "debuginfo-install",
            "kernel-debuginformation",
            "zlib-debug",
        ] {
            assert!(!is_debug_name(name), "{name}");
        }
    }
}

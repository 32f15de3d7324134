//! Packages of different people on one line: nobody releases another's names, unless an operator says so.

use crate::specs::files;
use millrace_tests::up::Up;

/// A package's spec, with more in its header and these files.
fn spec(name: &str, version: &str, header: &str, paths: &[&str]) -> Vec<(String, String)> {
    let install: String = paths
        .iter()
        .map(|path| {
            format!("mkdir -p $(dirname %{{buildroot}}{path}); echo {name} >%{{buildroot}}{path}\n")
        })
        .collect();
    let spec = format!(
        "Name: {name}\nVersion: {version}\nRelease: 1%{{?dist}}\nSummary: Small\nLicense: MIT\nBuildArch: noarch\n{header}\n\
         %description\nSmall.\n%prep\n%setup -q -c -T\n%install\nmkdir -p %{{buildroot}}\n{install}%files\n{}\n",
        paths.join("\n")
    );
    vec![(format!("{name}.spec"), spec)]
}

/// Pushes a package of this name, and answers what its author is told, and whether it was released.
fn push(up: &mut Up, package: &str, tree: &[(String, String)]) -> (String, bool) {
    let commit = up.push_new(package, &files(tree));
    up.watch(&commit)
}

#[test]
fn nobody_releases_the_names_of_another_package_unless_it_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let alpha = spec("alpha", "1.0", "", &["/usr/bin/alpha-tool"]);
    let (told, released) = push(&mut up, "alpha", &alpha);
    assert!(released, "{told}\n{}", up.log());

    // The source package's name, as a whole.
    let (told, released) = push(
        &mut up,
        "beta",
        &spec("alpha", "99", "", &["/usr/share/beta"]),
    );
    assert!(!released, "{told}");
    assert!(
        told.contains("`alpha`, which belongs to package alpha"),
        "{told}"
    );

    // A subpackage of that name that replaces it, and its file by the path that the merged /usr has for it.
    let header = "Obsoletes: alpha < 99\nProvides: alpha = 99\nProvides: /bin/alpha-tool\n\
                  %package -n alpha-extra\nSummary: More\nObsoletes: alpha\n%description -n alpha-extra\nMore.\n%files -n alpha-extra";
    let (told, released) = push(&mut up, "gamma", &spec("gamma", "1", header, &[]));
    assert!(!released, "{told}");
    for words in [
        "obsoletes the package name `alpha`",
        "provides the package name `alpha`",
        "provides the file /usr/bin/alpha-tool",
    ] {
        assert!(
            told.contains(words),
            "nobody is told that it {words}:\n{told}"
        );
    }

    // The advice works when it is followed.
    let delta = spec(
        "delta",
        "1",
        "Obsoletes: alpha < 1",
        &["/usr/bin/alpha-tool"],
    );
    let (told, released) = push(&mut up, "delta", &delta);
    assert!(!released, "{told}");
    let advised: Vec<&str> = told
        .split('`')
        .filter(|words| words.starts_with("millrace package grant"))
        .collect();
    assert_eq!(advised.len(), 2, "{told}");
    for command in advised {
        let words: Vec<&str> = command
            .split(' ')
            .skip(1)
            .map(|word| word.trim_matches('\''))
            .collect();
        up.millrace(&words);
    }
    let names = up.millrace(&["package", "names", "delta"]);
    assert!(
        names.contains("/usr/bin/alpha-tool") && names.contains("granted by"),
        "{names}"
    );
    let builds = up.builds();
    let refused = |build: &&serde_json::Value| build["package"] == "delta";
    let id = builds.iter().find(refused).unwrap()["id"].as_str().unwrap();
    up.millrace(&["retry", id]);
    let told = up.millrace(&["watch", id]);
    assert!(told.contains("released"), "{told}\n{}", up.log());
}

//! A step that somebody else wrote, as the README has it: one file of Rust, a plugin's name, and four lines in the package.

use crate::specs::{empty, files};
use millrace_tests::up::{TestSetup, Up};

const MILLRACE_TOML: &str = "[[steps]]\nname = \"no-bundled\"\nplugin = \"no-bundled\"\non = \"once\"\nneeds = [\"source\"]\n";

#[test]
fn a_package_asks_for_a_step_of_its_own_and_is_held_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let component = TestSetup::here().plugins.join("examples/no-bundled.wasm");
    up.millrace(&["plugin", "add", "no-bundled", component.to_str().unwrap()]);
    let mut package = empty("clean", "BuildArch: noarch", "true");
    package.push(("millrace.toml".to_owned(), MILLRACE_TOML.to_owned()));
    let commit = up.push_new("clean", &files(&package));
    let (told, released) = up.watch(&commit);
    assert!(
        released && told.contains("nothing bundled"),
        "{told}\n{}",
        up.log()
    );
    let mut package = empty(
        "bundler",
        "BuildArch: noarch\nProvides: bundled(zlib) = 1.2",
        "true",
    );
    package.push(("millrace.toml".to_owned(), MILLRACE_TOML.to_owned()));
    let commit = up.push_new("bundler", &files(&package));
    let (told, released) = up.watch(&commit);
    assert!(!released, "{told}");
    assert!(
        told.contains("bundler.spec: `Provides: bundled(zlib) = 1.2`: build with the packaged one"),
        "{told}"
    );
}

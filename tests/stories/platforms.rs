//! Platform files and `millrace.toml`: what their authors are told.

use insta::assert_snapshot;
use millrace_core::platform::{PackageConfig, Platform, matches, steps_of};
use millrace_tests::line::{Line, platform, push};

fn parsed(text: &str) -> String {
    Platform::parse("my.toml", text).unwrap_err().to_string()
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_keys_there_are() {
    assert_snapshot!(parsed("name = \"el-9\"\narchitecures = [\"x86_64\"]\n"), @r#"
    my.toml: TOML parse error at line 2, column 1
      |
    2 | architecures = ["x86_64"]
      | ^^^^^^^^^^^^
    unknown field `architecures`, expected one of `name`, `title`, `architectures`, `multilib`, `noarch_from`, `branches`, `releasever`, `module_platform`, `key`, `macros`, `repositories`, `buildroot`, `limits`, `steps`
    "#);
}

#[test]
fn an_unknown_architecture_is_named() {
    assert_snapshot!(parsed("name = \"el-9\"\narchitectures = [\"sparc\"]\n"), @r#"
    my.toml: TOML parse error at line 2, column 18
      |
    2 | architectures = ["sparc"]
      |                  ^^^^^^^
    unknown variant `sparc`, expected one of `x86_64`, `aarch64`, `ppc64le`, `s390x`
    "#);
}

#[test]
fn a_step_that_needs_a_later_one_is_refused() {
    let text = serde_json::to_value(platform(r#""x86_64""#)).unwrap();
    let mut platform: Platform = serde_json::from_value(text).unwrap();
    platform.steps.swap(0, 1);
    let error = steps_of(&platform, &PackageConfig::default()).unwrap_err();
    assert_snapshot!(error.to_string(), @"millrace.toml: step `rpm` needs `source`, which comes later: put steps in the order in which they are done");
}

#[test]
fn a_package_cannot_have_its_own_step_released() {
    let config = PackageConfig::parse(
        "[[steps]]\nname = \"x\"\nplugin = \"x\"\non = \"once\"\nreleases = true\n",
    )
    .unwrap();
    assert_snapshot!(steps_of(&platform(r#""x86_64""#), &config).unwrap_err().to_string(), @"millrace.toml: step `x`: only a platform may say `releases`: it decides what is signed with its key");
}

#[test]
fn a_package_cannot_open_the_network_for_its_own_step() {
    let config = PackageConfig::parse(
        "[[steps]]\nname = \"x\"\nplugin = \"x\"\non = \"once\"\nnetwork = true\n",
    )
    .unwrap();
    assert_snapshot!(steps_of(&platform(r#""x86_64""#), &config).unwrap_err().to_string(), @"millrace.toml: step `x`: only a platform may say `network`: it decides what reaches out of a runner");
}

#[test]
fn a_platform_opens_the_network_for_the_steps_that_it_names_and_the_builds_record_says_so() {
    let mut platform = platform(r#""x86_64""#);
    assert!(
        platform.steps.iter().all(|step| !step.network),
        "it is open where nobody said so"
    );
    platform.steps[1].network = true;
    let line = Line::planned(&push("zlib", 1), &platform, &PackageConfig::default());
    let record = serde_json::to_value(&line.build).unwrap();
    let said = |step: usize| record["platform"]["steps"][step]["network"].as_bool();
    assert_eq!([said(0), said(1), said(2)], [None, Some(true), None]);
}

#[test]
fn a_package_that_listens_to_system_calls_itself_has_its_folders_as_the_disk_lists_them() {
    let config = PackageConfig::parse("disk_order = true\n").unwrap();
    assert!(
        steps_of(&platform(r#""x86_64""#), &config)
            .unwrap()
            .iter()
            .all(|step| step.disk_order)
    );
    assert!(
        !steps_of(&platform(r#""x86_64""#), &PackageConfig::default())
            .unwrap()
            .iter()
            .any(|step| step.disk_order)
    );
}

#[test]
fn a_misspelt_key_in_millrace_toml_is_named() {
    assert_snapshot!(PackageConfig::parse("platform = [\"el-9\"]\n").unwrap_err().to_string(), @r#"
    millrace.toml: TOML parse error at line 1, column 1
      |
    1 | platform = ["el-9"]
      | ^^^^^^^^
    unknown field `platform`, expected one of `spec`, `platforms`, `disk_order`, `steps`, `config`
    "#);
}

#[test]
fn branch_patterns_match_whole_names() {
    for (pattern, text, expected) in [
        ("c9*", "c9-beta", true),
        ("c9", "c9-beta", false),
        ("*", "", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
    }
}

#[test]
fn every_platform_file_that_ships_can_be_used() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/platforms");
    let plugins = std::fs::read_dir(folder.join("../../runners/plugins")).unwrap();
    let plugins: Vec<String> = plugins
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("@SEED@", "/srv/seed");
        let platform = Platform::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            platform.name.as_str(),
            name,
            "a platform has its file's name"
        );
        let steps = steps_of(&platform, &PackageConfig::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let used: Vec<&str> = steps.iter().map(|step| step.plugin.as_str()).collect();
        assert!(
            used.iter()
                .all(|plugin| plugins.iter().any(|made| made == plugin)),
            "{name}: {used:?}, there are {plugins:?}"
        );
        assert!(
            steps.iter().any(|step| step.releases),
            "{name} releases nothing"
        );
        seen.push(name);
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "almalinux-10",
            "almalinux-8",
            "almalinux-9",
            "seed-10",
            "seed-9"
        ]
    );
}

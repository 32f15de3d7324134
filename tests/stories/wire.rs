//! What is kept and sent, as it is spelt: a change here is one that records of running lines and runners of other versions will see.

use insta::assert_snapshot;
use millrace_core::Arch;
use millrace_core::build::Build;
use millrace_core::platform::PackageConfig;
use millrace_core::protocol::Ask;
use millrace_core::runner::Runner;
use millrace_core::task::{Blame, Outcome};
use millrace_tests::line::{Line, failed, platform, push, rpm};
use serde_json::{Value, to_string_pretty, to_value};

fn build() -> Line {
    let mut line = Line::planned(
        &push("zlib", 1),
        &platform(r#""x86_64""#),
        &PackageConfig::default(),
    );
    let lease = line.take("source", "r1");
    line.report(
        "source",
        lease,
        Outcome::HandedBack {
            reason: "stopped".to_owned(),
        },
    )
    .unwrap();
    let lease = line.take("source", "r1");
    line.report("source", lease, failed(Blame::Environment, "no mirror"))
        .unwrap();
    line
}

#[test]
fn a_build_is_kept_in_this_shape() {
    let line = build();
    let mut kept = to_value(&line.build).unwrap();
    // Data of the author's, whose shape a platform file has.
    kept.as_object_mut().unwrap().remove("platform");
    assert_snapshot!(to_string_pretty(&kept).unwrap(), @r#"
    {
      "created": 1000,
      "ended": null,
      "id": "48eb2e2d1842",
      "plugins": {
        "check": "sha256:20f65c28671b40937c5bf23acc7c6f37e5a5ec0622e347b57685725df5ba9e50",
        "rpm": "sha256:9e7ab438597fee20e16e8e441bed0ce966bd59e0fb993fa7c94be31fb1384d88",
        "source": "sha256:41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d"
      },
      "push": {
        "clone_url": "http://forge/rpms/zlib.git",
        "commit": "0000000000000000000000000000000000000001",
        "committed_s": 1700000000,
        "config": "",
        "id": "343d94ea6257",
        "package": "zlib",
        "pusher": "dana",
        "received": 1000,
        "reference": "refs/heads/main",
        "sources": [
          {
            "digest": "sha256:db4b4d0d1cb480bf9aeea253771c00febe627f236765fa37d6a5614f079a3aa0",
            "path": "zlib-1.tar.xz",
            "size": 9
          }
        ],
        "spec": "zlib.spec",
        "subject": "Update",
        "tree": "sha256:0ea55c28f8014d8886b6248fe3da5d588f55c0823847a6b4579f1131b051b5e2",
        "tree_bytes": 10240
      },
      "rank": {
        "priority": "normal",
        "project": "rpms"
      },
      "stage": {
        "stage": "running"
      },
      "tasks": [
        {
          "attempts": [
            {
              "began": 1000,
              "end": {
                "how": "handed-back",
                "reason": "stopped"
              },
              "ended": 1000,
              "number": 1,
              "runner": "r1"
            },
            {
              "began": 1000,
              "end": {
                "how": "troubled",
                "reason": "no mirror"
              },
              "ended": 1000,
              "number": 2,
              "runner": "r1"
            }
          ],
          "id": "source",
          "state": "paused",
          "until": 31000
        },
        {
          "id": "rpm@x86_64",
          "state": "waiting"
        },
        {
          "id": "check@x86_64",
          "state": "waiting"
        }
      ]
    }
    "#);
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    fn add_everywhere(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.values_mut().for_each(add_everywhere);
                // Maps by name (macros, plugins, configuration) take any key for a name.
                if object.keys().any(|key| {
                    key == "name"
                        || key == "id"
                        || key == "memory_bytes"
                        || key == "packages"
                        || key == "state"
                }) {
                    object.insert("added_later".to_owned(), Value::Null);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(add_everywhere),
            _ => {}
        }
    }
    let line = build();
    let mut newer = to_value(&line.build).unwrap();
    add_everywhere(&mut newer);
    assert!(
        newer.to_string().matches("added_later").count() > 8,
        "{newer}"
    );
    assert_eq!(serde_json::from_value::<Build>(newer).unwrap(), line.build);
}

#[test]
fn a_finished_builds_stages_are_kept_in_this_shape() {
    let mut line = Line::of("zlib", r#""x86_64""#);
    line.passes("source", &[rpm("zlib", "src")]);
    line.passes("rpm@x86_64", &[rpm("zlib", "x86_64")]);
    line.passes("check@x86_64", &[]);
    let mut stages = vec![to_value(&line.build.stage).unwrap().to_string()];
    line.signed();
    stages.push(to_value(&line.build.stage).unwrap().to_string());
    line.released();
    stages.push(to_value(&line.build.stage).unwrap().to_string());
    assert_snapshot!(stages.join("\n"), @r#"
    {"order":"sha256:14884c3438b070cf534ab371cbccd3e4009b938ca122a0b6165fb6e7d79024a7","stage":"signing"}
    {"order":"sha256:0772e5cc34a1c0628ae878d1a759f88bd50c1d7479850061bdb79a79d805e35d","stage":"releasing"}
    {"end":{"end":"released","generation":"sha256:e661f4c935e8a5a83349afb5e347695c2e972e967b50efcd618f93b0b7b4c24b","number":1,"order":"sha256:0772e5cc34a1c0628ae878d1a759f88bd50c1d7479850061bdb79a79d805e35d"},"stage":"ended"}
    "#);
    assert_snapshot!(to_string_pretty(&line.build.tasks[1]).unwrap(), @r#"
    {
      "id": "rpm@x86_64",
      "state": "passed",
      "summary": "1 packages",
      "artifacts": [
        {
          "name": "zlib-1-1.el9.x86_64.rpm",
          "digest": "sha256:609969d11d765d90daa24a52a64a289d2a9893fcc5b340ef9269f6a295661943",
          "size": 7,
          "rpm": {
            "name": "zlib",
            "epoch": 0,
            "version": "1",
            "release": "1.el9",
            "arch": "x86_64"
          }
        }
      ],
      "attempts": [
        {
          "number": 1,
          "runner": "r1",
          "began": 6000,
          "ended": 11000,
          "end": {
            "how": "answered"
          }
        }
      ]
    }
    "#);
}

#[test]
fn an_old_record_can_still_be_read() {
    let old = include_str!("old-build.json");
    let build: Build = serde_json::from_str(old).unwrap();
    assert_eq!((build.word(), build.tasks.len()), ("released", 3));
}

#[test]
fn runners_of_before_there_was_emulation_ask_and_are_kept_as_ever() {
    let old = r#"{"runner":"intel-1","arch":"x86_64","wait_s":30}"#;
    let ask: Ask = serde_json::from_str(old).unwrap();
    assert!(ask.emulates.is_empty());
    assert_eq!(
        to_value(&ask).unwrap(),
        serde_json::from_str::<Value>(old).unwrap()
    );
    let asks = Ask {
        emulates: vec![Arch::S390x],
        ..ask
    };
    assert_snapshot!(to_value(asks).unwrap(), @r#"{"arch":"x86_64","emulates":["s390x"],"runner":"intel-1","wait_s":30}"#);
    let token = format!("sha256:{}", "0".repeat(64));
    let old = format!(r#"{{"name":"intel-1","arch":"x86_64","token":"{token}","added":7}}"#);
    let runner: Runner = serde_json::from_str(&old).unwrap();
    assert!(!runner.shared && runner.emulates.is_empty());
    assert_eq!(
        to_value(&runner).unwrap(),
        serde_json::from_str::<Value>(&old).unwrap()
    );
}

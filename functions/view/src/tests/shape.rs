//! The shape of what programs are told. It may grow; whatever else changes here breaks somebody's script.

use crate::testing::{NOW, announced, build_of, platform};
use crate::{BuildView, PackageView, PlatformView, PushView, TaskKind};
use millrace_core::push::{PushRecord, PushState};

fn pretty(view: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(view).unwrap()
}

#[test]
fn the_shape_of_a_build() {
    let mut build = build_of("curl");
    build.tasks.truncate(3);
    insta::assert_snapshot!(pretty(&BuildView::of(&build, NOW)), @r#"
    {
      "id": "69cbf00bc906",
      "push": "80d0bdfcd676",
      "package": "curl",
      "platform": "almalinux-9",
      "commit": "95b5885ddc29132a9a6a2d525cbf6afcacf71ae5",
      "reference": "refs/heads/c9s",
      "subject": "Backport the fix for CVE-2026-1234",
      "pusher": "dana",
      "state": "running",
      "reason": null,
      "project": "rpms",
      "priority": "normal",
      "scratch": false,
      "created": "2026-11-23T19:55:02Z",
      "ended": null,
      "duration_ms": 298000,
      "generation": null,
      "pipeline": [
        {
          "task": "source",
          "kind": "task",
          "step": "source",
          "arch": null,
          "plugin": "source",
          "state": "passed",
          "ready": false,
          "reason": "curl-1.3.1-3.el9.src.rpm",
          "blame": null,
          "cause": null,
          "silent_since": null,
          "retried": [],
          "order": null,
          "attempt": 1,
          "runner": "intel-1",
          "duration_ms": 1400,
          "held": null,
          "attempts": [
            {
              "number": 1,
              "runner": "intel-1",
              "began": "2026-11-23T19:55:02Z",
              "ended": "2026-11-23T19:55:03Z",
              "duration_ms": 1400,
              "how": "passed",
              "reason": null,
              "log": "/builds/69cbf00bc906/tasks/source/log.txt?attempt=1"
            }
          ]
        },
        {
          "task": "rpm@x86_64",
          "kind": "task",
          "step": "rpm",
          "arch": "x86_64",
          "plugin": "rpm",
          "state": "waiting",
          "ready": true,
          "reason": null,
          "blame": null,
          "cause": null,
          "silent_since": null,
          "retried": [],
          "order": null,
          "attempt": null,
          "runner": null,
          "duration_ms": null,
          "held": null,
          "attempts": []
        },
        {
          "task": "rpm@aarch64",
          "kind": "task",
          "step": "rpm",
          "arch": "aarch64",
          "plugin": "rpm",
          "state": "running",
          "ready": false,
          "reason": null,
          "blame": null,
          "cause": null,
          "silent_since": null,
          "retried": [],
          "order": null,
          "attempt": 2,
          "runner": "arm-2",
          "duration_ms": 238599,
          "held": null,
          "attempts": [
            {
              "number": 1,
              "runner": "arm-1",
              "began": "2026-11-23T19:55:03Z",
              "ended": "2026-11-23T19:56:01Z",
              "duration_ms": 58001,
              "how": "lost",
              "reason": null,
              "log": "/builds/69cbf00bc906/tasks/rpm@aarch64/log.txt?attempt=1"
            },
            {
              "number": 2,
              "runner": "arm-2",
              "began": "2026-11-23T19:56:01Z",
              "ended": null,
              "duration_ms": 238599,
              "how": "running",
              "reason": null,
              "log": "/builds/69cbf00bc906/tasks/rpm@aarch64/log.txt?attempt=2"
            }
          ]
        },
        {
          "task": "sign",
          "kind": "sign",
          "step": "sign",
          "arch": null,
          "plugin": null,
          "state": "waiting",
          "ready": false,
          "reason": null,
          "blame": null,
          "cause": null,
          "silent_since": null,
          "retried": [],
          "order": null,
          "attempt": null,
          "runner": null,
          "duration_ms": null,
          "held": null,
          "attempts": []
        },
        {
          "task": "release",
          "kind": "release",
          "step": "release",
          "arch": null,
          "plugin": null,
          "state": "waiting",
          "ready": false,
          "reason": null,
          "blame": null,
          "cause": null,
          "silent_since": null,
          "retried": [],
          "order": null,
          "attempt": null,
          "runner": null,
          "duration_ms": null,
          "held": null,
          "attempts": []
        }
      ],
      "artifacts": [
        {
          "task": "source",
          "name": "curl-1.3.1-3.el9.src.rpm",
          "size": 29700,
          "digest": "sha256:12b6077ae2886a5b9a98e6a02211888701f65e5414690e91a6da8f2ae3ce67d2",
          "nevra": "curl-1.3.1-3.el9.src",
          "installs": null,
          "href": "/builds/69cbf00bc906/files/curl-1.3.1-3.el9.src.rpm"
        }
      ]
    }
    "#);
}

#[test]
fn the_shape_of_a_push_and_of_a_package() {
    let refused = PushRecord {
        announced: announced("zstd", 20),
        state: PushState::Refused {
            reason: "no spec".to_owned(),
        },
    };
    let clone_url = "https://forge.example/rpms/zstd.git".to_owned();
    let package = millrace_core::push::Package::new(
        "zstd".parse().unwrap(),
        clone_url,
        vec!["almalinux-9".parse().unwrap()],
        NOW,
    );
    insta::assert_snapshot!(pretty(&(PushView::of(&refused), PackageView::of(&package, Vec::new()))), @r#"
    [
      {
        "id": "2442a1052b9b",
        "package": "zstd",
        "commit": "512e4d9f30e6622f2a3f677f65b08c105de6533a",
        "reference": "refs/heads/c9s",
        "pusher": "dana",
        "state": "refused",
        "reason": "no spec",
        "received": "2026-11-23T19:40:00Z",
        "builds": []
      },
      {
        "name": "zstd",
        "clone_url": "https://forge.example/rpms/zstd.git",
        "project": "rpms",
        "priority": "normal",
        "platforms": [
          "almalinux-9"
        ],
        "registered": "2026-11-23T20:00:00Z",
        "latest": []
      }
    ]
    "#);
}

#[test]
fn the_shape_of_a_platform() {
    insta::assert_snapshot!(pretty(&PlatformView::of(&platform())), @r#"
    {
      "name": "almalinux-9",
      "title": "AlmaLinux 9",
      "architectures": [
        "x86_64",
        "aarch64"
      ],
      "branches": [
        "main",
        "c9*"
      ],
      "releasever": "9",
      "key": "almalinux-9",
      "macros": {
        "dist": ".el9"
      },
      "repositories": [
        {
          "id": "baseos",
          "url": "https://mirrors.example/9/baseos",
          "checked": true,
          "priority": 99
        },
        {
          "id": "extra",
          "url": "https://repo.example/9/",
          "checked": false,
          "priority": 99
        }
      ],
      "buildroot": [
        "@buildsys-build"
      ],
      "steps": [
        {
          "name": "source",
          "plugin": "source",
          "on": "once",
          "needs": [],
          "releases": false,
          "network": false,
          "disk_order": false,
          "requires": {},
          "config": {}
        },
        {
          "name": "rpm",
          "plugin": "rpm",
          "on": "build-arch",
          "needs": [
            "source"
          ],
          "releases": true,
          "network": false,
          "disk_order": false,
          "requires": {},
          "config": {}
        },
        {
          "name": "check",
          "plugin": "check",
          "on": "each-arch",
          "needs": [
            "rpm"
          ],
          "releases": false,
          "network": false,
          "disk_order": false,
          "requires": {},
          "config": {
            "depth": 2
          }
        }
      ],
      "repo_file": "/repo/almalinux-9/almalinux-9.repo",
      "key_file": "/repo/almalinux-9/RPM-GPG-KEY-millrace"
    }
    "#);
}

#[test]
fn a_build_that_failed_after_its_tasks_says_at_which_order() {
    let orders = |package: &str| {
        let pipeline = BuildView::of(&build_of(package), NOW).pipeline.into_iter();
        pipeline
            .filter(|task| task.kind != TaskKind::Task)
            .map(|task| task.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(orders("bzip2"), ["failed", "dropped"]);
    assert_eq!(orders("gzip"), ["passed", "failed"]);
    assert_eq!(orders("nano"), ["dropped", "dropped"]);
    assert_eq!(orders("xz"), ["passed", "running"]);
    assert_eq!(orders("tzdata"), ["excluded", "excluded"]);
}

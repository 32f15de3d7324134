//! The page of a build.

use crate::visit::{get, json};
use millrace_core::build::Event;
use millrace_core::cause::{Cause, Kind};
use millrace_core::hold::{FailedCommand, Hold, Wants};
use millrace_core::task::{Blame, Failure, LeaseId, Outcome, RunnerProfile};
use millrace_core::{Arch, LeaseNumber, Timestamp};
use millrace_store::holds::{begin_hold, change_hold};
use millrace_view::testing::{NOW, World, build_of, every_state, story};

#[tokio::test]
async fn a_build_in_every_state_has_a_page_that_says_so() {
    let world = World::busy().await;
    let mut words: Vec<&str> = Vec::new();
    for build in every_state() {
        let page = get(&world, &format!("/builds/{}", build.id)).await;
        assert!(
            page.contains(&format!(
                r#"<span class="state {0}">{0}</span></h1>"#,
                build.word()
            )),
            "{}",
            build.word()
        );
        assert_eq!(
            page.contains(r#"http-equiv="refresh""#),
            !build.is_ended(),
            "{}",
            build.word()
        );
        words.push(build.word());
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(
        words,
        [
            "cancelled",
            "excluded",
            "failed",
            "passed",
            "released",
            "releasing",
            "running",
            "signing"
        ]
    );
}

#[tokio::test]
async fn a_failed_build_says_why_and_who_must_act() {
    let world = World::busy().await;
    let nano = build_of("nano").id;
    let page = get(&world, &format!("/builds/{nano}")).await;
    let said = [
        "aria-label=\"What went wrong\"".to_owned(),
        "has no member ‘ws_rows’".to_owned(),
        "The package's author can fix this.".to_owned(),
        format!(
            "<strong>rpm@x86_64 failed</strong>, <a href=\"/builds/{nano}/tasks/rpm@x86_64/log?attempt=1\">its log</a>"
        ),
    ];
    for words in said {
        assert!(page.contains(&words), "{words}");
    }
    let page = get(&world, &format!("/builds/{}", build_of("rust").id)).await;
    for words in [
        "3 leases ended without a verdict",
        "temporary failure",
        "runner fell silent",
        "runner was restarted",
        "log?attempt=3",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let page = get(&world, &format!("/builds/{}", build_of("gzip").id)).await;
    assert!(
        page.contains("<strong>release was refused</strong>") && page.contains("raise its release")
    );
}

#[tokio::test]
async fn a_pipeline_is_a_table_of_steps_by_architectures() {
    let world = World::busy().await;
    let page = get(&world, &format!("/builds/{}", build_of("zlib").id)).await;
    let table = page
        .split("<table class=\"pipeline\">")
        .nth(1)
        .unwrap()
        .split("</table>")
        .next()
        .unwrap();
    let heads: Vec<&str> = table
        .split("scope=\"")
        .skip(1)
        .map(|cell| cell.split(['>', '<']).nth(1).unwrap())
        .collect();
    assert_eq!(
        heads,
        [
            "Step", "x86_64", "aarch64", "source", "rpm", "check", "sign", "release"
        ]
    );
    assert_eq!(
        table.matches("<td").count(),
        7,
        "three across all architectures, and twice two"
    );
    assert!(
        table.contains("1 min 11 s")
            && table.contains("on arm-1")
            && table.contains("since generation 42")
    );
}

#[tokio::test]
async fn a_released_build_says_how_to_install_it() {
    let world = World::busy().await;
    let page = get(&world, &format!("/builds/{}", build_of("zlib").id)).await;
    assert!(page.contains("http://line.example:8620/repo/almalinux-9/almalinux-9.repo"));
    assert!(
        page.contains("sudo dnf install zlib zlib-devel<"),
        "debuginfo and sources are not for installing"
    );
}

#[tokio::test]
async fn a_failure_links_to_its_cause_and_a_retry_names_who_asked() {
    let world = World::busy().await;
    let cause = Cause {
        kind: Kind::TestFailed,
        line: 812,
        text: "FAIL: <adds>".to_owned(),
    };
    let failure = Failure {
        cause: Some(cause),
        ..Failure::new(Blame::Package, "%check failed")
    };
    let again = story("wrong", "Break it", 3)
        .sourced()
        .take("rpm@x86_64", "intel-1")
        .report("rpm@x86_64", 1, Outcome::Failed(failure.clone()))
        .event(Event::Retry {
            task: Some("rpm@x86_64".parse().unwrap()),
            by: "erin <e>".parse().unwrap(),
            hold_s: None,
        });
    let twice = again
        .take("rpm@x86_64", "intel-1")
        .report("rpm@x86_64", 2, Outcome::Failed(failure))
        .build;
    world.keep(&twice).await;
    let page = get(&world, &format!("/builds/{}", twice.id)).await;
    let link = format!(
        r#"<a href="/builds/{}/tasks/rpm@x86_64/log?attempt=2#L812">line 812</a>"#,
        twice.id
    );
    assert!(
        page.contains("Probably <strong>a test failed</strong>") && page.contains(&link),
        "{page}"
    );
    assert!(
        page.contains("FAIL: &lt;adds&gt;")
            && page.contains("retried by <bdi>erin &lt;e&gt;</bdi>"),
        "{page}"
    );
    let task = &json(&world, &format!("/api/v1/builds/{}", twice.id)).await["pipeline"][1];
    assert_eq!(
        (&task["attempts"][0]["how"], &task["cause"]["kind"]),
        (&"failed".into(), &"test-failed".into()),
        "{task}"
    );
}

#[tokio::test]
async fn an_attempt_on_a_machine_of_another_architecture_says_so() {
    let world = World::busy().await;
    let machine = RunnerProfile {
        arch: Arch::Aarch64,
        emulates: vec![Arch::X86_64],
    };
    let build = story("far", "Far from home", 3)
        .sourced()
        .take_on("rpm@x86_64", "arm-1", machine)
        .build;
    world.keep(&build).await;
    let page = get(&world, &format!("/builds/{}", build.id)).await;
    assert!(page.contains("on arm-1 (emulated on aarch64)"), "{page}");
    assert_eq!(
        page.matches("emulated").count(),
        1,
        "nobody else emulates anything: {page}"
    );
    let task = &json(&world, &format!("/api/v1/builds/{}", build.id)).await["pipeline"][1];
    assert_eq!(task["attempts"][0]["emulated_on"], "aarch64", "{task}");
}

#[tokio::test]
async fn a_held_sandbox_is_shown_with_the_command_to_enter_it() {
    let world = World::busy().await;
    let failure = Failure::new(Blame::Package, "%build failed");
    let mut build = story("broken", "Break it", 3)
        .sourced()
        .take("rpm@x86_64", "intel-1")
        .report("rpm@x86_64", 1, Outcome::Failed(failure))
        .build;
    build.push.announced.options.hold_s = Some(1800);
    world.keep(&build).await;
    let lease_id = LeaseId {
        build: build.id.clone(),
        task: "rpm@x86_64".parse().unwrap(),
        number: LeaseNumber(1),
    };
    let failed = FailedCommand {
        line: "rpmbuild".to_owned(),
        cwd: "/".to_owned(),
        ended: "ended with status 1".to_owned(),
    };
    let mut hold = Hold::new(
        lease_id,
        "intel-1".parse().unwrap(),
        Timestamp(NOW.0 - 60_000),
        1800,
        failed,
    );
    hold.let_in(
        &"dana <d>".parse().unwrap(),
        Wants::Command {
            argv: vec!["ls".to_owned()],
        },
        false,
        NOW,
    )
    .unwrap();
    begin_hold(&world.store, &hold).await.unwrap();
    let command = format!("millrace shell {} rpm@x86_64", build.id);
    for path in [
        format!("/builds/{}", build.id),
        format!("/builds/{}/tasks/rpm@x86_64/log", build.id),
    ] {
        let page = get(&world, &path).await;
        assert!(
            page.contains(&format!("<code>{command}</code> gives a terminal in it")),
            "{page}"
        );
        assert!(
            page.contains("<bdi>dana &lt;d&gt;</bdi> is in it now"),
            "{page}"
        );
    }
    let task = &json(&world, &format!("/api/v1/builds/{}", build.id)).await["pipeline"][1];
    assert_eq!(task["held"]["command"], command.as_str(), "{task}");
    change_hold(&world.store, &hold.lease_id, |hold| hold.until = NOW)
        .await
        .unwrap();
    assert!(
        !get(&world, &format!("/builds/{}", build.id))
            .await
            .contains(&command)
    );
}

#[tokio::test]
async fn a_silent_task_is_shown_as_stalled_and_running() {
    let world = World::busy().await;
    let (task, lease) = ("source".parse().unwrap(), LeaseNumber(1));
    let since = Some(Timestamp(NOW.0 - 50_000));
    let build = story("quiet", "Sleep", 3)
        .take("source", "intel-1")
        .event(Event::Silent { task, lease, since })
        .build;
    world.keep(&build).await;
    let page = get(&world, &format!("/builds/{}", build.id)).await;
    assert!(
        page.contains("Working on source")
            && page.contains(r#"<span class="state stalled">stalled</span>"#),
        "{page}"
    );
    assert!(page.contains("nothing printed since"), "{page}");
}

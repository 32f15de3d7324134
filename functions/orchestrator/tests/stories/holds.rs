//! Sandboxes that are held after a failure: who may hold one, who gets in, what goes to and fro, and how it ends.

use crate::world::{Runner, World, source};
use millrace_core::Arch;
use millrace_core::build::Build;
use millrace_core::hold::{FailedCommand, Hold, Printed, SessionEnd, Size, Stream, Wants};
use millrace_core::protocol::{Attend, Attended, GivenUp, Held, Listen, Print, Shown, Typing};
use millrace_core::task::{Blame, Failure, LeaseId, Outcome};
use millrace_store::holds::{
    change_hold, change_typed, holds_of, holds_of_build, load_hold, printed, typed,
};
use millrace_store::index::HOLDS;
use std::time::Duration;

const HOLD_S: u32 = 1800;

/// A build whose source package cannot be made, by a runner that holds the sandbox.
struct Failed {
    world: World,
    build: Build,
    runner: Runner,
    lease_id: LeaseId,
}

async fn failed(hold_s: Option<u32>) -> Failed {
    let world = World::new();
    let mut build = world.planned("zlib");
    build.push.announced.options.hold_s = hold_s;
    world.keep(&build).await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let offer = runner.takes().await.unwrap();
    assert_eq!(offer.work.hold_s, hold_s);
    let lease_id = crate::world::lease_id(&offer);
    Failed {
        world,
        build,
        runner,
        lease_id,
    }
}

fn held(lease_id: &LeaseId, session: u32) -> Held {
    let failed = FailedCommand {
        line: "rpmbuild -bs".to_owned(),
        cwd: "/work".to_owned(),
        ended: "ended with status 1".to_owned(),
    };
    Held {
        lease_id: lease_id.clone(),
        failed,
        session,
    }
}

fn attend(holds: Vec<Held>) -> Attend {
    Attend {
        runner: "intel-1".parse().unwrap(),
        started: false,
        holds,
        given_up: Vec::new(),
        wait_ms: 0,
    }
}

fn terminal() -> Wants {
    Wants::Terminal {
        term: "vt100".to_owned(),
        size: Size::default(),
    }
}

impl Failed {
    /// The runner says that it holds the sandbox, and that the task has failed.
    async fn is_held(&self) -> Hold {
        assert_eq!(
            self.runner
                .attends(&attend(vec![held(&self.lease_id, 0)]))
                .await,
            Attended::default()
        );
        let outcome = Outcome::Failed(Failure::new(Blame::Package, "no"));
        assert_eq!(
            self.runner.report(&self.lease_id, outcome).await.status,
            200
        );
        self.hold().await
    }

    async fn hold(&self) -> Hold {
        load_hold(&self.world.store, &self.lease_id)
            .await
            .unwrap()
            .unwrap()
    }

    async fn let_in(&self, by: &str, take: bool) -> u32 {
        let now = self.world.now();
        let let_in = change_hold(&self.world.store, &self.lease_id, |hold| {
            hold.let_in(&by.parse().unwrap(), terminal(), take, now)
        })
        .await;
        let_in.unwrap().unwrap().unwrap()
    }

    async fn listen(&self, session: u32, seen: u64, wait_ms: u32) -> Typing {
        let listen = Listen {
            lease_id: self.lease_id.clone(),
            session,
            seen,
            size: Size::default(),
            wait_ms,
        };
        let answer = self.runner.post("typed", &listen).await;
        assert_eq!(answer.status, 200, "{:?}", answer.told());
        serde_json::from_slice(&answer.body).unwrap()
    }

    async fn print(
        &self,
        session: u32,
        from: u64,
        bytes: &[u8],
        ended: Option<SessionEnd>,
    ) -> Shown {
        let output = Stream {
            from,
            bytes: bytes.to_vec(),
        };
        let printed = Printed {
            output,
            typed: 0,
            beat: 1,
            ended,
        };
        let answer = self
            .runner
            .post(
                "printed",
                &Print {
                    lease_id: self.lease_id.clone(),
                    session,
                    printed,
                },
            )
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.told());
        serde_json::from_slice(&answer.body).unwrap()
    }
}

#[tokio::test]
async fn a_failed_sandbox_is_held_while_its_build_is_over() {
    let story = failed(Some(HOLD_S)).await;
    let hold = story.is_held().await;
    assert_eq!(
        (hold.until, hold.runner.as_str()),
        (
            story.world.now().plus_ms(u64::from(HOLD_S) * 1000),
            "intel-1"
        )
    );
    let build = story.world.now_is(&story.build).await;
    assert_eq!(build.word(), "failed");
    assert_eq!(
        holds_of_build(&story.world.store, &build).await.unwrap(),
        [hold]
    );
    // Said again it is the same, and the runner is free for others.
    assert_eq!(
        story
            .runner
            .attends(&attend(vec![held(&story.lease_id, 0)]))
            .await,
        Attended::default()
    );
    story.world.build("pigz").await;
    assert!(story.runner.takes().await.is_some());
}

#[tokio::test]
async fn a_sandbox_that_nobody_asked_for_is_given_up_at_once() {
    let story = failed(None).await;
    let attended = story
        .runner
        .attends(&attend(vec![held(&story.lease_id, 0)]))
        .await;
    assert_eq!(attended.unwanted.len(), 1, "{attended:?}");
    assert!(
        load_hold(&story.world.store, &story.lease_id)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn nobody_holds_what_another_runner_has() {
    let story = failed(Some(HOLD_S)).await;
    let other = story.world.runner("intel-2", Arch::X86_64).await;
    let ask = Attend {
        runner: "intel-2".parse().unwrap(),
        ..attend(vec![held(&story.lease_id, 0)])
    };
    assert_eq!(other.attends(&ask).await.unwanted.len(), 1);
    assert_eq!(other.post("holds", &attend(Vec::new())).await.status, 400);
    story.is_held().await;
    assert_eq!(other.attends(&ask).await.unwanted.len(), 1);
    // Neither can it end or hear what is not its own.
    let gone = GivenUp {
        lease_id: story.lease_id.clone(),
        reason: "mine".to_owned(),
    };
    other
        .attends(&Attend {
            given_up: vec![gone],
            holds: Vec::new(),
            ..ask
        })
        .await;
    assert!(story.hold().await.end.is_none());
    let listen = Listen {
        lease_id: story.lease_id.clone(),
        session: 1,
        seen: 0,
        size: Size::default(),
        wait_ms: 0,
    };
    assert_eq!(other.post("typed", &listen).await.status, 409);
    let print = Print {
        lease_id: story.lease_id.clone(),
        session: 1,
        printed: Printed::default(),
    };
    assert_eq!(other.post("printed", &print).await.status, 409);
}

#[tokio::test]
async fn keys_go_one_way_and_what_is_printed_the_other_and_neither_comes_twice() {
    let story = failed(Some(HOLD_S)).await;
    story.is_held().await;
    let session = story.let_in("dana", false).await;
    let attended = story
        .runner
        .attends(&attend(vec![held(&story.lease_id, 0)]))
        .await;
    assert_eq!(attended.sessions[0].session.number, session);
    assert!(
        story
            .runner
            .attends(&attend(vec![held(&story.lease_id, session)]))
            .await
            .sessions
            .is_empty()
    );
    let store = &story.world.store;
    change_typed(store, &story.lease_id, session, |typed| {
        typed.keys.add(0, b"ls\n", 100)
    })
    .await
    .unwrap();
    let heard = story.listen(session, 0, 30_000).await;
    assert_eq!(
        (heard.typed.keys.after(0), heard.over),
        (b"ls\n".as_slice(), None)
    );
    // An answer was lost on the way.
    assert_eq!(story.print(session, 0, b"ls\r\n", None).await.end, 4);
    assert_eq!(
        story
            .print(session, 0, b"ls\r\nbuild.log\r\n", None)
            .await
            .end,
        15
    );
    let shown = printed(store, &story.lease_id, session)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown.output.after(0), b"ls\r\nbuild.log\r\n");
    // What was shown is forgotten.
    change_typed(store, &story.lease_id, session, |typed| typed.shown = 4)
        .await
        .unwrap();
    story.print(session, 15, b"$ ", None).await;
    let shown = printed(store, &story.lease_id, session)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (shown.output.from, shown.output.after(15)),
        (4, b"$ ".as_slice())
    );
    let over = story
        .print(
            session,
            17,
            b"exit\r\n",
            Some(SessionEnd::Exited { status: 3 }),
        )
        .await;
    assert!(over.over);
    assert_eq!(
        story.hold().await.end_of_session(session),
        Some(SessionEnd::Exited { status: 3 })
    );
    assert_eq!(story.let_in("erin", false).await, session + 1);
}

#[tokio::test]
async fn a_runner_that_listens_hears_at_once_what_is_typed_and_that_somebody_else_is_there() {
    let story = failed(Some(HOLD_S)).await;
    story.is_held().await;
    let session = story.let_in("dana", false).await;
    let (store, lease_id) = (story.world.store.clone(), story.lease_id.clone());
    let typing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        change_typed(&store, &lease_id, session, |typed| {
            typed.keys.add(0, b"x", 100)
        })
        .await
        .unwrap();
    });
    let began = std::time::Instant::now();
    assert_eq!(
        story.listen(session, 0, 30_000).await.typed.keys.after(0),
        b"x"
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    typing.await.unwrap();
    let next = story.let_in("erin", true).await;
    let taken = SessionEnd::Taken {
        by: "erin".parse().unwrap(),
    };
    assert_eq!(
        story.listen(session, 1, 30_000).await.over,
        Some(taken.clone())
    );
    // The one who sat there is told, whatever the runner makes of it.
    assert!(
        story
            .print(session, 0, b"", Some(SessionEnd::Left))
            .await
            .over
    );
    assert_eq!(
        printed(&story.world.store, &story.lease_id, session)
            .await
            .unwrap()
            .unwrap()
            .ended,
        Some(taken)
    );
    assert_eq!(
        story.hold().await.session().map(|session| session.number),
        Some(next)
    );
}

#[tokio::test]
async fn what_is_given_up_by_its_author_or_its_runner_is_over_for_everybody_and_leaves_no_records_of_what_was_said()
 {
    let story = failed(Some(HOLD_S)).await;
    story.is_held().await;
    let session = story.let_in("dana", false).await;
    let store = &story.world.store;
    change_typed(store, &story.lease_id, session, |typed| typed.beat = 1)
        .await
        .unwrap();
    story.print(session, 0, b"$ ", None).await;
    change_hold(store, &story.lease_id, |hold| {
        hold.unwanted_by = Some("dana".parse().unwrap())
    })
    .await
    .unwrap();
    let attended = story
        .runner
        .attends(&attend(vec![held(&story.lease_id, session)]))
        .await;
    assert_eq!(attended.unwanted[0].reason, "dana has given it up");
    assert!(story.listen(session, 0, 30_000).await.over.is_some());
    let given_up = attended.unwanted;
    story
        .runner
        .attends(&Attend {
            given_up,
            ..attend(Vec::new())
        })
        .await;
    let hold = story.hold().await;
    assert_eq!(hold.end.as_ref().unwrap().reason, "dana has given it up");
    assert!(
        printed(store, &story.lease_id, session)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        typed(store, &story.lease_id, session).await.unwrap().beat,
        0
    );
    assert!(holds_of(store, HOLDS, 10).await.unwrap().is_empty());
    // A last word that was late keeps nothing.
    assert!(story.print(session, 0, b"late", None).await.over);
    assert!(
        printed(store, &story.lease_id, session)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_runner_that_was_started_anew_holds_nothing_any_more() {
    let story = failed(Some(HOLD_S)).await;
    story.is_held().await;
    story.let_in("dana", false).await;
    story
        .runner
        .attends(&Attend {
            started: true,
            ..attend(Vec::new())
        })
        .await;
    let end = story.hold().await.end.unwrap();
    assert_eq!(end.reason, "its runner was restarted");
    let attended = story
        .runner
        .attends(&attend(vec![held(&story.lease_id, 0)]))
        .await;
    assert_eq!(attended.unwanted.len(), 1);
}

#[tokio::test]
async fn a_desk_that_keeps_nobody_waiting_says_when_to_ask_again() {
    let world = World::new().that_keeps_nobody_waiting();
    let mut build = world.planned("zlib");
    build.push.announced.options.hold_s = Some(HOLD_S);
    world.keep(&build).await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let lease_id = crate::world::lease_id(&runner.takes().await.unwrap());
    assert_eq!(lease_id.task, source());
    let ask = Attend {
        wait_ms: 30_000,
        ..attend(vec![held(&lease_id, 0)])
    };
    let began = std::time::Instant::now();
    assert_eq!(runner.attends(&ask).await.pause_ms, Some(3000));
    let listen = Listen {
        lease_id,
        session: 1,
        seen: 0,
        size: Size::default(),
        wait_ms: 30_000,
    };
    let heard: Typing = serde_json::from_slice(&runner.post("typed", &listen).await.body).unwrap();
    assert_eq!(heard.pause_ms, Some(400));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

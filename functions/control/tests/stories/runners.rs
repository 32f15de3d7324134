//! Runners: let in once, drained, resumed, reserved, removed.

use millrace_control::runner::{RunnerRequest, add, drain, list, remove, renew, reserve, resume};
use millrace_control::{ControlError, NotFound};
use millrace_core::access::Actor;
use millrace_core::queue::Reservation;
use millrace_core::runner::{Draining, Token};
use millrace_core::{Arch, RunnerName, Timestamp};
use millrace_store::memory::MemoryStore;
use millrace_store::runners::runner_of_token;

const NOW: Timestamp = Timestamp(1_763_930_000_000);

fn dana() -> Actor {
    Actor::Local("dana".to_owned())
}

fn name() -> RunnerName {
    "intel-1".parse().unwrap()
}

fn request() -> RunnerRequest {
    RunnerRequest::new(name(), Arch::X86_64)
}

fn own_arch() -> Reservation {
    Reservation {
        own_arch: true,
        ..Reservation::default()
    }
}

#[tokio::test]
async fn a_name_is_given_to_one_runner_until_it_is_removed() {
    let store = MemoryStore::new();
    let first = Token::from_random([1; 32]);
    let second = Token::from_random([2; 32]);
    add(&dana(), request(), &first, &store, NOW).await.unwrap();
    let taken = add(&dana(), request(), &second, &store, NOW).await;
    assert!(matches!(taken, Err(ControlError::RunnerTaken(_))));
    let known = runner_of_token(&store, &first).await.unwrap().unwrap();
    assert_eq!(known.name, name());
    remove(&dana(), &name(), &store).await.unwrap();
    assert_eq!(runner_of_token(&store, &first).await.unwrap(), None);
    add(&dana(), request(), &second, &store, NOW).await.unwrap();
}

#[tokio::test]
async fn a_new_token_takes_the_place_of_the_old_one_and_changes_no_more() {
    let store = MemoryStore::new();
    let [old, new] = [[1; 32], [2; 32]].map(Token::from_random);
    renew(&Actor::Line, request(), &old, &store, NOW)
        .await
        .unwrap();
    reserve(&dana(), &name(), &own_arch(), &store)
        .await
        .unwrap();
    renew(&Actor::Line, request(), &new, &store, NOW)
        .await
        .unwrap();
    assert_eq!(runner_of_token(&store, &old).await.unwrap(), None);
    let known = runner_of_token(&store, &new).await.unwrap().unwrap();
    assert_eq!(known.reserved, own_arch());
}

#[tokio::test]
async fn a_drained_runner_is_so_until_it_is_resumed() {
    let store = MemoryStore::new();
    let token = Token::from_random([1; 32]);
    add(&dana(), request(), &token, &store, NOW).await.unwrap();
    drain(&dana(), &name(), false, &store).await.unwrap();
    drain(&dana(), &name(), true, &store).await.unwrap();
    let draining = Draining {
        name: name(),
        hand_back: true,
    };
    assert_eq!(list(&store).await.unwrap()[0].draining, [draining]);
    resume(&dana(), &name(), &store).await.unwrap();
    assert_eq!(list(&store).await.unwrap()[0].draining, []);
}

#[tokio::test]
async fn who_is_not_known_is_not_found() {
    let store = MemoryStore::new();
    let all = [
        drain(&dana(), &name(), false, &store).await,
        resume(&dana(), &name(), &store).await,
        reserve(&dana(), &name(), &own_arch(), &store).await,
        remove(&dana(), &name(), &store).await,
    ];
    for refused in all {
        let refused = refused.unwrap_err();
        assert!(matches!(
            refused,
            ControlError::NotFound(NotFound::Runner(_))
        ));
        assert_eq!(
            refused.to_string(),
            "no runner `intel-1`: `millrace runner list`"
        );
    }
}

//! What is promised of messages: delivered at least once, one taker at a time, never for ever.

use super::race;
use super::state::{commit, ended};
use crate::state::{DELIVERIES_MAX, Message, MessageId, StateStore};
use millrace_core::Timestamp;
use millrace_core::order::Effect;
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp(1_000_000);
const LATER: Timestamp = Timestamp(2_000_000);
const LATER_STILL: Timestamp = Timestamp(3_000_000);

async fn post<S: StateStore>(store: &S, builds: &[&str]) {
    for build in builds {
        store
            .save(commit(Vec::new(), vec![ended(build)]))
            .await
            .unwrap();
    }
}

fn effects(messages: &[Message]) -> Vec<Effect> {
    messages
        .iter()
        .map(|message| message.effect.clone())
        .collect()
}

/// And no more of them than asked for; the rest comes with the next asking.
pub async fn messages_come_oldest_first<S: StateStore>(store: S) {
    post(&store, &["one", "two"]).await;
    store
        .save(commit(
            Vec::new(),
            vec![ended("three"), ended("four"), ended("five")],
        ))
        .await
        .unwrap();
    let first = store.take(3, NOW, LATER).await.unwrap();
    assert_eq!(effects(&first), ["one", "two", "three"].map(ended));
    let rest = store.take(3, NOW, LATER).await.unwrap();
    assert_eq!(effects(&rest), ["four", "five"].map(ended));
    let ids: Vec<MessageId> = first
        .iter()
        .chain(&rest)
        .map(|message| message.id)
        .collect();
    assert!(
        ids.is_sorted() && ids.iter().collect::<BTreeSet<_>>().len() == 5,
        "{ids:?}"
    );
}

/// It comes again from the named moment on, under its id, counted.
pub async fn a_message_is_hidden_until_its_time_and_then_comes_again<S: StateStore>(store: S) {
    post(&store, &["one"]).await;
    let first = store.take(10, NOW, LATER).await.unwrap();
    assert_eq!(first[0].deliveries, 1);
    assert_eq!(store.take(10, NOW, LATER).await.unwrap(), []);
    assert_eq!(
        store.take(10, Timestamp(LATER.0 - 1), LATER).await.unwrap(),
        []
    );
    let again = store.take(10, LATER, LATER_STILL).await.unwrap();
    assert_eq!(
        again,
        [Message {
            deliveries: 2,
            ..first[0].clone()
        }]
    );
}

/// And no other message with it.
pub async fn a_settled_message_is_forgotten<S: StateStore>(store: S) {
    post(&store, &["one", "two", "three"]).await;
    let messages = store.take(10, NOW, LATER).await.unwrap();
    store.settle(messages[1].id).await.unwrap();
    let left = store.take(10, LATER, LATER_STILL).await.unwrap();
    assert_eq!(effects(&left), ["one", "three"].map(ended));
}

/// Nor does settling what never was.
pub async fn settling_twice_does_no_harm<S: StateStore>(store: S) {
    post(&store, &["one", "two"]).await;
    let messages = store.take(1, NOW, LATER).await.unwrap();
    store.settle(messages[0].id).await.unwrap();
    store.settle(messages[0].id).await.unwrap();
    store
        .settle(MessageId(messages[0].id.0 + 1_000_000))
        .await
        .unwrap();
    assert_eq!(
        effects(&store.take(10, LATER, LATER_STILL).await.unwrap()),
        [ended("two")]
    );
}

/// A slow worker has still done it.
pub async fn a_message_may_be_settled_after_it_came_again<S: StateStore>(store: S) {
    post(&store, &["one"]).await;
    let first = store.take(10, NOW, LATER).await.unwrap();
    let again = store.take(10, LATER, LATER_STILL).await.unwrap();
    store.settle(first[0].id).await.unwrap();
    assert_eq!(
        store
            .take(10, LATER_STILL, Timestamp(LATER_STILL.0 + 1))
            .await
            .unwrap(),
        []
    );
    store.settle(again[0].id).await.unwrap();
}

/// After [`DELIVERIES_MAX`] deliveries; it is kept for a person, holds up nobody, and can still be settled.
pub async fn a_message_that_nobody_settles_becomes_a_dead_letter<S: StateStore>(store: S) {
    post(&store, &["poison"]).await;
    for delivery in 1..=DELIVERIES_MAX {
        let at = u64::from(delivery);
        let messages = store
            .take(10, Timestamp(at), Timestamp(at + 1))
            .await
            .unwrap();
        assert_eq!(
            messages
                .iter()
                .map(|message| message.deliveries)
                .collect::<Vec<_>>(),
            [delivery]
        );
        assert_eq!(
            store.dead_letters(10).await.unwrap(),
            [],
            "not before it was tried for the last time"
        );
    }
    post(&store, &["good"]).await;
    assert_eq!(
        effects(&store.take(1, NOW, LATER).await.unwrap()),
        [ended("good")],
        "it takes nobody's place"
    );
    assert_eq!(
        store.take(10, NOW, LATER).await.unwrap(),
        [],
        "nothing else is due: it was come to by now"
    );
    let dead = store.dead_letters(10).await.unwrap();
    assert_eq!(effects(&dead), [ended("poison")]);
    assert_eq!(dead[0].deliveries, DELIVERIES_MAX);
    assert_eq!(
        effects(&store.take(10, LATER, LATER_STILL).await.unwrap()),
        [ended("good")],
        "it does not come again"
    );
    store.settle(dead[0].id).await.unwrap();
    assert_eq!(store.dead_letters(10).await.unwrap(), []);
}

/// Wherever it lies, hidden or among the dead letters: it is delivered again, and counted from the beginning.
pub async fn a_message_that_was_put_back_is_delivered_as_if_it_never_was<S: StateStore>(store: S) {
    post(&store, &["poison", "good"]).await;
    for delivery in 1..=u64::from(DELIVERIES_MAX) {
        store
            .take(10, Timestamp(delivery), Timestamp(delivery + 1))
            .await
            .unwrap();
    }
    assert_eq!(store.take(10, NOW, LATER).await.unwrap(), []);
    let dead = store.dead_letters(10).await.unwrap();
    assert_eq!(
        (effects(&dead), store.unsettled(10).await.unwrap()),
        (["poison", "good"].map(ended).to_vec(), vec![])
    );
    assert!(store.put_back(dead[0].id, NOW).await.unwrap());
    assert_eq!(
        effects(&store.unsettled(10).await.unwrap()),
        [ended("poison")]
    );
    assert_eq!(
        effects(&store.dead_letters(10).await.unwrap()),
        [ended("good")]
    );
    let taken = store.take(10, NOW, LATER).await.unwrap();
    assert_eq!(
        taken,
        [Message {
            deliveries: 1,
            ..dead[0].clone()
        }]
    );
    assert_eq!(
        store.take(10, NOW, LATER).await.unwrap(),
        [],
        "it is hidden"
    );
    assert!(store.put_back(dead[0].id, NOW).await.unwrap());
    assert_eq!(
        store.take(10, NOW, LATER).await.unwrap(),
        taken,
        "and not any more"
    );
    store.settle(dead[0].id).await.unwrap();
    assert!(
        !store.put_back(dead[0].id, NOW).await.unwrap(),
        "what is settled is forgotten"
    );
    assert_eq!(store.unsettled(10).await.unwrap(), []);
}

/// Many take at once: every message is delivered, none of them to two.
pub async fn a_message_is_taken_by_one<S: StateStore>(store: S) {
    const MESSAGES: usize = 40;
    let all = (0..MESSAGES)
        .map(|number| ended(&format!("b{number}")))
        .collect();
    store.save(commit(Vec::new(), all)).await.unwrap();
    let taken = race(8, |_| {
        let store = store.clone();
        async move {
            let mut mine = Vec::new();
            while let messages @ [_, ..] = store.take(3, NOW, LATER).await.unwrap().as_slice() {
                mine.extend(messages.iter().map(|message| message.id));
            }
            mine
        }
    });
    let taken: Vec<MessageId> = taken.await.into_iter().flatten().collect();
    assert_eq!(
        (taken.len(), taken.iter().collect::<BTreeSet<_>>().len()),
        (MESSAGES, MESSAGES)
    );
}

/// The number of a settled message is not given to another.
pub async fn messages_are_numbered_anew_for_ever<S: StateStore>(store: S) {
    let mut last = None;
    for _ in 0..3 {
        post(&store, &["again"]).await;
        let messages = store.take(10, NOW, LATER).await.unwrap();
        assert!(
            Some(messages[0].id) > last,
            "{:?} after {last:?}",
            messages[0].id
        );
        last = Some(messages[0].id);
        store.settle(messages[0].id).await.unwrap();
    }
}

//! What was released before: listed, and brought back.

use super::rpms::{Variant, package};
use super::{NOW, NamedSeal, metadata, order, platform, released};
use crate::{
    GenerationRef, GenerationSummary, ReleaseError, RollbackOutcome, current, history, prepare,
    publish, rollback,
};
use millrace_store::memory::MemoryStore;

#[tokio::test]
async fn an_earlier_state_comes_back_under_a_new_number() {
    let store = MemoryStore::new();
    let mut orders = Vec::new();
    for (build, variant) in [("first", Variant::First), ("second", Variant::Second)] {
        orders.push(order(&store, build, &[package(variant, "tally")]).await);
        publish(orders.last().unwrap(), &NamedSeal, &store, NOW)
            .await
            .unwrap();
    }
    let name = platform().name;
    let became = rollback(&name, 1, &NamedSeal, &store, NOW).await.unwrap();
    let (generation, digest) = current(&name, &store).await.unwrap().unwrap();
    assert_eq!(
        became,
        RollbackOutcome::Restored(GenerationRef {
            generation: digest,
            number: 3
        })
    );
    assert_eq!(
        generation
            .builds()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["first"]
    );
    let served = metadata::served(&store, "x86_64/os").await;
    assert!(
        served["repomd.xml"].contains("<revision>3</revision>")
            && !served["primary.xml"].contains("rel=\"2.el9\"")
    );
    publish(&orders[1], &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(
        released(&store).await,
        generation,
        "an order that comes late does not undo it"
    );
    let error = rollback(&name, 9, &NamedSeal, &store, NOW)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ReleaseError::NoGeneration { number: 9, .. }),
        "{error}"
    );
    assert_eq!(error.to_string(), "platform el-9 has no generation 9");
}

#[tokio::test]
async fn going_back_to_what_is_there_changes_nothing() {
    let (store, name) = (MemoryStore::new(), platform().name);
    for (build, variant) in [("first", Variant::First), ("second", Variant::Second)] {
        publish(
            &order(&store, build, &[package(variant, "tally")]).await,
            &NamedSeal,
            &store,
            NOW,
        )
        .await
        .unwrap();
    }
    let (_, second) = current(&name, &store).await.unwrap().unwrap();
    let became = rollback(&name, 2, &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(
        became,
        RollbackOutcome::Unchanged(GenerationRef {
            generation: second,
            number: 2
        }),
        "it is the current one"
    );
    rollback(&name, 1, &NamedSeal, &store, NOW).await.unwrap();
    let (_, third) = current(&name, &store).await.unwrap().unwrap();
    for number in [1, 3] {
        let became = rollback(&name, number, &NamedSeal, &store, NOW.plus_ms(5000))
            .await
            .unwrap();
        assert_eq!(
            became,
            RollbackOutcome::Unchanged(GenerationRef {
                generation: third,
                number: 3
            }),
            "the packages are those of {number} already"
        );
    }
    assert_eq!(current(&name, &store).await.unwrap().unwrap().1, third);
}

/// A line a generation: its number, its time, how many packages, which builds came in.
fn lines(all: &[GenerationSummary]) -> String {
    let line = |past: &GenerationSummary| {
        let added: Vec<&str> = past
            .added
            .iter()
            .map(millrace_core::BuildId::as_str)
            .collect();
        format!(
            "{} at {}: {} packages, {}\n",
            past.number,
            past.released_s,
            past.packages,
            added.join(" ")
        )
    };
    all.iter().map(line).collect()
}

#[tokio::test]
async fn what_was_released_is_listed_from_the_newest() {
    let (store, name) = (MemoryStore::new(), platform().name);
    assert_eq!(history(&name, 20, &store).await.unwrap(), None);
    prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
    // A noarch package lies in two repositories and is one.
    let first = order(
        &store,
        "first",
        &[
            package(Variant::First, "tally"),
            package(Variant::First, "tally-doc"),
        ],
    )
    .await;
    publish(&first, &NamedSeal, &store, NOW.plus_ms(1000))
        .await
        .unwrap();
    let second = order(&store, "second", &[package(Variant::Second, "tally")]).await;
    publish(&second, &NamedSeal, &store, NOW.plus_ms(2000))
        .await
        .unwrap();
    rollback(&name, 1, &NamedSeal, &store, NOW.plus_ms(3000))
        .await
        .unwrap();
    rollback(&name, 3, &NamedSeal, &store, NOW.plus_ms(4000))
        .await
        .unwrap();
    let all = history(&name, 20, &store).await.unwrap().unwrap();
    let expected = "\
5 at 1800000004: 3 packages, first second
4 at 1800000003: 0 packages, 
3 at 1800000002: 3 packages, second
2 at 1800000001: 2 packages, first
1 at 1800000000: 0 packages, 
";
    assert_eq!(lines(&all), expected);
    assert_eq!(
        all[0].generation,
        current(&name, &store).await.unwrap().unwrap().1
    );
    assert_eq!(history(&name, 2, &store).await.unwrap().unwrap(), all[..2]);
}

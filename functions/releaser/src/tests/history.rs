//! What was released before is brought back.

use super::rpms::{Variant, package};
use super::{NOW, NamedSeal, metadata, order, platform, released};
use crate::{Changed, ReleaseError, Released, current, publish, rollback};
use millrace_store::memory::MemoryStore;

#[tokio::test]
async fn an_earlier_state_comes_back_under_a_new_number() {
    let store = MemoryStore::new();
    let mut orders = Vec::new();
    for (build, variant) in [("first", Variant::First), ("second", Variant::Second)] {
        orders.push(order(&store, build, &[package(variant, "tally")]).await);
        publish(orders.last().unwrap(), &NamedSeal, &store, NOW).await.unwrap();
    }
    let name = platform().name;
    let became = rollback(&name, 1, &NamedSeal, &store, NOW).await.unwrap();
    let (generation, digest) = current(&name, &store).await.unwrap().unwrap();
    assert_eq!(became, Changed::To(Released { generation: digest, number: 3 }));
    assert_eq!(generation.builds().map(ToString::to_string).collect::<Vec<_>>(), ["first"]);
    let served = metadata::served(&store, "x86_64/os").await;
    assert!(served["repomd.xml"].contains("<revision>3</revision>") && !served["primary.xml"].contains("rel=\"2.el9\""));
    publish(&orders[1], &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(released(&store).await, generation, "an order that comes late does not undo it");
    let error = rollback(&name, 9, &NamedSeal, &store, NOW).await.unwrap_err();
    assert!(matches!(error, ReleaseError::NoGeneration { number: 9, .. }), "{error}");
    assert_eq!(error.to_string(), "platform el-9 has no generation 9");
}

#[tokio::test]
async fn going_back_to_what_is_there_changes_nothing() {
    let (store, name) = (MemoryStore::new(), platform().name);
    for (build, variant) in [("first", Variant::First), ("second", Variant::Second)] {
        publish(&order(&store, build, &[package(variant, "tally")]).await, &NamedSeal, &store, NOW).await.unwrap();
    }
    let (_, second) = current(&name, &store).await.unwrap().unwrap();
    let became = rollback(&name, 2, &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(became, Changed::Not(Released { generation: second, number: 2 }), "it is the current one");
    rollback(&name, 1, &NamedSeal, &store, NOW).await.unwrap();
    let (_, third) = current(&name, &store).await.unwrap().unwrap();
    for number in [1, 3] {
        let became = rollback(&name, number, &NamedSeal, &store, NOW.plus_ms(5000)).await.unwrap();
        assert_eq!(became, Changed::Not(Released { generation: third, number: 3 }), "the packages are those of {number} already");
    }
    assert_eq!(current(&name, &store).await.unwrap().unwrap().1, third);
}

//! The page of a push.

use crate::visit::get;
use millrace_core::push::{PushRecord, PushState};
use millrace_view::testing::{World, announced};

#[tokio::test]
async fn a_push_that_was_fetched_is_shown_as_still_on_its_way() {
    let world = World::empty();
    for (age, state, words) in [
        (
            0,
            PushState::Fetching,
            "The commit and its sources are being fetched.",
        ),
        (
            1,
            PushState::Fetched,
            "The commit and its sources are here; its builds are being planned.",
        ),
    ] {
        let record = PushRecord {
            announced: announced("perl", age),
            state,
        };
        world.keep_push(&record).await;
        let page = get(&world, &format!("/pushes/{}", record.announced.id)).await;
        assert!(
            page.contains(words) && page.contains(r#"http-equiv="refresh""#),
            "{page}"
        );
    }
}

//! What every adapter must do, as tests that each adapter runs with one line: the promises of [`StateStore`](crate::StateStore) and
//! of [`BlobStore`](crate::BlobStore).
//!
//! ```ignore
//! mod state {
//!     millrace_store::state_contract!((MemoryStore::new(), ()));
//! }
//! mod blobs {
//!     millrace_store::blob_contract!((MemoryStore::new(), ()));
//! }
//! ```
//!
//! Each promise becomes a `#[test]` of its own name. The argument makes an empty store for each, and beside it whatever must
//! live as long (a temporary folder, a server); it may `.await`.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests; they live here so that every adapter's crate can run them"
)]

pub mod blob;
pub mod outbox;
pub mod state;

use std::future::Future;
use std::time::Duration;

/// How many do the same thing at once if a promise is about racing: enough to meet on two cores, few enough for a slow server.
pub const RACERS: usize = 32;

/// How long one promise may take on the slowest store; a store that hangs must fail, not wait.
const PROMISE_TIME_MAX: Duration = Duration::from_secs(120);

/// Runs one promise on several threads.
pub fn run(promise: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PROMISE_TIME_MAX, promise)
            .await
            .expect("the store answers in time")
    });
}

/// Does the same thing many times at once, and answers what came of each.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    racers: usize,
    each: impl Fn(usize) -> F,
) -> Vec<T> {
    let all: Vec<_> = (0..racers).map(|racer| tokio::spawn(each(racer))).collect();
    let mut came_of = Vec::with_capacity(racers);
    for one in all {
        came_of.push(one.await.unwrap());
    }
    came_of
}

/// Names a `#[test]` for each promise of the state store and its outbox.
#[macro_export]
macro_rules! state_contract {
    ($fresh:expr) => {
        $crate::promises! { state, $fresh,
            a_record_is_read_as_it_was_written
            a_record_is_made_once
            a_record_is_replaced_by_who_read_it_last
            a_removed_record_is_gone_with_its_index_entries
            a_record_that_comes_back_goes_on_with_its_versions
            tables_are_apart
            a_commit_happens_whole
            a_commit_that_meets_a_conflict_does_nothing
            a_conflict_names_the_record
            a_commit_of_effects_alone_is_made
            each_write_replaces_all_index_entries
            index_entries_are_found_in_order_page_by_page
            one_place_may_hold_entries_of_several_records
            records_are_listed_in_order_page_by_page
            any_text_is_kept
            the_largest_record_fits_and_a_larger_one_is_refused
            the_largest_commit_fits_and_a_larger_one_is_refused
            a_commit_that_writes_one_record_twice_is_refused
            of_many_who_make_a_record_one_wins
            of_many_who_replace_a_record_one_wins
            no_increment_is_lost
            commits_that_cross_do_not_mix
        }
        $crate::promises! { outbox, $fresh,
            messages_come_oldest_first
            a_message_is_hidden_until_its_time_and_then_comes_again
            a_settled_message_is_forgotten
            settling_twice_does_no_harm
            a_message_may_be_settled_after_it_came_again
            a_message_that_nobody_settles_becomes_a_dead_letter
            a_message_that_was_put_back_is_delivered_as_if_it_never_was
            a_message_is_taken_by_one
            messages_are_numbered_anew_for_ever
        }
    };
}

/// Names a `#[test]` for each promise of the blob store and its pointers.
#[macro_export]
macro_rules! blob_contract {
    ($fresh:expr) => {
        $crate::promises! { blob, $fresh,
            what_was_put_is_read_under_its_digest
            nothing_at_all_is_a_blob_too
            putting_twice_does_no_harm
            many_may_put_the_same_at_once
            a_file_is_kept_and_stays_as_it_is
            a_file_that_is_not_there_is_an_error
            a_blob_that_is_not_there_is_missing
            a_range_is_the_bytes_in_it
            a_range_beyond_the_end_is_an_error
            a_blob_is_put_together_from_bytes_and_ranges
            what_cannot_be_put_together_is_an_error
            a_blob_is_fetched_into_a_new_file
            a_file_that_is_there_is_not_overwritten
            a_missing_blob_leaves_no_file
            a_whole_blob_is_read_up_to_a_limit
            a_blob_comes_in_pieces
            a_pointer_is_made_once
            a_pointer_is_swapped_by_who_read_it_last
            pointers_are_apart
            the_largest_pointer_fits_and_a_larger_one_is_refused
            of_many_who_swap_a_pointer_one_wins
            no_swap_is_lost
        }
    };
}

/// One `#[test]` a promise.
#[doc(hidden)]
#[macro_export]
macro_rules! promises {
    ($module:ident, $fresh:expr, $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::contract::run(async {
                    let (store, _lives_as_long) = $fresh;
                    $crate::contract::$module::$promise(store).await;
                });
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_law_is_in_a_list() {
        let lists = include_str!("contract.rs");
        for promises in [
            include_str!("contract/blob.rs"),
            include_str!("contract/outbox.rs"),
            include_str!("contract/state.rs"),
        ] {
            for promise in promises.split("pub async fn ").skip(1) {
                let name = promise.split('<').next().unwrap();
                assert!(
                    lists.lines().any(|line| line.trim() == name),
                    "no adapter runs the promise {name}"
                );
            }
        }
    }
}

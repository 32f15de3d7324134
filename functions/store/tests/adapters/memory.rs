//! The stores in memory, and the pauses at which a test may kill the writer.

use millrace_store::memory::MemoryStore;
use millrace_store::{BlobStore, Commit, Expect, Key, StateStore, Table, Write};
use std::pin::pin;
use std::task::{Context, Waker};

mod state {
    millrace_store::state_contract!((millrace_store::memory::MemoryStore::new(), ()));
}

mod blobs {
    millrace_store::blob_contract!((millrace_store::memory::MemoryStore::new(), ()));
}

mod state_with_yields {
    millrace_store::state_contract!((millrace_store::memory::MemoryStore::with_yields(), ()));
}

mod blobs_with_yields {
    millrace_store::blob_contract!((millrace_store::memory::MemoryStore::with_yields(), ()));
}

/// Polls so many times, then drops; tells whether it ended.
fn polled(what: impl Future, times: usize) -> bool {
    let mut what = pin!(what);
    (0..times).any(|_| {
        what.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    })
}

fn two_records() -> Commit {
    let make = |id| Write {
        key: Key::new(Table::Setting, id),
        expect: Expect::Absent,
        body: Some("1".into()),
        index_entries: Vec::new(),
    };
    Commit {
        writes: vec![make("a"), make("b")],
        effects: Vec::new(),
    }
}

fn held(store: &MemoryStore) -> usize {
    let (mut list, mut found) = (pin!(store.list(Table::Setting, None, 10)), None);
    while found.is_none() {
        if let std::task::Poll::Ready(records) =
            list.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            found = Some(records.unwrap().len());
        }
    }
    found.unwrap()
}

#[test]
fn without_yields_everything_is_ready_at_once() {
    let store = MemoryStore::new();
    assert!(polled(store.save(two_records()), 1));
    assert!(polled(store.put(b"x".to_vec()), 1));
    assert_eq!(held(&store), 2);
}

#[test]
fn a_caller_dies_before_its_write_or_after_it_and_never_within() {
    for (polls, written, finished) in [(0, 0, false), (1, 0, false), (2, 2, false), (3, 2, true)] {
        let store = MemoryStore::with_yields();
        assert_eq!(
            (polled(store.save(two_records()), polls), held(&store)),
            (finished, written),
            "after {polls} polls"
        );
    }
}

#[test]
fn clones_share_what_they_hold() {
    let store = MemoryStore::new();
    assert!(polled(store.clone().save(two_records()), 1));
    assert_eq!((held(&store), held(&MemoryStore::new())), (2, 0));
}

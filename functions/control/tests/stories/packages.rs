//! Who gets a name, and who a repository.

use millrace_control::ControlError;
use millrace_control::package::{PackageRequest, add};
use millrace_core::Timestamp;
use millrace_core::access::Actor;
use millrace_core::clone_url::repository_index;
use millrace_core::push::Package;
use millrace_store::memory::MemoryStore;
use millrace_store::packages::{RegisterError, of_repository};
use millrace_store::records::{all, write};
use millrace_store::{Commit, Expect, IndexEntry, StateStore, Table};

const NOW: Timestamp = Timestamp(1_763_930_000_000);

const URL: &str = "https://forge.example/rpms/zlib.git";

fn package(name: &str) -> Package {
    Package::new(name.parse().unwrap(), URL.to_owned(), Vec::new(), NOW)
}

async fn register(store: &MemoryStore, name: &str) -> Result<Package, ControlError> {
    let request = PackageRequest {
        name: name.parse().unwrap(),
        clone_url: URL.to_owned(),
        source_name: None,
        platforms: Vec::new(),
        project: None,
        priority: None,
    };
    add(&Actor::Local("dana".to_owned()), request, store, NOW).await
}

#[tokio::test]
async fn of_two_packages_that_ask_for_one_repository_one_gets_it() {
    let store = MemoryStore::with_yields();
    let (one, other) = tokio::join!(register(&store, "zlib"), register(&store, "zlib-ng"));
    let (won, told) = match (one, other) {
        (Ok(won), Err(told)) | (Err(told), Ok(won)) => (won, told),
        both => panic!("{both:?}"),
    };
    assert_eq!(
        told.to_string(),
        format!("{URL} is already the repository of package {}", won.name)
    );
    assert_eq!(
        all::<Package>(&store, Table::Package).await.unwrap(),
        std::slice::from_ref(&won)
    );
    assert_eq!(
        of_repository(&store, "http://forge.example/rpms/zlib")
            .await
            .unwrap(),
        Some(won)
    );
}

#[tokio::test]
async fn a_package_of_an_older_record_keeps_its_repository() {
    let store = MemoryStore::new();
    let entry = IndexEntry {
        index: repository_index(URL).unwrap(),
        sort: "zlib".to_owned(),
    };
    let old = write(
        Table::Package,
        "zlib",
        Expect::Absent,
        &package("zlib"),
        vec![entry],
    )
    .unwrap();
    store
        .save(Commit {
            writes: vec![old],
            effects: Vec::new(),
        })
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(
            of_repository(&store, URL).await.unwrap(),
            Some(package("zlib"))
        );
        let refused = register(&store, "zlib-ng").await.unwrap_err();
        assert!(
            matches!(
                refused,
                ControlError::Register(RegisterError::RepositoryTaken { .. })
            ),
            "{refused}"
        );
        assert_eq!(register(&store, "zlib").await.unwrap(), package("zlib"));
    }
}

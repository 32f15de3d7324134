//! The line as it is deployed: the functions' own programs, woken as Lambda wakes them, with the rights that the template gives them
//! and no others; and a real runner outside. Read this first: it is what `cargo xtask deploy` is for.

use crate::owner::{Cloud, QUIET};
use crate::stack::variable;
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread")]
async fn two_packages_go_from_push_to_a_released_repository() {
    let folder = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::start(folder.path(), |_| ()).await;
    cloud.set_up().await;
    let packages = PathBuf::from(variable("MILLRACE_TEST_PACKAGES"));
    cloud.runner("runner-1").await;
    for package in ["zlib", "pigz"] {
        let archive = packages.join(format!("{package}.tar.gz"));
        cloud
            .millrace(&["package", "upload", archive.to_str().unwrap()])
            .await;
        let commit = cloud.push_new(package, &packages.join(package)).await;
        let told = cloud.released(&commit).await;
        for task in ["source", "rpm@", "check@", "signing", "releasing"] {
            assert!(
                told.contains(task),
                "`millrace watch` does not tell of {task}:\n{told}"
            );
        }
    }
    cloud.lambda.fire("sweep").await;
    cloud.lambda.quiet(QUIET).await;
    assert_eq!(cloud.lambda.troubles(), Vec::<String>::new());
    assert_eq!(cloud.stack.messages().await, 0, "messages are left over");
    assert_eq!(cloud.stack.dead_letters().await, Vec::<String>::new());
    let (status, page) = cloud.get("/").await;
    assert!(status == 200 && page.contains("pigz"), "{status} {page}");
}

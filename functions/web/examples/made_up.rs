//! Serves pages of a made-up line, to look at them: `cargo run -p millrace-web --example made_up`.

#![allow(clippy::unwrap_used)]

use millrace_view::testing::{NOW, World, build_of, every_state};
use millrace_web::{Web, router};
use std::sync::Arc;

#[tokio::main]
async fn main() {
    let world = World::busy().await;
    let long: String = (1..40_000)
        .map(|n| format!("[{n}/39999] cc -O2 -c file{n}.c\n"))
        .collect();
    let pigz = build_of("pigz").id;
    world
        .keep_log(
            &format!("{pigz}/rpm@x86_64/1"),
            &[&long.as_bytes()[..1_000_000]],
        )
        .await;
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8620".to_owned());
    let socket = tokio::net::TcpListener::bind(&address).await.unwrap();
    for build in every_state() {
        println!(
            "http://{}/builds/{}  {} {}",
            socket.local_addr().unwrap(),
            build.id,
            build.word(),
            build.push.announced.package
        );
    }
    let routes = router(Web {
        state: world.store.clone(),
        blobs: world.store.clone(),
        clock: Arc::new(|| NOW),
        part_bytes: None,
        url: None,
    });
    axum::serve(socket, routes).await.unwrap();
}

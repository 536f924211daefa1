//! The scenarios on the in-memory cluster, under paused time. Needs nothing but Rust.

mod watcher;

use harness::{scenarios, world::World};

macro_rules! on_the_embedded_cluster {
    ($($name:ident: $scenario:ident($($argument:expr),*);)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            scenarios::$scenario(World::embedded().await, $($argument),*).await;
        }
    )*};
}

harness::every_scenario!(on_the_embedded_cluster);

//! The scenarios on the real control plane. Each has a control plane of its own.

use harness::{scenarios, world::World};

macro_rules! on_the_real_control_plane {
    ($($name:ident: $scenario:ident($($argument:expr),*);)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            scenarios::$scenario(World::real().await, $($argument),*).await;
        }
    )*};
}

harness::every_scenario!(on_the_real_control_plane);

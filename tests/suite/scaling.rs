//! The scenarios on the real control plane. Each has a control plane of its own, three at a time.

use std::sync::LazyLock;

use harness::{scenarios, world::World};
use tokio::sync::Semaphore;

/// Three keep the two cores of a small machine busy: a scenario spends most of its time waiting.
static AT_A_TIME: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(3));

macro_rules! on_the_real_control_plane {
    ($($name:ident: $scenario:ident($($argument:expr),*);)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let _turn = AT_A_TIME.acquire().await.unwrap();
            scenarios::$scenario(World::real().await, $($argument),*).await;
        }
    )*};
}

harness::every_scenario!(on_the_real_control_plane);

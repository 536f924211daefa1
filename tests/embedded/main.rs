//! The scenarios on the in-memory cluster, under paused time. Needs nothing but Rust.

mod watcher;

use autoscaler_scaler::failpoint;
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

/// An in-memory cluster costs this process time for every object at every tick of the clock: several small ones cost less.
const ROUNDS: usize = 4;

#[tokio::test(start_paused = true)]
async fn killed_at_every_step_of_a_removal() {
    for points in failpoint::REMOVAL.chunks(ROUNDS) {
        scenarios::killed_at(World::embedded().await, None, points).await;
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_step_of_the_way_back() {
    scenarios::killed_at(World::embedded().await, None, failpoint::ROLLBACK).await;
}

//! `demo`: the whole loop on one machine, with nothing installed.
//!
//! Everything is real but the hardware: the operator speaks HTTP to an embedded Kubernetes API server and to a mock of
//! the VPSie API, pods are scheduled and evicted, VMs are bought and deleted. Time runs faster, so that the ten minutes
//! that an idle node is kept pass in seconds.

pub mod machines;
mod narrator;
mod world;

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use self::{narrator::Narrator, world::World};
use crate::{
    args::DemoArgs,
    command::{self, Failure},
    operate::operate,
    serve::Health,
    telemetry::{self, LogFormat},
};

/// The longest that one act may take, in real time.
const ACT_LIMIT: Duration = Duration::from_secs(40);

/// Runs the demo.
///
/// # Errors
/// When a part cannot be started, or an act does not come to its end in time.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    telemetry::init(LogFormat::Text, &args.log_level).map_err(Failure::input)?;
    let world = World::start(args.time_scale).await?;
    let narrator = Narrator::new(&world);
    command::print(&format!(
        "A Kubernetes API server and a VPSie API run at {} and {}.\nTime runs {} times faster than usual; the clock at the left shows it.\n\n",
        world.kubernetes_url, world.vpsie_url, args.time_scale
    ))?;
    let stop = CancellationToken::new();
    let health = Health::new(Duration::from_secs(60));
    let (clients, provider, settings) = world.operator(&health).await?;
    let operator = tokio::spawn({
        let (stop, health) = (stop.clone(), health.clone());
        async move { operate(clients, provider, settings, &health, stop).await }
    });
    let told = tell(&world, &narrator).await;
    stop.cancel();
    let ended = operator.await.map_err(|error| Failure::failed(&error))?;
    told.and(ended)?;
    command::print(&narrator.summary())
}

/// The acts of the demo, each until what it shows has happened.
async fn tell(world: &World, narrator: &Narrator) -> Result<(), Failure> {
    narrator.title("A pod that fits nowhere: the cluster has no node at all")?;
    world.deploy("web", 1, "900m", "512Mi").await?;
    until(narrator, "the pod runs", || world.running("web", 1)).await?;

    narrator.title("Thirty pods at once, two node groups: the cheapest nodes that fit, bought together")?;
    world.scale("web", 30).await?;
    until(narrator, "all pods run", || world.running("web", 30)).await?;

    narrator.title("A pod larger than anything for sale: no node is bought, and the pod hears why")?;
    world.deploy("giant", 1, "64", "1Gi").await?;
    until(narrator, "the pod has an event", || {
        world.has_event("giant", "NotTriggerScaleUp")
    })
    .await?;
    world.delete("giant").await?;

    narrator.title("Most pods go: idle nodes wait ten minutes, then they are drained and their VMs deleted")?;
    world.scale("web", 2).await?;
    until(narrator, "two pods run on at most two nodes", async || {
        Ok(world.running("web", 2).await? && world.nodes().await? <= 2 && world.machines().await? <= 2)
    })
    .await?;

    narrator.title("The last pods go: the minimum is zero, so everything goes")?;
    world.delete("web").await?;
    until(narrator, "no Node, no VPSieNode and no VM is left", async || {
        Ok(world.nodes().await? == 0 && world.machines().await? == 0 && world.vms() == 0)
    })
    .await
}

/// Tells what happens until the condition holds.
#[expect(clippy::future_not_send, reason = "awaited where it is made, on the main task")]
async fn until<F, T>(narrator: &Narrator, what: &str, condition: F) -> Result<(), Failure>
where
    F: Fn() -> T,
    T: Future<Output = Result<bool, Failure>>,
{
    let watch = async {
        loop {
            narrator.look().await?;
            if condition().await? {
                return narrator.look().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(ACT_LIMIT, watch).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Failed(format!(
            "the demo waited {} s in vain until {what}",
            ACT_LIMIT.as_secs()
        ))),
    }
}

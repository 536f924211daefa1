//! The operator as a process: its probes, its end on a signal, and what is left when it is killed.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use harness::{
    operator::{OperatorProcess, Start},
    world::World,
};
use serde_json::json;
use vpsie_client::mock::{Fault, Route, Times};

const PROGRAM: &str = env!("CARGO_BIN_EXE_operator");

fn start(world: &World) -> OperatorProcess {
    OperatorProcess::start(PROGRAM, world, &Start::default())
}

/// The status and the body of `GET path`; `None` when nothing answers.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_metrics_answer_and_sigterm_ends_it_cleanly() {
    let world = World::real().await;
    world.credentials(&world.addresses().1).await;
    world.group("general", 1, 5, &["small-2"], json!({})).await;
    // The port is free now; should somebody else take it before the operator does, the test fails and says so.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at_address = Start {
        address: Some(address),
        ..Start::default()
    };
    let mut operator = OperatorProcess::start(PROGRAM, &world, &at_address);
    world
        .until("the operator is ready", async || {
            get(address, "/readyz").is_some_and(|(status, _)| status == 200)
        })
        .await;
    world.until_size(1).await;
    let limit = "vpsie_autoscaler_nodegroup_max_nodes{namespace=\"default\",nodegroup=\"general\"} 5";
    for (path, part) in [("/healthz", ""), ("/ping", "pong"), ("/metrics", limit)] {
        world
            .until(&format!("{path} answers with {part:?}"), async || {
                get(address, path).is_some_and(|(status, body)| status == 200 && body.contains(part))
            })
            .await;
    }
    let killed = Command::new("kill")
        .args(["-TERM", &operator.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    world
        .until("the operator has ended", async || get(address, "/ping").is_none())
        .await;
    assert_eq!(operator.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b32e_killed_between_the_create_and_the_write_of_its_outcome_one_vm() {
    let world = World::real().await;
    world.credentials(&world.addresses().1).await;
    world.group("general", 0, 5, &["small-2"], json!({})).await;
    // The VM is made, and the answer comes when nobody listens any more.
    world
        .mock
        .inject(Route::CreateVm, Fault::Delay(Duration::from_secs(3600)), Times::Next(1));
    let operator = start(&world);
    world.deploy("web", 1, "500m", json!({})).await;
    world
        .until("the VM is there, and its creator does not know", async || {
            world.mock.vms().len() == 1
        })
        .await;
    operator.kill();
    world.mock.clear_faults();
    let _successor = start(&world);
    world.until_running("web", 1).await;
    world.until_size(1).await;
    world.stays("one VM", 3, async || world.mock.vms().len() == 1).await;
    assert_eq!(world.mock.requests(Route::CreateVm), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_time_of_a_scale_up_and_a_scale_down_nothing_leaks() {
    let world = World::real().await;
    world.credentials(&world.addresses().1).await;
    world.group("general", 0, 5, &["medium-4"], json!({})).await;
    // Killed at ten different moments of the first second, and then left to finish.
    for moment in 0..10 {
        let operator = start(&world);
        if moment == 0 {
            world.deploy("web", 10, "500m", json!({})).await;
        }
        let killed = tokio::time::Instant::now() + Duration::from_millis(300 + 170 * moment);
        tokio::time::sleep_until(killed).await;
        operator.kill();
    }
    let operator = start(&world);
    world.until_running("web", 10).await;
    world.until_size(2).await;
    operator.kill();
    world.undeploy("web").await;
    for moment in 0..10 {
        let operator = start(&world);
        let killed = tokio::time::Instant::now() + Duration::from_millis(500 + 290 * moment);
        tokio::time::sleep_until(killed).await;
        operator.kill();
    }
    let _last = start(&world);
    world.until_size(0).await;
}

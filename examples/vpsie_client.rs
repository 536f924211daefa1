//! Uses the VPSie client against the mock server, over real HTTP: lists what is for sale, orders a VM, waits until it
//! runs, deletes it.
//!
//! Run with `cargo run -p autoscaler-examples --example vpsie_client`.

use std::error::Error;

use vpsie_client::{
    Client, CreateVm, VmStatus,
    mock::{MockConfig, MockVpsie},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The mock behaves like the API: it logs in, builds VMs in the background, and fails when it is told to.
    let mock = MockVpsie::new(MockConfig {
        provision_delay: std::time::Duration::from_millis(200),
        ..MockConfig::default()
    });
    let server = mock.serve("127.0.0.1:0".parse()?).await?;
    let client = Client::new(mock.client_config(server.base_url()))?;

    for offering in client.offerings().await?.items {
        println!(
            "{:10} {:5} millicores {:6} MiB  {:?} per hour",
            offering.id, offering.cpu_milli, offering.memory_mib, offering.hourly_price
        );
    }

    let order = CreateVm::new("web-1a2b3c4d", "small-2", "dc-1");
    let vm = client
        .create_vm(&order)
        .await?
        .ok_or("the API took the order and did not say which VM it is")?;
    println!("ordered VM {} ({:?})", vm.hostname, vm.status);

    mock.wait_for(|vms| vms.iter().all(|vm| vm.status == "running")).await;
    let vm = client.vm(&vm.id).await?;
    assert_eq!(vm.status, VmStatus::Running);
    println!("VM {} is running", vm.hostname);

    client.delete_vm(&vm.id).await?;
    mock.wait_for(|vms| vms.is_empty()).await;
    let error = client.vm(&vm.id).await.expect_err("a deleted VM cannot be read");
    assert!(error.is_not_found());
    println!("VM {} is gone", vm.hostname);
    Ok(())
}

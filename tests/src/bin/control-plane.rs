//! Runs a control plane for a person or a test: prints one line of JSON with its `kubeconfig`, `directory` and
//! `processIds`, and ends it when standard input ends.
//!
//! `cargo run -p autoscaler-tests --bin control-plane`, then `kubectl --kubeconfig PATH get nodes` in another terminal.

use std::io;

use harness::control_plane::ControlPlane;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let control_plane = ControlPlane::start().await?;
    println!(
        "{}",
        json!({
            "kubeconfig": control_plane.kubeconfig_path(),
            "directory": control_plane.directory(),
            "processIds": control_plane.process_ids(),
        })
    );
    // Nothing else runs on this runtime, so that it may be blocked.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

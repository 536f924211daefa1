//! Records metrics with `autoscaler-metrics` and prints what Prometheus would scrape.
//!
//! Run with `cargo run -p autoscaler-examples --example record_metrics`.

use std::{error::Error, time::Duration};

use autoscaler_metrics::{
    Exporter,
    record::{self, NodeGroup, NodeGroupSize},
};

fn main() -> Result<(), Box<dyn Error>> {
    let exporter = Exporter::install()?;

    let group = NodeGroup::new("default", "general");
    record::nodegroup(
        group,
        NodeGroupSize {
            desired: 3,
            current: 3,
            ready: 2,
            min: 1,
            max: 10,
        },
    );
    record::scale_up(group, 2);
    record::plan_duration(Duration::from_millis(3));

    let text = exporter.render();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains("nodegroup=\"general\""))
    {
        println!("{line}");
    }
    assert!(text.contains("vpsie_autoscaler_"));
    Ok(())
}

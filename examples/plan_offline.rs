//! Decides about a dump with `autoscaler-core` alone: no Kubernetes, no runtime, no clock.
//!
//! Run with `cargo run -p autoscaler-examples --example plan_offline`, with other files as arguments if you like: first
//! the reply of the offerings API, then dumps as `kubectl get nodes,pods,nodegroups,... -A -o yaml` prints them.

use std::{error::Error, fs, path::Path};

use autoscaler_core::{
    build::Input,
    check::check,
    document::PlanDocument,
    manifest::{Objects, Source, read, read_offerings},
    planner::{Options, plan},
    snapshot::Snapshot,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        let sample = |file| {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("clusters/scale-up")
                .join(file)
                .display()
                .to_string()
        };
        files = vec![sample("offerings.json"), sample("cluster.yaml")];
    }

    // Reading is strict: a mistake names the file, the line, the object and the field.
    let offerings = read_offerings(&Source {
        name: files[0].clone(),
        text: &fs::read_to_string(&files[0])?,
    })?;
    let mut objects = Objects::default();
    for file in &files[1..] {
        read(
            &Source {
                name: file.clone(),
                text: &fs::read_to_string(file)?,
            },
            &mut objects,
        )?;
    }

    // The same snapshot and the same time always give the same plan.
    let snapshot = Snapshot::build(&Input::new(&objects, &offerings));
    let decided = plan(&snapshot, &Options::default(), "2026-03-02T10:00:00Z".parse()?);

    // A second opinion, written independently of the planner.
    let violations = check(&snapshot, &decided);
    assert!(violations.is_empty(), "{violations:?}");

    println!("{}", PlanDocument::new(&snapshot, &decided));
    println!("The new nodes cost {} per hour.", decided.hourly_price());
    Ok(())
}

use autoscaler_benches::cluster::Shape;
use autoscaler_core::{
    build::Input,
    index::Index,
    planner::{Options, plan},
    snapshot::Snapshot,
    world::World,
};
use peak_alloc::PeakAlloc;
use std::time::Instant;
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
fn time<T>(what: &str, n: u32, mut f: impl FnMut() -> T) -> T {
    let start = Instant::now();
    let mut out = f();
    for _ in 1..n {
        out = f();
    }
    println!("{what}: {:?}", start.elapsed() / n);
    out
}
fn main() {
    let problem = Shape::LARGE.problem();
    let objects = &problem.objects;
    let input = Input::new(objects, &problem.offerings);
    println!(
        "{} pods {} nodes {} machines",
        input.pods.len(),
        input.nodes.len(),
        input.machines.len()
    );
    drop(time("warm build", 1, || Snapshot::build(&input)));
    let before = HEAP.current_usage();
    let mut index = time("Index::from_input", 1, || Index::from_input(&input));
    let live = HEAP.current_usage() - before;
    println!(
        "index live {:.1} MiB, {} per pod",
        live as f64 / 1048576.0,
        live / input.pods.len()
    );
    drop(time("from_input again", 5, || Index::from_input(&input)));
    {
        let before = HEAP.current_usage();
        let empty = Input {
            pods: Vec::new(),
            ..input.clone()
        };
        let i = Index::from_input(&empty);
        println!(
            "without pods live {:.1} MiB",
            (HEAP.current_usage() - before) as f64 / 1048576.0
        );
        drop(i);
    }
    {
        let before = HEAP.current_usage();
        let mut i = Index::new();
        for n in &input.nodes {
            i.put_node(n);
        }
        for p in &input.pods {
            i.put_pod(p);
        }
        time("one by one, snapshot", 1, || {
            i.snapshot();
        });
        println!(
            "one by one live {:.1} MiB",
            (HEAP.current_usage() - before) as f64 / 1048576.0
        );
    }
    let mut pod = objects.pods[7777].clone();
    let mut flip = 0u64;
    time("pod update + snapshot", 1000, || {
        flip += 1;
        pod.metadata.resource_version = flip.to_string();
        index.put_pod(&pod);
        index.snapshot().pods.len()
    });
    time("pod phase change + snapshot", 1000, || {
        flip += 1;
        pod.status.phase = if flip % 2 == 0 { "Running" } else { "Succeeded" }.into();
        index.put_pod(&pod);
        index.snapshot().pods.len()
    });
    time("pod remove + snapshot, put + snapshot", 1000, || {
        index.remove_pod(&pod.metadata.namespace, &pod.metadata.name);
        index.snapshot();
        index.put_pod(&pod);
        index.snapshot().pods.len()
    });
    time("new labels pod + snapshot", 1000, || {
        flip += 1;
        pod.metadata.labels.insert("h".into(), flip.to_string());
        index.put_pod(&pod);
        index.snapshot().pods.len()
    });
    let mut node = objects.nodes[777].clone();
    time("node put same + snapshot", 1000, || {
        index.put_node(&node);
        index.snapshot().pods.len()
    });
    time("node taint + snapshot", 1000, || {
        flip += 1;
        node.spec.unschedulable = flip % 2 == 0;
        node.spec.taints = if flip % 2 == 0 {
            vec![]
        } else {
            vec![autoscaler_core::manifest::node::Taint {
                key: "x".into(),
                effect: "NoSchedule".into(),
                ..Default::default()
            }]
        };
        index.put_node(&node);
        index.snapshot().pods.len()
    });
    time("node label + snapshot", 100, || {
        flip += 1;
        node.metadata.labels.insert("h".into(), flip.to_string());
        index.put_node(&node);
        index.snapshot().pods.len()
    });
    time("node leave, join", 20, || {
        index.remove_node(&node.metadata.name);
        index.snapshot();
        index.put_node(&node);
        index.snapshot().pods.len()
    });
    let mut machine = objects.vpsie_nodes[5].clone();
    time("machine + snapshot", 20, || {
        flip += 1;
        machine.metadata.name = format!("m{flip}");
        index.put_machine(&machine);
        index.snapshot().pods.len()
    });
    let snapshot = index.snapshot();
    time("World::new", 20, || World::new(snapshot).mark());
    let now = autoscaler_benches::NOW.parse().unwrap();
    time("plan idle", 5, || plan(snapshot, &Options::default(), now).nodes.len());
}

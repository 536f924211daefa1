//! The control plane itself: it starts, its controllers work on fake nodes, and nothing of it is left behind.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::fs::Permissions;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use autoscaler_scaler::embedded::kubelet::KubeletOptions;
use autoscaler_scaler::embedded::kubelet::Kubelets;
use autoscaler_scaler::embedded::kubelet::NodeSpec;
use harness::control_plane::ControlPlane;
use harness::control_plane::Error;
use harness::control_plane::Options;
use harness::control_plane::Program;
use harness::control_plane::metrics::NodeMetrics;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::Client;
use kube::Resource;
use kube::ResourceExt;
use kube::api::EvictParams;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::Condition;
use kube::runtime::wait::await_condition;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Far above what any step takes, so that only a failure reaches it.
const DEADLINE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn pods_are_scheduled_run_and_are_evicted_within_their_budget() {
    let client = ControlPlane::shared().await.unwrap().client().unwrap();
    let kubelets = Kubelets::new(client.clone(), quick());
    let (namespace, node) = ("evicted-within-budget", "evicted-within-budget-1");
    create_namespace(&client, namespace).await;
    kubelets.join(node_spec(node, namespace)).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);

    deployments
        .create(&PostParams::default(), &deployment("web", 3, namespace))
        .await
        .unwrap();
    until(&deployments, "web", ready_replicas(3)).await;
    let running = pods.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(running.len(), 3);
    for pod in &running {
        let (spec, status) = (pod.spec.as_ref().unwrap(), pod.status.as_ref().unwrap());
        assert_eq!(spec.node_name.as_deref(), Some(node));
        assert_eq!(status.phase.as_deref(), Some("Running"));
        assert!(status.pod_ip.is_some() && status.start_time.is_some(), "{status:?}");
    }

    budgets.create(&PostParams::default(), &budget("web", 3)).await.unwrap();
    until(&budgets, "web", disruptions_allowed(0)).await;
    let victim = running[0].name_any();
    let refused = pods.evict(&victim, &EvictParams::default()).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 429),
        "{refused}"
    );

    let relaxed = Patch::Merge(json!({"spec": {"minAvailable": 2}}));
    budgets.patch("web", &PatchParams::default(), &relaxed).await.unwrap();
    until(&budgets, "web", disruptions_allowed(1)).await;
    pods.evict(&victim, &EvictParams::default()).await.unwrap();
    until(&pods, &victim, is_deleted(&running[0].uid().unwrap())).await;
    until(&deployments, "web", ready_replicas(3)).await;
}

#[tokio::test]
async fn a_node_that_fails_is_not_ready_until_it_recovers() {
    let client = ControlPlane::shared().await.unwrap().client().unwrap();
    let options = KubeletOptions {
        ready_delay: Duration::from_millis(300),
        ..quick()
    };
    let kubelets = Kubelets::new(client.clone(), options);
    let (group, name) = ("fails-and-recovers", "fails-and-recovers-1");
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");

    kubelets.join(node_spec(name, group)).await.unwrap();
    let registered = nodes.get(name).await.unwrap();
    assert_eq!(ready_status(&registered), Some("False"));
    let has_taint = |node: &Node, key: &str| {
        node.spec
            .iter()
            .flat_map(|spec| spec.taints.iter().flatten())
            .any(|taint| taint.key == key)
    };
    assert!(
        has_taint(&registered, "node.kubernetes.io/not-ready"),
        "{:?}",
        registered.spec
    );
    let usable = move |node: Option<&Node>| {
        node.is_some_and(|node| ready_status(node) == Some("True") && !has_taint(node, "node.kubernetes.io/not-ready"))
    };
    until(&nodes, name, usable).await;
    until(&leases, name, |lease: Option<&Lease>| lease.is_some()).await;

    kubelets.fail(name).await.unwrap();
    assert_eq!(ready_status(&nodes.get(name).await.unwrap()), Some("False"));
    kubelets.recover(name).unwrap();
    until(&nodes, name, usable).await;

    // A machine that is gone leaves its Node behind, and the garbage collector takes the Lease away with it.
    kubelets.leave(name).await;
    let uid = nodes.get(name).await.unwrap().uid().unwrap();
    nodes.delete(name, &Default::default()).await.unwrap();
    until(&nodes, name, is_deleted(&uid)).await;
    until(&leases, name, |lease: Option<&Lease>| lease.is_none()).await;
}

#[tokio::test]
async fn node_metrics_are_served_under_the_path_of_metrics_server() {
    let client = ControlPlane::shared().await.unwrap().client().unwrap();
    let metrics = NodeMetrics::install(&client).await.unwrap();
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    metrics.set("measured-1", now, "250m", "1Gi").await.unwrap();
    metrics.set("measured-1", now, "300m", "1Gi").await.unwrap();

    let path = "/apis/metrics.k8s.io/v1beta1/nodes/measured-1";
    let get = || client.request::<serde_json::Value>(http::Request::get(path).body(Vec::new()).unwrap());
    let served = get().await.unwrap();
    assert_eq!(served["usage"], json!({"cpu": "300m", "memory": "1Gi"}));
    assert_eq!(served["timestamp"], "2026-01-02T03:04:05Z");

    metrics.remove("measured-1").await.unwrap();
    metrics.remove("measured-1").await.unwrap();
    assert!(matches!(get().await, Err(kube::Error::Api(status)) if status.is_not_found()));
}

#[tokio::test]
async fn an_early_exit_names_the_program_and_shows_its_log() {
    let flags = BTreeMap::from([(Program::KubeApiserver, vec!["--no-such-flag".to_owned()])]);
    let error = ControlPlane::start_with(&Options {
        flags,
        ..Options::default()
    })
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Exited {
                program: Program::KubeApiserver,
                ..
            }
        ),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("kube-apiserver ended with exit status: 1"),
        "{message}"
    );
    assert!(message.contains("unknown flag: --no-such-flag"), "{message}");
}

#[tokio::test]
async fn a_missing_binary_says_how_to_build_it() {
    let empty = tempfile::tempdir().unwrap();
    for builds in [empty.path().to_owned(), empty.path().join("missing")] {
        let options = Options {
            builds: Some(builds),
            ..Options::default()
        };
        let error = ControlPlane::start_with(&options).await.unwrap_err();
        assert!(error.to_string().contains("run `make control-plane`"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_asset_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let options = Options {
        assets: Some(empty.path().to_owned()),
        ..Options::default()
    };
    let error = ControlPlane::start_with(&options).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::MissingAsset {
                program: Program::Etcd,
                ..
            }
        ),
        "{error}"
    );
}

/// The assets are scripts that note their process id and become the program of our build.
#[tokio::test]
async fn assets_are_used_where_there_are_some_and_end_with_the_rest() {
    let assets = tempfile::tempdir().unwrap();
    let binary = Options::default().binary().unwrap();
    for program in [Program::Etcd, Program::KubeApiserver] {
        let script = assets.path().join(program.name());
        let content = format!(
            "#!/bin/sh\necho $$ >\"$0.pid\"\nexec '{}' {program} \"$@\"\n",
            binary.display()
        );
        fs::write(&script, content).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    }
    let options = Options {
        assets: Some(assets.path().to_owned()),
        ..Options::default()
    };
    let control_plane = ControlPlane::start_with(&options).await.unwrap();
    let nodes: Api<Node> = Api::all(control_plane.client().unwrap());
    nodes.list(&ListParams::default()).await.unwrap();
    let directory = control_plane.directory().to_owned();
    let mut processes = control_plane.process_ids();
    for program in [Program::Etcd, Program::KubeApiserver] {
        let id = fs::read_to_string(assets.path().join(format!("{program}.pid"))).unwrap();
        processes.push(id.trim().parse().unwrap());
    }
    assert!(processes.iter().all(|&id| is_alive(id)));
    drop(control_plane);
    assert!(!processes.iter().any(|&id| is_alive(id)));
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_panic_of_its_owner_leaves_no_process_and_no_file() {
    let control_plane = ControlPlane::start().await.unwrap();
    let directory = control_plane.directory().to_owned();
    let processes = control_plane.process_ids();
    assert_eq!(processes.len(), 4);
    assert!(processes.iter().all(|&id| is_alive(id)));
    let owner = tokio::spawn(async move {
        let _owned = control_plane;
        panic!("this panic belongs to the test");
    });
    assert!(owner.await.unwrap_err().is_panic());
    assert!(!processes.iter().any(|&id| is_alive(id)));
    assert!(!directory.exists());
}

#[tokio::test]
async fn killing_the_process_that_started_it_leaves_no_process_and_no_file() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    let directory = Path::new(started["directory"].as_str().unwrap());
    let processes: Vec<u32> = serde_json::from_value(started["processIds"].clone()).unwrap();
    assert!(processes.iter().all(|&id| is_alive(id)));

    owner.kill().unwrap();
    owner.wait().unwrap();
    let all_gone = async {
        while directory.exists() || processes.iter().any(|&id| is_alive(id)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, all_gone)
        .await
        .expect("processes and files go with their owner");
}

/// Kubelets that do not wait for grace periods.
fn quick() -> KubeletOptions {
    KubeletOptions {
        max_grace: Duration::from_millis(100),
        ..KubeletOptions::default()
    }
}

/// A node that only the pods of `group` run on.
fn node_spec(name: &str, group: &str) -> NodeSpec {
    let capacity = [("cpu", "4"), ("memory", "8Gi")].map(|(name, amount)| (name.to_owned(), amount.to_owned()));
    NodeSpec {
        name: name.to_owned(),
        labels: BTreeMap::from([("group".to_owned(), group.to_owned())]),
        capacity: capacity.into(),
        ..NodeSpec::default()
    }
}

async fn create_namespace(client: &Client, name: &str) {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let namespace = Namespace {
        metadata,
        ..Namespace::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
}

fn deployment(name: &str, replicas: u32, group: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeSelector": {"group": group},
                    "containers": [{
                        "name": "main",
                        "image": "registry.example/app:1",
                        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    }],
                },
            },
        },
    }))
    .unwrap()
}

fn budget(app: &str, min_available: u32) -> PodDisruptionBudget {
    serde_json::from_value(json!({
        "metadata": {"name": app},
        "spec": {"minAvailable": min_available, "selector": {"matchLabels": {"app": app}}},
    }))
    .unwrap()
}

async fn until<K>(api: &Api<K>, name: &str, condition: impl Condition<K>)
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + 'static,
{
    let reached = tokio::time::timeout(DEADLINE, await_condition(api.clone(), name, condition)).await;
    match reached {
        Ok(result) => drop(result.unwrap()),
        Err(_) => panic!("{name} is not as it should be after {DEADLINE:?}"),
    }
}

fn ready_replicas(wanted: i32) -> impl Condition<Deployment> {
    move |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.ready_replicas) == Some(wanted)
    }
}

/// The controller has seen the newest version of the budget and allows so many disruptions.
fn disruptions_allowed(wanted: i32) -> impl Condition<PodDisruptionBudget> {
    move |budget: Option<&PodDisruptionBudget>| {
        budget.is_some_and(|budget| {
            budget.status.as_ref().is_some_and(|status| {
                status.observed_generation == budget.metadata.generation && status.disruptions_allowed == Some(wanted)
            })
        })
    }
}

fn ready_status(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    Some(&conditions.iter().find(|condition| condition.type_ == "Ready")?.status)
}

/// Whether a process exists that is not a zombie.
fn is_alive(id: u32) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &id.to_string()])
        .output()
        .unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

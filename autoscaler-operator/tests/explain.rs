//! `explain pod` as a user runs it: on a dump, and on an operator that runs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test fails by panicking"
)]

#[path = "explain/dump.rs"]
mod dump;

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use autoscaler_core::usage::WindowShape;
use autoscaler_operator::{
    explain::answer::{self, Explainer},
    operate::{self, operate},
    serve::{self, Health},
};
use autoscaler_scaler::{
    api,
    clients::Clients,
    embedded::Cluster,
    run::{Observer, Progress},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use vpsie_client::{
    VmProvider,
    mock::{MockConfig, MockVpsie},
};

use self::dump::{Dump, NOW};

/// The answers of one pod: places with the reason against each, or `fits`.
fn answers(explanation: &Value, pod: &str, list: &str) -> Vec<(String, String)> {
    let pods = explanation["pods"].as_array().unwrap();
    let pod = pods.iter().find(|entry| entry["pod"] == pod).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let answer = |entry: &Value| {
        let place = match entry["nodeGroup"].as_str() {
            Some(group) => format!("{group} {}", text(&entry["offering"])),
            None => text(&entry["node"]),
        };
        let fits = entry["fits"].as_bool().unwrap();
        assert_eq!(fits, entry.get("reason").is_none(), "{entry}");
        assert_eq!(fits, entry.get("message").is_none(), "{entry}");
        (
            place,
            if fits {
                "fits".to_owned()
            } else {
                text(&entry["reason"])
            },
        )
    };
    pod[list].as_array().unwrap().iter().map(answer).collect()
}

fn nodes(explanation: &Value, pod: &str) -> Vec<(String, String)> {
    answers(explanation, pod, "nodes")
}

/// `place reason` for each.
fn lines(answers: &[(String, String)]) -> Vec<String> {
    answers
        .iter()
        .map(|(place, reason)| format!("{place}: {reason}"))
        .collect()
}

const RUNNING: &str = "phase: Running";
const PENDING: &str = "phase: Pending";

#[test]
fn the_object_is_the_documented_one() {
    let explanation = Dump::of("pod")
        .node("n1", "", "")
        .node("n2", "", "")
        .pod("busy", "3900m", "nodeName: n2", RUNNING)
        .pod("web", "500m", "", PENDING)
        .group("a", 5, "small", "")
        .json(&[]);
    let expected = json!({
        "apiVersion": "autoscaler.vpsie.com/v1alpha1",
        "kind": "Explanation",
        "now": NOW,
        "pods": [{
            "pod": "shop/web",
            "nodes": [
                {"node": "n1", "fits": true},
                {"node": "n2", "fits": false, "reason": "NodeResourcesFit", "message": "cpu: needs 500m, 100m free"},
            ],
            "nodeGroups": [{"nodeGroup": "shop/a", "offering": "small", "fits": true}],
        }],
    });
    assert_eq!(explanation, expected);
}

#[test]
fn without_names_every_pod_without_a_node_that_has_not_ended_is_explained() {
    let dump = Dump::of("pod")
        .node("n1", "", "")
        .pod("z", "1", "", PENDING)
        .pod("gated", "1", "schedulingGates: [{name: quota}]", PENDING)
        .pod("ended", "1", "", "phase: Failed")
        .pod("bound", "1", "nodeName: n1", PENDING)
        .pod("lost", "1", "nodeName: gone", PENDING);
    let explanation = dump.json(&[]);
    let names = |explanation: &Value| {
        let pods = explanation["pods"].as_array().unwrap();
        pods.iter()
            .map(|pod| pod["pod"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&explanation), ["shop/gated", "shop/z"]);
    let named = dump.json(&["shop/z", "shop/ended", "shop/z"]);
    assert_eq!(
        names(&named),
        ["shop/z", "shop/ended"],
        "in the order of the arguments, each once"
    );
    assert_eq!(Dump::of("pod").node("n1", "", "").text(&[]), "No pod is pending.\n");
}

#[test]
fn every_node_answers_also_cordoned_and_unready_ones() {
    let explanation = Dump::of("pod")
        .node("n3", "", "unschedulable: true")
        .node("n1", "", "")
        .node("n2", "", "taints: [{key: node.kubernetes.io/not-ready, effect: NoSchedule}]")
        .with("apiVersion: v1\nkind: Node\nmetadata: {name: n4}\nstatus:\n  allocatable: {cpu: \"4\", memory: 8Gi, pods: \"110\"}\n  conditions: [{type: Ready, status: \"False\"}]")
        .pod("web", "1", "", PENDING)
        .json(&[]);
    // A node that is not Ready is kept from pods by its taint alone, as the scheduler sees it.
    assert_eq!(
        lines(&nodes(&explanation, "shop/web")),
        ["n1: fits", "n2: TaintToleration", "n3: NodeUnschedulable", "n4: fits"]
    );
}

#[test]
fn a_bound_pod_is_judged_as_if_pending_with_its_own_use_taken_off() {
    let dump = Dump::of("pod")
        .node("n1", "", "")
        .node("n2", "", "")
        .node("n3", "", "unschedulable: true")
        .pod("big", "3", "nodeName: n1", RUNNING)
        .pod("over", "2", "nodeName: n1", RUNNING)
        .group("a", 5, "medium", "")
        .group("b", 0, "medium", "");
    let explanation = dump.json(&["shop/big", "shop/over"]);
    // Both together are more than the node has: without its own part each sees what the other leaves.
    for pod in ["shop/big", "shop/over"] {
        assert_eq!(
            lines(&nodes(&explanation, pod)),
            ["n1: NodeResourcesFit", "n2: NodeName", "n3: NodeUnschedulable"]
        );
        assert_eq!(
            lines(&answers(&explanation, pod, "nodeGroups")),
            ["shop/a medium: NodeName", "shop/b medium: AtMaxNodes"]
        );
    }
    let messages = |pod: usize| {
        explanation["pods"][pod]["nodes"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(messages(0), "cpu: needs 3000m, 2000m free");
    assert_eq!(messages(1), "cpu: needs 2000m, 1000m free");
    assert_eq!(explanation["pods"][0]["nodes"][1]["message"], "the pod is bound to n1");
}

#[test]
fn one_bound_pod_does_not_change_what_the_next_sees() {
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]";
    let anti = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}";
    let dump = Dump::of("pod")
        .node("n1", "", "")
        .node("n2", "", "")
        .pod("web", "100m", &format!("nodeName: n1, {spread}"), RUNNING)
        .pod("alone", "100m", anti, PENDING);
    let both = dump.json(&["shop/web", "shop/alone"]);
    assert_eq!(lines(&nodes(&both, "shop/web")), ["n1: fits", "n2: NodeName"]);
    assert_eq!(lines(&nodes(&both, "shop/alone")), ["n1: InterPodAffinity", "n2: fits"]);
    for pod in ["shop/web", "shop/alone"] {
        assert_eq!(
            dump.json(&[pod])["pods"][0]["nodes"],
            both["pods"][usize::from(pod == "shop/alone")]["nodes"]
        );
    }
}

#[test]
fn a_pod_bound_to_an_unknown_node_fits_no_node() {
    let explanation = Dump::of("pod")
        .node("n1", "", "")
        .node("n2", "", "unschedulable: true")
        .pod("lost", "100m", "nodeName: gone", RUNNING)
        .json(&["shop/lost"]);
    assert_eq!(
        lines(&nodes(&explanation, "shop/lost")),
        ["n1: NodeName", "n2: NodeUnschedulable"]
    );
}

#[test]
fn a_pod_that_has_ended_holds_nothing_that_could_be_taken_off() {
    let explanation = Dump::of("pod")
        .node("n1", "", "")
        .pod("busy", "3", "nodeName: n1", RUNNING)
        .pod("ended", "2", "nodeName: n1", "phase: Succeeded")
        .json(&["shop/ended"]);
    assert_eq!(
        explanation["pods"][0]["nodes"][0]["message"],
        "cpu: needs 2000m, 1000m free"
    );
}

#[test]
fn a_nominated_pod_keeps_its_room_against_pods_of_its_own_or_a_lower_priority() {
    let dump = Dump::of("pod")
        .node("n1", "", "")
        .pod("nominee", "3", "priority: 5", "phase: Pending, nominatedNodeName: n1")
        .pod("lower", "2", "priority: 4", PENDING)
        .pod("equal", "2", "priority: 5", PENDING)
        .pod("higher", "2", "priority: 6", PENDING)
        .pod("fan", "100m", "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: nominee}}}]}}", PENDING);
    let explanation = dump.json(&[]);
    let answer = |pod: &str| lines(&nodes(&explanation, pod)).remove(0);
    assert_eq!(answer("shop/nominee"), "n1: fits", "it does not stand in its own way");
    assert_eq!(answer("shop/lower"), "n1: NodeResourcesFit");
    assert_eq!(answer("shop/equal"), "n1: NodeResourcesFit");
    assert_eq!(answer("shop/higher"), "n1: fits");
    assert_eq!(
        answer("shop/fan"),
        "n1: InterPodAffinity",
        "a pod that may never come is nobody's company"
    );
}

#[test]
fn every_group_and_offering_has_its_one_decisive_reason() {
    let not_managed = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {name: foreign, namespace: shop}\nspec: {minNodes: 0, maxNodes: 5, datacenterID: dc, offeringIDs: [small]}";
    let leaving = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {name: leaving, namespace: shop, labels: {autoscaler.vpsie.com/managed: \"true\"}, deletionTimestamp: \"2026-01-01T00:00:00Z\", finalizers: [a/b]}\nspec: {minNodes: 0, maxNodes: 5, datacenterID: dc, offeringIDs: [small]}";
    let backed_off = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {name: refused, namespace: shop, labels: {autoscaler.vpsie.com/managed: \"true\"}}\nspec: {minNodes: 0, maxNodes: 5, datacenterID: dc, offeringIDs: [small, medium]}\nstatus: {scaleUpBackoffs: [{offering: small, until: \"2026-01-01T12:05:00Z\", failures: 1, message: worker limit 5}]}";
    let dump = Dump::of("pod")
        .group("full", 0, "small", "")
        .group("paused", 5, "small", "scaleUpPolicy: {enabled: false}")
        .group("open", 5, "small, medium, rare, unknown", "")
        .group(
            "tainted",
            5,
            "medium",
            "taints: [{key: gpu, value: \"1\", effect: NoSchedule}]",
        )
        .with(not_managed)
        .with(leaving)
        .with(backed_off)
        .pod("web", "2", "", PENDING);
    let explanation = dump.json(&[]);
    assert_eq!(
        lines(&answers(&explanation, "shop/web", "nodeGroups")),
        [
            "shop/foreign small: NotManaged",
            "shop/full small: AtMaxNodes",
            "shop/leaving small: GroupDeleting",
            "shop/open small: InsufficientCpu",
            "shop/open medium: fits",
            "shop/open rare: OfferingUnavailable",
            "shop/open unknown: OfferingUnavailable",
            "shop/paused small: ScaleUpDisabled",
            "shop/refused small: BackedOff",
            "shop/refused medium: fits",
            "shop/tainted medium: TaintToleration",
        ]
    );
    let groups = explanation["pods"][0]["nodeGroups"].as_array().unwrap();
    let message = |index: usize| groups[index]["message"].as_str().unwrap().to_owned();
    assert_eq!(message(3), "cpu: needs 2000m, a new node has 900m");
    assert_eq!(
        message(8),
        "small is backed off until 2026-01-01T12:05:00Z: worker limit 5"
    );
    let later = dump.run(&["-o", "json", "--set", "shop/open.maxNodes=0"]);
    let later: Value = serde_json::from_slice(&later.stdout).unwrap();
    assert_eq!(answers(&later, "shop/web", "nodeGroups")[4].1, "AtMaxNodes");
}

#[test]
fn what_daemon_sets_take_of_a_new_node_is_told() {
    let daemon_set = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent, namespace: kube-system}\nspec:\n  selector: {matchLabels: {app: agent}}\n  template:\n    metadata: {labels: {app: agent}}\n    spec: {containers: [{name: c, resources: {requests: {cpu: 180m}}}]}";
    let explanation = Dump::of("pod")
        .with(daemon_set)
        .group("a", 5, "medium", "")
        .pod("web", "3800m", "", PENDING)
        .pod("fits", "3720m", "", PENDING)
        .json(&[]);
    let of = |pod: usize| &explanation["pods"][pod]["nodeGroups"][0];
    assert_eq!(of(0)["fits"], true);
    assert_eq!(of(1)["reason"], "InsufficientCpu");
    assert_eq!(
        of(1)["message"],
        "cpu: needs 3800m, a new node has 3720m (3900m less DaemonSets 180m)"
    );
}

#[test]
fn a_spread_pod_is_kept_from_new_nodes_as_scale_up_keeps_it() {
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]";
    let explanation = Dump::of("pod")
        .node("n1", "topology.kubernetes.io/zone: dc-a", "")
        .pod("other", "3500m", "nodeName: n1", RUNNING)
        .with(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: old, namespace: shop, labels: {{app: web}}}}\nspec: {{containers: [{{name: c}}], nodeName: n1, {spread}}}\nstatus: {{phase: Running}}"))
        .pod("web", "100m", spread, PENDING)
        .group("a", 5, "small", "")
        .group("b", 5, "small", "")
        .json(&[]);
    // The scheduler knows one zone only, so it would put the pod there; a node of the other zone can be bought.
    assert_eq!(lines(&nodes(&explanation, "shop/web")), ["n1: fits"]);
    assert_eq!(
        lines(&answers(&explanation, "shop/web", "nodeGroups")),
        ["shop/a small: PodTopologySpread", "shop/b small: fits"]
    );
}

#[test]
fn text_groups_places_by_reason() {
    let dump = (0..12)
        .fold(Dump::of("pod"), |dump, index| {
            dump.node(&format!("n{index:02}"), "", "")
        })
        .node("cordoned", "", "unschedulable: true")
        .node("free", "disk: fast", "")
        .pod("busy", "3", "nodeName: n00", RUNNING)
        .pod("web", "2", "nodeSelector: {disk: fast}", PENDING)
        .pod("huge", "5", "", PENDING)
        .group("a", 5, "small, medium", "");
    assert_eq!(
        dump.text(&["shop/huge", "shop/web", "shop/busy"]),
        "\
shop/huge:
  fits 0 of 14 nodes
    NodeResourcesFit (13 nodes):
      free, n01, n02, n03, n04, n05, n06, n07, n08, n09, 2 more: cpu: needs 5000m, 4000m free
      n00: cpu: needs 5000m, 1000m free
    NodeUnschedulable (1 node):
      cordoned: the node is cordoned
  new nodes: 0 of 2 offerings could be bought for it
    InsufficientCpu (2 offerings):
      shop/a medium: cpu: needs 5000m, a new node has 3900m
      shop/a small: cpu: needs 5000m, a new node has 900m

shop/web:
  fits 1 of 14 nodes
    free
    NodeAffinity (12 nodes):
      n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, 2 more: the node selector asks for disk=fast
    NodeUnschedulable (1 node):
      cordoned: the node is cordoned
  new nodes: 0 of 2 offerings could be bought for it
    NodeAffinity (2 offerings):
      shop/a small, shop/a medium: the node selector asks for disk=fast

shop/busy, which is on n00:
  fits 1 of 14 nodes
    n00
    NodeName (12 nodes):
      free, n01, n02, n03, n04, n05, n06, n07, n08, n09, 2 more: the pod is bound to n00
    NodeUnschedulable (1 node):
      cordoned: the node is cordoned
  new nodes: 0 of 2 offerings could be bought for it
    NodeName (2 offerings):
      shop/a small, shop/a medium: the pod is bound to n00
"
    );
}

#[test]
fn the_order_of_the_input_does_not_show() {
    let documents = ["n3", "n1", "n2"];
    let build = |order: [usize; 3]| {
        order.iter().fold(Dump::of("pod"), |dump, index| {
            let name = documents[*index];
            dump.node(name, "", "")
                .pod(&format!("on-{name}"), "3", &format!("nodeName: {name}"), RUNNING)
                .pod(&format!("waits-{name}"), "2", "", PENDING)
        })
    };
    assert_eq!(build([0, 1, 2]).json(&[]), build([2, 1, 0]).json(&[]));
}

#[test]
fn names_that_are_none_and_unknown_pods_are_bad_input() {
    let dump = Dump::of("pod").node("n1", "", "").pod("web", "1", "", PENDING);
    assert!(dump.refused(&["shop/nobody"]).contains("there is no pod shop/nobody"));
    assert!(dump.refused(&["shop/web", "web"]).contains("expected NAMESPACE/NAME"));
    assert!(dump.refused(&["--set", "nonsense"]).contains("KEY=VALUE"));
    let bad = Dump::of("pod").with("kind: Pdo\napiVersion: v1\nmetadata: {name: x}");
    assert!(bad.refused(&[]).contains("standard input:"));
}

#[test]
fn options_for_files_need_files_and_the_operator_excludes_them() {
    let usage = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vpsie-autoscaler"))
            .args(["explain", "pod"])
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    usage(&["--now", NOW]);
    usage(&["--offerings", "x.json"]);
    usage(&["-f", "x.yaml", "--operator", "http://127.0.0.1:1"]);
    assert!(usage(&["--operator", "https://127.0.0.1:1"]).contains("http://HOST"));
    assert!(usage(&["nobody"]).contains("expected NAMESPACE/NAME"));
}

/// `explain pod` on the operator at this address.
async fn asked(operator: &str, args: &[&str]) -> Output {
    asked_for("pod", operator, args).await
}

/// `explain pod` or `explain node` on the operator at this address.
async fn asked_for(what: &str, operator: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpsie-autoscaler"));
    command
        .args(["explain", what, "--operator", operator])
        .args(args.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_files_the_running_operator_is_asked() {
    const LIMIT: Duration = Duration::from_secs(60);
    let any_port = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let stop = CancellationToken::new();
    let explainer = Explainer::default();
    let routes = answer::router(explainer.clone());
    let (address, server) = serve::serve("test", any_port, routes, stop.clone()).await.unwrap();
    let url = format!("http://{address}/");

    let early = asked(&url, &[]).await;
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    assert!(said(&early).contains("503 Service Unavailable: this replica has decided nothing yet"));

    let cluster = Cluster::new();
    let client = cluster.client();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in api::crds() {
        crds.create(&PostParams::default(), &crd).await.unwrap();
    }
    let node = json!({
        "metadata": {"name": "n1"},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    let node_api: Api<Node> = Api::all(client.clone());
    node_api
        .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
        .await
        .unwrap();
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "5"}}}]},
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    let group = json!({
        "apiVersion": api::API_VERSION,
        "kind": "NodeGroup",
        "metadata": {"name": "general", "namespace": "default", "labels": {api::labels::MANAGED: "true"}},
        "spec": {
            "minNodes": 0, "maxNodes": 10, "datacenterID": "dc-1", "offeringIDs": ["medium-4", "medium-8"],
            "resourceIdentifier": "test", "project": "test", "kubernetesVersion": "v1.36.3",
        },
    });
    let groups: Api<api::NodeGroup> = Api::namespaced(client.clone(), "default");
    groups
        .create(&PostParams::default(), &serde_json::from_value(group).unwrap())
        .await
        .unwrap();

    let planned = Arc::new(Notify::new());
    let observer: Observer = {
        let planned = Arc::clone(&planned);
        Arc::new(move |progress| {
            if matches!(progress, Progress::Planned { .. }) {
                planned.notify_one();
            }
        })
    };
    let settings = operate::Settings {
        cluster: "test".to_owned(),
        identity: "test".to_owned(),
        own_node: None,
        dry_run: true,
        lease: None,
        scan_interval: Duration::from_secs(10),
        batch_idle: Duration::from_millis(10),
        batch_max: Duration::from_secs(1),
        list_interval: SignedDuration::from_secs(5),
        usage_window: WindowShape::DEFAULT,
        usage_pause: Duration::from_secs(60),
        clock: Arc::new(Timestamp::now),
        observer: Some(observer),
        explainer,
    };
    let mock = MockVpsie::new(MockConfig::default());
    let provider = Arc::new(VmProvider::new(mock.client().unwrap()));
    let operator = tokio::spawn({
        let stop = stop.clone();
        async move {
            operate(
                Clients::in_process(client),
                provider,
                settings,
                &Health::new(LIMIT),
                stop,
            )
            .await
        }
    });
    timeout(LIMIT, planned.notified()).await.unwrap();

    let output = asked(&url, &["-o", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let explanation: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explanation["kind"], "Explanation");
    assert_eq!(
        lines(&nodes(&explanation, "default/web")),
        ["n1: TaintToleration"],
        "as a node begins"
    );
    assert_eq!(
        lines(&answers(&explanation, "default/web", "nodeGroups")),
        [
            "default/general medium-4: InsufficientCpu",
            "default/general medium-8: fits"
        ]
    );
    let output = asked(&url, &["default/web"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("default/web:\n  fits 0 of 1 node\n"), "{text}");
    let unknown = asked(&url, &["default/web", "default/no body"]).await;
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(said(&unknown).contains("there is no pod default/no body"));

    let output = asked_for("node", &url, &["n1", "-o", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let explanation: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explanation["nodes"][0]["node"], "n1");
    assert_eq!(explanation["nodes"][0]["reason"], "NotAutoscaled");
    let output = asked_for("node", &url, &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("n1: Keep (NotAutoscaled): belongs to no NodeGroup\n"),
        "{text}"
    );
    let unknown = asked_for("node", &url, &["n2"]).await;
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(said(&unknown).contains("there is no node n2"));

    stop.cancel();
    timeout(LIMIT, operator).await.unwrap().unwrap().unwrap();
    timeout(LIMIT, server).await.unwrap().unwrap().unwrap();
    let late = asked(&url, &[]).await;
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(said(&late).contains("it cannot be reached"));
}

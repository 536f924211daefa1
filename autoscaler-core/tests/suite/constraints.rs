//! What keeps pods from nodes because of other pods, ports or volumes, as kube-scheduler's Filter plugins see it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are helpers of tests")]

mod affinity;
mod volumes;
mod world;

use std::sync::Arc;

use autoscaler_core::{
    document::PlanDocument,
    snapshot::{GroupId, NodeId, Pod, Snapshot},
    template::Template,
    world::World,
};

use crate::case::{Case, bought, pod};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

impl Case {
    /// A Ready node with 8 cores and these labels and its name as host name; `spec` is YAML in braces.
    fn place(self, name: &str, labels: &str, spec: &str) -> Self {
        self.with(&format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{HOST}: {name}, {labels}}}}}\nspec: {{{spec}}}\nstatus:\n  allocatable: {{cpu: \"8\", memory: 16Gi, pods: \"110\"}}\n  conditions: [{{type: Ready, status: \"True\"}}]"
        ))
    }

    /// Three nodes a, b and c in zones of the same names.
    fn zones(self) -> Self {
        ["a", "b", "c"]
            .iter()
            .fold(self, |case, zone| case.place(zone, &format!("{ZONE}: {zone}"), ""))
    }

    /// A pod `default/NAME` with labels and the rest of its spec in braces; with a node it runs there, else it waits.
    fn pod(self, name: &str, node: &str, labels: &str, spec: &str) -> Self {
        self.pod_with(name, node, &format!("namespace: default, labels: {{{labels}}}"), spec)
    }

    fn pod_with(self, name: &str, node: &str, metadata: &str, spec: &str) -> Self {
        let (bound, status) = if node.is_empty() {
            (
                String::new(),
                "phase: Pending, conditions: [{type: PodScheduled, status: \"False\", reason: Unschedulable}]",
            )
        } else {
            (format!(", nodeName: {node}"), "phase: Running")
        };
        let containers = if spec.contains("containers:") {
            ""
        } else {
            ", containers: [{name: c, resources: {requests: {cpu: 100m}}}]"
        };
        let rest = if spec.is_empty() {
            String::new()
        } else {
            format!(", {spec}")
        };
        self.with(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, {metadata}}}\nspec: {{schedulerName: x{containers}{rest}{bound}}}\nstatus: {{{status}}}"
        ))
    }

    fn object(self, api: &str, kind: &str, metadata: &str, rest: &str) -> Self {
        self.with(&format!(
            "apiVersion: {api}\nkind: {kind}\nmetadata: {{{metadata}}}\n{rest}"
        ))
    }

    /// A bound claim `default/NAME` and its volume `pv-NAME`; `volume` is YAML of the volume's spec in braces.
    fn claim(self, name: &str, modes: &str, labels: &str, volume: &str) -> Self {
        self.object(
            "v1",
            "PersistentVolume",
            &format!("name: pv-{name}, labels: {{{labels}}}"),
            &format!("spec: {{accessModes: [{modes}], {volume}}}"),
        )
        .object(
            "v1",
            "PersistentVolumeClaim",
            &format!("name: {name}, namespace: default, annotations: {{pv.kubernetes.io/bind-completed: \"yes\"}}"),
            &format!("spec: {{volumeName: pv-{name}, accessModes: [{modes}]}}\nstatus: {{phase: Bound}}"),
        )
    }

    /// An unbound claim `default/NAME` of a storage class.
    fn unbound(self, name: &str, class: &str, metadata: &str) -> Self {
        self.object(
            "v1",
            "PersistentVolumeClaim",
            &format!("name: {name}, namespace: default, {metadata}"),
            &format!("spec: {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 5Gi}}}}}}"),
        )
    }

    /// A storage class; `rest` are further lines.
    fn class(self, name: &str, provisioner: &str, mode: &str, rest: &str) -> Self {
        self.object(
            "storage.k8s.io/v1",
            "StorageClass",
            &format!("name: {name}"),
            &format!("provisioner: {provisioner}\nvolumeBindingMode: {mode}\n{rest}"),
        )
    }

    /// A group in a datacenter of its own.
    fn datacenter(self, name: &str, offerings: &str) -> Self {
        self.with(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: {name}, namespace: default, labels: {{autoscaler.vpsie.com/managed: \"true\"}}}}\nspec: {{minNodes: 0, maxNodes: 10, datacenterID: {name}, offeringIDs: [{offerings}]}}"
        ))
    }

    /// What the scheduler says of `default/NAME`, node by node: the plugin that says no, or `fits`.
    fn verdicts(&self, name: &str) -> Vec<String> {
        self.say(name, |misfit, _| misfit.to_owned())
    }

    /// The same with the messages.
    fn messages(&self, name: &str) -> Vec<String> {
        self.say(name, |_, text| text.to_owned())
    }

    fn say(&self, name: &str, what: impl Fn(&str, &str) -> String) -> Vec<String> {
        let snapshot = self.snapshot();
        let world = World::new(&snapshot);
        let class = find(&snapshot, name).class;
        let verdict = |node: NodeId| match world.misfit(class, node.into()) {
            Some(misfit) => what(misfit.plugin(), &misfit.text(&snapshot.symbols).to_string()),
            None => "fits".to_owned(),
        };
        snapshot.node_ids().map(verdict).collect()
    }
}

fn find<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Pod {
    snapshot.pods.iter().find(|pod| *pod.name == *name).unwrap()
}

fn template(snapshot: &Snapshot, group: u32) -> Arc<Template> {
    Template::new(snapshot, GroupId(group), &snapshot.offerings[0]).shared()
}

/// A spread constraint over zones of pods with app=web; `more` are further fields.
fn spread(key: &str, more: &str) -> String {
    format!(
        "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: {key}, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}, {more}}}]"
    )
}

/// Required affinity or anti-affinity to pods with an app.
fn near(kind: &str, key: &str, app: &str, more: &str) -> String {
    format!(
        "affinity: {{{kind}: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: {key}, labelSelector: {{matchLabels: {{app: {app}}}}}, {more}}}]}}}}"
    )
}

fn port(port: u32, more: &str) -> String {
    format!("containers: [{{name: c, ports: [{{containerPort: 80, hostPort: {port}, {more}}}]}}]")
}

fn volume(claim: &str) -> String {
    format!("volumes: [{{name: v, persistentVolumeClaim: {{claimName: {claim}}}}}]")
}

/// Planned nodes with pods, by group and number of pods.
fn nodes_of(plan: &PlanDocument) -> Vec<(String, usize)> {
    let nodes = plan
        .scale_up
        .iter()
        .flat_map(|up| up.nodes.iter().map(|node| (up.node_group.clone(), node.pods.len())));
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort();
    nodes
}

const SPREAD: &str = "PodTopologySpread";
const AFFINITY: &str = "InterPodAffinity";
const FITS: &str = "fits";

// --- DynamicResources

const CLAIMS_DEVICES: &str = "resourceClaims: [{name: gpu, resourceClaimName: c}]";

#[test]
fn a_pod_that_claims_devices_is_bought_no_node_and_moves_to_none() {
    let plan = Case::new()
        .group("workers", 0, 5, "medium", &[])
        .node("n1", "workers", 4, 8)
        .node("n2", "workers", 4, 8)
        .pending("asks", 1, "cpu: 100m", &[CLAIMS_DEVICES])
        .running("full", "n2", "cpu: 3")
        .pending("plain", 1, "cpu: 100m", &[])
        .plan();
    let asks = pod(&plan, "asks-0");
    assert_eq!(asks.verdict, "Unschedulable");
    for reason in &asks.reasons {
        assert_eq!(reason.reason, "DynamicResources", "{reason:#?}");
        let message = "claims devices (gpu), and which node has them is not known here";
        assert_eq!(reason.message, message);
    }
    assert_eq!(pod(&plan, "plain-0").verdict, "FitsExisting");
    assert!(bought(&plan).is_empty());
}

#[test]
fn daemons_that_look_after_devices_take_room_on_new_nodes() {
    let daemon = format!(
        "spec:\n  selector: {{matchLabels: {{d: d}}}}\n  template: {{metadata: {{labels: {{d: d}}}}, spec: {{{CLAIMS_DEVICES}, containers: [{{name: c, resources: {{requests: {{cpu: \"2\"}}}}}}]}}}}"
    );
    let plan = Case::new()
        .group("workers", 0, 5, "medium", &[])
        .object("apps/v1", "DaemonSet", "name: d, namespace: kube-system", &daemon)
        .pending("p", 1, "cpu: \"3\"", &[])
        .plan();
    assert_eq!(pod(&plan, "p-0").reasons[0].reason, "InsufficientCpu", "{plan:#?}");
}

// --- NodePorts

#[test]
fn a_host_port_is_taken_once_per_node() {
    let case = Case::new()
        .zones()
        .pod("old", "a", "", &port(8080, ""))
        .pod("new", "", "", &port(8080, ""));
    assert_eq!(case.verdicts("new"), ["NodePorts", FITS, FITS]);
    assert_eq!(case.messages("new")[0], "port 8080/TCP is in use");
    let udp = Case::new()
        .zones()
        .pod("old", "a", "", &port(8080, ""))
        .pod("new", "", "", &port(8080, "protocol: UDP"));
    assert_eq!(udp.verdicts("new"), [FITS, FITS, FITS]);
}

#[test]
fn host_addresses_collide_only_with_themselves_and_the_address_of_all() {
    for (old, new, expected) in [
        ("hostIP: 10.0.0.1", "hostIP: 10.0.0.2", FITS),
        ("hostIP: 10.0.0.1", "hostIP: 10.0.0.1", "NodePorts"),
        ("hostIP: 10.0.0.1", "", "NodePorts"),
        ("hostIP: 0.0.0.0", "hostIP: 10.0.0.1", "NodePorts"),
    ] {
        let case = Case::new()
            .zones()
            .pod("old", "a", "", &port(80, old))
            .pod("new", "", "", &port(80, new));
        assert_eq!(case.verdicts("new")[0], expected, "{old} {new}");
    }
}

#[test]
fn messages_have_addresses_as_people_write_them() {
    let port = port(80, "hostIP: \"fd00::1\"");
    let case = Case::new().zones().pod("old", "a", "", &port).pod("new", "", "", &port);
    assert_eq!(case.messages("new")[0], "port [fd00::1]:80/TCP is in use");
}

#[test]
fn a_port_of_the_container_alone_is_none_of_the_host() {
    let spec = "hostNetwork: true, containers: [{name: c, ports: [{containerPort: 80}]}]";
    let case = Case::new()
        .zones()
        .pod("old", "a", "", spec)
        .pod("new", "", "", &port(80, ""));
    assert_eq!(case.verdicts("new"), [FITS, FITS, FITS]);
}

#[test]
fn ports_of_sidecars_count_and_those_of_other_init_containers_do_not() {
    let init = |policy: &str| {
        format!(
            "containers: [{{name: c}}], initContainers: [{{name: i{policy}, ports: [{{containerPort: 80, hostPort: 80}}]}}]"
        )
    };
    let case = |policy| {
        Case::new()
            .zones()
            .pod("old", "a", "", &init(policy))
            .pod("new", "", "", &port(80, ""))
    };
    assert_eq!(case(", restartPolicy: Always").verdicts("new")[0], "NodePorts");
    assert_eq!(case("").verdicts("new")[0], FITS);
}

#[test]
fn ports_are_judged_before_resources_and_after_taints() {
    let wants_all =
        "containers: [{name: c, resources: {requests: {cpu: \"64\"}}, ports: [{containerPort: 80, hostPort: 80}]}]";
    let case = Case::new()
        .place("a", "", "")
        .place("b", "", "taints: [{key: k, effect: NoSchedule}]")
        .pod("old-a", "a", "", &port(80, ""))
        .pod("old-b", "b", "", &port(80, ""))
        .pod("new", "", "", wants_all);
    assert_eq!(case.verdicts("new"), ["NodePorts", "TaintToleration"]);
}

#[test]
fn pods_with_one_host_port_get_a_new_node_each() {
    let plan = Case::new()
        .group("a", 0, 5, "medium", &[])
        .pod("p0", "", "", &port(80, ""))
        .pod("p1", "", "", &port(80, ""))
        .plan();
    assert_eq!(bought(&plan), [("default/a", "medium", 2)]);
}

#[test]
fn a_daemon_set_holds_its_host_ports_on_new_nodes() {
    let daemon = |network: &str, ports: &str| {
        format!(
            "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: agent, namespace: kube-system}}\nspec: {{selector: {{matchLabels: {{app: agent}}}}, template: {{metadata: {{labels: {{app: agent}}}}, spec: {{{network}containers: [{{name: c, ports: [{ports}]}}]}}}}}}"
        )
    };
    let case = Case::new()
        .group("a", 0, 5, "medium", &[])
        .pod("p", "", "", &port(9100, ""));
    for daemon in [
        daemon("", "{containerPort: 1, hostPort: 9100}"),
        daemon("hostNetwork: true, ", "{containerPort: 9100}"),
    ] {
        let plan = case.clone().with(&daemon).plan();
        assert_eq!(bought(&plan), []);
        assert_eq!(pod(&plan, "p").reasons[0].reason, "NodePorts");
        assert_eq!(pod(&plan, "p").reasons[0].message, "port 9100/TCP is in use");
    }
    assert_eq!(
        bought(&case.with(&daemon("", "{containerPort: 9100}")).plan()),
        [("default/a", "medium", 1)]
    );
}

// --- PodTopologySpread

#[test]
fn a_spread_constraint_keeps_the_skew() {
    let case = Case::new()
        .zones()
        .pod("w0", "a", "app: web", "")
        .pod("w1", "b", "app: web", "")
        .pod("new", "", "app: web", &spread(ZONE, ""));
    assert_eq!(case.verdicts("new"), [SPREAD, SPREAD, FITS]);
    assert_eq!(
        case.messages("new")[0],
        "max skew 1 of topology.kubernetes.io/zone would be 2 in a (1 pod, minimum 0)"
    );
    let wider = Case::new().zones().pod("w0", "a", "app: web", "").pod(
        "new",
        "",
        "app: web",
        &spread(ZONE, "").replace("maxSkew: 1", "maxSkew: 2"),
    );
    assert_eq!(wider.verdicts("new"), [FITS, FITS, FITS]);
}

#[test]
fn schedule_anyway_never_blocks() {
    let soft = spread(ZONE, "").replace("DoNotSchedule", "ScheduleAnyway");
    let case = Case::new()
        .zones()
        .pod("w0", "a", "app: web", "")
        .pod("w1", "a", "app: web", "")
        .pod("new", "", "app: web", &soft);
    assert_eq!(case.verdicts("new"), [FITS, FITS, FITS]);
}

#[test]
fn a_pod_that_its_own_constraint_does_not_count_adds_no_skew() {
    let case = Case::new()
        .zones()
        .pod("w0", "a", "app: web", "")
        .pod("new", "", "app: other", &spread(ZONE, ""));
    assert_eq!(case.verdicts("new"), [FITS, FITS, FITS]);
    let two = case.pod("w1", "a", "app: web", "");
    assert_eq!(two.verdicts("new"), [SPREAD, FITS, FITS]);
}

#[test]
fn pods_of_other_namespaces_that_ended_or_are_being_deleted_are_not_counted() {
    let case = Case::new()
        .zones()
        .pod_with("w0", "a", "namespace: other, labels: {app: web}", "")
        .pod_with("w1", "a", "namespace: default, labels: {app: web}, deletionTimestamp: \"2026-01-01T00:00:00Z\"", "")
        .with("apiVersion: v1\nkind: Pod\nmetadata: {name: w2, namespace: default, labels: {app: web}}\nspec: {nodeName: a, containers: [{name: c}]}\nstatus: {phase: Succeeded}")
        .pod("new", "", "app: web", &spread(ZONE, ""));
    assert_eq!(case.verdicts("new"), [FITS, FITS, FITS]);
}

#[test]
fn a_node_without_the_topology_key_says_no_and_counts_nothing() {
    let case = Case::new()
        .place("a", &format!("{ZONE}: a"), "")
        .place("n", "", "")
        .pod("w0", "n", "app: web", "")
        .pod("w1", "a", "app: web", "")
        .pod("new", "", "app: web", &spread(ZONE, ""));
    assert_eq!(case.verdicts("new"), [FITS, SPREAD]);
    assert_eq!(
        case.messages("new")[1],
        "the node lacks the topology label topology.kubernetes.io/zone"
    );
}

#[test]
fn nodes_that_lack_the_key_of_another_constraint_are_not_counted() {
    let both = format!(
        "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: {ZONE}, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}}}, {{maxSkew: 5, topologyKey: rack, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}}}]"
    );
    let case = Case::new()
        .place("a", &format!("{ZONE}: a, rack: r1"), "")
        .place("b", &format!("{ZONE}: b"), "")
        .pod("w0", "a", "app: web", "")
        .pod("new", "", "app: web", &both);
    // Zone b is no domain, so the minimum is that of zone a.
    assert_eq!(case.verdicts("new"), [FITS, SPREAD]);
}

#[test]
fn with_fewer_domains_than_asked_for_the_minimum_is_zero() {
    let case = |more: &str| {
        let case = ["a", "b", "c"].iter().fold(Case::new().zones(), |case, zone| {
            case.pod(&format!("w-{zone}"), zone, "app: web", "")
        });
        case.pod("new", "", "app: web", &spread(ZONE, more))
    };
    assert_eq!(case("").verdicts("new"), [FITS, FITS, FITS]);
    assert_eq!(case("minDomains: 3").verdicts("new"), [FITS, FITS, FITS]);
    assert_eq!(case("minDomains: 4").verdicts("new"), [SPREAD, SPREAD, SPREAD]);
}

#[test]
fn node_affinity_decides_which_nodes_are_domains_unless_it_is_ignored() {
    let only_ab = format!("nodeSelector: {{pool: x}}, {}", spread(ZONE, ""));
    let case = |spec: &str| {
        Case::new()
            .place("a", &format!("{ZONE}: a, pool: x"), "")
            .place("b", &format!("{ZONE}: b, pool: x"), "")
            .place("c", &format!("{ZONE}: c"), "")
            .pod("w0", "a", "app: web", "")
            .pod("w1", "b", "app: web", "")
            .pod("new", "", "app: web", spec)
    };
    assert_eq!(case(&only_ab).verdicts("new"), [FITS, FITS, "NodeAffinity"]);
    let ignore = format!(
        "nodeSelector: {{pool: x}}, {}",
        spread(ZONE, "nodeAffinityPolicy: Ignore")
    );
    assert_eq!(case(&ignore).verdicts("new"), [SPREAD, SPREAD, "NodeAffinity"]);
}

#[test]
fn taints_decide_which_nodes_are_domains_only_when_they_are_honored() {
    let case = |more: &str| {
        Case::new()
            .place("a", &format!("{ZONE}: a"), "")
            .place("b", &format!("{ZONE}: b"), "taints: [{key: k, effect: NoSchedule}]")
            .pod("w0", "a", "app: web", "")
            .pod("new", "", "app: web", &spread(ZONE, more))
    };
    assert_eq!(case("").verdicts("new"), [SPREAD, "TaintToleration"]);
    assert_eq!(
        case("nodeTaintsPolicy: Honor").verdicts("new"),
        [FITS, "TaintToleration"]
    );
    let cordoned = Case::new()
        .place("a", &format!("{ZONE}: a"), "")
        .place("b", &format!("{ZONE}: b"), "unschedulable: true")
        .pod("w0", "a", "app: web", "")
        .pod("new", "", "app: web", &spread(ZONE, "nodeTaintsPolicy: Honor"));
    assert_eq!(
        cordoned.verdicts("new"),
        [SPREAD, "NodeUnschedulable"],
        "a cordon alone is no taint"
    );
}

#[test]
fn match_label_keys_tell_revisions_apart_and_merge_once() {
    let hash = |value: &str| format!("app: web, rev: {value}");
    let plain = spread(ZONE, "matchLabelKeys: [rev, absent]");
    let merged = plain.replace(
        "labelSelector: {matchLabels: {app: web}}",
        "labelSelector: {matchLabels: {app: web}, matchExpressions: [{key: rev, operator: In, values: [two]}]}",
    );
    let case = |spec: &str| {
        Case::new()
            .zones()
            .pod("w0", "a", &hash("one"), "")
            .pod("new", "", &hash("two"), spec)
    };
    assert_eq!(case(&plain).verdicts("new"), [FITS, FITS, FITS]);
    let snapshot = case(&plain).pod("stored", "", &hash("two"), &merged).snapshot();
    assert_eq!(
        find(&snapshot, "new").class,
        find(&snapshot, "stored").class,
        "merging again changes nothing"
    );
    let same = case(&plain).pod("w1", "a", &hash("two"), "");
    assert_eq!(same.verdicts("new"), [SPREAD, FITS, FITS]);
}

#[test]
fn an_empty_selector_counts_nobody_and_a_missing_one_neither() {
    for selector in ["labelSelector: {}, ", ""] {
        let spec = spread(ZONE, "").replace("labelSelector: {matchLabels: {app: web}}, ", selector);
        let case = Case::new()
            .zones()
            .pod("w0", "a", "app: web", "")
            .pod("w1", "a", "app: web", "")
            .pod("new", "", "app: web", &spec);
        assert_eq!(case.verdicts("new"), [FITS, FITS, FITS], "{selector:?}");
    }
}

#[test]
fn a_deployment_of_six_is_spread_over_three_datacenters() {
    let case = ["dc-a", "dc-b", "dc-c"]
        .iter()
        .fold(Case::new(), |case, name| case.datacenter(name, "medium"));
    let case = (0..6).fold(case, |case, index| {
        case.pod(&format!("w{index}"), "", "app: web", &spread(ZONE, ""))
    });
    let plan = case.plan();
    let expected: Vec<_> = ["dc-a", "dc-b", "dc-c"]
        .iter()
        .map(|name| (format!("default/{name}"), 2))
        .collect();
    assert_eq!(nodes_of(&plan), expected);
}

#[test]
fn pods_that_fill_a_node_are_spread_with_two_nodes_in_each_datacenter() {
    let case = ["dc-a", "dc-b", "dc-c"]
        .iter()
        .fold(Case::new(), |case, name| case.datacenter(name, "small"));
    let spec = format!(
        "{}, containers: [{{name: c, resources: {{requests: {{cpu: 800m}}}}}}]",
        spread(ZONE, "")
    );
    let case = (0..6).fold(case, |case, index| {
        case.pod(&format!("w{index}"), "", "app: web", &spec)
    });
    let plan = case.plan();
    let expected: Vec<_> = ["dc-a", "dc-a", "dc-b", "dc-b", "dc-c", "dc-c"]
        .iter()
        .map(|name| (format!("default/{name}"), 1))
        .collect();
    assert_eq!(nodes_of(&plan), expected);
}

#[test]
fn a_datacenter_that_the_pod_cannot_use_is_no_domain() {
    let tainted = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {name: dc-c, namespace: default, labels: {autoscaler.vpsie.com/managed: \"true\"}}\nspec: {minNodes: 0, maxNodes: 10, datacenterID: dc-c, offeringIDs: [medium], taints: [{key: gpu, effect: NoSchedule}]}";
    let case = Case::new()
        .datacenter("dc-a", "medium")
        .datacenter("dc-b", "medium")
        .with(tainted);
    let case = (0..6).fold(case, |case, index| {
        case.pod(&format!("w{index}"), "", "app: web", &spread(ZONE, ""))
    });
    assert_eq!(
        nodes_of(&case.plan()),
        [("default/dc-a".to_owned(), 3), ("default/dc-b".to_owned(), 3)]
    );
}

#[test]
fn a_spread_over_hosts_forces_nodes() {
    let spec = spread(HOST, "minDomains: 3");
    let case = (0..3).fold(Case::new().group("a", 0, 5, "medium", &[]), |case, index| {
        case.pod(&format!("w{index}"), "", "app: web", &spec)
    });
    assert_eq!(bought(&case.plan()), [("default/a", "medium", 3)]);
}

#[test]
fn a_spread_deployment_uses_existing_nodes_turn_by_turn() {
    let case = (0..6).fold(Case::new().zones(), |case, index| {
        case.pod(&format!("w{index}"), "", "app: web", &spread(ZONE, ""))
    });
    let plan = case.plan();
    let mut nodes: Vec<_> = plan.pods.iter().map(|pod| pod.node.clone().unwrap()).collect();
    nodes.sort();
    assert_eq!(nodes, ["a", "a", "b", "b", "c", "c"]);
}

//! Field by field: what the API server would refuse is refused with its place, and what it stores means what it means
//! to Kubernetes.

use super::*;

const CLAIM: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c, namespace: default}\nspec: {resources: {requests: {storage: AMOUNT}}}\n";
const VOLUME: &str =
    "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: v}\nspec: {capacity: {storage: AMOUNT}}\n";
const METRICS: &str =
    "apiVersion: metrics.k8s.io/v1beta1\nkind: NodeMetrics\nmetadata: {name: n}\nusage: {cpu: AMOUNT}\n";
const DAEMON: &str = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d, namespace: default}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, resources: {requests: {cpu: AMOUNT}}}]}}}\n";

/// Every place in which an amount can stand: a text with `AMOUNT` there, and the object and field.
fn places_of_amounts() -> Vec<(String, &'static str)> {
    let of_pod = |more: &str| pending("p", "cpu: 100m", more);
    let status =
        |fields: &str| running("p", "n", "", "").replace("phase: Running", &format!("phase: Running, {fields}"));
    let capacity = node("n", "cpu: 4", "").replace("status:\n", "status:\n  capacity: {cpu: AMOUNT}\n");
    vec![
        (
            pending("p", "cpu: AMOUNT", ""),
            "Pod default/p: spec.containers[0].resources.requests.cpu",
        ),
        (
            of_pod("").replace("requests:", "limits: {cpu: AMOUNT}, requests:"),
            "Pod default/p: spec.containers[0].resources.limits.cpu",
        ),
        (
            of_pod("  initContainers: [{name: i, resources: {requests: {a.example/gpu: AMOUNT}}}]\n"),
            "Pod default/p: spec.initContainers[0].resources.requests[\"a.example/gpu\"]",
        ),
        (
            of_pod("  overhead: {memory: AMOUNT}\n"),
            "Pod default/p: spec.overhead.memory",
        ),
        (
            of_pod("  resources: {requests: {cpu: AMOUNT}}\n"),
            "Pod default/p: spec.resources.requests.cpu",
        ),
        (
            status("containerStatuses: [{name: c, allocatedResources: {cpu: AMOUNT}}]"),
            "Pod default/p: status.containerStatuses[0].allocatedResources.cpu",
        ),
        (
            status("initContainerStatuses: [{name: c, resources: {requests: {cpu: AMOUNT}}}]"),
            "Pod default/p: status.initContainerStatuses[0].resources.requests.cpu",
        ),
        (
            status("allocatedResources: {memory: AMOUNT}"),
            "Pod default/p: status.allocatedResources.memory",
        ),
        (node("n", "cpu: AMOUNT", ""), "Node n: status.allocatable.cpu"),
        (node("n", "pods: AMOUNT", ""), "Node n: status.allocatable.pods"),
        (
            node("n", "a.example/gpu: AMOUNT", ""),
            "Node n: status.allocatable[\"a.example/gpu\"]",
        ),
        (capacity, "Node n: status.capacity.cpu"),
        (
            group("minNodes: 0, maxNodes: 9, reserved: {memory: AMOUNT}"),
            "NodeGroup default/g: spec.reserved.memory",
        ),
        (
            group("minNodes: 0, maxNodes: 9, headroom: {pods: {replicas: 1, resources: {requests: {cpu: AMOUNT}}}}"),
            "NodeGroup default/g: spec.headroom.pods.resources.requests.cpu",
        ),
        (
            DAEMON.to_owned(),
            "DaemonSet default/d: spec.template.spec.containers[0].resources.requests.cpu",
        ),
        (VOLUME.to_owned(), "PersistentVolume v: spec.capacity.storage"),
        (METRICS.to_owned(), "NodeMetrics n: usage.cpu"),
    ]
}

#[test]
fn wherever_an_amount_can_stand_what_is_none_is_refused() {
    for (text, place) in places_of_amounts() {
        assert!(text.contains("AMOUNT"), "{place}");
        for amount in [
            "NaN",
            ".nan",
            "-.inf",
            "\"\"",
            "\"1 \"",
            "0x1p3",
            "-1",
            "\"-1e-3\"",
            "-1e400",
            "[1]",
            "true",
        ] {
            let message = refused(&text.replace("AMOUNT", amount));
            assert!(message.contains(&format!("{place}: ")), "{amount}: {place}: {message}");
            assert!(message.starts_with("dump.yaml:"), "{amount}: {message}");
        }
    }
    // What nobody plans with has to be a quantity, whatever its sign.
    assert!(refused(&CLAIM.replace("AMOUNT", "NaN")).contains("spec.resources.requests.storage: "));
}

#[test]
fn wherever_an_amount_can_stand_any_exponent_may() {
    let others = group("minNodes: 0, maxNodes: 9").replace("name: g,", "name: other,")
        + &pending("asks", "cpu: 100m, memory: 1Mi, ephemeral-storage: 1Mi", "");
    for (text, place) in places_of_amounts().into_iter().chain([(CLAIM.to_owned(), "a claim")]) {
        let text = if text.ends_with("---\n") { text } else { text + "---\n" };
        for amount in [
            "1e400",
            "\"1E400\"",
            "\"1E-400\"",
            "1e-400",
            "\"9223372036854775807Ei\"",
            "\"-0\"",
            "0e-0",
        ] {
            let plan = decide(&(text.replace("AMOUNT", amount) + &others));
            let asks = plan.pods.iter().find(|pod| pod.pod == "default/asks").unwrap();
            // A DaemonSet that asks for all that there is leaves nothing to others.
            let takes_all =
                text.starts_with(DAEMON) && ["1e400", "\"1E400\"", "\"9223372036854775807Ei\""].contains(&amount);
            assert_eq!(
                asks.verdict == "Unschedulable",
                takes_all,
                "{amount}: {place}: {plan:#?}"
            );
        }
    }
}

#[test]
fn what_the_api_server_would_refuse_is_refused() {
    let near = |term: &str| {
        format!("  affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}\n")
    };
    let spread = |fields: &str| format!("  topologySpreadConstraints: [{{labelSelector: {{}}, {fields}}}]\n");
    let tolerates = |fields: &str| format!("  tolerations: [{{{fields}}}]\n");
    let fields = [
        (
            near("{topologyKey: \"\", labelSelector: {}}"),
            "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
        ),
        (
            near("{labelSelector: {}}"),
            "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
        ),
        (
            near("{topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: In}]}}"),
            "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].values",
        ),
        (
            near("{topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}"),
            "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].values",
        ),
        (
            near("{topologyKey: a, namespaceSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}"),
            "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespaceSelector.matchExpressions[0].values",
        ),
        (
            spread("maxSkew: 1, whenUnsatisfiable: DoNotSchedule, topologyKey: \"\""),
            "topologySpreadConstraints[0].topologyKey",
        ),
        (
            spread("maxSkew: 1, whenUnsatisfiable: DoNotSchedule"),
            "topologySpreadConstraints[0].topologyKey",
        ),
        (
            spread("maxSkew: 1, topologyKey: a"),
            "topologySpreadConstraints[0].whenUnsatisfiable",
        ),
        (
            spread("maxSkew: 1, topologyKey: a, whenUnsatisfiable: Perhaps"),
            "topologySpreadConstraints[0].whenUnsatisfiable",
        ),
        (
            spread("topologyKey: a, whenUnsatisfiable: DoNotSchedule"),
            "topologySpreadConstraints[0].maxSkew",
        ),
        (
            spread("maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, nodeTaintsPolicy: honor"),
            "topologySpreadConstraints[0].nodeTaintsPolicy",
        ),
        (tolerates(""), "tolerations[0].operator"),
        (tolerates("operator: Equal, value: x"), "tolerations[0].operator"),
        (tolerates("key: a, operator: exists"), "tolerations[0].operator"),
        (tolerates("key: a, operator: Exists, value: x"), "tolerations[0].value"),
        (tolerates("key: a, operator: Lt, value: x"), "tolerations[0].value"),
        (tolerates("key: a, effect: Never"), "tolerations[0].effect"),
        (
            tolerates("key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 99999999999999999999"),
            "tolerations[0].tolerationSeconds",
        ),
        (
            tolerates("key: a, operator: Exists, effect: NoExecute, tolerationSeconds: .inf"),
            "tolerations[0].tolerationSeconds",
        ),
        ("  priority: 2147483648\n".to_owned(), "priority"),
        ("  priority: -2147483649\n".to_owned(), "priority"),
        ("  priority: 1.5\n".to_owned(), "priority"),
        ("  priority: \"5\"\n".to_owned(), "priority"),
        ("  hostNetwork: \"true\"\n".to_owned(), "hostNetwork"),
    ];
    for (more, field) in fields {
        let message = refused(&pending("p", "cpu: 1", &more));
        let expected = format!("dump.yaml:6: Pod default/p: spec.{field}: ");
        assert!(message.starts_with(&expected), "{more}: {message}");
    }
    for port in [
        "70000",
        "65536",
        "-1",
        "-2147483648",
        "99999999999",
        "1.5",
        "\"80\"",
        "NaN",
    ] {
        let text =
            pending("p", "cpu: 1", "").replace("{name: c,", &format!("{{name: c, ports: [{{hostPort: {port}}}],"));
        let message = refused(&text);
        assert!(
            message.starts_with("dump.yaml:5: Pod default/p: spec.containers[0].ports[0].hostPort: "),
            "{message}"
        );
    }
    for taint in [
        "{key: \"\", effect: NoSchedule}",
        "{effect: NoSchedule}",
        "{key: a}",
        "{key: a, effect: Never}",
    ] {
        let field = if taint.contains("key: a") { "effect" } else { "key" };
        let of_node = refused(&node("n", "cpu: 4", &format!("spec: {{taints: [{taint}]}}\n")));
        assert!(
            of_node.contains(&format!(": Node n: spec.taints[0].{field}: ")),
            "{taint}: {of_node}"
        );
        let of_group = refused(&group(&format!("minNodes: 0, maxNodes: 9, taints: [{taint}]")));
        assert!(
            of_group.contains(&format!(": NodeGroup default/g: spec.taints[0].{field}: ")),
            "{taint}: {of_group}"
        );
    }
}

#[test]
fn budgets_that_contradict_themselves_are_refused() {
    for (spec, field) in [
        ("selector: {}, minAvailable: 1, maxUnavailable: 1", "maxUnavailable"),
        ("selector: {}, minAvailable: 0%, maxUnavailable: 100%", "maxUnavailable"),
        ("selector: {}, minAvailable: 1000%", "minAvailable"),
        ("selector: {}, maxUnavailable: 101%", "maxUnavailable"),
        ("selector: {}, minAvailable: -5%", "minAvailable"),
        ("selector: {}, minAvailable: -1", "minAvailable"),
        ("selector: {}, maxUnavailable: \"5\"", "maxUnavailable"),
        ("selector: {}, maxUnavailable: 1.5", "maxUnavailable"),
        ("selector: {}, maxUnavailable: \"%\"", "maxUnavailable"),
        (
            "selector: {matchExpressions: [{key: a, operator: In, values: []}]}",
            "selector.matchExpressions[0].values",
        ),
        (
            "selector: {matchExpressions: [{key: a, operator: Gt, values: [\"1\"]}]}",
            "selector.matchExpressions[0].operator",
        ),
        (
            "selector: {}, unhealthyPodEvictionPolicy: Sometimes",
            "unhealthyPodEvictionPolicy",
        ),
    ] {
        let budget = format!(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: b, namespace: default}}\nspec: {{{spec}}}\n"
        );
        let message = refused(&budget);
        assert!(
            message.starts_with(&format!("dump.yaml:4: PodDisruptionBudget default/b: spec.{field}: ")),
            "{spec}: {message}"
        );
    }
    // A count below nothing allows nothing.
    for allowed in ["0", "-1", "-2147483648"] {
        let budget = format!(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: b, namespace: default}}\nspec: {{selector: {{}}, maxUnavailable: 1}}\nstatus: {{disruptionsAllowed: {allowed}}}\n---\n"
        );
        let machine = |name: &str| {
            format!(
                "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: {name}, namespace: default}}\nspec: {{nodeGroupName: g, instanceType: small, datacenterID: dc-1}}\nstatus: {{phase: Ready, nodeName: {name}, unneededSince: \"2026-01-01T00:00:00Z\"}}\n---\n"
            )
        };
        let mut text =
            group("minNodes: 0, maxNodes: 9") + &budget + &running("p", "a", "", "") + &running("q", "b", "", "");
        for name in ["a", "b"] {
            text += &(machine(name) + &node(name, "cpu: 4, memory: 8Gi, pods: 110", ""));
        }
        let plan = decide(&text);
        assert!(plan.scale_down.is_empty(), "{allowed}: {plan:#?}");
        assert_eq!(plan.nodes[0].reason, Some("BlockedByPod"), "{allowed}: {plan:#?}");
        assert_eq!(plan.nodes[0].pod_reason, Some("NotEnoughPdb"), "{allowed}: {plan:#?}");
    }
}

#[test]
fn what_the_api_server_stores_means_what_it_means_to_kubernetes() {
    let tainted = node(
        "n",
        "cpu: 4, memory: 8Gi, pods: 110",
        "spec: {taints: [{key: a, value: \"7\", effect: NoSchedule}]}\n",
    );
    let group = group("minNodes: 0, maxNodes: 9");
    for (more, verdict) in [
        // No key and Exists is every taint, whatever the effect; of which the seconds say nothing here.
        ("  tolerations: [{operator: Exists}]\n", "FitsExisting"),
        ("  tolerations: [{key: \"\", operator: Exists}]\n", "FitsExisting"),
        (
            "  tolerations: [{operator: Exists, effect: NoExecute}]\n",
            "TriggersScaleUp",
        ),
        (
            "  tolerations: [{operator: Exists, effect: NoExecute, tolerationSeconds: -5}]\n",
            "TriggersScaleUp",
        ),
        (
            "  tolerations: [{key: a, operator: Exists, tolerationSeconds: -9223372036854775808}]\n",
            "FitsExisting",
        ),
        ("  tolerations: [{key: a, value: \"7\"}]\n", "FitsExisting"),
        ("  tolerations: [{key: a}]\n", "TriggersScaleUp"),
        ("  priority: -11\n", "Ignored"),
        ("  priority: -10\n", "TriggersScaleUp"),
        ("  priority: -2147483648\n", "Ignored"),
        ("  priority: 2147483647\n", "TriggersScaleUp"),
    ] {
        let plan = decide(&(group.clone() + &tainted + &pending("p", "cpu: 1", more)));
        assert_eq!(plan.pods[0].verdict, verdict, "{more}: {plan:#?}");
    }
    // Port 0 is no port: both pods fit one node. The highest port is a port, and needs a node for each.
    for (port, nodes) in [("0", 1), ("65535", 2)] {
        let ports = format!("{{name: c, ports: [{{containerPort: 1, hostPort: {port}}}],");
        let pods = pending("a", "cpu: 1", "") + &pending("b", "cpu: 1", "");
        let plan = decide(&(group.clone() + &pods.replace("{name: c,", &ports)));
        let bought: usize = plan.scale_up.iter().map(|step| step.count).sum();
        assert_eq!(bought, nodes, "{port}: {plan:#?}");
    }
}

#[test]
fn one_bad_object_takes_no_other_along() {
    for bad in [
        pending("bad", "cpu: NaN", ""),
        pending("bad", "cpu: 1", "  priority: 9999999999\n"),
        pending("\"\"", "cpu: 1", ""),
        pending("bad", "cpu: 1", "  nodeSelector: [a]\n"),
        "kind: Pod\n---\n".to_owned(),
        "- 1\n---\n".to_owned(),
    ] {
        let text = group("minNodes: 0, maxNodes: 9") + &bad + &pending("good", "cpu: 1", "");
        let mut objects = Objects::default();
        let errors = read(&source("dump.yaml", &text), &mut objects).unwrap_err();
        assert!(
            errors.errors.iter().all(|error| (5..=12).contains(&error.line)),
            "{errors}"
        );
        let names: Vec<_> = objects.pods.iter().map(|pod| pod.metadata.name.as_str()).collect();
        assert_eq!(
            (objects.node_groups.len(), names.as_slice()),
            (1, &["good"][..]),
            "{bad}: {errors}"
        );
    }
}

#[test]
fn names_that_are_missing_or_twice_are_refused() {
    for (text, object) in [
        (pending("\"\"", "cpu: 1", ""), "Pod"),
        (pending("~", "cpu: 1", ""), "Pod"),
        (node("\"\"", "cpu: 4", ""), "Node"),
        (
            group("minNodes: 0, maxNodes: 9").replace("name: g,", "name: \"\","),
            "NodeGroup",
        ),
        (DAEMON.replace("AMOUNT", "1").replace("name: d,", ""), "DaemonSet"),
        ("apiVersion: v1\nkind: Namespace\n".to_owned(), "Namespace"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: ~\n".to_owned(), "Namespace"),
    ] {
        let message = refused(&text);
        assert!(
            message.contains(&format!(": {object} (document 1): metadata.name: ")),
            "{message}"
        );
    }
    for (text, key) in [
        (pending("p", "cpu: 1", "  nodeSelector: {a: b, a: c}\n"), "a"),
        (pending("p", "cpu: 1, cpu: 2", ""), "cpu"),
        (
            r#"{"kind": "Pod", "metadata": {"name": "p", "labels": {"x": "1", "x": "1"}}}"#.to_owned(),
            "x",
        ),
    ] {
        let message = refused(&text);
        assert!(
            message.contains(&format!("the key \"{key}\" is here for the second time")),
            "{message}"
        );
    }
    let twice = node("n", "cpu: 4", "") + &pending("n", "cpu: 1", "") + &node("n", "cpu: 8", "");
    assert!(refused(&twice).contains("Node n: it was read before, at dump.yaml:1"));
}

#[test]
fn impossible_sizes_of_groups_are_refused() {
    for (spec, field) in [
        ("minNodes: 5, maxNodes: 1", "minNodes"),
        ("minNodes: -1, maxNodes: 1", "minNodes"),
        ("minNodes: -2147483648, maxNodes: -2147483648", "minNodes"),
        ("minNodes: 0, maxNodes: -1", "maxNodes"),
        ("minNodes: 0, maxNodes: 4294967296", "maxNodes"),
        ("minNodes: 1.5, maxNodes: 2", "minNodes"),
        ("minNodes: \"1\", maxNodes: 2", "minNodes"),
        // Nobody means to buy two thousand million nodes.
        ("minNodes: 2147483647, maxNodes: 2147483647", "minNodes"),
        (
            "minNodes: 0, maxNodes: 9, headroom: {nodes: 2147483647}",
            "headroom.nodes",
        ),
        ("minNodes: 0, maxNodes: 9, headroom: {percent: 101}", "headroom.percent"),
        ("minNodes: 0, maxNodes: 9, headroom: {nodes: 1, percent: 1}", "headroom"),
        ("minNodes: 0, maxNodes: 9, priority: 99999999999", "priority"),
        (
            "minNodes: 0, maxNodes: 9, scaleDownPolicy: {cpuThreshold: 101}",
            "scaleDownPolicy.cpuThreshold",
        ),
        (
            "minNodes: 0, maxNodes: 9, scaleDownPolicy: {budgets: {drain: 1000%}}",
            "scaleDownPolicy.budgets.drain",
        ),
        (
            "minNodes: 0, maxNodes: 9, scaleDownPolicy: {budgets: {empty: -1}}",
            "scaleDownPolicy.budgets.empty",
        ),
    ] {
        let message = refused(&group(spec));
        let place = format!("dump.yaml:4: NodeGroup default/g: spec.{field}: ");
        assert!(message.contains(&place), "{spec}: {message}");
    }
}

#[test]
fn impossible_offerings_are_refused() {
    for (fields, problem) in [
        (r#""cpu": 0, "ram": 1, "hourly_price": 1"#, "cpu: is zero"),
        (r#""cpu": 1, "ram": 0, "hourly_price": 1"#, "ram: is zero"),
        (r#""cpu": -1, "ram": 1, "hourly_price": 1"#, "cpu: "),
        (r#""cpu": "NaN", "ram": 1, "hourly_price": 1"#, "cpu: "),
        (r#""cpu": 1, "ram": 1, "hourly_price": "NaN""#, "hourly_price: "),
        (r#""cpu": 1, "ram": 1, "hourly_price": "inf""#, "hourly_price: "),
        (r#""cpu": 1, "ram": 1, "hourly_price": -0.5"#, "hourly_price: "),
        (r#""cpu": 1, "ram": 1, "hourly_price": 1e400"#, "hourly_price: "),
        (r#""cpu": 1, "ram": 1, "hourly_price": 1e300"#, "hourly_price: "),
        (
            r#""cpu": 1, "ram": 9223372036854775807, "hourly_price": 1"#,
            "ram: is too large",
        ),
        (r#""cpu": 1, "ram": 1, "disk": 1e30, "hourly_price": 1"#, "disk: "),
        (r#""cpu": 1, "ram": 1"#, "hourly_price: is missing"),
    ] {
        let text = format!("[{{\"id\": \"a\", {fields}}}]");
        let message = offerings(&text).unwrap_err().to_string();
        let place = "offerings.json:1: offering ";
        assert!(
            message.starts_with(place) && message.contains(problem),
            "{fields}: {message}"
        );
    }
    let twice = r#"[{"id": "a", "cpu": 1, "ram": 1, "price": 1}, {"id": "a", "cpu": 2, "ram": 2, "price": 1}]"#;
    assert!(
        offerings(twice)
            .unwrap_err()
            .to_string()
            .contains("offering a: [1].id: ")
    );
}

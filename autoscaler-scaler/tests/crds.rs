//! The schema facts that users and the API server rely on, the committed CRD files, and the fixtures.
//!
//! `UPDATE_CRDS=1 cargo test -p autoscaler-scaler --test crds` writes the files under `deploy/crds/` anew.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may panic as the test may"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use autoscaler_scaler::api::{
    self, AutoscalerConfig, GlobalSettings, NodeGroup, NodeGroupDefaults, NodeGroupSpec, Phase, VPSieNode,
};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crd(kind: &str) -> Value {
    let crds = api::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    serde_json::to_value(crd).unwrap()
}

fn schema(kind: &str) -> Value {
    crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with every schema below `schema`, and the path to it.
fn walk<'a>(path: &str, schema: &'a Value, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), child, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], visit);
    }
}

fn fixture(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/fixtures").join(name)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

fn minimal_spec() -> Value {
    json!({
        "minNodes": 0, "maxNodes": 3, "datacenterID": "ams-1", "resourceIdentifier": "r", "project": "p",
        "offeringIDs": ["o"], "kubernetesVersion": "v1.34.1",
    })
}

#[test]
fn committed_files_are_generated() {
    for crd in api::crds() {
        let path = root().join("deploy/crds").join(api::crd_file_name(&crd));
        let yaml = api::crd_yaml(&crd).unwrap();
        if std::env::var_os("UPDATE_CRDS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &yaml).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(
            committed == yaml,
            "{} is out of date: run UPDATE_CRDS=1 cargo test -p autoscaler-scaler --test crds",
            path.display()
        );
        // Parsing the file gives the definition that was written. (Whole numbers lose their ".0" on the way.)
        let read: Value = serde_saphyr::from_str(&committed).unwrap();
        let written = serde_json::to_string(&crd)
            .unwrap()
            .replace(".0,", ",")
            .replace(".0}", "}");
        assert_eq!(read, serde_json::from_str::<Value>(&written).unwrap());
    }
    let files = std::fs::read_dir(root().join("deploy/crds")).unwrap().count();
    assert_eq!(
        files,
        api::crds().len(),
        "deploy/crds holds the generated files and nothing else"
    );
}

#[test]
fn names_scope_and_columns() {
    let facts = [
        (
            "NodeGroup",
            "nodegroups",
            "Namespaced",
            json!(["ng", "ngs"]),
            json!([
                ["Min", "integer", ".spec.minNodes"],
                ["Max", "integer", ".spec.maxNodes"],
                ["Desired", "integer", ".status.desiredNodes"],
                ["Current", "integer", ".status.currentNodes"],
                ["Ready", "integer", ".status.readyNodes"],
                ["Age", "date", ".metadata.creationTimestamp"],
            ]),
        ),
        (
            "VPSieNode",
            "vpsienodes",
            "Namespaced",
            json!(["vn", "vns"]),
            json!([
                ["VPS ID", "integer", ".spec.vpsieInstanceID"],
                ["Node", "string", ".status.nodeName"],
                ["Phase", "string", ".status.phase"],
                ["Instance Type", "string", ".spec.instanceType"],
                ["NodeGroup", "string", ".spec.nodeGroupName"],
                ["Age", "date", ".metadata.creationTimestamp"],
            ]),
        ),
        (
            "AutoscalerConfig",
            "autoscalerconfigs",
            "Cluster",
            json!(["asc"]),
            json!([
                ["MaxWorkers", "integer", ".spec.globalSettings.maxClusterWorkers"],
                ["MinNodes", "integer", ".spec.nodeGroupDefaults.minNodes"],
                ["MaxNodes", "integer", ".spec.nodeGroupDefaults.maxNodes"],
                [
                    "DynamicCreation",
                    "boolean",
                    ".spec.globalSettings.enableDynamicNodeGroupCreation"
                ],
                ["Active", "boolean", ".status.active"],
                ["Age", "date", ".metadata.creationTimestamp"],
            ]),
        ),
    ];
    for (kind, plural, scope, short_names, columns) in facts {
        let crd = crd(kind);
        assert_eq!(crd["metadata"]["name"], format!("{plural}.{}", api::GROUP));
        let spec = &crd["spec"];
        assert_eq!(spec["names"]["plural"], plural);
        assert_eq!(spec["scope"], scope);
        assert_eq!(spec["names"]["shortNames"], short_names);
        let version = &spec["versions"][0];
        assert_eq!(
            (&version["name"], &version["served"], &version["storage"]),
            (&json!(api::VERSION), &json!(true), &json!(true))
        );
        assert_eq!(
            version["subresources"]["status"],
            json!({}),
            "{kind} has a status subresource"
        );
        let found: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| json!([column["name"], column["type"], column["jsonPath"]]))
            .collect();
        assert_eq!(json!(found), columns);
    }
}

/// Fields of `nodeGroupDefaults` that have the very type they have in a NodeGroup.
const SHARED: &[&str] = &[
    "scaleUpPolicy",
    "scaleDownPolicy",
    "costOptimization",
    "spotConfig",
    "taints",
    "labels",
];

/// `PATH TYPE [DEFAULT];` of every field, for each kind. An object with a default has the defaults of its fields, `{}`.
const FIELDS: &[(&str, &str)] = &[
    ("NodeGroup", NODE_GROUP_FIELDS),
    ("VPSieNode", VPSIE_NODE_FIELDS),
    ("AutoscalerConfig", CONFIG_FIELDS),
];

#[test]
fn every_field_has_its_type_and_default() {
    for (kind, expected) in FIELDS {
        let schema = schema(kind);
        let mut found = BTreeSet::new();
        walk("", &schema, &mut |path, field| {
            let shared = SHARED.iter().any(|name| {
                let below = path
                    .strip_prefix(".spec.nodeGroupDefaults.")
                    .and_then(|path| path.strip_prefix(name));
                below.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]."))
            });
            if path.is_empty() || path.contains(".conditions") || shared {
                return;
            }
            let kind = if field["x-kubernetes-int-or-string"] == true {
                "int-or-string"
            } else {
                field["type"].as_str().unwrap_or("?")
            };
            let default = match &field["default"] {
                Value::Null => String::new(),
                Value::Object(_) => " {}".to_owned(),
                other => format!(" {}", other.to_string().replace(".0", "")),
            };
            found.insert(format!("{} {kind}{default}", path.trim_start_matches('.')));
        });
        let expected: BTreeSet<_> = expected
            .split(';')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect();
        let missing: Vec<_> = expected.difference(&found).collect();
        let surplus: Vec<_> = found.difference(&expected).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{kind}: missing {missing:#?}, not listed {surplus:#?}"
        );
    }
}

#[test]
fn node_group_defaults_have_the_policies_of_a_node_group() {
    let group = schema("NodeGroup")["properties"]["spec"]["properties"].clone();
    let config = schema("AutoscalerConfig");
    let defaults = &config["properties"]["spec"]["properties"]["nodeGroupDefaults"]["properties"];
    for name in SHARED {
        for key in [
            "type",
            "properties",
            "items",
            "additionalProperties",
            "default",
            "x-kubernetes-validations",
        ] {
            assert_eq!(defaults[name][key], group[name][key], "{name}.{key}");
        }
    }
}

#[test]
fn required_fields_are_those_of_the_go_autoscaler() {
    let required = |kind: &str, part: &str| -> BTreeSet<String> {
        let schema = schema(kind);
        let list = schema["properties"][part]["required"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<BTreeSet<String>>();
    let group = [
        "minNodes",
        "maxNodes",
        "datacenterID",
        "resourceIdentifier",
        "project",
        "offeringIDs",
        "kubernetesVersion",
    ];
    assert_eq!(required("NodeGroup", "spec"), names(&group));
    assert_eq!(required("NodeGroup", "status"), names(&[]));
    let node = [
        "vpsieInstanceID",
        "instanceType",
        "nodeGroupName",
        "datacenterID",
        "resourceIdentifier",
        "project",
        "kubernetesVersion",
    ];
    assert_eq!(required("VPSieNode", "spec"), names(&node));
    assert_eq!(required("VPSieNode", "status"), names(&["phase"]));
    assert_eq!(required("AutoscalerConfig", "spec"), names(&[]));
}

#[test]
fn numbers_strings_lists_and_maps_are_bounded_and_signed() {
    for (kind, _) in FIELDS {
        let schema = schema(kind);
        walk(kind, &schema, &mut |path, field| {
            let format = field["format"].as_str().unwrap_or_default();
            assert!(!format.starts_with("uint"), "{path} has format {format}");
            if path == *kind {
                return;
            }
            let bounded = match field["type"].as_str() {
                Some("integer" | "number") => field["minimum"].is_number() && field["maximum"].is_number(),
                Some("string") => field["maxLength"].is_number() || field["enum"].is_array() || format == "date-time",
                Some("array") => field["maxItems"].is_number(),
                Some("object") if field["additionalProperties"].is_object() => field["maxProperties"].is_number(),
                _ => true,
            };
            assert!(bounded, "{path} is not bounded: {field:#}");
        });
    }
}

#[test]
fn rules_name_their_field() {
    let mut rules = 0;
    for (kind, _) in FIELDS {
        let schema = schema(kind);
        walk(kind, &schema, &mut |path, field| {
            for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
                rules += 1;
                let message = rule["message"].as_str().unwrap();
                let name = match rule["fieldPath"].as_str() {
                    Some(below) => below.trim_start_matches('.'),
                    None if path == *kind => "metadata.name",
                    None => path.rsplit('.').next().unwrap(),
                };
                assert!(
                    message.starts_with(name),
                    "{path}: {message:?} does not begin with {name:?}"
                );
            }
        });
    }
    assert!(rules >= 15, "only {rules} rules found");
}

#[test]
fn parents_of_defaults_have_defaults() {
    for (kind, _) in FIELDS {
        let schema = schema(kind);
        walk(kind, &schema, &mut |path, field| {
            for (name, child) in field["properties"].as_object().into_iter().flatten() {
                // The root's spec is required; a status, a list item and an optional record exist only when written.
                let optional = path == *kind || child["nullable"] == true;
                let defaulted = child["properties"]
                    .as_object()
                    .is_some_and(|p| p.values().any(|f| !f["default"].is_null()));
                assert!(
                    optional || !defaulted || child["default"].is_object(),
                    "{path}.{name} has no default"
                );
            }
        });
    }
}

#[test]
fn schema_defaults_are_the_defaults_of_the_types() {
    let spec: NodeGroupSpec = serde_json::from_value(minimal_spec()).unwrap();
    assert!(spec.allow_mixed_instances && spec.scale_down_policy.enabled && spec.scale_up_policy.enabled);
    let empty: NodeGroupDefaults = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, NodeGroupDefaults::default());
    let empty: GlobalSettings = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, GlobalSettings::default());
    // A part of a policy leaves the rest at its defaults.
    let mut part = minimal_spec();
    part["scaleDownPolicy"] = json!({ "cpuThreshold": 20 });
    let part: NodeGroupSpec = serde_json::from_value(part).unwrap();
    assert_eq!(part.scale_down_policy.memory_threshold, 50);
    // The window comes with the policy: a group that says nothing about growing does not wait.
    let mut policy = minimal_spec();
    policy["scaleUpPolicy"] = json!({});
    let policy: NodeGroupSpec = serde_json::from_value(policy).unwrap();
    let windows = [&spec, &policy].map(|spec| spec.scale_up_policy.stabilization_window_seconds);
    assert_eq!(windows, [0, 60]);
    let of_schema = schema("NodeGroup")["properties"]["spec"]["properties"]["scaleUpPolicy"].clone();
    assert_eq!(of_schema["default"]["stabilizationWindowSeconds"], 0);
    let unlimited = GlobalSettings::without_config();
    assert_eq!(
        (unlimited.max_cluster_workers, unlimited.max_concurrent_scale_ups),
        (0, 0)
    );
    assert_eq!(unlimited.expanders().collect::<Vec<_>>(), ["price", "least-waste"]);
}

#[test]
fn false_survives_where_true_is_the_default() {
    let mut spec = minimal_spec();
    spec["allowMixedInstances"] = json!(false);
    spec["scaleUpPolicy"] = json!({ "enabled": false });
    spec["scaleDownPolicy"] = json!({ "enabled": false });
    spec["spotConfig"] = json!({ "fallbackToOnDemand": false });
    spec["costOptimization"] = json!({ "enabled": false });
    let typed: NodeGroupSpec = serde_json::from_value(spec).unwrap();
    let written = serde_json::to_value(&typed).unwrap();
    for pointer in [
        "/allowMixedInstances",
        "/scaleUpPolicy/enabled",
        "/scaleDownPolicy/enabled",
        "/spotConfig/fallbackToOnDemand",
        "/costOptimization/enabled",
    ] {
        assert_eq!(written.pointer(pointer), Some(&json!(false)), "{pointer}");
    }
    assert_eq!(serde_json::from_value::<NodeGroupSpec>(written).unwrap(), typed);
    let settings = json!({ "enableDynamicNodeGroupCreation": false, "scaleDownUnreadyEnabled": false });
    let typed: GlobalSettings = serde_json::from_value(settings).unwrap();
    let written = serde_json::to_value(&typed).unwrap();
    assert_eq!(written["enableDynamicNodeGroupCreation"], false);
    assert_eq!(written["scaleDownUnreadyEnabled"], false);
}

#[test]
fn reserved_quantities_may_be_numbers() {
    let mut spec = minimal_spec();
    spec["reserved"] = json!({ "cpu": 2, "memory": "1Gi" });
    let typed: NodeGroupSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(
        (typed.reserved["cpu"].0.as_str(), typed.reserved["memory"].0.as_str()),
        ("2", "1Gi")
    );
}

#[test]
fn headroom_is_read_in_each_of_its_forms() {
    let read = |headroom: Value| {
        let mut spec = minimal_spec();
        spec["headroom"] = headroom;
        let typed: NodeGroupSpec = serde_json::from_value(spec).unwrap();
        typed.headroom.unwrap()
    };
    assert_eq!(read(json!({ "nodes": 2 })).nodes, Some(2));
    assert_eq!(read(json!({ "percent": 10 })).percent, Some(10));
    let pods = json!({ "pods": { "replicas": 3, "resources": { "requests": { "cpu": 2, "memory": "1Gi" } } } });
    let pods = read(pods).pods.unwrap();
    assert_eq!((pods.replicas, pods.resources.requests["cpu"].0.as_str()), (3, "2"));
}

#[test]
fn invalid_fixtures_are_complete() {
    let documents = fixture("invalid-configs.yaml");
    assert_eq!(documents.len(), 13);
    let mut names = BTreeSet::new();
    for document in &documents {
        let metadata = &document["metadata"];
        let field = metadata["annotations"]["test.autoscaler.vpsie.com/expect-field"]
            .as_str()
            .unwrap();
        assert!(field.starts_with("spec."), "{field} is a path into the spec");
        assert!(
            names.insert(metadata["name"].as_str().unwrap()),
            "{metadata} is there twice"
        );
    }
}

#[test]
fn valid_fixtures_are_read_and_written_without_loss() {
    let mut phases = BTreeSet::new();
    let mut count = [0, 0, 0];
    for document in fixture("valid-configs.yaml") {
        let name = document["metadata"]["name"].clone();
        let written = match document["kind"].as_str().unwrap() {
            "NodeGroup" => {
                count[0] += 1;
                serde_json::to_value(serde_json::from_value::<NodeGroup>(document.clone()).unwrap()).unwrap()
            }
            "VPSieNode" if name == "sample-vpsienode-failed" => {
                // Its condition has no lastTransitionTime until the API server has put the default in.
                count[1] += 1;
                phases.insert(Phase::Failed);
                continue;
            }
            "VPSieNode" => {
                count[1] += 1;
                let node: VPSieNode = serde_json::from_value(document.clone()).unwrap();
                phases.insert(node.phase());
                serde_json::to_value(node).unwrap()
            }
            _ => {
                count[2] += 1;
                serde_json::to_value(serde_json::from_value::<AutoscalerConfig>(document.clone()).unwrap()).unwrap()
            }
        };
        assert_contains(&written, &document, &name.to_string());
    }
    assert_eq!(count, [3, 5, 1]);
    assert_eq!(phases.len(), 5);
}

/// Everything in `part` is in `whole`, but for the field that we accept and do not keep.
fn assert_contains(whole: &Value, part: &Value, path: &str) {
    match part {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "lastUpdateTime") {
                assert_contains(&whole[name], value, &format!("{path}.{name}"));
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                assert_contains(&whole[index], value, &format!("{path}[{index}]"));
            }
        }
        other => assert_eq!(whole, other, "{path}"),
    }
}

#[test]
fn accessors() {
    let mut node: VPSieNode = serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": "VPSieNode", "metadata": { "name": "n", "namespace": "ns" },
        "spec": {
            "vpsieInstanceID": 0, "instanceType": "o", "nodeGroupName": "g", "datacenterID": "d",
            "resourceIdentifier": "r", "project": "p", "kubernetesVersion": "v1.34.1",
        },
    }))
    .unwrap();
    assert_eq!(node.node_group_key(), "ns/g");
    assert_eq!(
        (node.phase(), node.instance_id(), node.node_name()),
        (Phase::Pending, None, None)
    );
    node.spec.vpsie_instance_id = 7;
    assert_eq!(node.instance_id().as_deref(), Some("7"));
    node.spec.vpsie_instance = Some("vm-7".to_owned());
    assert_eq!(node.instance_id().as_deref(), Some("vm-7"));

    let groups = fixture("valid-configs.yaml");
    let sample: NodeGroup = serde_json::from_value(groups[0].clone()).unwrap();
    let minimal: NodeGroup = serde_json::from_value(groups[2].clone()).unwrap();
    assert!(sample.is_managed() && !minimal.is_managed() && !minimal.is_deleting());
    assert_eq!((sample.min_nodes(), sample.max_nodes()), (1, 10));
}

const NODE_GROUP_FIELDS: &str = r#"
    spec object; spec.allowMixedInstances boolean true; spec.costOptimization object {};
    spec.costOptimization.enabled boolean true;
    spec.costOptimization.maxPerformanceImpact integer 5;
    spec.costOptimization.minMonthlySavings number 10;
    spec.costOptimization.optimizationInterval string "24h";
    spec.costOptimization.requireApproval boolean false;
    spec.costOptimization.strategy string "auto"; spec.datacenterID string;
    spec.headroom object; spec.headroom.nodes integer; spec.headroom.percent integer;
    spec.headroom.pods object; spec.headroom.pods.replicas integer;
    spec.headroom.pods.resources object; spec.headroom.pods.resources.requests object;
    spec.headroom.pods.resources.requests{} int-or-string; spec.kubeSizeID integer;
    spec.kubernetesVersion string; spec.labels object; spec.labels{} string;
    spec.maxNodes integer; spec.minNodes integer; spec.multiRegion object {}; spec.multiRegion.datacenterIDs array;
    spec.multiRegion.datacenterIDs[] string;
    spec.multiRegion.distributionStrategy string "balanced";
    spec.multiRegion.enabled boolean false; spec.multiRegion.minNodesPerRegion integer 1;
    spec.multiRegion.primaryDatacenter string; spec.multiRegion.weightedDistribution object;
    spec.multiRegion.weightedDistribution{} integer; spec.notes string; spec.offeringIDs array;
    spec.offeringIDs[] string; spec.osImageID string; spec.preferredInstanceType string;
    spec.priority integer 0; spec.project string; spec.reserved object;
    spec.reserved{} int-or-string; spec.resourceIdentifier string; spec.scaleDownPolicy object {};
    spec.scaleDownPolicy.budgets object; spec.scaleDownPolicy.budgets.drain int-or-string;
    spec.scaleDownPolicy.budgets.empty integer; spec.scaleDownPolicy.cooldownSeconds integer 600;
    spec.scaleDownPolicy.cpuThreshold integer 50;
    spec.scaleDownPolicy.delayAfterFailureSeconds integer;
    spec.scaleDownPolicy.drainTimeoutSeconds integer 900;
    spec.scaleDownPolicy.enabled boolean true; spec.scaleDownPolicy.forceDrain boolean false;
    spec.scaleDownPolicy.memoryThreshold integer 50;
    spec.scaleDownPolicy.minNodeAgeSeconds integer;
    spec.scaleDownPolicy.unreadyTimeSeconds integer;
    spec.scaleDownPolicy.stabilizationWindowSeconds integer 600; spec.scaleUpPolicy object {};
    spec.scaleUpPolicy.cpuThreshold integer 80; spec.scaleUpPolicy.enabled boolean true;
    spec.scaleUpPolicy.memoryThreshold integer 80;
    spec.scaleUpPolicy.stabilizationWindowSeconds integer 60; spec.spotConfig object {};
    spec.spotConfig.allowedInterruptionRate integer 20; spec.spotConfig.enabled boolean false;
    spec.spotConfig.fallbackToOnDemand boolean true;
    spec.spotConfig.interruptionGracePeriod string "120s";
    spec.spotConfig.maxSpotPercentage integer 80; spec.sshKeyIDs array; spec.sshKeyIDs[] string;
    spec.tags array; spec.tags[] string; spec.taints array; spec.taints[] object;
    spec.taints[].effect string; spec.taints[].key string; spec.taints[].timeAdded string;
    spec.taints[].value string; spec.userDataSecretRef object;
    spec.userDataSecretRef.key string "userData"; spec.userDataSecretRef.name string;
    spec.userDataSecretRef.namespace string; status object; status.currentNodes integer 0;
    status.desiredNodes integer 0; status.lastScaleDownFailureTime string; status.lastScaleDownTime string;
    status.lastScaleTime string; status.lastScaleUpTime string; status.nodes array; status.nodes[] object;
    status.nodes[].createdAt string; status.nodes[].instanceType string;
    status.nodes[].ipAddress string; status.nodes[].nodeName string;
    status.nodes[].readyAt string; status.nodes[].status string; status.nodes[].vpsID integer;
    status.observedGeneration integer; status.readyNodes integer 0;
    status.scaleDownFailures integer; status.scaleUpBackoffs array;
    status.scaleUpBackoffs[] object; status.scaleUpBackoffs[].failures integer 0;
    status.scaleUpBackoffs[].lastFailure string; status.scaleUpBackoffs[].message string;
    status.scaleUpBackoffs[].offering string; status.scaleUpBackoffs[].reason string;
    status.scaleUpBackoffs[].until string; status.vpsieGroupID integer;
"#;

const VPSIE_NODE_FIELDS: &str = r#"
    spec object; spec.clientToken string; spec.datacenterID string; spec.instanceType string;
    spec.ipAddress string; spec.ipv6Address string; spec.kubernetesVersion string;
    spec.nodeGroupName string; spec.nodeName string; spec.osImageID string; spec.project string;
    spec.resourceIdentifier string; spec.sshKeyIDs array; spec.sshKeyIDs[] string;
    spec.vpsieGroupID integer; spec.vpsieInstance string; spec.vpsieInstanceID integer;
    spec.vpsieNodeIdentifier string; status object; status.create object;
    status.create.attempts integer 0; status.create.datacenter string;
    status.create.offering string; status.create.requestedAt string; status.createdAt string;
    status.deletedAt string; status.hostname string; status.joinedAt string;
    status.lastDecision object; status.lastDecision.message string;
    status.lastDecision.pod string; status.lastDecision.podReason string;
    status.lastDecision.reason string; status.lastDecision.verdict string;
    status.lastError string; status.nodeName string; status.observedGeneration integer;
    status.phase string; status.phaseSince string; status.provisionedAt string;
    status.readyAt string; status.removal object; status.removal.cordonedByUs boolean;
    status.removal.failedAt string; status.removal.failures integer; status.removal.kind string;
    status.removal.message string;
    status.removal.moves array; status.removal.moves[] object; status.removal.moves[].pod string;
    status.removal.moves[].to string; status.removal.phase string; status.removal.reason string;
    status.removal.startedAt string; status.resources object;
    status.resources.bandwidthGB integer; status.resources.cpu integer;
    status.resources.diskGB integer; status.resources.memoryMB integer;
    status.terminatingAt string; status.unneededSince string; status.vpsieStatus string;
"#;

const CONFIG_FIELDS: &str = r#"
    spec object; spec.globalSettings object {}; spec.globalSettings.budgets object;
    spec.globalSettings.budgets.drain int-or-string; spec.globalSettings.budgets.empty integer;
    spec.globalSettings.enableDynamicNodeGroupCreation boolean true;
    spec.globalSettings.enableRebalancing boolean false;
    spec.globalSettings.expander string "price,least-waste";
    spec.globalSettings.ignoreDaemonSetsUtilization boolean false;
    spec.globalSettings.ignoreMirrorPodsUtilization boolean false;
    spec.globalSettings.maxClusterWorkers integer 10;
    spec.globalSettings.maxConcurrentScaleDowns integer 1;
    spec.globalSettings.maxConcurrentScaleUps integer 1;
    spec.globalSettings.maxTotalUnreadyPercentage integer 45;
    spec.globalSettings.minNodeAgeSeconds integer 0;
    spec.globalSettings.okTotalUnreadyCount integer 3;
    spec.globalSettings.scaleDownDelayAfterFailureSeconds integer 180;
    spec.globalSettings.scaleDownUnreadyTimeSeconds integer 1200;
    spec.globalSettings.nodeReadyTimeoutSeconds integer 600;
    spec.globalSettings.orphanGracePeriodSeconds integer 3600;
    spec.globalSettings.orphanPolicy string "Report"; spec.globalSettings.phaseTimeouts object {};
    spec.globalSettings.phaseTimeouts.deleteSeconds integer 600;
    spec.globalSettings.phaseTimeouts.detachSeconds integer 360;
    spec.globalSettings.phaseTimeouts.drainSeconds integer 900;
    spec.globalSettings.phaseTimeouts.initializeSeconds integer 1200;
    spec.globalSettings.phaseTimeouts.joinSeconds integer 900;
    spec.globalSettings.phaseTimeouts.provisionSeconds integer 600;
    spec.globalSettings.podEvictionTimeoutSeconds integer 120;
    spec.globalSettings.scaleDownCooldownSeconds integer 300;
    spec.globalSettings.scaleDownUnreadyEnabled boolean true;
    spec.globalSettings.scaleUpCooldownSeconds integer 60;
    spec.globalSettings.unschedulablePodGracePeriodSeconds integer 30;
    spec.nodeGroupDefaults object {}; spec.nodeGroupDefaults.costOptimization object {};
    spec.nodeGroupDefaults.datacenterID string; spec.nodeGroupDefaults.kubeSizeID integer;
    spec.nodeGroupDefaults.kubernetesVersion string; spec.nodeGroupDefaults.labels object;
    spec.nodeGroupDefaults.labels{} string; spec.nodeGroupDefaults.maxNodes integer 10;
    spec.nodeGroupDefaults.minNodes integer 1; spec.nodeGroupDefaults.namespace string "default";
    spec.nodeGroupDefaults.notes string; spec.nodeGroupDefaults.offeringIDs array;
    spec.nodeGroupDefaults.offeringIDs[] string; spec.nodeGroupDefaults.osImageID string;
    spec.nodeGroupDefaults.project string; spec.nodeGroupDefaults.resourceIdentifier string;
    spec.nodeGroupDefaults.scaleDownPolicy object {};
    spec.nodeGroupDefaults.scaleUpPolicy object {}; spec.nodeGroupDefaults.spotConfig object {};
    spec.nodeGroupDefaults.sshKeyIDs array; spec.nodeGroupDefaults.sshKeyIDs[] string;
    spec.nodeGroupDefaults.tags array; spec.nodeGroupDefaults.tags[] string;
    spec.nodeGroupDefaults.taints array; spec.nodeGroupDefaults.taints[] object; status object;
    status.active boolean false; status.lastUpdated string; status.message string;
    status.observedGeneration integer;
"#;

//! Whether a plan can be carried out: its nodes are there as the documentation says they will be, and the plugins accept
//! its pods one after another.
//!
//! What a new node looks like is written down here once more, from the objects alone, so that a mistake of the
//! planner's templates shows too.

use std::collections::BTreeMap;

use autoscaler_core::build::Input;
use autoscaler_core::check::check;
use autoscaler_core::document::PlanDocument;
use autoscaler_core::manifest::Objects;
use autoscaler_core::manifest::Source;
use autoscaler_core::manifest::read;
use autoscaler_core::manifest::read_offerings;
use autoscaler_core::plan::Plan;
use autoscaler_core::planner::Options;
use autoscaler_core::planner::plan;
use autoscaler_core::snapshot::Snapshot;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::cluster::HOSTNAME;
use super::cluster::ZONE;
use super::cluster::full_name;
use super::cluster::stamp;
use super::cluster::text;
use super::process::Bind;
use super::process::Error;
use super::process::Left;
use super::process::Oracle;
use super::process::Request;
use super::verdicts::NOW;

const PREFIX: &str = "autoscaler.vpsie.com";

/// A cluster to plan for.
#[derive(Clone, Debug)]
pub struct Problem {
    /// All objects, NodeGroups among them.
    pub objects: Vec<Value>,
    /// Offerings, as the API lists them.
    pub offerings: Vec<Value>,
}

/// What a plan would make of the cluster, for the oracle.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The objects with the nodes to come and the pods of DaemonSets on them.
    pub objects: Vec<Value>,
    /// Where the plan has its pods.
    pub binds: Vec<Bind>,
    /// How many nodes the plan creates.
    pub created: usize,
    /// How many pods it finds no place for.
    pub unschedulable: usize,
    /// What the planner's own check says against the plan.
    pub violations: Vec<String>,
}

impl Problem {
    /// Plans, and makes the nodes of the plan.
    ///
    /// # Errors
    ///
    /// [`Error::UnreadableText`].
    pub fn outcome(&self) -> Result<Outcome, Error> {
        let source = |value: &Value| value.to_string();
        let objects = source(&json!({"apiVersion": "v1", "kind": "List", "items": self.objects}));
        let offerings = source(&json!({"data": self.offerings}));
        let named = |name: &str, text| Source {
            name: name.to_owned(),
            text,
        };
        let mut manifests = Objects::default();
        read(&named("objects.json", &objects), &mut manifests).map_err(Error::UnreadableText)?;
        let offerings = read_offerings(&named("offerings.json", &offerings)).map_err(Error::UnreadableText)?;
        let snapshot = Snapshot::build(&Input::new(&manifests, &offerings));
        let plan = plan(&snapshot, &Options::default(), NOW.parse().expect("a time"));
        Ok(self.carried_out(&snapshot, &plan))
    }

    fn carried_out(&self, snapshot: &Snapshot, plan: &Plan) -> Outcome {
        let mut objects = self.objects.clone();
        let mut binds = Vec::new();
        let document = PlanDocument::new(snapshot, plan);
        for pod in &document.pods {
            if pod.verdict == "FitsExisting" {
                binds.push(Bind {
                    pod: pod.pod.clone(),
                    node: pod.node.clone().unwrap_or_default(),
                });
            }
        }
        for (index, creation) in plan.creations.iter().enumerate() {
            let name = format!("planned-{index}");
            let group = self.find("NodeGroup", &snapshot.group_name(creation.group));
            self.join(&mut objects, &name, group, creation.offering.as_str());
            binds.extend(creation.pods.iter().map(|pod| Bind {
                pod: snapshot.pod_name(*pod),
                node: name.clone(),
            }));
        }
        // In the order of the plan, which the oracle tries first; what is not in it comes before.
        let order: BTreeMap<String, usize> = plan
            .binding_order
            .iter()
            .map(|pod| snapshot.pod_name(*pod))
            .zip(1..)
            .collect();
        binds.sort_by_key(|bind| order.get(&bind.pod).copied());
        // VPSieNodes without a Node become one, if it is known what it will look like.
        for machine in self.of_kind("VPSieNode") {
            let metadata = &machine["metadata"];
            let group =
                json!({"metadata": {"namespace": metadata["namespace"], "name": machine["spec"]["nodeGroupName"]}});
            let group = self.find("NodeGroup", &full_name(&group));
            if !group.is_null() {
                let (name, offering) = (text(machine, "/metadata/name"), text(machine, "/spec/instanceType"));
                self.join(&mut objects, name, group, offering);
            }
        }
        Outcome {
            objects,
            binds,
            created: plan.creations.len(),
            violations: check(snapshot, plan)
                .iter()
                .map(|violation| format!("{violation:?}"))
                .collect(),
            unschedulable: document
                .pods
                .iter()
                .filter(|pod| pod.verdict == "Unschedulable")
                .count(),
        }
    }

    /// Adds a node of this group and offering, with what comes with it.
    fn join(&self, objects: &mut Vec<Value>, name: &str, group: &Value, offering: &str) {
        let model = self.model(group, offering);
        let mut labels = group
            .pointer("/spec/labels")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let datacenter = text(group, "/spec/datacenterID");
        for (key, value) in [
            (format!("{PREFIX}/managed"), "true"),
            (format!("{PREFIX}/nodegroup"), text(group, "/metadata/name")),
            (
                format!("{PREFIX}/nodegroup-namespace"),
                text(group, "/metadata/namespace"),
            ),
            (format!("{PREFIX}/datacenter"), datacenter),
            (format!("{PREFIX}/offering"), offering),
            ("node.kubernetes.io/instance-type".to_owned(), offering),
            (ZONE.to_owned(), datacenter),
            ("kubernetes.io/os".to_owned(), "linux"),
            ("kubernetes.io/arch".to_owned(), "amd64"),
            (HOSTNAME.to_owned(), name),
        ] {
            labels.insert(key, json!(value));
        }
        let allocatable = match model {
            Some(model) => model["status"]["allocatable"].clone(),
            None => self.estimate(group, offering),
        };
        let taints = group.pointer("/spec/taints").cloned().unwrap_or_else(|| json!([]));
        let mut node = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints},
            "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        stamp(&mut node, "v1", "Node");
        let csi = model.and_then(|model| {
            let of_model = text(model, "/metadata/name");
            self.of_kind("CSINode")
                .find(|object| text(object, "/metadata/name") == of_model)
        });
        if let Some(csi) = csi {
            let mut csi = csi.clone();
            csi["metadata"]["name"] = json!(name);
            objects.push(csi);
        }
        for daemon_set in self.of_kind("DaemonSet") {
            if let Some(pod) = daemon_pod(daemon_set, &node) {
                objects.push(pod);
            }
        }
        objects.push(node);
    }

    /// The node that a new one is expected to look like: the newest Ready one of the group and offering, else of any
    /// managed one of the offering.
    fn model(&self, group: &Value, offering: &str) -> Option<&Value> {
        let label = |node: &Value, key: &str| node["metadata"]["labels"][format!("{PREFIX}/{key}")].clone();
        let suits = |node: &&Value| {
            node["status"]["conditions"][0]["status"] == "True"
                && label(node, "managed") == "true"
                && label(node, "offering") == offering
        };
        let of_group = |node: &&Value| label(node, "nodegroup") == group["metadata"]["name"];
        let created = |node: &&Value| text(node, "/metadata/creationTimestamp").to_owned();
        let all = || self.of_kind("Node").filter(suits);
        all()
            .filter(of_group)
            .max_by_key(created)
            .or_else(|| all().max_by_key(created))
    }

    /// The size of the offering less the default reserves.
    fn estimate(&self, group: &Value, offering: &str) -> Value {
        const MIB: i64 = 1 << 20;
        let found = self.offerings.iter().find(|entry| entry["id"] == offering);
        let size = |field: &str| found.and_then(|found| found[field].as_i64()).unwrap_or_default();
        let (cpu, memory, disk) = (size("cpu") * 1000, size("ram") * MIB, size("disk") * 1024 * MIB);
        let reserved = |name: &str, default: i64| match group.pointer("/spec/reserved").and_then(|list| list.get(name))
        {
            Some(amount) => amount
                .as_str()
                .and_then(|amount| amount.trim_end_matches('m').parse().ok())
                .unwrap_or(default),
            None => default,
        };
        json!({
            "cpu": format!("{}m", cpu - reserved("cpu", 100)),
            "memory": (memory - reserved("memory", 255 * MIB + memory * 5 / 100)).to_string(),
            "ephemeral-storage": (disk - reserved("ephemeral-storage", disk * 10 / 100)).to_string(),
            "pods": "110",
        })
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == *kind)
    }

    fn find(&self, kind: &str, name: &str) -> &Value {
        self.of_kind(kind)
            .find(|object| full_name(object) == name)
            .unwrap_or(&Value::Null)
    }
}

/// What cannot be bound of the plans for these problems.
///
/// # Errors
///
/// Those of [`Oracle::ask`].
pub fn carry_out(oracle: &mut Oracle, outcomes: &[Outcome]) -> Result<Vec<Vec<Left>>, Error> {
    let requests: Vec<_> = outcomes
        .iter()
        .map(|Outcome { objects, binds, .. }| Request::Bind { objects, binds })
        .collect();
    let (answers, ()) = oracle.ask(&requests, || ())?;
    Ok(answers.into_iter().map(|answer| answer.left).collect())
}

/// The pod that the DaemonSet controller would make for a node: by its node selector and the node's taints.
pub fn daemon_pod(daemon_set: &Value, node: &Value) -> Option<Value> {
    let template = &daemon_set["spec"]["template"];
    let labels = &node["metadata"]["labels"];
    let selector = template
        .pointer("/spec/nodeSelector")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    if selector.iter().any(|(key, value)| labels.get(key) != Some(value)) {
        return None;
    }
    let tolerations = template
        .pointer("/spec/tolerations")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let tolerated = |taint: &Value| {
        let by = |toleration: &Value| {
            let same = |field: &str| toleration[field].is_null() || toleration[field] == taint[field];
            same("key") && same("effect") && (toleration["operator"] == "Exists" || same("value"))
        };
        taint["effect"] == "PreferNoSchedule" || tolerations.iter().any(by)
    };
    if !node["spec"]["taints"].as_array().into_iter().flatten().all(tolerated) {
        return None;
    }
    let (set, of) = (text(daemon_set, "/metadata/name"), text(node, "/metadata/name"));
    let mut pod = template.clone();
    pod["metadata"]["name"] = json!(format!("{set}-{of}"));
    pod["metadata"]["namespace"] = daemon_set["metadata"]["namespace"].clone();
    pod["metadata"]["uid"] = json!(format!("uid-{set}-{of}"));
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": set, "uid": format!("uid-{set}"), "controller": true}]);
    pod["spec"]["nodeName"] = json!(of);
    pod["status"] = json!({"phase": "Running"});
    stamp(&mut pod, "v1", "Pod");
    Some(pod)
}

/// How many pods there are by verdict of the plugins, for a message.
pub fn summary(left: &[Left]) -> String {
    let mut by_plugin: BTreeMap<&str, usize> = BTreeMap::new();
    for refusal in left {
        *by_plugin.entry(&refusal.plugin).or_default() += 1;
    }
    let map: Map<String, Value> = by_plugin
        .into_iter()
        .map(|(plugin, count)| (plugin.to_owned(), json!(count)))
        .collect();
    json!(map).to_string()
}

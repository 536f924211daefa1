//! What the API server would refuse in an object, as far as planning relies on it.
//!
//! A file may hold what no API server has seen. Each rule here is one of the API server's; the fields are those that
//! planning reads.

use std::borrow::Cow;

use super::{
    Object,
    autoscaler::{Headroom, NodeGroup, RemovalBudgets, VPSieNode},
    meta::{IntOrString, LabelSelector, LabelSelectorRequirement, ResourceList},
    node::Taint,
    pod::{
        Container, ContainerStatus, NodeSelector, PodAffinity, PodSpec, PodStatus, ResourceRequirements, Toleration,
        TopologySpreadConstraint,
    },
    tree::{Step, Tree},
    workload::PodDisruptionBudget,
};

/// A value that the API server would refuse.
#[derive(Debug)]
pub(super) struct Problem {
    /// Outermost step first.
    pub(super) path: Vec<Step>,
    pub(super) message: String,
}

/// Everything in an object that the API server would refuse. The tree is what the object was read from.
pub(super) fn check(object: &Object, tree: &Tree<'_>) -> Vec<Problem> {
    let mut checker = Checker {
        path: Vec::new(),
        problems: Vec::new(),
    };
    checker.object(object, tree);
    checker.problems
}

const PHASES: &[&str] = &[
    "",
    "Pending",
    "Provisioning",
    "Provisioned",
    "Joining",
    "Ready",
    "Terminating",
    "Deleting",
    "Failed",
];
/// Most nodes of a NodeGroup, as its CustomResourceDefinition has it.
const MAX_NODES: i32 = 1000;
const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const TOLERATION_EFFECTS: &[&str] = &["", "NoSchedule", "PreferNoSchedule", "NoExecute"];
const TOLERATION_OPERATORS: &[&str] = &["", "Equal", "Exists", "Gt", "Lt"];
const INCLUSION_POLICIES: &[&str] = &["", "Honor", "Ignore"];

#[derive(Debug)]
struct Checker {
    path: Vec<Step>,
    problems: Vec<Problem>,
}

/// Whose labels a requirement is about: nodes know two operators more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Labels {
    Object,
    Node,
}

// === impl Checker ===

impl Checker {
    fn problem(&mut self, message: impl Into<String>) {
        self.problems.push(Problem {
            path: self.path.clone(),
            message: message.into(),
        });
    }

    /// A problem of a field of where the checker is.
    fn wrong(&mut self, name: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.field(name, |checker| checker.problem(message));
    }

    fn field(&mut self, name: impl Into<Cow<'static, str>>, check: impl FnOnce(&mut Self)) {
        self.path.push(Step::Field(name.into()));
        check(self);
        self.path.pop();
    }

    fn each<T>(&mut self, name: &'static str, elements: &[T], mut check: impl FnMut(&mut Self, &T)) {
        self.field(name, |checker| {
            for (index, element) in elements.iter().enumerate() {
                checker.path.push(Step::Index(index));
                check(checker, element);
                checker.path.pop();
            }
        });
    }

    fn one_of(&mut self, name: &'static str, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            let allowed: Vec<_> = allowed.iter().filter(|text| !text.is_empty()).copied().collect();
            self.wrong(name, format!("{value:?} is none of {}", allowed.join(", ")));
        }
    }

    fn required(&mut self, name: &'static str, value: &str) {
        if value.is_empty() {
            self.wrong(name, "is missing");
        }
    }

    fn at_least(&mut self, name: &'static str, value: impl Into<i64>, least: i64) {
        let value = value.into();
        if value < least {
            self.wrong(name, format!("{value} is below {least}"));
        }
    }

    fn at_most(&mut self, name: &'static str, value: i32, most: i32) {
        if most < value {
            self.wrong(name, format!("{value} is above {most}"));
        }
    }

    fn amounts(&mut self, name: &'static str, amounts: &ResourceList) {
        for (resource, amount) in amounts.iter().filter(|(_, amount)| amount.is_negative()) {
            self.field(name, |checker| {
                checker.wrong(resource.clone(), format!("{amount} is negative"));
            });
        }
    }

    fn object(&mut self, object: &Object, tree: &Tree<'_>) {
        self.field("metadata", |checker| {
            checker.required("name", &object.metadata().name);
        });
        match object {
            Object::Node(node) => {
                self.field("spec", |checker| checker.taints(&node.spec.taints));
                self.field("status", |checker| {
                    checker.amounts("allocatable", &node.status.allocatable);
                    checker.amounts("capacity", &node.status.capacity);
                });
            }
            Object::Pod(pod) => {
                self.field("spec", |checker| checker.pod_spec(&pod.spec));
                self.field("status", |checker| checker.pod_status(&pod.status));
            }
            Object::DaemonSet(set) => self.field("spec", |checker| {
                checker.selector("selector", set.spec.selector.as_ref());
                checker.field("template", |checker| {
                    checker.field("spec", |checker| checker.pod_spec(&set.spec.template.spec));
                });
            }),
            Object::Deployment(object) => self.field("spec", |checker| {
                checker.selector("selector", object.spec.selector.as_ref());
            }),
            Object::ReplicaSet(object) => self.field("spec", |checker| {
                checker.selector("selector", object.spec.selector.as_ref());
            }),
            Object::StatefulSet(object) => self.field("spec", |checker| {
                checker.selector("selector", object.spec.selector.as_ref());
            }),
            Object::PodDisruptionBudget(budget) => self.disruption_budget(budget),
            Object::PersistentVolume(volume) => self.field("spec", |checker| {
                checker.amounts("capacity", &volume.spec.capacity);
                checker.field("nodeAffinity", |checker| {
                    let required = volume
                        .spec
                        .node_affinity
                        .as_ref()
                        .and_then(|affinity| affinity.required.as_ref());
                    checker.node_selector("required", required);
                });
            }),
            Object::StorageClass(class) => {
                let modes = &["", "Immediate", "WaitForFirstConsumer"];
                self.one_of("volumeBindingMode", &class.volume_binding_mode, modes);
            }
            Object::NodeMetrics(metrics) => self.amounts("usage", &metrics.usage),
            Object::NodeGroup(group) => self.node_group(group, tree),
            Object::VPSieNode(node) => self.vpsie_node(node),
            Object::AutoscalerConfig(config) => self.field("spec", |checker| {
                checker.field("globalSettings", |checker| {
                    let settings = &config.spec.global_settings;
                    checker.at_least("maxClusterWorkers", settings.max_cluster_workers, 0);
                    checker.at_least("maxConcurrentScaleUps", settings.max_concurrent_scale_ups, 0);
                    checker.at_least("maxConcurrentScaleDowns", settings.max_concurrent_scale_downs, 0);
                    for (name, value) in [
                        ("scaleDownUnreadyTimeSeconds", settings.scale_down_unready_time_seconds),
                        (
                            "scaleDownDelayAfterFailureSeconds",
                            settings.scale_down_delay_after_failure_seconds,
                        ),
                        ("minNodeAgeSeconds", settings.min_node_age_seconds),
                        ("okTotalUnreadyCount", settings.ok_total_unready_count),
                        (
                            "unschedulablePodGracePeriodSeconds",
                            settings.unschedulable_pod_grace_period_seconds,
                        ),
                    ] {
                        checker.at_least(name, value, 0);
                    }
                    checker.field("phaseTimeouts", |checker| {
                        let timeouts = &settings.phase_timeouts;
                        checker.at_least("provisionSeconds", timeouts.provision_seconds, 0);
                        checker.at_least("joinSeconds", timeouts.join_seconds, 0);
                        checker.at_least("initializeSeconds", timeouts.initialize_seconds, 0);
                    });
                    checker.percent("maxTotalUnreadyPercentage", settings.max_total_unready_percentage);
                    checker.removal_budgets(&settings.budgets);
                });
            }),
            Object::PersistentVolumeClaim(claim) => self.field("spec", |checker| {
                checker.selector("selector", claim.spec.selector.as_ref());
            }),
            Object::Namespace(_) | Object::CsiNode(_) | Object::Job(_) | Object::PriorityClass(_) => {}
        }
    }

    fn pod_spec(&mut self, spec: &PodSpec) {
        self.each("containers", &spec.containers, Self::container);
        self.each("initContainers", &spec.init_containers, Self::container);
        self.amounts("overhead", &spec.overhead);
        if let Some(resources) = &spec.resources {
            self.resources(resources);
        }
        self.each("tolerations", &spec.tolerations, Self::toleration);
        self.each(
            "topologySpreadConstraints",
            &spec.topology_spread_constraints,
            Self::spread_constraint,
        );
        let Some(affinity) = &spec.affinity else {
            return;
        };
        self.field("affinity", |checker| {
            if let Some(node) = &affinity.node_affinity {
                let required = node.required_during_scheduling_ignored_during_execution.as_ref();
                checker.field("nodeAffinity", |checker| {
                    checker.node_selector("requiredDuringSchedulingIgnoredDuringExecution", required);
                });
            }
            checker.pod_affinity("podAffinity", affinity.pod_affinity.as_ref());
            checker.pod_affinity("podAntiAffinity", affinity.pod_anti_affinity.as_ref());
        });
    }

    /// What a kubelet says that it has set aside takes the place of what is requested.
    fn pod_status(&mut self, status: &PodStatus) {
        let of_container = |checker: &mut Self, container: &ContainerStatus| {
            checker.amounts("allocatedResources", &container.allocated_resources);
            if let Some(resources) = &container.resources {
                checker.resources(resources);
            }
        };
        self.each("containerStatuses", &status.container_statuses, of_container);
        self.each("initContainerStatuses", &status.init_container_statuses, of_container);
        self.amounts("allocatedResources", &status.allocated_resources);
        if let Some(resources) = &status.resources {
            self.resources(resources);
        }
    }

    fn container(&mut self, container: &Container) {
        self.resources(&container.resources);
        self.each("ports", &container.ports, |checker, port| {
            if !(0..=65535).contains(&port.host_port) {
                checker.wrong("hostPort", format!("{} is not a port", port.host_port));
            }
            checker.one_of("protocol", &port.protocol, &["", "TCP", "UDP", "SCTP"]);
        });
    }

    fn resources(&mut self, resources: &ResourceRequirements) {
        self.field("resources", |checker| {
            checker.amounts("requests", &resources.requests);
            checker.amounts("limits", &resources.limits);
        });
    }

    fn toleration(&mut self, toleration: &Toleration) {
        self.one_of("operator", &toleration.operator, TOLERATION_OPERATORS);
        self.one_of("effect", &toleration.effect, TOLERATION_EFFECTS);
        if toleration.key.is_empty() && toleration.operator != "Exists" {
            self.wrong("operator", "has to be Exists when there is no key");
        }
        if toleration.operator == "Exists" && !toleration.value.is_empty() {
            self.wrong("value", "has to be empty with the operator Exists");
        }
        if matches!(toleration.operator.as_str(), "Gt" | "Lt") && toleration.value.parse::<i64>().is_err() {
            let message = format!(
                "{:?} is not an integer, as {} needs",
                toleration.value, toleration.operator
            );
            self.wrong("value", message);
        }
    }

    fn spread_constraint(&mut self, constraint: &TopologySpreadConstraint) {
        self.at_least("maxSkew", constraint.max_skew, 1);
        self.required("topologyKey", &constraint.topology_key);
        self.one_of(
            "whenUnsatisfiable",
            &constraint.when_unsatisfiable,
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        self.selector("labelSelector", constraint.label_selector.as_ref());
        if let Some(domains) = constraint.min_domains {
            self.at_least("minDomains", domains, 1);
        }
        self.one_of(
            "nodeAffinityPolicy",
            &constraint.node_affinity_policy,
            INCLUSION_POLICIES,
        );
        self.one_of("nodeTaintsPolicy", &constraint.node_taints_policy, INCLUSION_POLICIES);
    }

    fn pod_affinity(&mut self, name: &'static str, affinity: Option<&PodAffinity>) {
        let Some(affinity) = affinity else { return };
        let terms = &affinity.required_during_scheduling_ignored_during_execution;
        self.field(name, |checker| {
            checker.each(
                "requiredDuringSchedulingIgnoredDuringExecution",
                terms,
                |checker, term| {
                    checker.required("topologyKey", &term.topology_key);
                    checker.selector("labelSelector", term.label_selector.as_ref());
                    checker.selector("namespaceSelector", term.namespace_selector.as_ref());
                },
            );
        });
    }

    fn selector(&mut self, name: &'static str, selector: Option<&LabelSelector>) {
        let Some(selector) = selector else { return };
        self.field(name, |checker| {
            checker.each(
                "matchExpressions",
                &selector.match_expressions,
                |checker, requirement| {
                    checker.requirement(requirement, Labels::Object);
                },
            );
        });
    }

    fn node_selector(&mut self, name: &'static str, selector: Option<&NodeSelector>) {
        let Some(selector) = selector else { return };
        self.field(name, |checker| {
            checker.each("nodeSelectorTerms", &selector.node_selector_terms, |checker, term| {
                checker.each("matchExpressions", &term.match_expressions, |checker, requirement| {
                    checker.requirement(requirement, Labels::Node);
                });
                checker.each("matchFields", &term.match_fields, |checker, requirement| {
                    checker.one_of("key", &requirement.key, &["metadata.name"]);
                    checker.one_of("operator", &requirement.operator, &["In", "NotIn"]);
                    if requirement.values.len() != 1 {
                        checker.wrong("values", "has to be exactly one value");
                    }
                });
            });
        });
    }

    fn requirement(&mut self, requirement: &LabelSelectorRequirement, labels: Labels) {
        let LabelSelectorRequirement { key, operator, values } = requirement;
        self.required("key", key);
        let wrong = match operator.as_str() {
            "In" | "NotIn" if values.is_empty() => "has to have a value with the operators In and NotIn".to_owned(),
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                format!("has to be empty with the operator {operator}")
            }
            "Gt" | "Lt" if labels == Labels::Node => match values.as_slice() {
                [value] if value.parse::<i64>().is_ok() => return,
                [value] => format!("{value:?} is not an integer, as {operator} needs"),
                _ => format!("has to be exactly one integer with the operator {operator}"),
            },
            "In" | "NotIn" | "Exists" | "DoesNotExist" => return,
            _ => {
                let known: &[_] = match labels {
                    Labels::Object => &["In", "NotIn", "Exists", "DoesNotExist"],
                    Labels::Node => &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
                };
                return self.one_of("operator", operator, known);
            }
        };
        self.wrong("values", wrong);
    }

    fn taints(&mut self, taints: &[Taint]) {
        self.each("taints", taints, |checker, taint| {
            checker.required("key", &taint.key);
            checker.one_of("effect", &taint.effect, TAINT_EFFECTS);
        });
    }

    fn disruption_budget(&mut self, budget: &PodDisruptionBudget) {
        self.field("spec", |checker| {
            let spec = &budget.spec;
            checker.selector("selector", spec.selector.as_ref());
            checker.count_or_percent("minAvailable", spec.min_available.as_ref());
            checker.count_or_percent("maxUnavailable", spec.max_unavailable.as_ref());
            if spec.min_available.is_some() && spec.max_unavailable.is_some() {
                checker.wrong("maxUnavailable", "cannot be beside minAvailable");
            }
            let policies = &["", "IfHealthyBudget", "AlwaysAllow"];
            checker.one_of(
                "unhealthyPodEvictionPolicy",
                &spec.unhealthy_pod_eviction_policy,
                policies,
            );
        });
    }

    fn count_or_percent(&mut self, name: &'static str, value: Option<&IntOrString>) {
        let message = match value {
            Some(IntOrString::Int(count)) if *count < 0 => format!("{count} is below 0"),
            Some(IntOrString::String(text)) if !is_percent(text) => {
                format!("{text:?} is neither a number nor a percentage such as 10%")
            }
            _ => return,
        };
        self.wrong(name, message);
    }

    fn node_group(&mut self, group: &NodeGroup, tree: &Tree<'_>) {
        let spec = &group.spec;
        self.field("spec", |checker| {
            let mut bounds_are_there = true;
            for name in ["minNodes", "maxNodes"] {
                let value = tree.get("spec").and_then(|spec| spec.get(name));
                if value.is_none_or(Tree::is_null) {
                    checker.required(name, "");
                    bounds_are_there = false;
                }
            }
            if bounds_are_there {
                checker.at_least("minNodes", spec.min_nodes, 0);
                // Nodes for the minimum are planned whether a pod asks or not; the maximum alone makes none.
                checker.at_most("minNodes", spec.min_nodes, MAX_NODES);
                checker.at_least("maxNodes", spec.max_nodes, 0);
                if spec.min_nodes > spec.max_nodes {
                    let message = format!("{} is above maxNodes, which is {}", spec.min_nodes, spec.max_nodes);
                    checker.wrong("minNodes", message);
                }
            }
            checker.required("datacenterID", &spec.datacenter_id);
            if spec.offering_ids.is_empty() {
                checker.wrong("offeringIDs", "has to name at least one offering");
            }
            checker.each("offeringIDs", &spec.offering_ids, |checker, id| {
                if id.is_empty() {
                    checker.problem("is empty");
                }
            });
            checker.taints(&spec.taints);
            checker.amounts("reserved", &spec.reserved);
            if let Some(headroom) = &spec.headroom {
                checker.field("headroom", |checker| checker.headroom(headroom));
            }
            checker.field("scaleUpPolicy", |checker| {
                let seconds = spec.scale_up_policy.stabilization_window_seconds;
                checker.at_least("stabilizationWindowSeconds", seconds, 0);
            });
            checker.field("scaleDownPolicy", |checker| {
                let policy = &spec.scale_down_policy;
                checker.percent("cpuThreshold", policy.cpu_threshold);
                checker.percent("memoryThreshold", policy.memory_threshold);
                checker.at_least("stabilizationWindowSeconds", policy.stabilization_window_seconds, 0);
                checker.at_least("cooldownSeconds", policy.cooldown_seconds, 0);
                checker.at_least("drainTimeoutSeconds", policy.drain_timeout_seconds, 0);
                for (name, seconds) in [
                    ("minNodeAgeSeconds", policy.min_node_age_seconds),
                    ("unreadyTimeSeconds", policy.unready_time_seconds),
                    ("delayAfterFailureSeconds", policy.delay_after_failure_seconds),
                ] {
                    if let Some(seconds) = seconds {
                        checker.at_least(name, seconds, 0);
                    }
                }
                checker.removal_budgets(&policy.budgets);
            });
        });
    }

    fn headroom(&mut self, headroom: &Headroom) {
        let kinds = [
            headroom.nodes.is_some(),
            headroom.percent.is_some(),
            headroom.pods.is_some(),
        ];
        if kinds.into_iter().filter(|kind| *kind).count() != 1 {
            self.problem("has to have exactly one of nodes, percent and pods");
        }
        if let Some(nodes) = headroom.nodes {
            self.at_least("nodes", nodes, 0);
            self.at_most("nodes", nodes, MAX_NODES);
        }
        if let Some(percent) = headroom.percent {
            self.percent("percent", percent);
        }
        if let Some(pods) = &headroom.pods {
            self.field("pods", |checker| {
                checker.at_least("replicas", pods.replicas, 0);
                checker.at_most("replicas", pods.replicas, 100_000);
                checker.field("resources", |checker| {
                    checker.amounts("requests", &pods.resources.requests);
                });
            });
        }
    }

    fn percent(&mut self, name: &'static str, value: i32) {
        if !(0..=100).contains(&value) {
            self.wrong(name, format!("{value} is not a percentage from 0 to 100"));
        }
    }

    fn removal_budgets(&mut self, budgets: &RemovalBudgets) {
        self.field("budgets", |checker| {
            if let Some(empty) = budgets.empty {
                checker.at_least("empty", empty, 0);
            }
            checker.count_or_percent("drain", budgets.drain.as_ref());
        });
    }

    fn vpsie_node(&mut self, node: &VPSieNode) {
        self.field("status", |checker| {
            checker.one_of("phase", &node.status.phase, PHASES);
        });
    }
}

/// A whole number from 0 to 100 and a percent sign.
fn is_percent(text: &str) -> bool {
    let digits = text
        .strip_suffix('%')
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse::<u32>().ok())
        .is_some_and(|percent| percent <= 100)
}

//! Controllers of pods, their disruption budgets, namespaces and priorities.

use std::collections::BTreeMap;

use super::{
    meta::{IntOrString, LabelSelector, ObjectMeta},
    pod::PodSpec,
};

view! {
    /// A Namespace (`v1`).
    pub struct Namespace {
        /// Metadata; the labels are what `namespaceSelector` matches.
        pub metadata: ObjectMeta,
    }

    /// A PodDisruptionBudget (`policy/v1`).
    pub struct PodDisruptionBudget {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: PodDisruptionBudgetSpec,
        /// What the disruption controller found; absent means that it has not looked yet.
        pub status: Option<PodDisruptionBudgetStatus>,
    }

    /// What a budget asks for.
    pub struct PodDisruptionBudgetSpec {
        /// Pods of its namespace that it protects; absent means none, empty means all.
        pub selector: Option<LabelSelector>,
        /// Pods that must stay healthy: a number or a percentage.
        pub min_available: Option<IntOrString>,
        /// Pods that may be unhealthy: a number or a percentage.
        pub max_unavailable: Option<IntOrString>,
        /// `IfHealthyBudget`, which is what empty means, or `AlwaysAllow`.
        pub unhealthy_pod_eviction_policy: String,
    }

    /// What the disruption controller found.
    pub struct PodDisruptionBudgetStatus {
        /// Generation of the spec that the numbers are for.
        pub observed_generation: i64,
        /// Evictions that are allowed now.
        pub disruptions_allowed: i32,
        /// Healthy pods.
        pub current_healthy: i32,
        /// Healthy pods that there must be.
        pub desired_healthy: i32,
        /// Pods that are counted.
        pub expected_pods: i32,
        /// Pods whose eviction was allowed and that are not seen to go yet, with the time of the permission as written.
        pub disrupted_pods: BTreeMap<String, String>,
    }

    /// A DaemonSet (`apps/v1`).
    pub struct DaemonSet {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: DaemonSetSpec,
    }

    /// What a DaemonSet asks for.
    pub struct DaemonSetSpec {
        /// Its pods.
        pub selector: Option<LabelSelector>,
        /// What its pods look like.
        pub template: PodTemplateSpec,
    }

    /// What pods of a controller look like.
    pub struct PodTemplateSpec {
        /// Metadata of the pods.
        pub metadata: ObjectMeta,
        /// Spec of the pods.
        pub spec: PodSpec,
    }

    /// A Deployment (`apps/v1`).
    pub struct Deployment {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: ReplicasSpec,
    }

    /// A ReplicaSet (`apps/v1`).
    pub struct ReplicaSet {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: ReplicasSpec,
    }

    /// A StatefulSet (`apps/v1`).
    pub struct StatefulSet {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: ReplicasSpec,
    }

    /// What a controller with replicas asks for.
    pub struct ReplicasSpec {
        /// Pods that there are to be; absent means 1.
        pub replicas: Option<i32>,
        /// Its pods.
        pub selector: Option<LabelSelector>,
    }

    /// A Job (`batch/v1`).
    pub struct Job {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: JobSpec,
    }

    /// What a Job asks for.
    pub struct JobSpec {
        /// Pods at once; absent means 1.
        pub parallelism: Option<i32>,
        /// Pods that have to succeed.
        pub completions: Option<i32>,
    }

    /// A PriorityClass (`scheduling.k8s.io/v1`).
    pub struct PriorityClass {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// Priority of its pods.
        pub value: i32,
        /// Whether it holds for pods that name no class.
        pub global_default: bool,
        /// `PreemptLowerPriority`, which is what empty means, or `Never`.
        pub preemption_policy: String,
    }
}

//! Which kinds there are: those that are read, those of Kubernetes that are not, and those that nobody has.

use super::{KINDS, Kind, autoscaler};

/// What is done with an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Class {
    /// It is read.
    Read(&'static Kind),
    /// It exists and plays no part in planning.
    Skip,
    /// It holds objects of any kind.
    List,
    /// It is the API server's answer to a request that failed.
    Status,
}

/// Why there is no such kind, and which of the two fields says so.
#[derive(Debug)]
pub(super) struct UnknownKind {
    pub(super) field: &'static str,
    pub(super) message: String,
}

/// The kinds of the API groups that Kubernetes 1.37 serves, that its usual aggregated servers serve, and that older
/// versions served. Groups that are not here are those of CustomResourceDefinitions.
const BUILT_IN: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "Binding",
            "ComponentStatus",
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "ValidatingWebhookConfiguration",
        ],
    ),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io", &["APIService"]),
    (
        "apps",
        &[
            "ControllerRevision",
            "DaemonSet",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
        ],
    ),
    (
        "authentication.k8s.io",
        &["SelfSubjectReview", "TokenRequest", "TokenReview"],
    ),
    (
        "authorization.k8s.io",
        &[
            "LocalSubjectAccessReview",
            "SelfSubjectAccessReview",
            "SelfSubjectRulesReview",
            "SubjectAccessReview",
        ],
    ),
    ("autoscaling", &["HorizontalPodAutoscaler", "Scale"]),
    ("batch", &["CronJob", "Job"]),
    (
        "certificates.k8s.io",
        &[
            "CertificateSigningRequest",
            "ClusterTrustBundle",
            "PodCertificateRequest",
        ],
    ),
    ("coordination.k8s.io", &["Lease", "LeaseCandidate"]),
    ("discovery.k8s.io", &["EndpointSlice"]),
    ("events.k8s.io", &["Event"]),
    (
        "extensions",
        &[
            "DaemonSet",
            "Deployment",
            "Ingress",
            "NetworkPolicy",
            "PodSecurityPolicy",
            "ReplicaSet",
        ],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
    ("internal.apiserver.k8s.io", &["StorageVersion"]),
    ("lifecycle.k8s.io", &["Eviction", "EvictionRequest"]),
    ("metrics.k8s.io", &["NodeMetrics", "PodMetrics"]),
    (
        "networking.k8s.io",
        &[
            "ClusterCIDR",
            "IPAddress",
            "Ingress",
            "IngressClass",
            "NetworkPolicy",
            "ServiceCIDR",
        ],
    ),
    ("node.k8s.io", &["RuntimeClass"]),
    ("policy", &["Eviction", "PodDisruptionBudget", "PodSecurityPolicy"]),
    (
        "rbac.authorization.k8s.io",
        &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
    ),
    (
        "resource.k8s.io",
        &[
            "DeviceClass",
            "DeviceTaintRule",
            "PodSchedulingContext",
            "ResourceClaim",
            "ResourceClaimParameters",
            "ResourceClaimTemplate",
            "ResourceClass",
            "ResourceClassParameters",
            "ResourcePoolStatusRequest",
            "ResourceSlice",
        ],
    ),
    (
        "scheduling.k8s.io",
        &["CompositePodGroup", "PodGroup", "PriorityClass", "Workload"],
    ),
    (
        "storage.k8s.io",
        &[
            "CSIDriver",
            "CSINode",
            "CSIStorageCapacity",
            "StorageClass",
            "VolumeAttachment",
            "VolumeAttributesClass",
        ],
    ),
    ("storagemigration.k8s.io", &["StorageVersionMigration"]),
    (autoscaler::GROUP, &["AutoscalerConfig", "NodeGroup", "VPSieNode"]),
];

/// Says what is done with objects of a kind.
pub(super) fn classify(api_version: &str, kind: &str) -> Result<Class, UnknownKind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match (api_version, kind) {
        ("v1", "List") => return Ok(Class::List),
        ("v1", "Status") => return Ok(Class::Status),
        _ => {}
    }
    let wrong_version = |message| {
        Err(UnknownKind {
            field: "apiVersion",
            message,
        })
    };
    if version.is_empty() || version.contains('/') || (group.is_empty() && api_version.contains('/')) {
        return wrong_version(format!("{api_version:?} is not GROUP/VERSION"));
    }
    let Some((_, kinds)) = BUILT_IN.iter().find(|(name, _)| *name == group) else {
        return classify_foreign(api_version, group, kind);
    };
    if !is_version(version) {
        return wrong_version(format!(
            "{version:?} is not a version of the Kubernetes API such as v1 or v1beta1"
        ));
    }
    if !kinds.contains(&kind) {
        return Err(UnknownKind {
            field: "kind",
            message: unknown_kind(api_version, kind, kinds),
        });
    }
    match KINDS.iter().find(|known| known.group == group && known.name == kind) {
        Some(known) if known.version == version => Ok(Class::Read(known)),
        Some(known) => wrong_version(format!(
            "{kind} is read in version {}, not {api_version}",
            known.api_version()
        )),
        None => Ok(Class::Skip),
    }
}

fn classify_foreign(api_version: &str, group: &str, kind: &str) -> Result<Class, UnknownKind> {
    let message = if !group.contains('.') {
        // The group of a CustomResourceDefinition has to have a dot.
        format!("there is no API group {group:?}")
    } else if group.contains("vpsie")
        && KINDS
            .iter()
            .any(|ours| ours.group == autoscaler::GROUP && ours.name == kind)
    {
        format!("{kind} is in API group {}, not in {group}", autoscaler::GROUP)
    } else if kind.is_empty() || !kind.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(UnknownKind {
            field: "kind",
            message: format!("{kind:?} is not the name of a kind"),
        });
    } else {
        return Ok(Class::Skip);
    };
    Err(UnknownKind {
        field: "apiVersion",
        message: format!("{api_version:?}: {message}"),
    })
}

fn unknown_kind(api_version: &str, kind: &str, kinds: &[&str]) -> String {
    let message = format!("there is no kind {kind:?} in {api_version}");
    let close = kinds
        .iter()
        .map(|known| (distance(known, kind), known))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    if let Some((_, known)) = close {
        return format!("{message}; is it {known}?");
    }
    match BUILT_IN.iter().find(|(_, kinds)| kinds.contains(&kind)) {
        Some(("", _)) => format!("{message}; {kind} is in the core group, v1"),
        Some((group, _)) => format!("{message}; {kind} is in the group {group}"),
        None => message,
    }
}

/// `v1`, `v2beta3` and so on.
fn is_version(version: &str) -> bool {
    let Some(rest) = version.strip_prefix('v') else {
        return false;
    };
    let stage = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = stage.strip_prefix("alpha").or_else(|| stage.strip_prefix("beta"));
    stage.len() < rest.len()
        && (stage.is_empty() || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())))
}

/// How many letters have to be added, removed or replaced to turn one word into the other (Levenshtein), capped for
/// words that are too long to be a kind.
fn distance(left: &str, right: &str) -> usize {
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, l) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut before = above + 1;
        for (cell, r) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(!l.eq_ignore_ascii_case(&r));
            diagonal = *cell;
            *cell = replaced.min(*cell + 1).min(before + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

// === impl Kind ===

impl Kind {
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

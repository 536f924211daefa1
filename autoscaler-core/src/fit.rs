//! Whether a pod fits a node: the answer of kube-scheduler's Filter plugins, with the reason and its numbers.
//!
//! One rule is one arm of [`misfit`], in the order in which kube-scheduler runs its plugins; the first that says no is
//! the reason. Rules that depend on other pods or on volumes are in [`constraint`](crate::constraint), and
//! [`World::misfit`](crate::world::World::misfit) asks all of them; the reasons of both are here.

use std::fmt;

use crate::{
    constraint::{ports::HostPort, volumes::ClaimProblem},
    quantity::{Bytes, MilliCpu},
    resources::{Resource, Resources, Shortage},
    selector::Labels,
    snapshot::{PodClass, WellKnown},
    symbol::{Symbol, Symbols},
    taint::{self, Effect, Taint},
};

/// Amounts of bytes that differ by less may look the same: a hundredth of a mebibyte.
const SHOWN_BYTES: i64 = (1 << 20) / 100 + 1;

/// What a rule sees of a node, whether it exists, is to come or is only planned.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// Name, for `matchFields`.
    pub name: Symbol,
    /// Labels.
    pub labels: &'a Labels,
    /// Taints.
    pub taints: &'a [Taint],
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// What pods may request in all.
    pub allocatable: &'a Resources,
    /// What its pods request.
    pub used: &'a Resources,
}

/// Why a pod does not fit a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// The node is cordoned.
    Unschedulable,
    /// The pod is bound to another node.
    NodeName {
        /// That node, when it is known.
        bound_to: Option<Symbol>,
    },
    /// The node has a taint that the pod does not tolerate.
    Taint(Taint),
    /// The node lacks a label of the pod's node selector.
    NodeSelector {
        /// Key that is asked for.
        key: Symbol,
        /// Value that is asked for.
        value: Symbol,
    },
    /// No term of the pod's required node affinity matches the node.
    NodeAffinity,
    /// The pod claims devices, and which node has them is not known.
    Devices {
        /// The first claim, as the pod calls it.
        claim: Symbol,
    },
    /// A pod of the node has a host port of the pod.
    PortInUse(HostPort),
    /// The node has too little left of a resource.
    Resources(Shortage),
    /// A claim that the pod mounts does not exist.
    ClaimMissing {
        /// `namespace/name` of the claim.
        claim: Symbol,
    },
    /// A pod of the node has a disk of the pod in a way that does not allow both.
    DiskInUse {
        /// Name of the disk.
        disk: Symbol,
    },
    /// Another pod uses a claim with access mode `ReadWriteOncePod`.
    ClaimInUse {
        /// `namespace/name` of the claim.
        claim: Symbol,
    },
    /// The node cannot attach more volumes.
    VolumeLimit {
        /// The CSI driver.
        driver: Symbol,
        /// Volumes of the pod that the node would have to attach.
        new: i64,
        /// Volumes that it has attached.
        attached: i64,
        /// How many it can attach.
        limit: i64,
    },
    /// A claim cannot be used on the node.
    Claim {
        /// `namespace/name` of the claim.
        claim: Symbol,
        /// Why not.
        problem: ClaimProblem,
    },
    /// The node affinity of a bound volume does not match the node.
    VolumeNodeAffinity {
        /// Name of the PersistentVolume.
        volume: Symbol,
    },
    /// A zone or region label of a bound volume does not match the node.
    VolumeZone {
        /// Name of the PersistentVolume.
        volume: Symbol,
        /// The label.
        key: Symbol,
        /// What the node has for it.
        node: Option<Symbol>,
    },
    /// The node lacks the label of a topology spread constraint.
    SpreadKeyMissing {
        /// The label.
        key: Symbol,
    },
    /// A topology spread constraint would be violated.
    Spread {
        /// The label.
        key: Symbol,
        /// Its value: the domain.
        domain: Symbol,
        /// What is allowed.
        max_skew: i32,
        /// What it would be.
        skew: i64,
        /// Matching pods in the domain.
        pods: u32,
        /// Matching pods in the domain with the fewest.
        minimum: u32,
    },
    /// The node lacks the label of a term of the pod's affinity.
    PodAffinityKeyMissing {
        /// The label.
        key: Symbol,
    },
    /// No pod in the domain matches the pod's affinity.
    PodAffinity {
        /// The label.
        key: Symbol,
    },
    /// Pods in the domain match the pod's anti-affinity.
    PodAntiAffinity {
        /// The label.
        key: Symbol,
        /// Its value: the domain.
        domain: Symbol,
        /// How many pods.
        pods: u32,
    },
    /// Pods in the domain have an anti-affinity that matches the pod.
    ExistingAntiAffinity {
        /// The label.
        key: Symbol,
        /// Its value: the domain.
        domain: Symbol,
        /// How many pods.
        pods: u32,
    },
}

/// A [`Misfit`] as text.
#[derive(Clone, Copy, Debug)]
pub struct MisfitText<'a> {
    misfit: &'a Misfit,
    symbols: &'a Symbols,
}

/// Why a pod of this class does not fit this node, or `None` when it fits, as far as other pods matter only by what they
/// request.
#[must_use]
pub fn misfit(class: &PodClass, node: &NodeView<'_>, well_known: &WellKnown, symbols: &Symbols) -> Option<Misfit> {
    static_misfit(class, node, well_known, symbols).or_else(|| {
        class
            .requests
            .shortage(node.allocatable, node.used, symbols)
            .map(Misfit::Resources)
    })
}

/// The part of [`misfit`] that does not depend on the pods of the node.
#[must_use]
pub fn static_misfit(
    class: &PodClass,
    node: &NodeView<'_>,
    well_known: &WellKnown,
    symbols: &Symbols,
) -> Option<Misfit> {
    if node.unschedulable {
        let cordon = cordon(well_known);
        if !class.tolerations.iter().any(|toleration| toleration.tolerates(&cordon)) {
            return Some(Misfit::Unschedulable);
        }
    }
    if let Some(taint) = taint::first_untolerated(node.taints, &class.tolerations) {
        return Some(Misfit::Taint(taint));
    }
    if let Some((key, value)) = node.labels.missing(&class.node_selector, symbols) {
        return Some(Misfit::NodeSelector { key, value });
    }
    match &class.node_affinity {
        Some(affinity) if !affinity.matches(node.name, node.labels, symbols) => Some(Misfit::NodeAffinity),
        _ => class.devices.map(|claim| Misfit::Devices { claim }),
    }
}

/// The taint that a node has while it is cordoned.
pub(crate) const fn cordon(well_known: &WellKnown) -> Taint {
    Taint {
        key: well_known.unschedulable,
        value: Symbol::EMPTY,
        effect: Effect::NoSchedule,
    }
}

// === impl Misfit ===

impl Misfit {
    /// The kube-scheduler plugin that says no.
    #[must_use]
    pub const fn plugin(&self) -> &'static str {
        match self {
            Self::Unschedulable => "NodeUnschedulable",
            Self::NodeName { .. } => "NodeName",
            Self::Taint(_) => "TaintToleration",
            Self::NodeSelector { .. } | Self::NodeAffinity => "NodeAffinity",
            Self::PortInUse(_) => "NodePorts",
            Self::Resources(_) => "NodeResourcesFit",
            Self::ClaimMissing { .. } | Self::DiskInUse { .. } | Self::ClaimInUse { .. } => "VolumeRestrictions",
            Self::VolumeLimit { .. } => "NodeVolumeLimits",
            Self::Claim { .. } | Self::VolumeNodeAffinity { .. } => "VolumeBinding",
            Self::VolumeZone { .. } => "VolumeZone",
            Self::SpreadKeyMissing { .. } | Self::Spread { .. } => "PodTopologySpread",
            Self::PodAffinityKeyMissing { .. }
            | Self::PodAffinity { .. }
            | Self::PodAntiAffinity { .. }
            | Self::ExistingAntiAffinity { .. } => "InterPodAffinity",
            Self::Devices { .. } => "DynamicResources",
        }
    }

    /// Whether the node stays without room for the pod while pods are only placed, wherever that is. A spread constraint
    /// or an affinity can be met later by pods that are placed elsewhere.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        !matches!(self, Self::Spread { .. } | Self::PodAffinity { .. })
    }

    /// The reason as `plan` gives it for a NodeGroup: `InsufficientCpu` and its like, else the plugin.
    #[must_use]
    pub fn group_reason(&self, symbols: &Symbols) -> String {
        let Self::Resources(shortage) = self else {
            return self.plugin().to_owned();
        };
        match shortage.resource {
            Resource::Cpu => "InsufficientCpu".to_owned(),
            Resource::Memory => "InsufficientMemory".to_owned(),
            Resource::EphemeralStorage => "InsufficientEphemeralStorage".to_owned(),
            Resource::Pods => "InsufficientPods".to_owned(),
            Resource::Extended(name) => format!("Insufficient{}", symbols.text(name)),
        }
    }

    /// The reason in words, with its numbers.
    #[must_use]
    pub const fn text<'a>(&'a self, symbols: &'a Symbols) -> MisfitText<'a> {
        MisfitText { misfit: self, symbols }
    }
}

impl fmt::Display for MisfitText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbols = self.symbols;
        match self.misfit {
            Misfit::Unschedulable => f.write_str("the node is cordoned"),
            Misfit::NodeName { bound_to: Some(node) } => write!(f, "the pod is bound to {}", symbols.text(*node)),
            Misfit::NodeName { bound_to: None } => f.write_str("the pod is bound to a node that is not known"),
            Misfit::Taint(taint) => {
                let (key, value) = (symbols.text(taint.key), symbols.text(taint.value));
                write!(f, "does not tolerate the taint {key}={value}:{}", taint.effect.as_str())
            }
            Misfit::NodeSelector { key, value } => {
                write!(
                    f,
                    "the node selector asks for {}={}",
                    symbols.text(*key),
                    symbols.text(*value)
                )
            }
            Misfit::NodeAffinity => f.write_str("no term of the required node affinity matches"),
            Misfit::Resources(shortage) => {
                let (needed, free) = compared(shortage.resource, shortage.requested, shortage.free);
                write!(f, "{}: needs {needed}, {free} free", shortage.resource.name(symbols))
            }
            Misfit::Devices { claim } => write!(
                f,
                "claims devices ({}), and which node has them is not known here",
                symbols.text(*claim)
            ),
            Misfit::PortInUse(port) => write!(f, "port {} is in use", port.text(symbols)),
            Misfit::ClaimMissing { claim } => write!(f, "claim {} does not exist", symbols.text(*claim)),
            Misfit::DiskInUse { disk } => write!(f, "disk {} is in use by a pod of the node", symbols.text(*disk)),
            Misfit::ClaimInUse { claim } => {
                write!(
                    f,
                    "claim {} is ReadWriteOncePod and in use by another pod",
                    symbols.text(*claim)
                )
            }
            Misfit::VolumeLimit {
                driver,
                new,
                attached,
                limit,
            } => {
                write!(
                    f,
                    "{}: attaches {new} more volume{} to {attached}, limit {limit}",
                    symbols.text(*driver),
                    plural(*new)
                )
            }
            Misfit::Claim { claim, problem } => write!(f, "claim {} {}", symbols.text(*claim), problem.as_str()),
            Misfit::VolumeNodeAffinity { volume } => {
                write!(
                    f,
                    "volume {} cannot be used on this node by its node affinity",
                    symbols.text(*volume)
                )
            }
            Misfit::VolumeZone { volume, key, node } => {
                let (volume, key) = (symbols.text(*volume), symbols.text(*key));
                match node {
                    Some(node) => write!(f, "volume {volume} is not in {key}={}", symbols.text(*node)),
                    None => write!(f, "volume {volume} asks for the label {key}, which the node lacks"),
                }
            }
            Misfit::SpreadKeyMissing { key } | Misfit::PodAffinityKeyMissing { key } => {
                write!(f, "the node lacks the topology label {}", symbols.text(*key))
            }
            Misfit::Spread {
                key,
                domain,
                max_skew,
                skew,
                pods,
                minimum,
            } => {
                let (key, domain) = (symbols.text(*key), symbols.text(*domain));
                write!(
                    f,
                    "max skew {max_skew} of {key} would be {skew} in {domain} ({pods} pod{}, minimum {minimum})",
                    plural((*pods).into())
                )
            }
            Misfit::PodAffinity { key } => {
                write!(f, "no pod in its {} matches the pod affinity", symbols.text(*key))
            }
            Misfit::PodAntiAffinity { key, domain, pods } => {
                let (key, domain) = (symbols.text(*key), symbols.text(*domain));
                let s = plural((*pods).into());
                write!(f, "the pod anti-affinity matches {pods} pod{s} in {key}={domain}")
            }
            Misfit::ExistingAntiAffinity { key, domain, pods } => {
                let (key, domain) = (symbols.text(*key), symbols.text(*domain));
                let s = plural((*pods).into());
                write!(
                    f,
                    "the anti-affinity of {pods} pod{s} in {key}={domain} matches the pod"
                )
            }
        }
    }
}

/// Why a pod does not fit a new node on which nothing runs but the pods of DaemonSets, which request `daemons`. When a
/// resource is short the text says what is left of it, and what DaemonSets take:
/// `cpu: needs 4100m, a new node has 3920m (4100m less DaemonSets 180m)`.
pub(crate) fn template_misfit_text(misfit: &Misfit, daemons: &Resources, symbols: &Symbols) -> String {
    let Misfit::Resources(shortage) = misfit else {
        return misfit.text(symbols).to_string();
    };
    let resource = shortage.resource;
    let amount = |amount| amount_text(resource, amount);
    // DaemonSets may ask for more than there is.
    let (needed, free) = compared(resource, shortage.requested, shortage.free.max(0));
    let name = resource.name(symbols);
    let taken = daemons.get(resource);
    if taken == 0 {
        return format!("{name}: needs {needed}, a new node has {free}");
    }
    let (all, taken) = (amount(shortage.allocatable), amount(taken));
    format!("{name}: needs {needed}, a new node has {free} ({all} less DaemonSets {taken})")
}

/// What so many of something have at the end of their name.
const fn plural(count: i64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What is needed and the less that there is, told apart also where they differ by less than is shown of bytes.
fn compared(resource: Resource, needed: i64, free: i64) -> (String, String) {
    let rounds = matches!(resource, Resource::Memory | Resource::EphemeralStorage);
    if rounds && needed.saturating_sub(free) < SHOWN_BYTES {
        return (needed.to_string(), free.to_string());
    }
    (amount_text(resource, needed), amount_text(resource, free))
}

/// An amount of a resource in the unit in which people write it.
#[must_use]
pub fn amount_text(resource: Resource, amount: i64) -> String {
    match resource {
        Resource::Cpu => MilliCpu(amount).to_string(),
        Resource::Memory | Resource::EphemeralStorage => Bytes(amount).to_string(),
        Resource::Pods | Resource::Extended(_) => amount.to_string(),
    }
}

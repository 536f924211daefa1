//! Whether a pod fits a node: the answer of kube-scheduler's Filter plugins, with the reason and its numbers.
//!
//! One rule is one arm of [`misfit`], in the order in which kube-scheduler runs its plugins; the first that says no is
//! the reason.

use std::fmt;

use crate::{
    quantity::{Bytes, MilliCpu},
    resources::{Resource, Resources, Shortage},
    selector::Labels,
    snapshot::{PodClass, WellKnown},
    symbol::{Symbol, Symbols},
    taint::{self, Effect, Taint},
};

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
    /// The node has too little left of a resource.
    Resources(Shortage),
}

/// A [`Misfit`] as text.
#[derive(Clone, Copy, Debug)]
pub struct MisfitText<'a> {
    misfit: &'a Misfit,
    symbols: &'a Symbols,
}

/// Why a pod of this class does not fit this node, or `None` when it fits.
#[must_use]
pub fn misfit(class: &PodClass, node: &NodeView<'_>, well_known: &WellKnown, symbols: &Symbols) -> Option<Misfit> {
    static_misfit(class, node, well_known, symbols).or_else(|| {
        class.requests.shortage(node.allocatable, node.used).map(Misfit::Resources)
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
        let cordon = Taint { key: well_known.unschedulable, value: Symbol::EMPTY, effect: Effect::NoSchedule };
        if !class.tolerations.iter().any(|toleration| toleration.tolerates(&cordon)) {
            return Some(Misfit::Unschedulable);
        }
    }
    if let Some(taint) = taint::first_untolerated(node.taints, &class.tolerations) {
        return Some(Misfit::Taint(taint));
    }
    if let Some((key, value)) = node.labels.missing(&class.node_selector) {
        return Some(Misfit::NodeSelector { key, value });
    }
    match &class.node_affinity {
        Some(affinity) if !affinity.matches(node.name, node.labels, symbols) => Some(Misfit::NodeAffinity),
        _ => None,
    }
}

// === impl Misfit ===

impl Misfit {
    /// The kube-scheduler plugin that says no.
    #[must_use]
    pub const fn plugin(&self) -> &'static str {
        match self {
            Self::Unschedulable => "NodeUnschedulable",
            Self::Taint(_) => "TaintToleration",
            Self::NodeSelector { .. } | Self::NodeAffinity => "NodeAffinity",
            Self::Resources(_) => "NodeResourcesFit",
        }
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
            Misfit::Taint(taint) => {
                let (key, value) = (symbols.text(taint.key), symbols.text(taint.value));
                write!(f, "does not tolerate the taint {key}={value}:{}", taint.effect.as_str())
            }
            Misfit::NodeSelector { key, value } => {
                write!(f, "the node selector asks for {}={}", symbols.text(*key), symbols.text(*value))
            }
            Misfit::NodeAffinity => f.write_str("no term of the required node affinity matches"),
            Misfit::Resources(shortage) => {
                let amount = |amount| amount_text(shortage.resource, amount);
                write!(
                    f,
                    "{}: needs {}, {} free",
                    shortage.resource.name(symbols),
                    amount(shortage.requested),
                    amount(shortage.free)
                )
            }
        }
    }
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

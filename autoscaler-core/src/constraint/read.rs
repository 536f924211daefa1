//! Reads selectors and the scheduling constraints of pods from their manifests.

use crate::{
    manifest::{
        meta::{LabelSelector as SelectorManifest, LabelSelectorRequirement, ObjectMeta},
        pod::{
            ContainerPort, NodeSelector as NodeSelectorManifest, NodeSelectorTerm as TermManifest, PodAffinity,
            PodAffinityTerm, PodSpec, TopologySpreadConstraint,
        },
    },
    selector::{LabelSelector, NodeSelector, NodeSelectorTerm, Operator, Requirement},
    symbol::{Symbol, Symbols},
};

use super::{affinity::AffinityTerm, ports::HostPort, spread::SpreadConstraint};

/// A label selector.
pub(crate) fn selector(symbols: &mut Symbols, manifest: &SelectorManifest) -> LabelSelector {
    let of_labels = manifest.match_labels.iter().map(|(key, value)| Requirement {
        key: symbols.intern(key),
        operator: Operator::In,
        values: Box::new([symbols.intern(value)]),
    });
    let mut requirements: Vec<_> = of_labels.collect();
    requirements.extend(
        manifest
            .match_expressions
            .iter()
            .map(|expression| requirement(symbols, expression)),
    );
    LabelSelector(requirements.into())
}

/// A node selector.
pub(crate) fn node_selector(symbols: &mut Symbols, manifest: &NodeSelectorManifest) -> NodeSelector {
    let term = |term: &TermManifest| NodeSelectorTerm {
        expressions: term
            .match_expressions
            .iter()
            .map(|expression| node_requirement(symbols, expression))
            .collect(),
        fields: term
            .match_fields
            .iter()
            .map(|field| requirement(symbols, field))
            .collect(),
    };
    NodeSelector(manifest.node_selector_terms.iter().map(term).collect())
}

/// The required terms of a pod's affinity or anti-affinity.
pub(crate) fn affinity_terms(
    symbols: &mut Symbols,
    metadata: &ObjectMeta,
    affinity: Option<&PodAffinity>,
) -> Box<[AffinityTerm]> {
    let terms = affinity.map_or(&[][..], |affinity| {
        &affinity.required_during_scheduling_ignored_during_execution
    });
    terms
        .iter()
        .map(|term| affinity_term(symbols, metadata, term))
        .collect()
}

fn affinity_term(symbols: &mut Symbols, metadata: &ObjectMeta, term: &PodAffinityTerm) -> AffinityTerm {
    let merged = term.label_selector.as_ref().map(|manifest| {
        let mut merged = selector(symbols, manifest);
        merge_keys(symbols, &mut merged, metadata, &term.match_label_keys, Operator::In);
        merge_keys(
            symbols,
            &mut merged,
            metadata,
            &term.mismatch_label_keys,
            Operator::NotIn,
        );
        merged
    });
    let own = term.namespaces.is_empty() && term.namespace_selector.is_none();
    let own = own.then_some(&metadata.namespace);
    let mut namespaces: Vec<Symbol> = term
        .namespaces
        .iter()
        .chain(own)
        .map(|name| symbols.intern(name))
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    AffinityTerm {
        selector: merged,
        namespaces: namespaces.into(),
        namespace_selector: term
            .namespace_selector
            .as_ref()
            .map(|manifest| selector(symbols, manifest)),
        topology_key: symbols.intern(&term.topology_key),
    }
}

/// The spread constraints of a pod that can keep it from a node.
pub(crate) fn spread_constraints(
    symbols: &mut Symbols,
    metadata: &ObjectMeta,
    spec: &PodSpec,
) -> Box<[SpreadConstraint]> {
    let read = |constraint: &TopologySpreadConstraint| SpreadConstraint {
        max_skew: constraint.max_skew,
        topology_key: symbols.intern(&constraint.topology_key),
        selector: constraint.label_selector.as_ref().map(|manifest| {
            let mut merged = selector(symbols, manifest);
            merge_keys(
                symbols,
                &mut merged,
                metadata,
                &constraint.match_label_keys,
                Operator::In,
            );
            merged
        }),
        min_domains: constraint.min_domains.unwrap_or(1),
        honor_affinity: constraint.node_affinity_policy != "Ignore",
        honor_taints: constraint.node_taints_policy == "Honor",
    };
    // The API server fills in `DoNotSchedule` nowhere: the field is required.
    let blocks = |constraint: &&TopologySpreadConstraint| constraint.when_unsatisfiable == "DoNotSchedule";
    spec.topology_spread_constraints
        .iter()
        .filter(blocks)
        .map(read)
        .collect()
}

/// The host ports of a pod, of its sidecars too. With `defaulted`, ports of a pod on the node's network that name no
/// host port get one, as the API server does when such a pod is created. They are ordered by what they are, so that the
/// first that is taken is always the same one.
pub(crate) fn host_ports(symbols: &mut Symbols, spec: &PodSpec, defaulted: bool) -> Box<[HostPort]> {
    let sidecars = spec
        .init_containers
        .iter()
        .filter(|container| container.restart_policy == "Always");
    let ports = sidecars.chain(&spec.containers).flat_map(|container| &container.ports);
    let read = |port: &ContainerPort| {
        let fill_in = defaulted && spec.host_network && port.host_port == 0;
        let number = if fill_in { port.container_port } else { port.host_port };
        (0 < number).then(|| HostPort {
            port: number,
            protocol: symbols.intern(if port.protocol.is_empty() {
                "TCP"
            } else {
                &port.protocol
            }),
            ip: Some(port.host_ip.as_str())
                .filter(|ip| !matches!(*ip, "" | "0.0.0.0"))
                .map(|ip| symbols.intern(ip)),
        })
    };
    let mut ports: Vec<_> = ports.filter_map(read).collect();
    let key = |port: &HostPort| {
        (
            port.port,
            symbols.text(port.protocol),
            port.ip.map(|ip| symbols.text(ip)),
        )
    };
    ports.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    ports.dedup();
    ports.into()
}

/// Adds a requirement for each of these keys that the pod has a label of, unless it is there already.
fn merge_keys(
    symbols: &mut Symbols,
    selector: &mut LabelSelector,
    metadata: &ObjectMeta,
    keys: &[String],
    operator: Operator,
) {
    let mut requirements = std::mem::take(&mut selector.0).into_vec();
    for key in keys {
        let Some(value) = metadata.labels.get(key) else {
            continue;
        };
        let requirement = Requirement {
            key: symbols.intern(key),
            operator,
            values: Box::new([symbols.intern(value)]),
        };
        if !requirements.contains(&requirement) {
            requirements.push(requirement);
        }
    }
    selector.0 = requirements.into();
}

/// A requirement on labels of a node. A value that no label can have makes it one that cannot be understood, whatever the
/// operator: so a bound of `Gt` or `Lt` is never below zero.
fn node_requirement(symbols: &mut Symbols, manifest: &LabelSelectorRequirement) -> Requirement {
    if manifest.values.iter().all(|value| is_label_value(value)) {
        return requirement(symbols, manifest);
    }
    Requirement {
        key: symbols.intern(&manifest.key),
        operator: Operator::In,
        values: Box::default(),
    }
}

/// Whether a label can have this value: `IsValidLabelValue` of `k8s.io/apimachinery/pkg/util/validation`.
fn is_label_value(text: &str) -> bool {
    let at_ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= 63 && at_ends(text.bytes().next()) && at_ends(text.bytes().next_back()) && text.bytes().all(inside)
}

/// A requirement that cannot be understood matches nothing, as in Kubernetes.
fn requirement(symbols: &mut Symbols, manifest: &LabelSelectorRequirement) -> Requirement {
    let bound = || match manifest.values.as_slice() {
        [value] => value.parse().ok(),
        _ => None,
    };
    let operator = match manifest.operator.as_str() {
        "In" => Some(Operator::In),
        "NotIn" => Some(Operator::NotIn),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        "Gt" => bound().map(Operator::Gt),
        "Lt" => bound().map(Operator::Lt),
        _ => None,
    };
    let has_values = matches!(operator, Some(Operator::In | Operator::NotIn));
    let values = if has_values { manifest.values.as_slice() } else { &[] };
    Requirement {
        key: symbols.intern(&manifest.key),
        operator: operator.unwrap_or(Operator::In),
        values: values.iter().map(|value| symbols.intern(value)).collect(),
    }
}

//! Where a snapshot holds symbols. Each list below names every field, so that a new one cannot be forgotten.

use crate::{
    constraint::{
        affinity::AffinityTerm,
        ports::HostPort,
        spread::SpreadConstraint,
        volumes::{
            Attachment, BoundVolume, CandidateVolume, ClaimProblem, Disk, ExclusiveClaim, Topologies, UnboundClaim,
            VolumeNeeds, ZoneKeys, ZoneLabel,
        },
    },
    resources::{Resource, Resources},
    selector::{LabelSelector, Labels, NodeSelector, NodeSelectorTerm, Requirement},
    symbol::{MapSymbols, Symbol, map_symbols},
    taint::{Taint, Toleration},
};

use super::{Budget, DaemonSet, Headroom, Machine, Node, NodeGroup, PodClass, WellKnown};

map_symbols!(WellKnown {
    hostname, zone, unschedulable, offering, instance_type, startup, not_ready, kube_system, new_node
} {});
map_symbols!(Node { name, labels, taints, allocatable, opt_out, volume_limits } {
    unschedulable, readiness, created_at, deleting, control_plane, allowed_hours, group, machine, offering, own
});
map_symbols!(PodClass {
    namespace, labels, requests, node_selector, node_affinity, tolerations, affinity, anti_affinity, spread, ports,
    volumes, devices
} { priority, terminating });
map_symbols!(NodeGroup { namespace, name, labels, taints, reserved, headroom, opt_out } {
    managed, deleting, min_nodes, max_nodes, datacenter, offerings, preferred, priority, scale_up_enabled,
    scale_up_window, scale_down, allowed_hours, time_zone, last_scale_up, last_scale_down_failure,
    scale_down_failures, backoffs
});
map_symbols!(Machine { namespace, name, opt_out } {
    group, offering, datacenter, phase, phase_since, deleting, node, unneeded_since, removal
});
map_symbols!(Budget { namespace, name, selector } { disruptions_allowed, is_current, always_allow_unhealthy });
map_symbols!(DaemonSet { namespace, name } { class });

map_symbols!(Resources { extended } { cpu, memory, ephemeral_storage, pods });
map_symbols!(Taint { key, value } { effect });
map_symbols!(Toleration { key, value } { effect });
map_symbols!(Requirement { key, values } { operator });
map_symbols!(NodeSelectorTerm { expressions, fields } {});
map_symbols!(AffinityTerm { selector, namespaces, namespace_selector, topology_key } {});
map_symbols!(SpreadConstraint { topology_key, selector } { max_skew, min_domains, honor_affinity, honor_taints });
map_symbols!(HostPort { protocol, ip } { port });
map_symbols!(VolumeNeeds { missing, disks, exclusive, attachments, unusable, bound, unbound, candidates, zones } {});
map_symbols!(Disk { name, monitors } { kind, read_only });
map_symbols!(ExclusiveClaim { name } { index });
map_symbols!(Attachment { driver, volume } {});
map_symbols!(UnboundClaim { name, selected_node, provision } { candidates });
map_symbols!(CandidateVolume { volume, nodes } {});
map_symbols!(ZoneLabel { volume, key, current_key, values } {});
map_symbols!(ZoneKeys { zone, region, beta_zone, beta_region } {});

macro_rules! map_symbols_of_lists {
    ($($list:ty),*) => {$(
        impl MapSymbols for $list {
            fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
                self.0.map_symbols(map);
            }
        }
    )*};
}

map_symbols_of_lists!(Labels, LabelSelector, NodeSelector, Topologies);

impl MapSymbols for Headroom {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        match self {
            Self::Pods { requests, .. } => requests.map_symbols(map),
            Self::Nodes(_) | Self::Percent(_) => {}
        }
    }
}

impl MapSymbols for (Resource, i64) {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        if let Resource::Extended(name) = &mut self.0 {
            name.map_symbols(map);
        }
    }
}

impl MapSymbols for ClaimProblem {
    fn map_symbols(&mut self, _: &mut dyn FnMut(Symbol) -> Symbol) {}
}

impl MapSymbols for BoundVolume {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        match self {
            Self::On { volume, nodes } => {
                volume.map_symbols(map);
                nodes.map_symbols(map);
            }
            Self::Missing(claim) => claim.map_symbols(map),
        }
    }
}

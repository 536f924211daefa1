//! Volumes of a pod as kube-scheduler's plugins `VolumeRestrictions`, `NodeVolumeLimits`, `VolumeBinding` and
//! `VolumeZone` judge them.
//!
//! What claims, volumes and storage classes mean is resolved when the snapshot is made (see `claims`); here it is compared with a node. Storage capacities (CSIStorageCapacity), volume
//! attachments that belong to no pod, and the translation of in-tree volumes to CSI drivers are not modelled.

use std::collections::BTreeSet;

use crate::{
    fit::Misfit,
    selector::{Labels, NodeSelector},
    symbol::{Symbol, Symbols},
};

/// What the volumes of a pod ask of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeNeeds {
    /// A claim that is mounted and does not exist, which `VolumeRestrictions` looks for first.
    pub missing: Option<Symbol>,
    /// Disks of kinds that only one pod of a node may use, or only for reading.
    pub disks: Box<[Disk]>,
    /// Claims with access mode `ReadWriteOncePod`, as positions in the list of all of them.
    pub exclusive: Box<[ExclusiveClaim]>,
    /// Volumes that count against the attach limit of some node, ordered by driver and volume.
    pub attachments: Box<[Attachment]>,
    /// The first claim that cannot be used on any node.
    pub unusable: Option<(Symbol, ClaimProblem)>,
    /// Bound volumes that not every node can use, and those that do not exist.
    pub bound: Box<[BoundVolume]>,
    /// Claims that are bound when the pod is placed, smallest first.
    pub unbound: Box<[UnboundClaim]>,
    /// Existing volumes that these claims could be bound to, one list for all claims that ask for the same, each smallest
    /// first. For a claim that a volume is kept for, a list of that volume alone.
    pub candidates: Box<[Box<[CandidateVolume]>]>,
    /// Zone and region labels of bound volumes.
    pub zones: Box<[ZoneLabel]>,
}

/// A disk that is named in the pod itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disk {
    /// What kind of disk.
    pub kind: DiskKind,
    /// Its name: the disk, the volume id, the iSCSI name, or pool and image.
    pub name: Symbol,
    /// Ceph monitors; empty for other kinds.
    pub monitors: Box<[Symbol]>,
    /// Whether it is mounted read-only, which several pods may do.
    pub read_only: bool,
}

/// Kinds of disks that are named in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskKind {
    /// A disk of Google Compute Engine.
    Gce,
    /// A disk of Amazon Web Services, which two pods may not even read together.
    Aws,
    /// A Ceph block device.
    Rbd,
    /// An iSCSI disk.
    Iscsi,
}

/// A claim that only one pod of the cluster may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExclusiveClaim {
    /// Position in the list of all such claims.
    pub index: u32,
    /// `namespace/name`
    pub name: Symbol,
}

/// A volume that a node has to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// The CSI driver.
    pub driver: Symbol,
    /// What tells the volume from others of the driver.
    pub volume: Symbol,
}

/// Why a claim cannot be used on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimProblem {
    /// It is still to be made for the pod.
    Awaited,
    /// The volume it was bound to is gone (phase `Lost`).
    Lost,
    /// Its deletion was requested.
    Deleting,
    /// It has the name of a claim of the pod, and belongs to something else.
    Foreign,
    /// It should be bound before the pod is scheduled, and is not.
    Unbound,
    /// The volume it is bound to does not exist.
    NoVolume,
    /// No existing volume matches it on this node, and its storage class makes none here.
    NoneHere,
    /// Its volume is being made for another node.
    OtherNode,
}

/// A volume that a claim is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BoundVolume {
    /// One that only some nodes can use.
    On {
        /// Name of the PersistentVolume.
        volume: Symbol,
        /// The nodes.
        nodes: NodeSelector,
    },
    /// One that does not exist; the claim that names it.
    Missing(Symbol),
}

/// A claim of a storage class with `WaitForFirstConsumer` that has no volume yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnboundClaim {
    /// `namespace/name`
    pub name: Symbol,
    /// The node that a volume is being made for.
    pub selected_node: Option<Symbol>,
    /// Which list of [`VolumeNeeds::candidates`] is its own; `None` when no existing volume is looked for.
    pub candidates: Option<u32>,
    /// Where a volume can be made; `None` when the storage class makes none.
    pub provision: Option<Topologies>,
}

/// A volume that a claim could be bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidateVolume {
    /// Name of the PersistentVolume.
    pub volume: Symbol,
    /// The nodes that can use it; `None` means all.
    pub nodes: Option<NodeSelector>,
}

/// `allowedTopologies` of a storage class: one of the terms must match, and in a term every label must have one of the
/// values. No terms match every node, a term without labels matches none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topologies(pub Box<[TopologyTerm]>);

/// Node labels with the values that they may have.
pub type TopologyTerm = Box<[(Symbol, Box<[Symbol]>)]>;

/// A zone or region label of a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneLabel {
    /// Name of the PersistentVolume.
    pub volume: Symbol,
    /// The label that a node must have.
    pub key: Symbol,
    /// The label of today's name, which a node may have instead; equal to `key` when that is it.
    pub current_key: Symbol,
    /// The values that it may have.
    pub values: Box<[Symbol]>,
}

/// The labels that say in which zone and region a node is: today's names and those before.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZoneKeys {
    /// `topology.kubernetes.io/zone`
    pub zone: Symbol,
    /// `topology.kubernetes.io/region`
    pub region: Symbol,
    /// `failure-domain.beta.kubernetes.io/zone`
    pub beta_zone: Symbol,
    /// `failure-domain.beta.kubernetes.io/region`
    pub beta_region: Symbol,
}

/// Disks and attached volumes that pods of one node use. What two pods use is there twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VolumesInUse {
    disks: Vec<Disk>,
    attached: Vec<Attachment>,
}

/// The part of a node that volumes are judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VolumeNode<'a> {
    pub(crate) name: Symbol,
    pub(crate) labels: &'a Labels,
    /// Most volumes by driver; a driver that is absent has no limit.
    pub(crate) limits: &'a [(Symbol, i64)],
    pub(crate) in_use: &'a VolumesInUse,
}

// === impl VolumeNeeds ===

impl VolumeNeeds {
    /// The first plugin that says no, in the order of kube-scheduler. `exclusive` is how many pods use each claim with
    /// access mode `ReadWriteOncePod`.
    pub(crate) fn misfit(
        &self,
        node: &VolumeNode<'_>,
        exclusive: &[u32],
        zone_keys: &ZoneKeys,
        symbols: &Symbols,
    ) -> Option<Misfit> {
        self.restriction(node.in_use, exclusive)
            .or_else(|| self.limit(node))
            .or_else(|| self.binding(node, symbols))
            .or_else(|| self.zone(node, zone_keys))
    }

    /// `VolumeRestrictions`
    fn restriction(&self, in_use: &VolumesInUse, exclusive: &[u32]) -> Option<Misfit> {
        if let Some(claim) = self.missing {
            return Some(Misfit::ClaimMissing { claim });
        }
        let conflict = |disk: &&Disk| in_use.disks_named(disk).any(|other| disk.conflicts_with(other));
        if let Some(disk) = self.disks.iter().find(conflict) {
            return Some(Misfit::DiskInUse { disk: disk.name });
        }
        let used = |claim: &&ExclusiveClaim| exclusive.get(claim.index as usize).is_some_and(|pods| 0 < *pods);
        self.exclusive
            .iter()
            .find(used)
            .map(|claim| Misfit::ClaimInUse { claim: claim.name })
    }

    /// `NodeVolumeLimits`, which does not come to counting while a claim is missing or belongs to something else.
    fn limit(&self, node: &VolumeNode<'_>) -> Option<Misfit> {
        if self.unusable.is_some_and(|(_, problem)| !problem.is_claim_known()) {
            return None;
        }
        let mut rest = &*self.attachments;
        while let Some(first) = rest.first() {
            let (of_driver, others) = rest.split_at(rest.partition_point(|next| next.driver == first.driver));
            rest = others;
            let Some((_, limit)) = node.limits.iter().find(|(driver, _)| *driver == first.driver) else {
                continue;
            };
            let new = of_driver
                .iter()
                .filter(|volume| !node.in_use.is_attached(volume))
                .count();
            let attached = node.in_use.attached_of(first.driver);
            let (new, attached) = (count(new), count(attached));
            if 0 < new && *limit < attached.saturating_add(new) {
                return Some(Misfit::VolumeLimit {
                    driver: first.driver,
                    new,
                    attached,
                    limit: *limit,
                });
            }
        }
        None
    }

    /// `VolumeBinding`
    fn binding(&self, node: &VolumeNode<'_>, symbols: &Symbols) -> Option<Misfit> {
        if let Some((claim, problem)) = self.unusable {
            return Some(Misfit::Claim { claim, problem });
        }
        let usable = |nodes: &NodeSelector| nodes.matches(Symbol::EMPTY, node.labels, symbols);
        for bound in &self.bound {
            match bound {
                BoundVolume::Missing(claim) => {
                    return Some(Misfit::Claim {
                        claim: *claim,
                        problem: ClaimProblem::NoVolume,
                    });
                }
                BoundVolume::On { volume, nodes } if !usable(nodes) => {
                    return Some(Misfit::VolumeNodeAffinity { volume: *volume });
                }
                BoundVolume::On { .. } => {}
            }
        }
        let elsewhere = |claim: &&UnboundClaim| claim.selected_node.is_some_and(|selected| selected != node.name);
        if let Some(claim) = self.unbound.iter().find(elsewhere) {
            return Some(Misfit::Claim {
                claim: claim.name,
                problem: ClaimProblem::OtherNode,
            });
        }
        // What claims before have chosen, or could not use, is behind the cursor of a list.
        let mut cursors: Vec<_> = self.candidates.iter().map(|list| list.iter()).collect();
        let mut chosen = BTreeSet::new();
        for claim in &self.unbound {
            let list = claim.candidates.and_then(|list| cursors.get_mut(list as usize));
            let found = list.and_then(|list| {
                list.find(|candidate| {
                    !chosen.contains(&candidate.volume) && candidate.nodes.as_ref().is_none_or(usable)
                })
            });
            if let Some(found) = found {
                chosen.insert(found.volume);
            } else if !claim
                .provision
                .as_ref()
                .is_some_and(|topologies| topologies.matches(node.labels))
            {
                return Some(Misfit::Claim {
                    claim: claim.name,
                    problem: ClaimProblem::NoneHere,
                });
            }
        }
        None
    }

    /// `VolumeZone`
    fn zone(&self, node: &VolumeNode<'_>, keys: &ZoneKeys) -> Option<Misfit> {
        let all = [keys.beta_zone, keys.beta_region, keys.zone, keys.region];
        // A node without any such label is in a cluster that has no zones.
        if self.zones.is_empty() || all.iter().all(|key| node.labels.get(*key).is_none()) {
            return None;
        }
        self.zones.iter().find_map(|zone| {
            let of_node = node.labels.get(zone.key).or_else(|| node.labels.get(zone.current_key));
            let matches = of_node.is_some_and(|value| zone.values.contains(&value));
            (!matches).then_some(Misfit::VolumeZone {
                volume: zone.volume,
                key: zone.key,
                node: of_node,
            })
        })
    }
}

// === impl ClaimProblem ===

impl ClaimProblem {
    /// Whether there is a claim, and one that the pod may use.
    pub(crate) const fn is_claim_known(self) -> bool {
        !matches!(self, Self::Awaited | Self::Foreign)
    }

    /// The problem in words, to follow the name of the claim.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awaited => "is still to be made",
            Self::Lost => "has lost its volume",
            Self::Deleting => "is being deleted",
            Self::Foreign => "does not belong to the pod",
            Self::Unbound => "is not bound, and its binding does not wait for a pod",
            Self::NoVolume => "is bound to a volume that does not exist",
            Self::NoneHere => "finds no volume on this node, and its storage class makes none here",
            Self::OtherNode => "is having its volume made for another node",
        }
    }
}

// === impl Disk ===

impl Disk {
    fn conflicts_with(&self, other: &Self) -> bool {
        let same = self.kind == other.kind
            && self.name == other.name
            && (self.kind != DiskKind::Rbd || self.monitors.iter().any(|monitor| other.monitors.contains(monitor)));
        let both_read = self.read_only && other.read_only && self.kind != DiskKind::Aws;
        same && !both_read
    }
}

// === impl Topologies ===

impl Topologies {
    /// Whether volumes can be made for a node with these labels.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let holds =
            |(key, values): &(Symbol, Box<[Symbol]>)| labels.get(*key).is_some_and(|value| values.contains(&value));
        self.0.is_empty() || self.0.iter().any(|term| !term.is_empty() && term.iter().all(holds))
    }
}

// === impl VolumesInUse ===

impl VolumesInUse {
    pub(crate) fn take(&mut self, needs: &VolumeNeeds) {
        self.disks.extend(needs.disks.iter().cloned());
        self.disks.sort_unstable();
        self.attached.extend(needs.attachments.iter().copied());
        self.attached.sort_unstable();
    }

    pub(crate) fn give_back(&mut self, needs: &VolumeNeeds) {
        for disk in &needs.disks {
            if let Ok(index) = self.disks.binary_search(disk) {
                self.disks.remove(index);
            }
        }
        for volume in &needs.attachments {
            if let Ok(index) = self.attached.binary_search(volume) {
                self.attached.remove(index);
            }
        }
    }

    /// Disks in use of the kind and the name of this one.
    fn disks_named(&self, disk: &Disk) -> impl Iterator<Item = &Disk> {
        let key = (disk.kind, disk.name);
        let start = self.disks.partition_point(|other| (other.kind, other.name) < key);
        let others = self.disks.iter().skip(start);
        others.take_while(move |other| (other.kind, other.name) == key)
    }

    fn is_attached(&self, volume: &Attachment) -> bool {
        self.attached.binary_search(volume).is_ok()
    }

    /// Volumes of a driver; one that several pods use counts once.
    fn attached_of(&self, driver: Symbol) -> usize {
        let start = self.attached.partition_point(|next| next.driver < driver);
        let of_driver = self
            .attached
            .iter()
            .skip(start)
            .take_while(|next| next.driver == driver);
        let mut last = None;
        of_driver
            .filter(|next| last.replace(next.volume) != Some(next.volume))
            .count()
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

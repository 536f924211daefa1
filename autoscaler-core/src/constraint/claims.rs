//! What the volumes of a pod mean: claims, volumes, storage classes and CSINodes, resolved into [`VolumeNeeds`].

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    manifest::{
        meta::ObjectMeta,
        pod::Volume,
        storage::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm},
    },
    quantity::Quantity,
    selector::{LabelSelector, Labels, NodeSelector},
    symbol::{Symbol, Symbols},
};

use super::{
    read,
    storage::Storage,
    volumes::{
        Attachment, BoundVolume, CandidateVolume, ClaimProblem, Disk, DiskKind, ExclusiveClaim, Topologies,
        UnboundClaim, VolumeNeeds, ZoneLabel,
    },
};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const SIZE: &str = "storage";
/// Zone and region labels of volumes, with the name of each of today.
const ZONE_LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];
/// Provisioners inside Kubernetes, whose volumes count for a CSI driver only where they have been migrated to one.
const IN_TREE: &str = "kubernetes.io/";

/// What a volume of a pod refers to.
struct ClaimOf<'a> {
    name: String,
    ephemeral: bool,
    claim: Option<&'a PersistentVolumeClaim>,
}

/// Lists of volumes that the claims of one pod could be bound to.
#[derive(Default)]
struct Lists<'a> {
    all: Vec<Box<[CandidateVolume]>>,
    /// Those of free volumes, by what claims ask for.
    known: BTreeMap<Ask<'a>, u32>,
}

/// Storage class, size, volume mode, access modes, volume attributes class and labels.
type Ask<'a> = (
    &'a str,
    Option<Quantity>,
    &'a str,
    &'a [String],
    &'a str,
    Option<LabelSelector>,
);

// === impl Storage ===

impl Storage {
    /// Most volumes by driver that a node can attach.
    pub(crate) fn limits(&self, node: &str, symbols: &mut Symbols) -> Box<[(Symbol, i64)]> {
        let drivers = self
            .nodes
            .get(node)
            .map_or(&[][..], |node| node.spec.drivers.as_slice());
        let limited = drivers.iter().filter_map(|driver| {
            let count = driver.allocatable.as_ref()?.count?;
            Some((symbols.intern(&driver.name), i64::from(count)))
        });
        limited.collect()
    }

    /// What the volumes of a pod ask of a node, or `None` when they ask nothing.
    pub(crate) fn needs(
        &self,
        metadata: &ObjectMeta,
        volumes: &[Volume],
        symbols: &mut Symbols,
    ) -> Option<Box<VolumeNeeds>> {
        let mut needs = VolumeNeeds::default();
        let claims: Vec<_> = volumes
            .iter()
            .filter_map(|volume| self.claim_of(metadata, volume))
            .collect();
        let namespace = metadata.namespace.as_str();
        let mounted = || claims.iter().filter(|claim| !claim.ephemeral);
        let absent = mounted().find(|claim| claim.claim.is_none());
        needs.missing = absent.map(|claim| qualified(namespace, &claim.name, symbols));
        needs.disks = volumes.iter().filter_map(|volume| disk(volume, symbols)).collect();
        let exclusive = mounted().filter_map(|claim| {
            Some(ExclusiveClaim {
                index: self.exclusive_position(namespace, &claim.name)?,
                name: qualified(namespace, &claim.name, symbols),
            })
        });
        needs.exclusive = exclusive.collect();
        let existing = || claims.iter().filter_map(|claim| claim.claim);
        let mut attachments: Vec<_> = existing().filter_map(|claim| self.attachment(claim, symbols)).collect();
        let text = |attachment: &Attachment| (symbols.text(attachment.driver), symbols.text(attachment.volume));
        attachments.sort_unstable_by(|a, b| text(a).cmp(&text(b)));
        attachments.dedup();
        needs.attachments = attachments.into();
        let unusable: Vec<_> = claims
            .iter()
            .filter_map(|of_pod| Some((of_pod, unusable(metadata, of_pod)?)))
            .collect();
        // What cannot even be looked up is named first: it decides whether volumes can be counted.
        let unusable = unusable
            .iter()
            .find(|(_, problem)| !problem.is_claim_known())
            .or(unusable.first())
            .copied();
        // Claims that should be bound are looked at only when all of them can be used as such.
        let unusable = unusable.or_else(|| {
            let unbound =
                |of_pod: &&ClaimOf<'_>| of_pod.claim.is_some_and(|claim| !is_bound(claim) && !self.waits(claim));
            claims
                .iter()
                .find(unbound)
                .map(|of_pod| (of_pod, ClaimProblem::Unbound))
        });
        needs.unusable = unusable.map(|(of_pod, problem)| (qualified(namespace, &of_pod.name, symbols), problem));
        let bound = existing()
            .filter(|claim| is_bound(claim))
            .filter_map(|claim| self.bound(claim, symbols));
        needs.bound = bound.collect();
        let mut unbound: Vec<_> = existing()
            .filter(|claim| !is_bound(claim) && self.waits(claim))
            .collect();
        // Those with a chosen node are never matched with existing volumes; the others are, smallest first.
        unbound.sort_by_key(|claim| requested(claim));
        let mut lists = Lists::default();
        let read = |claim| self.unbound(claim, &mut lists, symbols);
        needs.unbound = unbound.into_iter().map(read).collect();
        needs.candidates = lists.all.into();
        let mut zones = Vec::new();
        for claim in mounted().filter_map(|claim| claim.claim) {
            if let Some(volume) = self.volumes.get(claim.spec.volume_name.as_str()) {
                zones.extend(zone_labels(volume, symbols));
            }
        }
        needs.zones = zones.into();
        (needs != VolumeNeeds::default()).then(|| Box::new(needs))
    }

    fn claim_of(&self, metadata: &ObjectMeta, volume: &Volume) -> Option<ClaimOf<'_>> {
        let name = claim_name(metadata, volume)?.into_owned();
        let claim = self.claim(&metadata.namespace, &name);
        Some(ClaimOf {
            name,
            ephemeral: volume.persistent_volume_claim.is_none(),
            claim,
        })
    }

    /// Whether a claim is bound to a volume whose data stays on the node.
    pub(crate) fn is_local(&self, namespace: &str, name: &str) -> bool {
        let volume = self
            .claim(namespace, name)
            .and_then(|claim| self.volumes.get(&claim.spec.volume_name));
        volume.is_some_and(|volume| volume.spec.local.is_some() || volume.spec.host_path.is_some())
    }

    /// Whether an unbound claim waits for a pod to be scheduled.
    fn waits(&self, claim: &PersistentVolumeClaim) -> bool {
        let class = self.classes.get(self.class_of(claim));
        claim.spec.volume_name.is_empty()
            && class.is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer")
    }

    /// The volume as it counts against an attach limit, when it does.
    fn attachment(&self, claim: &PersistentVolumeClaim, symbols: &mut Symbols) -> Option<Attachment> {
        let (driver, handle) = match self.volumes.get(claim.spec.volume_name.as_str()) {
            Some(volume) => {
                let csi = volume.spec.csi.as_ref()?;
                (csi.driver.as_str(), csi.volume_handle.clone())
            }
            None => {
                let driver = self.classes.get(self.class_of(claim))?.provisioner.as_str();
                // No handle of a driver begins so, which keeps volumes that do not exist yet apart from those that do.
                (driver, format!("\u{0}{}", claim.metadata.full_name()))
            }
        };
        let counts = !handle.is_empty() && !driver.starts_with(IN_TREE) && self.is_limited(driver);
        counts.then(|| Attachment {
            driver: symbols.intern(driver),
            volume: symbols.intern(&handle),
        })
    }

    /// The storage class of a claim. One that names none gets the default class from the API server when it is made, and
    /// from a controller when there is a default class only later.
    fn class_of<'s>(&'s self, claim: &'s PersistentVolumeClaim) -> &'s str {
        let annotated = claim.metadata.annotations.get(BETA_CLASS);
        let named = annotated.or(claim.spec.storage_class_name.as_ref());
        named.or(self.default_class.as_ref()).map_or("", String::as_str)
    }

    fn bound(&self, claim: &PersistentVolumeClaim, symbols: &mut Symbols) -> Option<BoundVolume> {
        match self.volumes.get(claim.spec.volume_name.as_str()) {
            Some(volume) => {
                let nodes = node_affinity(volume, symbols)?;
                Some(BoundVolume::On {
                    volume: symbols.intern(&volume.metadata.name),
                    nodes,
                })
            }
            None => Some(BoundVolume::Missing(symbols.intern(&claim.metadata.full_name()))),
        }
    }

    fn unbound<'s>(
        &'s self,
        claim: &'s PersistentVolumeClaim,
        lists: &mut Lists<'s>,
        symbols: &mut Symbols,
    ) -> UnboundClaim {
        let selected_node = claim
            .metadata
            .annotations
            .get(SELECTED_NODE)
            .map(|node| symbols.intern(node));
        let class = self.classes.get(self.class_of(claim));
        let provision = class
            .filter(|class| !class.provisioner.is_empty() && class.provisioner != NO_PROVISIONER)
            .map(|class| topologies(&class.allowed_topologies, symbols));
        UnboundClaim {
            name: symbols.intern(&claim.metadata.full_name()),
            selected_node,
            candidates: selected_node.is_none().then(|| self.candidates(claim, lists, symbols)),
            provision,
        }
    }

    /// The list of existing volumes that a claim could be bound to, as `FindMatchingVolume` of
    /// `k8s.io/component-helpers/storage/volume` finds them for one node after another.
    fn candidates<'s>(&'s self, claim: &'s PersistentVolumeClaim, lists: &mut Lists<'s>, symbols: &mut Symbols) -> u32 {
        let suits = |volume: &&'s PersistentVolume| {
            class_of_volume(volume) == self.class_of(claim)
                && requested(claim) <= capacity(volume)
                && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
                && volume.spec.volume_attributes_class_name == claim.spec.volume_attributes_class_name
                && volume.metadata.deletion_timestamp.is_none()
        };
        let kept = self.bindable.kept(&claim.metadata);
        let mut kept = kept.filter_map(|name| self.volumes.get(name)).filter(suits);
        if let Some(kept) = kept.find(|volume| is_kept_for(volume, claim)) {
            return lists.add(std::iter::once(kept), symbols);
        }
        let modes = claim.spec.access_modes.as_slice();
        let selector = claim.spec.selector.as_ref();
        let ask = (
            self.class_of(claim),
            requested(claim),
            mode(&claim.spec.volume_mode),
            modes,
            claim.spec.volume_attributes_class_name.as_str(),
            selector.map(|selector| read::selector(symbols, selector)),
        );
        if let Some(known) = lists.known.get(&ask) {
            return *known;
        }
        let free = self.bindable.free(self.class_of(claim), requested(claim));
        let free = free.filter_map(|name| self.volumes.get(name)).filter(suits);
        let free = free.filter(|volume| modes.iter().all(|mode| volume.spec.access_modes.contains(mode)));
        let list = match &ask.5 {
            None => lists.add(free, symbols),
            Some(selector) => {
                let has_labels = |volume: &&PersistentVolume| {
                    let labels = volume.metadata.labels.iter();
                    let labels = labels.map(|(key, value)| (symbols.intern(key), symbols.intern(value)));
                    selector.matches(&Labels::new(labels), symbols)
                };
                let free: Vec<_> = free.filter(has_labels).collect();
                lists.add(free.into_iter(), symbols)
            }
        };
        lists.known.insert(ask, list);
        list
    }
}

// === impl Lists ===

impl Lists<'_> {
    fn add<'v>(&mut self, volumes: impl Iterator<Item = &'v PersistentVolume>, symbols: &mut Symbols) -> u32 {
        let candidate = |volume: &PersistentVolume| CandidateVolume {
            volume: symbols.intern(&volume.metadata.name),
            nodes: node_affinity(volume, symbols),
        };
        self.all.push(volumes.map(candidate).collect());
        // A pod does not have four billion claims.
        u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
    }
}

/// Why a claim of a pod cannot be used, before anything is asked about its volume.
fn unusable(metadata: &ObjectMeta, of_pod: &ClaimOf<'_>) -> Option<ClaimProblem> {
    let Some(claim) = of_pod.claim else {
        return Some(ClaimProblem::Awaited);
    };
    if claim.status.phase == "Lost" {
        return Some(ClaimProblem::Lost);
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Some(ClaimProblem::Deleting);
    }
    let owned = || {
        claim
            .metadata
            .controller()
            .is_some_and(|owner| owner.uid == metadata.uid)
    };
    (of_pod.ephemeral && !owned()).then_some(ClaimProblem::Foreign)
}

/// The name of the claim that a volume of a pod refers to, when it does.
pub(crate) fn claim_name<'v>(metadata: &ObjectMeta, volume: &'v Volume) -> Option<Cow<'v, str>> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(Cow::Borrowed(&claim.claim_name)),
        (None, Some(_)) => Some(Cow::Owned(format!("{}-{}", metadata.name, volume.name))),
        (None, None) => None,
    }
}

/// Whether a claim is bound for good. The annotation is what kube-scheduler looks at; the phase is only set after it.
pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let completed = claim.metadata.annotations.contains_key(BIND_COMPLETED) || claim.status.phase == "Bound";
    !claim.spec.volume_name.is_empty() && completed
}

/// Whether any claim may have a volume.
pub(super) fn is_available(volume: &PersistentVolume) -> bool {
    volume.spec.claim_ref.is_none() && volume.status.phase == "Available"
}

fn is_kept_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|claim_ref| {
        claim_ref.name == claim.metadata.name
            && claim_ref.namespace == claim.metadata.namespace
            && (claim_ref.uid.is_empty() || claim_ref.uid == claim.metadata.uid)
    })
}

/// `Filesystem`, which is what empty means, or `Block`.
fn mode(mode: &str) -> &str {
    if mode.is_empty() { "Filesystem" } else { mode }
}

pub(super) fn class_of_volume(volume: &PersistentVolume) -> &str {
    volume
        .metadata
        .annotations
        .get(BETA_CLASS)
        .map_or(&volume.spec.storage_class_name, |class| class)
}

fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.resources.requests.get(SIZE).copied()
}

pub(super) fn capacity(volume: &PersistentVolume) -> Option<Quantity> {
    volume.spec.capacity.get(SIZE).copied()
}

fn node_affinity(volume: &PersistentVolume, symbols: &mut Symbols) -> Option<NodeSelector> {
    let required = volume.spec.node_affinity.as_ref()?.required.as_ref()?;
    Some(read::node_selector(symbols, required))
}

fn topologies(terms: &[TopologySelectorTerm], symbols: &mut Symbols) -> Topologies {
    let term = |term: &TopologySelectorTerm| {
        let requirements = term.match_label_expressions.iter().map(|requirement| {
            let values = requirement.values.iter().map(|value| symbols.intern(value)).collect();
            (symbols.intern(&requirement.key), values)
        });
        requirements.collect()
    };
    Topologies(terms.iter().map(term).collect())
}

/// The zone and region labels of a volume. A label may list several values, separated by `__`; one with an empty value
/// in it is ignored.
fn zone_labels(volume: &PersistentVolume, symbols: &mut Symbols) -> Vec<ZoneLabel> {
    let label = |(key, current_key): (&str, &str)| {
        let values: Vec<&str> = volume.metadata.labels.get(key)?.split("__").map(str::trim).collect();
        let valid = values.iter().all(|value| !value.is_empty());
        valid.then(|| ZoneLabel {
            volume: symbols.intern(&volume.metadata.name),
            key: symbols.intern(key),
            current_key: symbols.intern(current_key),
            values: values.iter().map(|value| symbols.intern(value)).collect(),
        })
    };
    ZONE_LABELS.into_iter().filter_map(label).collect()
}

/// The disk that a volume of a pod names, when it names one.
fn disk(volume: &Volume, symbols: &mut Symbols) -> Option<Disk> {
    let mut disk = |kind, name: &str, read_only| Disk {
        kind,
        name: symbols.intern(name),
        monitors: Box::default(),
        read_only,
    };
    if let Some(gce) = &volume.gce_persistent_disk {
        return Some(disk(DiskKind::Gce, &gce.pd_name, gce.read_only));
    }
    if let Some(aws) = &volume.aws_elastic_block_store {
        return Some(disk(DiskKind::Aws, &aws.volume_id, aws.read_only));
    }
    if let Some(iscsi) = &volume.iscsi {
        return Some(disk(DiskKind::Iscsi, &iscsi.iqn, iscsi.read_only));
    }
    let rbd = volume.rbd.as_ref()?;
    let pool = if rbd.pool.is_empty() { "rbd" } else { &rbd.pool };
    let named = disk(DiskKind::Rbd, &format!("{pool}/{}", rbd.image), rbd.read_only);
    let monitors = rbd.monitors.iter().map(|monitor| symbols.intern(monitor)).collect();
    Some(Disk { monitors, ..named })
}

fn qualified(namespace: &str, name: &str, symbols: &mut Symbols) -> Symbol {
    symbols.intern(&format!("{namespace}/{name}"))
}

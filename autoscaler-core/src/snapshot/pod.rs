//! A pod of a snapshot: small, because there are many.
//!
//! What the scheduler looks at is in the [`PodClass`](super::PodClass) that pods share.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{ClassId, NodeId};
use crate::symbol::{Symbol, map_symbols};

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Name.
    pub name: Box<str>,
    /// Identity of this very pod: one that is deleted and created again has another.
    pub uid: Uid,
    /// `metadata.resourceVersion` where it is a number, as API servers write it; 0 where it is not.
    pub resource_version: u64,
    /// Namespace.
    pub namespace: Symbol,
    /// What the scheduler looks at.
    pub class: ClassId,
    /// The node it is bound to, when that node is in the snapshot.
    pub node: Option<NodeId>,
    /// The node that preemption keeps room on.
    pub nominated: Option<NodeId>,
    /// The controller, from the owner reference with `controller: true`.
    pub controller: Option<Controller>,
    /// The first volume that ties the pod to its node and is not listed as safe to lose.
    pub local_storage: Option<Symbol>,
    /// The pod group that it belongs to, by name within its namespace: pods of one group are placed all together or not
    /// at all.
    pub pod_group: Option<Symbol>,
    /// Whether the scheduler said `PodScheduled=False` with reason `Unschedulable`, and since when.
    pub unschedulable: Option<Unschedulable>,
    /// When the deletion was requested, and the grace period.
    pub deletion: Option<Box<Deletion>>,
    /// `karpenter.sh/do-not-disrupt`.
    pub do_not_disrupt: Option<Box<DoNotDisrupt>>,
    pub(crate) started: Moment,
    pub(crate) created: Moment,
    /// Whether `spec.nodeName` is set, also when it names an unknown node.
    pub bound: bool,
    /// Whether `status.nominatedNodeName` is set.
    pub has_nomination: bool,
    /// Phase.
    pub phase: PodPhase,
    /// Whether it has scheduling gates.
    pub gated: bool,
    /// Whether the pod is Ready, which decides what its eviction costs a disruption budget.
    pub ready: bool,
    /// Whether it mirrors a static pod.
    pub mirror: bool,
    /// Whether a DaemonSet controls it, or `cluster-autoscaler.kubernetes.io/daemonset-pod` says that it is to be treated so.
    pub daemon_set: bool,
    /// Whether this operator runs in it (label `app.kubernetes.io/name=vpsie-autoscaler`).
    pub own: bool,
    /// `cluster-autoscaler.kubernetes.io/safe-to-evict`.
    pub safe_to_evict: Option<SafeToEvict>,
}

/// The `metadata.uid` of an object. Those of API servers are UUIDs and are kept in 16 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(UidForm);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum UidForm {
    /// A UUID as RFC 9562 writes it, in lower case.
    Uuid([u8; 16]),
    Text(Box<str>),
}

/// A time to the microsecond, or none. Kubernetes writes no finer ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(i64);

/// The scheduler's verdict on a pending pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// When the verdict was first given, if the condition says.
    pub since: Option<Timestamp>,
}

/// A requested deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`: for pods the end of the grace period, as the API server sets it.
    pub at: Timestamp,
    /// `metadata.deletionGracePeriodSeconds`, or the pod's own, or 30 s.
    pub grace: SignedDuration,
}

/// The phase of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Not all containers run yet.
    #[default]
    Pending,
    /// Runs.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Not known.
    Unknown,
}

/// The controller of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Kind, for example `ReplicaSet`.
    pub kind: Symbol,
    /// Name.
    pub name: Symbol,
}

/// The value of `cluster-autoscaler.kubernetes.io/safe-to-evict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeToEvict {
    /// `true`
    Yes,
    /// `false`
    No,
    /// `on-completion`
    OnCompletion,
}

/// The value of `karpenter.sh/do-not-disrupt` on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoNotDisrupt {
    /// `true`
    Always,
    /// A duration since the start of the pod.
    For(SignedDuration),
}

map_symbols!(Pod { namespace, controller, local_storage, pod_group } {
    name, uid, resource_version, class, node, nominated, unschedulable, deletion, do_not_disrupt, started, created, bound,
    has_nomination, phase, gated, ready, mirror, daemon_set, own, safe_to_evict
});
map_symbols!(Controller { kind, name } {});

// === impl Pod ===

impl Pod {
    /// Whether all its containers have ended for good. Such a pod holds nothing.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Whether it is a pod of a DaemonSet, or is to be treated as one.
    #[must_use]
    pub const fn is_daemon(&self) -> bool {
        self.daemon_set
    }

    /// When the kubelet started it, to the microsecond.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started.timestamp()
    }

    /// When it was created, to the microsecond.
    #[must_use]
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created.timestamp()
    }
}

// === impl Uid ===

impl Uid {
    /// The uid that an API server writes so.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(uuid(text).map_or_else(|| UidForm::Text(text.into()), UidForm::Uuid))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            UidForm::Text(text) => f.write_str(text),
            UidForm::Uuid(bytes) => {
                for (index, byte) in bytes.iter().enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The bytes of a UUID that is written just as [`Uid`] prints it.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let (a, rest) = text.as_bytes().split_first_chunk::<8>()?;
    let (b, rest) = after_dash(rest)?;
    let (c, rest) = after_dash(rest)?;
    let (d, rest) = after_dash(rest)?;
    let (e, rest) = after_dash(rest)?;
    let f: &[u8; 8] = rest.try_into().ok()?;
    let eight = |[first, second]: [&[u8; 4]; 2]| {
        u64::from(u32::from_be_bytes(*first)) << 32 | u64::from(u32::from_be_bytes(*second))
    };
    let words = [
        hex(u64::from_be_bytes(*a))?,
        hex(eight([b, c]))?,
        hex(eight([d, e]))?,
        hex(u64::from_be_bytes(*f))?,
    ];
    let number = words
        .into_iter()
        .fold(0, |number, word| number << 32 | u128::from(word));
    Some(number.to_be_bytes())
}

/// Four characters after a dash, and what follows them.
fn after_dash(text: &[u8]) -> Option<(&[u8; 4], &[u8])> {
    text.strip_prefix(b"-")?.split_first_chunk()
}

/// The number that eight hexadecimal digits in lower case say, all of them at once: each byte of the argument is one.
const fn hex(digits: u64) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Letters have this bit; the low bits of `a` are those of 1.
    let letters = digits >> 6 & ONES;
    let values = (digits & (ONES * 0x0f)) + letters * 9;
    // Only what is written so again was a digit.
    let above_nine = (values + ONES * 0x76) >> 7 & ONES;
    let written = values + ONES * 0x30 + above_nine * 0x27;
    if values & (ONES * 0xf0) != 0 || written != digits {
        return None;
    }
    let bytes = (values >> 4 | values) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes >> 8 | bytes) & 0x0000_ffff_0000_ffff;
    let [.., a, b, c, d] = (pairs >> 16 | pairs).to_be_bytes();
    Some(u32::from_be_bytes([a, b, c, d]))
}

// === impl Moment ===

impl Moment {
    const NONE: Self = Self(i64::MIN);

    fn timestamp(self) -> Option<Timestamp> {
        (self != Self::NONE)
            .then(|| Timestamp::from_microsecond(self.0).ok())
            .flatten()
    }
}

impl From<Option<Timestamp>> for Moment {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::NONE, |time| Self(time.as_microsecond()))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_prints_as_it_was_written() {
        for text in [
            "0f8fad5b-d9cb-469f-a165-70867728950e",
            "0F8FAD5B-D9CB-469F-A165-70867728950E",
            "0f8fad5bd-9cb-469f-a165-70867728950e",
            "0f8fad5b-d9cb-469f-a165-70867728950g",
            "0f8fad5b-d9cb-469f-a165-7086772895é",
            "u",
            "",
        ] {
            assert_eq!(Uid::new(text).to_string(), text);
        }
        assert!(matches!(
            Uid::new("0f8fad5b-d9cb-469f-a165-70867728950e").0,
            UidForm::Uuid(_)
        ));
        assert_ne!(Uid::new("a"), Uid::new("b"));
        // Every character at every place.
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        for (place, byte) in (0..uuid.len()).flat_map(|place| (0..128).map(move |byte| (place, byte))) {
            let mut text = uuid.to_owned();
            text.replace_range(place..=place, char::from(byte).encode_utf8(&mut [0]));
            let uid = Uid::new(&text);
            assert_eq!(uid.to_string(), text);
            let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let is_uuid = if matches!(place, 8 | 13 | 18 | 23) {
                byte == b'-'
            } else {
                is_digit
            };
            assert_eq!(matches!(uid.0, UidForm::Uuid(_)), is_uuid, "{text}");
        }
    }

    #[test]
    fn times_are_kept_to_the_microsecond() {
        for text in [
            "2026-01-01T12:00:00Z",
            "2026-01-01T12:00:00.123456Z",
            "0001-01-01T00:00:00Z",
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(Moment::from(Some(time)).timestamp(), Some(time));
        }
        assert_eq!(Moment::from(None).timestamp(), None);
    }

    #[test]
    fn a_pod_is_small() {
        assert!(size_of::<Pod>() <= 168, "{} bytes", size_of::<Pod>());
    }
}

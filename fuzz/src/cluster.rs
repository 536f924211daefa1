//! Clusters that a fuzzer can draw: few names, so that references meet, and values from the ordinary to the impossible.
//!
//! A cluster becomes a dump, as text, and is read as any other: what fails can be given to `plan -f`.

mod objects;

use std::fmt;

use arbitrary::{Arbitrary, Result, Unstructured};
use jiff::Timestamp;

/// A whole cluster, and the time to plan for.
#[derive(Arbitrary)]
pub struct Cluster {
    now: Seldom<Moment>,
    ignore_timers: bool,
    config: Seldom<Config>,
    groups: Few<Group, 3>,
    nodes: Few<Node, 8>,
    pods: Few<Pod, 16>,
    copies: u8,
    offerings: Few<Size, 4>,
    machines: Few<Machine, 5>,
    daemon_sets: Few<PodSpec, 2>,
    budgets: Few<Budget, 4>,
    namespaces: Few<Pairs, 4>,
    volumes: Few<Volume, 4>,
    claims: Few<Claim, 4>,
    classes: Few<Class, 4>,
    attach_limits: Few<(u8, u8), 8>,
}

/// True once in sixteen.
#[derive(Clone, Copy)]
struct Rarely(bool);

/// A value once in four.
struct Seldom<T>(Option<T>);

/// A list of at most so many.
struct Few<T, const MOST: u8>(Vec<T>);

/// Picks one of a list.
#[derive(Arbitrary, Clone, Copy)]
struct Pick(u8);

/// Labels, or node selectors.
#[derive(Arbitrary)]
struct Pairs(Few<(Pick, Pick), 3>);

/// An amount, mostly a usual one.
enum Amount {
    Zero,
    Tenths(u8),
    Units(u8),
    Gibibytes(u8),
    Odd(Odd),
}

#[derive(Arbitrary)]
enum Odd {
    Largest,
    BeyondLargest,
    Negative,
    Tiny,
    Exponent(i16),
    Number(i64),
}

/// A time, often absent or near.
#[derive(Arbitrary)]
enum Moment {
    Absent,
    Ago(u16),
    Ahead(u16),
    First,
    Last,
}

#[derive(Arbitrary)]
struct Amounts(Few<(Pick, Amount), 3>);

#[derive(Arbitrary)]
struct Requirement {
    key: Pick,
    operator: Pick,
    values: Few<Pick, 3>,
    invalid: Rarely,
}

#[derive(Arbitrary)]
struct Selector {
    labels: Pairs,
    expressions: Few<Requirement, 2>,
}

#[derive(Arbitrary)]
struct Config {
    max_cluster_workers: u8,
    expander: Pick,
    empty: Option<u8>,
    drain: Option<u8>,
    ignore: u8,
    grace: i32,
}

#[derive(Arbitrary)]
struct Size {
    cores: u8,
    gibibytes: u8,
    disk: Seldom<Amount>,
    cents: u16,
    datacenter: Seldom<Pick>,
    unavailable: Rarely,
}

#[derive(Arbitrary)]
struct Group {
    unmanaged: Rarely,
    deleted: Rarely,
    min: u8,
    max: u8,
    datacenter: Pick,
    offerings: Few<Pick, 3>,
    preferred: Seldom<Pick>,
    priority: Seldom<i32>,
    labels: Pairs,
    taints: Seldom<Taint>,
    reserved: Seldom<Amounts>,
    up_disabled: Rarely,
    up_window: Seldom<i32>,
    down: Seldom<(u8, u8, i32, i32)>,
    annotations: Seldom<Few<Pick, 2>>,
    last_scale_up: Seldom<Moment>,
    backoffs: Seldom<(Pick, Moment)>,
    headroom: Seldom<Headroom>,
}

#[derive(Arbitrary)]
enum Headroom {
    Nodes(u8),
    Percent(u8),
    Pods(u8, Amounts),
}

#[derive(Arbitrary)]
struct Machine {
    group: Pick,
    offering: Pick,
    /// Of which node, by its number.
    node: Option<u8>,
    phase: Pick,
    since: Moment,
    unneeded: Moment,
    deleted: Rarely,
    removal: Seldom<(Pick, Moment)>,
}

#[derive(Arbitrary)]
struct Taint {
    key: Pick,
    value: Pick,
    effect: Pick,
}

#[derive(Arbitrary)]
struct Node {
    unmanaged: Rarely,
    group: Pick,
    offering: Pick,
    zone: Pick,
    ready: u8,
    ready_since: Seldom<Moment>,
    unschedulable: Rarely,
    deleted: Rarely,
    created: Moment,
    labels: Pairs,
    taints: Seldom<Taint>,
    annotations: Seldom<Few<Pick, 2>>,
    empty: Rarely,
    cores: u8,
    allocatable: Seldom<Amounts>,
}

#[derive(Arbitrary)]
struct Pod {
    namespace: Pick,
    /// Number of the node that it is bound to; beyond the last, one that is not there.
    node: Option<u8>,
    nominated: Seldom<u8>,
    phase: Seldom<Pick>,
    scheduled: Rarely,
    since: Moment,
    created: Moment,
    started: Seldom<Moment>,
    deleted: Seldom<(Moment, i64)>,
    annotations: Seldom<Few<Pick, 2>>,
    owner: Pick,
    spec: PodSpec,
}

#[derive(Arbitrary)]
struct PodSpec {
    labels: Pairs,
    requests: Amounts,
    more: Option<MorePodSpec>,
}

#[derive(Arbitrary)]
struct MorePodSpec {
    init: Seldom<Few<(Amounts, bool), 3>>,
    overhead: Seldom<Amounts>,
    whole: Seldom<Amounts>,
    node_selector: Seldom<Pairs>,
    node_affinity: Seldom<Few<Few<Requirement, 2>, 3>>,
    node_names: Seldom<Few<u8, 3>>,
    affinity: Seldom<Few<Term, 2>>,
    anti_affinity: Seldom<Few<Term, 2>>,
    spread: Seldom<Few<Spread, 2>>,
    tolerations: Seldom<Few<(Option<Pick>, Pick, Pick), 3>>,
    ports: Seldom<Few<(u8, Pick), 2>>,
    claims: Seldom<Few<Pick, 2>>,
    local: Seldom<bool>,
    priority: Seldom<i32>,
    gated: Rarely,
}

#[derive(Arbitrary)]
struct Term {
    selector: Option<Selector>,
    key: Pick,
    namespaces: Seldom<Few<Pick, 2>>,
    namespace_selector: Seldom<Selector>,
    match_label_keys: Seldom<Few<Pick, 2>>,
}

#[derive(Arbitrary)]
struct Spread {
    skew: u8,
    huge_skew: Rarely,
    key: Pick,
    soft: Rarely,
    selector: Option<Selector>,
    min_domains: Seldom<i32>,
    affinity: Option<bool>,
    taints: Option<bool>,
    match_label_keys: Seldom<Few<Pick, 2>>,
}

#[derive(Arbitrary)]
struct Budget {
    namespace: Pick,
    selector: Option<Selector>,
    status: Option<(i32, bool)>,
    always: bool,
}

#[derive(Arbitrary)]
struct Volume {
    terms: Option<Few<Few<Requirement, 2>, 2>>,
    claim: Option<Pick>,
    class: Pick,
    mode: Pick,
    driver: Option<Pick>,
    local: bool,
    size: Amount,
}

#[derive(Arbitrary)]
struct Claim {
    namespace: Pick,
    volume: Option<u8>,
    class: Option<Pick>,
    mode: Pick,
    size: Amount,
}

#[derive(Arbitrary)]
struct Class {
    waits: bool,
    provisioner: Option<Pick>,
    zones: Option<Few<Pick, 3>>,
}

// === impl Cluster ===

impl Cluster {
    /// The time to plan for.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
            .0
            .as_ref()
            .and_then(Moment::timestamp)
            .unwrap_or_else(objects::noon)
    }

    /// Whether windows and delays count as elapsed.
    #[must_use]
    pub const fn ignores_timers(&self) -> bool {
        self.ignore_timers
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, timers, dump, offerings) = (self.now(), self.ignore_timers, self.dump(), self.offerings());
        write!(
            f,
            "--now {now} --ignore-timers={timers}\n{dump}\n# offerings\n{offerings}"
        )
    }
}

// === impl draws ===

impl<'a> Arbitrary<'a> for Rarely {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(u8::arbitrary(bytes)? % 16 == 15))
    }
}

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Seldom<T> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let there = u8::arbitrary(bytes)? % 4 == 3;
        Ok(Self(if there { Some(T::arbitrary(bytes)?) } else { None }))
    }
}

impl<'a, T: Arbitrary<'a>, const MOST: u8> Arbitrary<'a> for Few<T, MOST> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let length = u8::arbitrary(bytes)? % (MOST + 1);
        (0..length)
            .map(|_| T::arbitrary(bytes))
            .collect::<Result<_>>()
            .map(Self)
    }
}

impl<'a> Arbitrary<'a> for Amount {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u8::arbitrary(bytes)? % 16 {
            0 => Self::Zero,
            1..=6 => Self::Tenths(u8::arbitrary(bytes)? % 41),
            7..=10 => Self::Units(u8::arbitrary(bytes)? % 17),
            11..=14 => Self::Gibibytes(u8::arbitrary(bytes)? % 17),
            _ => Self::Odd(Odd::arbitrary(bytes)?),
        })
    }
}

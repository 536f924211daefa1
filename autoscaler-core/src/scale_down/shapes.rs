//! Pod classes that fit the same nodes share a shape.

use std::collections::BTreeMap;

use crate::snapshot::{ClassId, Snapshot};

/// The shape of every class. What only tells pods apart for selectors (labels, namespace) and for preemption (priority)
/// is left out where no constraint between pods looks at it: pods of a StatefulSet would each have a shape of their own.
/// A class that such constraints concern is a shape of its own.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    by_class: Vec<usize>,
    count: usize,
}

// === impl Shapes ===

impl Shapes {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut known = BTreeMap::new();
        let by_class = (0..).map(ClassId).zip(&snapshot.classes).map(|(id, class)| {
            let next = known.len();
            let key = (
                snapshot.rules.concern(id).then_some(id),
                &class.ports,
                &class.volumes,
                &class.requests,
                &class.node_selector,
                &class.node_affinity,
                &class.tolerations,
                class.devices,
            );
            *known.entry(key).or_insert(next)
        });
        let by_class = by_class.collect();
        Self {
            by_class,
            count: known.len(),
        }
    }

    /// How many shapes there are.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The shape of a class, below [`Self::len`].
    pub(super) fn of(&self, class: ClassId) -> usize {
        self.by_class.get(class.index()).copied().unwrap_or(0)
    }
}

//! Vectors of resource amounts: what nodes offer and what pods request.
//!
//! Amounts are integers in the unit that the scheduler compares: milli-cores, bytes and pieces. All sums saturate, so
//! that no input can make them wrap.

use crate::symbol::{Symbol, Symbols};

/// Amounts of every resource of a node or a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral_storage: i64,
    /// Pod slots: a node's limit, 1 for a pod.
    pub pods: i64,
    /// Extended resources, huge pages included, ordered by symbol, without zero amounts.
    pub(crate) extended: Vec<(Symbol, i64)>,
}

/// A resource by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `cpu`
    Cpu,
    /// `memory`
    Memory,
    /// `ephemeral-storage`
    EphemeralStorage,
    /// `pods`
    Pods,
    /// Any other, by its name.
    Extended(Symbol),
}

/// The resource that a pod does not get from a node, with the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shortage {
    /// Which resource is short.
    pub resource: Resource,
    /// What the pod requests.
    pub requested: i64,
    /// What the node has left; below zero when it is overcommitted.
    pub free: i64,
    /// What the node has in all.
    pub allocatable: i64,
}

// === impl Resources ===

impl Resources {
    /// The amount of an extended resource; zero when there is none.
    #[must_use]
    pub fn extended(&self, resource: Symbol) -> i64 {
        let found = self.extended.binary_search_by_key(&resource, |entry| entry.0);
        found
            .ok()
            .and_then(|index| self.extended.get(index))
            .map_or(0, |entry| entry.1)
    }

    /// Sets the amount of an extended resource.
    pub fn set_extended(&mut self, resource: Symbol, amount: i64) {
        match self.extended.binary_search_by_key(&resource, |entry| entry.0) {
            Ok(index) if amount == 0 => drop(self.extended.remove(index)),
            Ok(index) => {
                if let Some(entry) = self.extended.get_mut(index) {
                    entry.1 = amount;
                }
            }
            Err(_) if amount == 0 => {}
            Err(index) => self.extended.insert(index, (resource, amount)),
        }
    }

    /// The extended resources with their amounts.
    #[must_use]
    pub fn extended_entries(&self) -> &[(Symbol, i64)] {
        &self.extended
    }

    /// The amount of any resource.
    #[must_use]
    pub fn get(&self, resource: Resource) -> i64 {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::EphemeralStorage => self.ephemeral_storage,
            Resource::Pods => self.pods,
            Resource::Extended(symbol) => self.extended(symbol),
        }
    }

    /// Sets the amount of any resource.
    pub fn set(&mut self, resource: Resource, amount: i64) {
        match resource {
            Resource::Cpu => self.cpu = amount,
            Resource::Memory => self.memory = amount,
            Resource::EphemeralStorage => self.ephemeral_storage = amount,
            Resource::Pods => self.pods = amount,
            Resource::Extended(symbol) => self.set_extended(symbol, amount),
        }
    }

    /// Whether a sum may have been more than fits: then it is no longer known what is left when something is taken off.
    pub(crate) fn is_saturated(&self) -> bool {
        let extended = self.extended.iter().map(|(_, amount)| *amount);
        let fixed = [self.cpu, self.memory, self.ephemeral_storage, self.pods];
        fixed.into_iter().chain(extended).any(|amount| amount == i64::MAX)
    }

    /// Adds other amounts.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Adds other amounts so many times.
    pub(crate) fn add_times(&mut self, other: &Self, times: i64) {
        self.combine(other, |mine, amount| mine.saturating_add(amount.saturating_mul(times)));
    }

    /// Subtracts other amounts; the result may be below zero.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Takes the larger of both amounts of each resource.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, Ord::max);
    }

    /// What keeps a pod with these requests off a node with `allocatable` of which `used` is taken, if anything does.
    ///
    /// The order and the treatment of zero requests are those of the `NodeResourcesFit` plugin of kube-scheduler:
    /// a pod that requests nothing of a resource is not kept away by it, even when the node is overcommitted. Of several
    /// extended resources that are short the first by name is given.
    #[must_use]
    pub fn shortage(&self, allocatable: &Self, used: &Self, symbols: &Symbols) -> Option<Shortage> {
        let short = |resource, requested: i64, allocatable: i64, used: i64| {
            let free = allocatable.saturating_sub(used);
            (0 < requested && free < requested).then_some(Shortage {
                resource,
                requested,
                free,
                allocatable,
            })
        };
        short(Resource::Pods, self.pods, allocatable.pods, used.pods)
            .or_else(|| short(Resource::Cpu, self.cpu, allocatable.cpu, used.cpu))
            .or_else(|| short(Resource::Memory, self.memory, allocatable.memory, used.memory))
            .or_else(|| {
                short(
                    Resource::EphemeralStorage,
                    self.ephemeral_storage,
                    allocatable.ephemeral_storage,
                    used.ephemeral_storage,
                )
            })
            .or_else(|| {
                let extended = self.extended.iter().filter_map(|(symbol, requested)| {
                    let resource = Resource::Extended(*symbol);
                    short(
                        resource,
                        *requested,
                        allocatable.extended(*symbol),
                        used.extended(*symbol),
                    )
                });
                extended.min_by_key(|shortage| shortage.resource.name(symbols))
            })
    }

    fn combine(&mut self, other: &Self, operation: impl Fn(i64, i64) -> i64) {
        self.cpu = operation(self.cpu, other.cpu);
        self.memory = operation(self.memory, other.memory);
        self.ephemeral_storage = operation(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = operation(self.pods, other.pods);
        for (symbol, amount) in &other.extended {
            let mine = self.extended(*symbol);
            self.set_extended(*symbol, operation(mine, *amount));
        }
    }
}

// === impl Resource ===

impl Resource {
    /// The resource that Kubernetes calls so.
    pub fn intern(name: &str, symbols: &mut Symbols) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            "pods" => Self::Pods,
            other => Self::Extended(symbols.intern(other)),
        }
    }

    /// The name as Kubernetes writes it.
    #[must_use]
    pub fn name(self, symbols: &Symbols) -> &str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
            Self::Pods => "pods",
            Self::Extended(symbol) => symbols.text(symbol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(cpu: i64, memory: i64) -> Resources {
        Resources {
            cpu,
            memory,
            pods: 1,
            ..Resources::default()
        }
    }

    #[test]
    fn the_first_short_resource_is_named_with_its_numbers() {
        let allocatable = Resources {
            cpu: 4000,
            memory: 100,
            pods: 2,
            ..Resources::default()
        };
        let used = Resources {
            cpu: 1000,
            memory: 90,
            pods: 1,
            ..Resources::default()
        };
        assert_eq!(
            resources(3000, 10).shortage(&allocatable, &used, &Symbols::default()),
            None
        );
        let shortage = resources(3001, 11)
            .shortage(&allocatable, &used, &Symbols::default())
            .unwrap();
        assert_eq!(
            (shortage.resource, shortage.requested, shortage.free),
            (Resource::Cpu, 3001, 3000)
        );
    }

    #[test]
    fn a_zero_request_fits_an_overcommitted_node() {
        let allocatable = Resources {
            cpu: 1000,
            pods: 10,
            ..Resources::default()
        };
        let used = Resources {
            cpu: 2000,
            pods: 1,
            ..Resources::default()
        };
        assert_eq!(resources(0, 0).shortage(&allocatable, &used, &Symbols::default()), None);
    }

    #[test]
    fn extended_resources_add_and_run_short() {
        let mut symbols = Symbols::default();
        let gpu = symbols.intern("example.com/gpu");
        let mut pod = resources(1, 1);
        pod.set_extended(gpu, 2);
        let mut node = Resources {
            cpu: 9,
            memory: 9,
            pods: 9,
            ..Resources::default()
        };
        node.set_extended(gpu, 3);
        let mut used = Resources::default();
        assert_eq!(pod.shortage(&node, &used, &symbols), None);
        used.add(&pod);
        assert_eq!(
            pod.shortage(&node, &used, &symbols).map(|shortage| shortage.free),
            Some(1)
        );
        used.subtract(&pod);
        assert_eq!(used.extended_entries(), &[]);
    }

    #[test]
    fn sums_saturate() {
        let mut huge = resources(i64::MAX, 0);
        huge.add(&resources(1, 0));
        assert_eq!(huge.cpu, i64::MAX);
    }
}

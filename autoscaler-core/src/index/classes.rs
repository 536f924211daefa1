//! Which class a pod has: every distinct one is kept once, as long as something uses it.

use hashbrown::HashTable;

use crate::{
    hash::hash_of,
    snapshot::{ClassId, PodClass},
};

/// The ids of the classes of a snapshot, and how many pods and DaemonSets use each.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassTable {
    /// Every class that is used, by its content.
    table: HashTable<ClassId>,
    /// By class.
    users: Vec<u32>,
    free: Vec<ClassId>,
}

// === impl ClassTable ===

impl ClassTable {
    /// The id of a class, which has one user more, and whether it is new.
    pub(super) fn intern(&mut self, classes: &mut Vec<PodClass>, class: PodClass) -> (ClassId, bool) {
        let hash = hash_of(&class);
        let is_class = |id: &ClassId| classes.get(id.index()) == Some(&class);
        if let Some(id) = self.table.find(hash, is_class).copied() {
            self.hold(id);
            return (id, false);
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.users.push(0);
            classes.push(PodClass::default());
            ClassId::from_index(classes.len() - 1)
        });
        if let (Some(users), Some(slot)) = (self.users.get_mut(id.index()), classes.get_mut(id.index())) {
            *users = 1;
            *slot = class;
        }
        let rehash = |id: &ClassId| classes.get(id.index()).map_or(0, hash_of);
        self.table.insert_unique(hash, id, rehash);
        (id, true)
    }

    /// Counts one user more of a class that is used already.
    pub(super) fn hold(&mut self, id: ClassId) {
        if let Some(users) = self.users.get_mut(id.index()) {
            *users += 1;
        }
    }

    /// Takes one user off a class. When that was the last one, the class is forgotten and returned.
    pub(super) fn release(&mut self, classes: &mut [PodClass], id: ClassId) -> Option<PodClass> {
        let users = self.users.get_mut(id.index())?;
        *users = users.saturating_sub(1);
        if 0 < *users {
            return None;
        }
        let class = std::mem::take(classes.get_mut(id.index())?);
        if let Ok(entry) = self.table.find_entry(hash_of(&class), |known| *known == id) {
            entry.remove();
        }
        self.free.push(id);
        Some(class)
    }

    /// Every class that is used, in the order of ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = ClassId> {
        let used = self.users.iter().enumerate().filter(|(_, users)| 0 < **users);
        used.map(|(index, _)| ClassId::from_index(index))
    }

    /// Takes note that the content of all classes is written with other symbols.
    pub(super) fn rehash(&mut self, classes: &[PodClass]) {
        let hash = |id: &ClassId| classes.get(id.index()).map_or(0, hash_of);
        let mut table = HashTable::with_capacity(self.table.len());
        for id in self.ids() {
            table.insert_unique(hash(&id), id, hash);
        }
        self.table = table;
    }
}

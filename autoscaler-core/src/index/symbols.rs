//! Forgets symbols that nothing uses any more: label values of pods that are gone, names of old nodes.

use super::Index;
use crate::symbol::{MapSymbols, Symbol};

/// With fewer symbols than this none are forgotten.
pub(super) const FIRST_LIMIT: usize = 4096;

impl Index {
    /// Forgets symbols when there are twice as many as there were in use when this was looked at last, so that the cost is
    /// shared by as many new symbols.
    pub(super) fn settle_symbols(&mut self) {
        let all = self.snapshot.symbols.len();
        if all < self.symbols_limit {
            return;
        }
        let mut live = vec![false; all];
        self.map_symbols(&mut |symbol| {
            if let Some(live) = live.get_mut(symbol.index()) {
                *live = true;
            }
            symbol
        });
        for symbol in self.symbols_by_text() {
            if let Some(live) = live.get_mut(symbol.index()) {
                *live = true;
            }
        }
        let in_use = live.iter().filter(|live| **live).count();
        self.symbols_limit = (in_use * 2).max(FIRST_LIMIT);
        if all < in_use + in_use / 2 {
            return;
        }
        let new = self.snapshot.symbols.retain(&live);
        self.map_symbols(&mut |symbol| new.get(symbol.index()).copied().unwrap_or_default());
        self.classes.rehash(&self.snapshot.classes);
        // Rules, ports and volumes in use are full of symbols, and made of what has been mapped.
        self.dirty.rules = true;
    }

    /// Shows everything that holds symbols and is not made anew with the rules.
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        let snapshot = &mut self.snapshot;
        snapshot.well_known.map_symbols(map);
        snapshot.nodes.map_symbols(map);
        snapshot.pods.map_symbols(map);
        snapshot.classes.map_symbols(map);
        snapshot.groups.map_symbols(map);
        snapshot.machines.map_symbols(map);
        snapshot.budgets.map_symbols(map);
        snapshot.daemon_sets.map_symbols(map);
        snapshot.rules.zone_keys.map_symbols(map);
        let namespaces = std::mem::take(&mut snapshot.namespaces).into_iter();
        let namespaces = namespaces.map(|mut namespace| {
            namespace.map_symbols(map);
            namespace
        });
        snapshot.namespaces = namespaces.collect();
    }

    /// Symbols that are looked up by their texts: labels of nodes that do not exist yet.
    fn symbols_by_text(&self) -> impl Iterator<Item = Symbol> {
        let of_groups = self.snapshot.groups.iter().flat_map(|group| &group.offerings);
        let of_machines = self.snapshot.machines.iter().map(|machine| &machine.offering);
        let offerings = of_groups.chain(of_machines);
        offerings.filter_map(|offering| self.snapshot.symbols.get(offering.as_str()))
    }
}

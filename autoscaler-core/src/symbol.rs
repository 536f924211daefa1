//! Interned strings: a [`Symbol`] stands for one text, so that labels compare as integers.
//!
//! Symbols are numbered as their texts arrive. Which of two is smaller therefore says nothing about their texts, and no
//! decision may depend on it.

use std::fmt;

use hashbrown::HashTable;

use crate::hash::hash_of;

/// One interned text of a [`Symbols`] table. Symbols of different tables must not be mixed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(u32);

/// A table of interned texts. Its first entry is always the empty text.
#[derive(Clone, Debug)]
pub struct Symbols {
    /// All texts, one after the other.
    buffer: String,
    /// Where each text ends in the buffer.
    ends: Vec<usize>,
    /// Every symbol, by its text.
    table: HashTable<Symbol>,
}

/// Something that holds symbols. It shows every one of them, to have it replaced by what `map` gives for it.
///
/// `map` must keep the order of symbols, so that lists that are ordered by them stay ordered.
pub(crate) trait MapSymbols {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol);
}

/// Implements [`MapSymbols`] for a struct. Every field has to be named: those with symbols in the first braces, those
/// without in the second.
macro_rules! map_symbols {
    ($type:ty { $($field:ident),* } { $($plain:ident),* }) => {
        impl $crate::symbol::MapSymbols for $type {
            fn map_symbols(
                &mut self,
                map: &mut dyn FnMut($crate::symbol::Symbol) -> $crate::symbol::Symbol,
            ) {
                let Self { $($field,)* $($plain: _,)* } = self;
                $($crate::symbol::MapSymbols::map_symbols($field, map);)*
            }
        }
    };
}
pub(crate) use map_symbols;

// === impl Symbol ===

impl Symbol {
    /// The empty text.
    pub const EMPTY: Self = Self(0);

    /// Whether this is the empty text.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// The position in the table.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    fn from_index(index: usize) -> Self {
        // Beyond u32::MAX texts two of them would share a symbol; memory ends long before.
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

// === impl Symbols ===

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self {
            buffer: String::new(),
            ends: Vec::new(),
            table: HashTable::new(),
        };
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The symbol of a text, which is added when it is new.
    pub fn intern(&mut self, text: &str) -> Symbol {
        let hash = hash_of(text);
        let Self { buffer, ends, table } = self;
        if let Some(known) = table.find(hash, |symbol| text_of(buffer, ends, *symbol) == text) {
            return *known;
        }
        let symbol = Symbol::from_index(ends.len());
        buffer.push_str(text);
        ends.push(buffer.len());
        table.insert_unique(hash, symbol, |symbol| hash_of(text_of(buffer, ends, *symbol)));
        symbol
    }

    /// The symbol of a text, when the table has it.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<Symbol> {
        let is_text = |symbol: &Symbol| self.text(*symbol) == text;
        self.table.find(hash_of(text), is_text).copied()
    }

    /// The text of a symbol, or the empty text for a symbol of another, larger table.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &str {
        text_of(&self.buffer, &self.ends, symbol)
    }

    /// The text as a decimal integer, which the selector operators `Gt` and `Lt` compare.
    #[must_use]
    pub fn integer(&self, symbol: Symbol) -> Option<i64> {
        self.text(symbol).parse().ok()
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets every text but these, given by position, and the empty one. Returns what each symbol has become; the
    /// order of those that stay is kept.
    pub(crate) fn retain(&mut self, live: &[bool]) -> Vec<Symbol> {
        let mut kept = Self::default();
        let mut new = Vec::with_capacity(self.len());
        for index in 0..self.len() {
            let is_live = live.get(index).copied().unwrap_or(false);
            new.push(if is_live {
                kept.intern(self.text(Symbol::from_index(index)))
            } else {
                Symbol::EMPTY
            });
        }
        kept.buffer.shrink_to_fit();
        kept.ends.shrink_to_fit();
        *self = kept;
        new
    }
}

fn text_of<'t>(buffer: &'t str, ends: &[usize], symbol: Symbol) -> &'t str {
    let index = symbol.index();
    let start = index
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .copied()
        .unwrap_or(0);
    let text = ends.get(index).and_then(|end| buffer.get(start..*end));
    text.unwrap_or("")
}

// === impl MapSymbols ===

impl MapSymbols for Symbol {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Self) -> Self) {
        *self = map(*self);
    }
}

impl<T: MapSymbols> MapSymbols for Option<T> {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        if let Some(inner) = self {
            inner.map_symbols(map);
        }
    }
}

impl<T: MapSymbols + ?Sized> MapSymbols for Box<T> {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        (**self).map_symbols(map);
    }
}

impl<T: MapSymbols> MapSymbols for [T] {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        for entry in self {
            entry.map_symbols(map);
        }
    }
}

impl<T: MapSymbols> MapSymbols for Vec<T> {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        self.as_mut_slice().map_symbols(map);
    }
}

/// A pair of a symbol and an amount or a list.
impl<T: MapSymbols> MapSymbols for (Symbol, T) {
    fn map_symbols(&mut self, map: &mut dyn FnMut(Symbol) -> Symbol) {
        self.0.map_symbols(map);
        self.1.map_symbols(map);
    }
}

impl MapSymbols for i64 {
    fn map_symbols(&mut self, _: &mut dyn FnMut(Symbol) -> Symbol) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_the_same_symbol() {
        let mut symbols = Symbols::default();
        let zone = symbols.intern("zone");
        assert_eq!(symbols.intern("zone"), zone);
        assert_eq!(symbols.text(zone), "zone");
        assert_eq!(symbols.get("zone"), Some(zone));
        assert_eq!(symbols.get("rack"), None);
        assert!(symbols.intern("").is_empty());
    }

    #[test]
    fn many_texts_keep_apart() {
        let mut symbols = Symbols::default();
        let texts: Vec<String> = (0..10_000).map(|number| format!("ä{number}")).collect();
        let interned: Vec<Symbol> = texts.iter().map(|text| symbols.intern(text)).collect();
        for (text, symbol) in texts.iter().zip(interned) {
            assert_eq!(symbols.text(symbol), text);
            assert_eq!(symbols.get(text), Some(symbol));
        }
    }

    #[test]
    fn what_is_retained_keeps_its_text_and_its_order() {
        let mut symbols = Symbols::default();
        let [a, b, c] = ["a", "b", "c"].map(|text| symbols.intern(text));
        let mut live = vec![false; symbols.len()];
        live[a.index()] = true;
        live[c.index()] = true;
        let new = symbols.retain(&live);
        assert_eq!(symbols.len(), 3);
        let (new_a, new_c) = (new[a.index()], new[c.index()]);
        assert!(new_a < new_c);
        assert_eq!((symbols.text(new_a), symbols.text(new_c)), ("a", "c"));
        assert_eq!(new[b.index()], Symbol::EMPTY);
        assert_eq!((symbols.get("b"), symbols.get("c")), (None, Some(new_c)));
    }
}

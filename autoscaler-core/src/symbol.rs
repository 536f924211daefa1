//! Interned strings: a [`Symbol`] stands for one text, so that labels compare as integers.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// One interned text of a [`Symbols`] table. Symbols of different tables must not be mixed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(u32);

/// A table of interned texts. Its first entry is always the empty text.
#[derive(Clone, Debug)]
pub struct Symbols {
    texts: Vec<Arc<str>>,
    ids: BTreeMap<Arc<str>, Symbol>,
}

// === impl Symbol ===

impl Symbol {
    /// The empty text.
    pub const EMPTY: Self = Self(0);

    /// Whether this is the empty text.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
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
            texts: Vec::new(),
            ids: BTreeMap::new(),
        };
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The symbol of a text, which is added when it is new.
    ///
    pub fn intern(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.ids.get(text) {
            return *symbol;
        }
        // Beyond u32::MAX texts two of them would share a symbol; memory ends long before.
        let symbol = Symbol(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.ids.insert(text, symbol);
        symbol
    }

    /// The symbol of a text, when the table has it.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<Symbol> {
        self.ids.get(text).copied()
    }

    /// The text of a symbol, or the empty text for a symbol of another, larger table.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(symbol.0 as usize).map_or("", |text| text)
    }

    /// The text as a decimal integer, which the selector operators `Gt` and `Lt` compare.
    #[must_use]
    pub fn integer(&self, symbol: Symbol) -> Option<i64> {
        self.text(symbol).parse().ok()
    }
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
}

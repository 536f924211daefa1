//! Puts the parts of a text together into trees, within limits that no honest text meets.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::tree::{Entry, Position, Scalar, Tree, Value, shorten};

/// Deepest nesting. Kubernetes objects stay below 30, the schemas of CustomResourceDefinitions below 100.
pub(super) const MAX_DEPTH: usize = 200;

/// How much all aliases of a text may expand to, in values and characters.
const ALIAS_BUDGET: usize = 10_000_000;

/// A part of a text, as it is met from front to back.
#[derive(Debug)]
pub(super) enum Event<'t> {
    Scalar {
        scalar: Scalar<'t>,
        anchor: Option<usize>,
    },
    SequenceStart {
        anchor: Option<usize>,
    },
    SequenceEnd,
    MappingStart {
        anchor: Option<usize>,
    },
    MappingEnd,
    /// The value that the anchor of this number stands before.
    Alias(usize),
    /// No more documents.
    End,
}

/// What reads a text format.
pub(super) trait Events<'t> {
    /// The next part of the text.
    fn next(&mut self) -> Result<(Event<'t>, Position), Syntax>;
}

/// Why a text is not what its format demands.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) at: Position,
    pub(super) message: String,
}

/// Makes trees from parts.
#[derive(Debug)]
pub(super) struct Composer<'t, E> {
    events: E,
    anchors: BTreeMap<usize, Tree<'t>>,
    budget: usize,
}

/// What the fields of a document have said so far about the kind of object that it is.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
}

/// The fields of a mapping that is being read.
#[derive(Debug, Default)]
struct Fields<'t> {
    entries: Vec<Entry<'t>>,
    key_positions: Vec<Position>,
    merged: Vec<Tree<'t>>,
}

// === impl Syntax ===

impl Syntax {
    pub(super) fn new(at: Position, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}

// === impl Composer ===

impl<'t, E: Events<'t>> Composer<'t, E> {
    pub(super) const fn new(events: E) -> Self {
        Self {
            events,
            anchors: BTreeMap::new(),
            budget: ALIAS_BUDGET,
        }
    }

    pub(super) fn into_events(self) -> E {
        self.events
    }

    /// The next document, or `None` at the end.
    ///
    /// `element` gets each element of the list in the field `items` of the document as soon as it is read, so that the
    /// whole of a long list is never in memory; in the tree that is returned that list is empty.
    pub(super) fn document(&mut self, mut element: impl FnMut(&Header, Tree<'t>)) -> Result<Option<Tree<'t>>, Syntax> {
        self.anchors.clear();
        let (event, at) = self.events.next()?;
        if matches!(event, Event::End) {
            return Ok(None);
        }
        let Event::MappingStart { anchor: None } = event else {
            return self.value(event, at, 0).map(Some);
        };
        let mut header = Header::default();
        let mut fields = Fields::default();
        while let Some((key, key_at)) = self.key()? {
            let (event, value_at) = self.events.next()?;
            let value = match event {
                Event::SequenceStart { anchor: None } if key == "items" => {
                    loop {
                        let (event, at) = self.events.next()?;
                        if matches!(event, Event::SequenceEnd) {
                            break;
                        }
                        element(&header, self.value(event, at, 2)?);
                    }
                    Tree {
                        at: value_at,
                        value: Value::Sequence(Vec::new()),
                    }
                }
                event => self.value(event, value_at, 1)?,
            };
            match (key.as_ref(), value.as_str()) {
                ("apiVersion", Some(text)) => header.api_version = Some(text.to_owned()),
                ("kind", Some(text)) => header.kind = Some(text.to_owned()),
                _ => {}
            }
            fields.add(key, key_at, value)?;
        }
        Ok(Some(Tree {
            at,
            value: Value::Mapping(fields.finish()?),
        }))
    }

    fn value(&mut self, event: Event<'t>, at: Position, depth: usize) -> Result<Tree<'t>, Syntax> {
        if depth > MAX_DEPTH {
            return Err(Syntax::new(at, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        let (value, anchor) = match event {
            Event::Scalar { scalar, anchor } => (Value::Scalar(scalar), anchor),
            Event::SequenceStart { anchor } => {
                let mut elements = Vec::new();
                loop {
                    let (event, at) = self.events.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    elements.push(self.value(event, at, depth + 1)?);
                }
                (Value::Sequence(elements), anchor)
            }
            Event::MappingStart { anchor } => {
                let mut fields = Fields::default();
                while let Some((key, key_at)) = self.key()? {
                    let (event, value_at) = self.events.next()?;
                    let value = self.value(event, value_at, depth + 1)?;
                    fields.add(key, key_at, value)?;
                }
                (Value::Mapping(fields.finish()?), anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            Event::SequenceEnd | Event::MappingEnd | Event::End => {
                return Err(Syntax::new(at, "expected a value"));
            }
        };
        let tree = Tree { at, value };
        if let Some(anchor) = anchor {
            self.budget = charge(self.budget, &tree, at)?;
            self.anchors.insert(anchor, tree.clone());
        }
        Ok(tree)
    }

    fn key(&mut self) -> Result<Option<(Cow<'t, str>, Position)>, Syntax> {
        match self.events.next()? {
            (Event::Scalar { scalar, anchor: None }, at) => Ok(Some((scalar.text, at))),
            (Event::MappingEnd, _) => Ok(None),
            (_, at) => Err(Syntax::new(
                at,
                "a key has to be a plain string, without anchor or alias",
            )),
        }
    }

    fn alias(&mut self, anchor: usize, at: Position, depth: usize) -> Result<Tree<'t>, Syntax> {
        let Some(tree) = self.anchors.get(&anchor) else {
            return Err(Syntax::new(at, "an alias inside of what it stands for"));
        };
        if depth + nesting(tree) > MAX_DEPTH {
            return Err(Syntax::new(at, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.budget = charge(self.budget, tree, at)?;
        Ok(tree.clone())
    }
}

/// What is left of the budget after one more copy of a tree.
fn charge(budget: usize, tree: &Tree<'_>, at: Position) -> Result<usize, Syntax> {
    budget
        .checked_sub(cost(tree))
        .ok_or_else(|| Syntax::new(at, "the anchors and aliases of the text expand to too much"))
}

fn cost(tree: &Tree<'_>) -> usize {
    match &tree.value {
        Value::Scalar(scalar) => 1 + scalar.text.len(),
        Value::Sequence(elements) => 1 + elements.iter().map(cost).sum::<usize>(),
        Value::Mapping(entries) => {
            1 + entries
                .iter()
                .map(|entry| entry.key.len() + cost(&entry.value))
                .sum::<usize>()
        }
    }
}

fn nesting(tree: &Tree<'_>) -> usize {
    let inner = match &tree.value {
        Value::Scalar(_) => return 0,
        Value::Sequence(elements) => elements.iter().map(nesting).max(),
        Value::Mapping(entries) => entries.iter().map(|entry| nesting(&entry.value)).max(),
    };
    1 + inner.unwrap_or(0)
}

// === impl Fields ===

impl<'t> Fields<'t> {
    fn add(&mut self, key: Cow<'t, str>, key_at: Position, value: Tree<'t>) -> Result<(), Syntax> {
        if key != "<<" {
            self.entries.push(Entry { key, value });
            self.key_positions.push(key_at);
            return Ok(());
        }
        // The merge key of YAML 1.1, which kubectl understands too.
        match value.value {
            Value::Mapping(_) => self.merged.push(value),
            Value::Sequence(elements)
                if elements
                    .iter()
                    .all(|element| matches!(element.value, Value::Mapping(_))) =>
            {
                self.merged.extend(elements);
            }
            _ => {
                return Err(Syntax::new(
                    value.at,
                    "what << merges has to be a mapping or a list of mappings",
                ));
            }
        }
        Ok(())
    }

    /// All fields: those that were written, and those of merged mappings that were not.
    fn finish(mut self) -> Result<Vec<Entry<'t>>, Syntax> {
        if let Some(second) = self.first_repetition() {
            let key = self
                .entries
                .get(second)
                .map(|entry| shorten(&entry.key))
                .unwrap_or_default();
            let at = self.key_positions.get(second).copied().unwrap_or_default();
            return Err(Syntax::new(at, format!("the key {key:?} is here for the second time")));
        }
        if self.merged.is_empty() {
            return Ok(self.entries);
        }
        let mut known: BTreeSet<_> = self.entries.iter().map(|entry| entry.key.clone()).collect();
        for tree in self.merged {
            let Value::Mapping(merged) = tree.value else {
                continue;
            };
            self.entries
                .extend(merged.into_iter().filter(|entry| known.insert(entry.key.clone())));
        }
        Ok(self.entries)
    }

    /// The index of the first key that was written before.
    fn first_repetition(&self) -> Option<usize> {
        if self.entries.len() <= 16 {
            // The usual case, without a set.
            return self.entries.iter().enumerate().skip(1).find_map(|(index, entry)| {
                self.entries
                    .iter()
                    .take(index)
                    .any(|before| before.key == entry.key)
                    .then_some(index)
            });
        }
        let mut seen = BTreeSet::new();
        self.entries.iter().position(|entry| !seen.insert(entry.key.as_ref()))
    }
}

//! A document as a tree of values that know where they were written, and serde's view of it.
//!
//! Text formats end here: what reads them makes trees, and everything after reads trees. Scalars stay text until a
//! type asks for them, so that `1e3` is a quantity where one is expected and an error where a label is.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

/// A place in a text, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: u32,
    /// In characters.
    pub(super) column: u32,
}

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Tree<'t> {
    pub(super) at: Position,
    pub(super) value: Value<'t>,
}

#[derive(Clone, Debug)]
pub(super) enum Value<'t> {
    Scalar(Scalar<'t>),
    Sequence(Vec<Tree<'t>>),
    Mapping(Vec<Entry<'t>>),
}

/// A scalar as it was written. Only a plain one, without quotes, can be anything but a string.
#[derive(Clone, Debug)]
pub(super) struct Scalar<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) plain: bool,
}

/// A field of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    pub(super) value: Tree<'t>,
}

/// What a scalar means when nothing in particular is expected: the core schema of YAML 1.2, and the booleans of YAML
/// 1.1, because Kubernetes reads those too. (`y` and `n` are strings to many writers of YAML and stay strings.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    String(&'a str),
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(Cow<'static, str>),
    Index(usize),
}

/// Why a tree is not what was expected, and where.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    pub(super) message: String,
    pub(super) at: Option<Position>,
    /// Innermost step first.
    pub(super) path: Vec<Step>,
}

/// A path as people write it: `spec.containers[0].resources.requests["nvidia.com/gpu"]`. The outermost step is first.
pub(super) struct DisplayPath<'a>(pub(super) &'a [Step]);

// === impl Tree ===

impl<'t> Tree<'t> {
    /// The value of a field; `None` also when this is no mapping.
    pub(super) fn get(&self, field: &str) -> Option<&Self> {
        let Value::Mapping(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find(|entry| entry.key == field)
            .map(|entry| &entry.value)
    }

    /// Takes the elements of a field that is a sequence; `None` when it is absent or null.
    pub(super) fn take_sequence(&mut self, field: &str) -> Result<Option<Vec<Self>>, Mismatch> {
        let Value::Mapping(entries) = &mut self.value else {
            return Ok(None);
        };
        let Some(entry) = entries.iter_mut().find(|entry| entry.key == field) else {
            return Ok(None);
        };
        if let Value::Sequence(elements) = &mut entry.value.value {
            return Ok(Some(std::mem::take(elements)));
        }
        if entry.value.is_null() {
            return Ok(None);
        }
        Err(entry
            .value
            .mismatch("a list")
            .inside(|| Step::Field(field.to_owned().into()), entry.value.at))
    }

    /// The text of a scalar that is a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self.meaning() {
            Some(Meaning::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether this is a null, as an empty document is.
    pub(super) fn is_null(&self) -> bool {
        self.meaning() == Some(Meaning::Null)
    }

    /// Where a path ends; when it leads nowhere, where the last value on it starts.
    pub(super) fn locate(&self, path: &[Step]) -> Position {
        let mut tree = self;
        for step in path {
            let next = match (step, &tree.value) {
                (Step::Field(field), _) => tree.get(field),
                (Step::Index(index), Value::Sequence(elements)) => elements.get(*index),
                (Step::Index(_), _) => None,
            };
            match next {
                Some(next) => tree = next,
                None => break,
            }
        }
        tree.at
    }

    /// The value in words, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Scalar(scalar) => {
                let text = shorten(&scalar.text);
                match scalar.meaning() {
                    Meaning::Null => "null".to_owned(),
                    Meaning::Bool(_) => format!("the boolean {text}"),
                    Meaning::Integer(_) | Meaning::Unsigned(_) | Meaning::Float(_) => {
                        format!("the number {text}")
                    }
                    Meaning::String(_) => format!("the string {text:?}"),
                }
            }
        }
    }

    fn meaning(&self) -> Option<Meaning<'_>> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar.meaning()),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    fn mismatch(&self, expected: &str) -> Mismatch {
        let mut message = format!("expected {expected}, found {}", self.describe());
        if expected == "a string" && matches!(self.value, Value::Scalar(_)) {
            message.push_str(": put it in quotes");
        }
        Mismatch {
            message,
            at: Some(self.at),
            path: Vec::new(),
        }
    }
}

// === impl Scalar ===

impl Scalar<'_> {
    pub(super) fn meaning(&self) -> Meaning<'_> {
        if self.plain {
            resolve(&self.text)
        } else {
            Meaning::String(&self.text)
        }
    }
}

fn resolve(text: &str) -> Meaning<'_> {
    // Most scalars are words: the first character tells them apart from everything else.
    match text.as_bytes().first() {
        None => return Meaning::Null,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => {
            return resolve_number(text).unwrap_or(Meaning::String(text));
        }
        Some(b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'y' | b'Y' | b'o' | b'O') => {}
        Some(_) => return Meaning::String(text),
    }
    match text {
        "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Meaning::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Meaning::Bool(false),
        _ => Meaning::String(text),
    }
}

fn resolve_number(text: &str) -> Option<Meaning<'static>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Meaning::Float(if text.starts_with('-') {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }));
        }
        ".nan" | ".NaN" | ".NAN" => return Some(Meaning::Float(f64::NAN)),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = unsigned.strip_prefix(prefix) {
            let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            return valid
                .then(|| u64::from_str_radix(digits, radix).map_or(Meaning::Float(f64::INFINITY), Meaning::Unsigned));
        }
    }
    let mut number = Cow::Borrowed(text);
    if text.contains('_') {
        number = text.replace('_', "").into();
    }
    let digits = number.strip_prefix(['+', '-']).unwrap_or(&number);
    if !digits.contains(|c: char| c.is_ascii_digit())
        || digits.contains(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
    {
        return None;
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')) {
        return u64::from_str_radix(digits, 8).ok().map(Meaning::Unsigned);
    }
    if let Ok(integer) = number.parse() {
        return Some(Meaning::Integer(integer));
    }
    if let Ok(integer) = number.parse() {
        return Some(Meaning::Unsigned(integer));
    }
    number.parse().ok().map(Meaning::Float)
}

/// At most the first 64 characters, so that a hostile text does not fill the screen.
pub(super) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

// === impl Mismatch ===

impl Mismatch {
    fn inside(mut self, step: impl FnOnce() -> Step, at: Position) -> Self {
        self.at.get_or_insert(at);
        self.path.push(step());
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            at: None,
            path: Vec::new(),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }
}

// === impl DisplayPath ===

impl fmt::Display for DisplayPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Field(field)
                    if field.is_empty()
                        || field.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') =>
                {
                    write!(f, "[{:?}]", shorten(field))?;
                }
                Step::Field(field) if depth == 0 => f.write_str(&shorten(field))?,
                Step::Field(field) => write!(f, ".{}", shorten(field))?,
            }
        }
        Ok(())
    }
}

// === impl Deserializer ===

/// Reads a value of any type from a tree.
pub(super) fn from_tree<'a, T: Deserialize<'a>>(tree: &'a Tree<'_>) -> Result<T, Mismatch> {
    T::deserialize(Node(tree)).map_err(|mut mismatch| {
        mismatch.at.get_or_insert(tree.at);
        mismatch
    })
}

struct Node<'a, 't>(&'a Tree<'t>);

struct Fields<'a, 't> {
    entries: std::slice::Iter<'a, Entry<'t>>,
    current: Option<&'a Entry<'t>>,
}

struct Elements<'a, 't> {
    elements: std::iter::Enumerate<std::slice::Iter<'a, Tree<'t>>>,
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            match self.0.meaning() {
                Some(Meaning::Integer(number)) => visitor.visit_i64(number),
                Some(Meaning::Unsigned(number)) => visitor.visit_u64(number),
                _ => Err(self.0.mismatch("an integer")),
            }
        }
    )*};
}

impl<'a> Deserializer<'a> for Node<'a, '_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let scalar = match &self.0.value {
            Value::Sequence(_) => return self.deserialize_seq(visitor),
            Value::Mapping(_) => return self.deserialize_map(visitor),
            Value::Scalar(scalar) => scalar,
        };
        match scalar.meaning() {
            Meaning::Null => visitor.visit_unit(),
            Meaning::Bool(boolean) => visitor.visit_bool(boolean),
            Meaning::Integer(number) => visitor.visit_i64(number),
            Meaning::Unsigned(number) => visitor.visit_u64(number),
            Meaning::Float(number) if number.is_finite() => visitor.visit_f64(number),
            // Such as 1e400, which is no number to a computer and still a quantity to Kubernetes.
            Meaning::Float(_) => visitor.visit_str(&scalar.text),
            Meaning::String(text) => visitor.visit_str(text),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match (self.0.meaning(), &self.0.value) {
            (Some(Meaning::Bool(boolean)), _) => visitor.visit_bool(boolean),
            (Some(Meaning::String("y" | "Y")), Value::Scalar(Scalar { plain: true, .. })) => visitor.visit_bool(true),
            (Some(Meaning::String("n" | "N")), Value::Scalar(Scalar { plain: true, .. })) => visitor.visit_bool(false),
            _ => Err(self.0.mismatch("true or false")),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.meaning() {
            Some(Meaning::Integer(number)) => visitor.visit_i64(number),
            Some(Meaning::Unsigned(number)) => visitor.visit_u64(number),
            Some(Meaning::Float(number)) => visitor.visit_f64(number),
            _ => Err(self.0.mismatch("a number")),
        }
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.meaning() {
            Some(Meaning::String(text)) => visitor.visit_str(text),
            // As in Go, where the zero value of a string stays.
            Some(Meaning::Null) => visitor.visit_str(""),
            _ => Err(self.0.mismatch("a string")),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.0.value {
            Value::Sequence(elements) => visitor.visit_seq(Elements {
                elements: elements.iter().enumerate(),
            }),
            _ => Err(self.0.mismatch("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.0.value {
            Value::Mapping(entries) => visitor.visit_map(Fields {
                entries: entries.iter(),
                current: None,
            }),
            _ => Err(self.0.mismatch("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_map(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

impl<'a> MapAccess<'a> for Fields<'a, '_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        self.current = self.entries.next();
        let Some(entry) = self.current else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(&entry.key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let entry = self
            .current
            .take()
            .ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        seed.deserialize(Node(&entry.value))
            .map_err(|mismatch| mismatch.inside(|| Step::Field(entry.key.clone().into_owned().into()), entry.value.at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

impl<'a> SeqAccess<'a> for Elements<'a, '_> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some((index, element)) = self.elements.next() else {
            return Ok(None);
        };
        seed.deserialize(Node(element))
            .map(Some)
            .map_err(|mismatch| mismatch.inside(|| Step::Index(index), element.at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

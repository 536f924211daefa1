//! Reads objects from text: documents, lists, kinds, and what may stand where.

use std::sync::Arc;

use super::{
    Class, Objects, Origin, Source, check,
    compose::{Composer, Header, Syntax},
    error::{ReadError, ReadErrors},
    json::{self, Json},
    kinds::classify,
    tree::{DisplayPath, Mismatch, Position, Step, Tree, Value, shorten},
    yaml::Yaml,
};

/// Reads all objects of a text and adds them to `into`.
///
/// The text is YAML of any number of documents, or JSON of any number of values, or JSON values between `---` lines.
/// A `List`, and a list of one kind such as `PodList`, stands for what it holds. Objects of kinds that planning does
/// not read are counted in [`Objects::skipped`].
///
/// # Errors
/// Bad syntax, after which nothing more is read. An object without kind or name, of a kind that no API group has, of a
/// version that is not read, of a shape that its kind cannot have, with a value that the API server would refuse, or
/// that was read before, from this text or another; reading goes on after such an object, so that all errors are
/// found, and `into` then holds what is good.
pub fn read(source: &Source<'_>, into: &mut Objects) -> Result<(), ReadErrors> {
    let mut documents = Documents::new(source.text);
    let mut reader = Reader {
        source: source.name.as_str().into(),
        document: 0,
        into,
        errors: ReadErrors::default(),
    };
    loop {
        match reader.read_document(&mut documents) {
            Ok(true) => {}
            Ok(false) => break,
            Err(syntax) => {
                reader.report(syntax.at, String::new(), &[], syntax.message);
                break;
            }
        }
    }
    reader.errors.into_result()
}

/// The documents of a text, whatever their format.
pub(super) struct Documents<'t> {
    text: &'t str,
    offset: usize,
    at: Position,
    yaml: Option<Composer<'t, Yaml<'t>>>,
}

struct Reader<'a> {
    source: Arc<str>,
    /// The number of the document, from 1, empty ones not counted.
    document: usize,
    into: &'a mut Objects,
    errors: ReadErrors,
}

/// Where an object stands, for messages about objects without a name.
#[derive(Clone, Copy)]
struct Place {
    document: usize,
    /// The number of the element of the list that it is in, from 1.
    item: Option<usize>,
}

/// API version and kind.
type TypeMeta = (String, String);

// === impl Documents ===

impl<'t> Documents<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let offset = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Self {
            text,
            offset,
            at: Position { line: 1, column: 1 },
            yaml: None,
        }
    }

    /// The next document, and before it each element of its list `items`: see [`Composer::document`].
    pub(super) fn next(&mut self, element: impl FnMut(&Header, Tree<'t>)) -> Result<Option<Tree<'t>>, Syntax> {
        if let Some(yaml) = &mut self.yaml {
            return yaml.document(element);
        }
        let rest = self.text.get(self.offset..).unwrap_or_default();
        let content = skip_separators(rest);
        if content.is_empty() {
            return Ok(None);
        }
        if !is_json(content) {
            // All that follows is YAML, which may have JSON in it too.
            let yaml = Yaml::new(rest, self.at.line.saturating_sub(1));
            return self.yaml.insert(Composer::new(yaml)).document(element);
        }
        let blanks = rest.len() - content.len();
        let at = json::advance(self.at, rest.get(..blanks).unwrap_or_default());
        let mut json = Composer::new(Json::new(self.text, self.offset + blanks, at));
        let document = json.document(element)?;
        (self.offset, self.at) = json.into_events().end();
        Ok(document)
    }
}

/// A text without the blanks and the lines `---` before its content.
fn skip_separators(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(after) = rest.strip_prefix("---") {
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

/// Whether a text starts as JSON objects do, and lists of them. What YAML allows beyond JSON starts otherwise.
fn is_json(text: &str) -> bool {
    let inside = text.strip_prefix('[').map_or(text, str::trim_start);
    inside
        .strip_prefix('{')
        .is_some_and(|fields| fields.trim_start().starts_with(['"', '}']))
}

// === impl Reader ===

impl Reader<'_> {
    /// Reads one document; false when there is none.
    fn read_document(&mut self, documents: &mut Documents<'_>) -> Result<bool, Syntax> {
        let document = self.document + 1;
        let mut count = 0;
        let mut untyped = Vec::new();
        let tree = documents.next(|header, element| {
            count += 1;
            let place = Place {
                document,
                item: Some(count),
            };
            if is_typed(&element) {
                self.object(element, None, place);
            } else if let (Some(api_version), Some(kind)) = (&header.api_version, &header.kind) {
                self.object(element, item_type(api_version, kind).as_ref(), place);
            } else {
                // The kind of the list comes after its elements.
                untyped.push((place, element));
            }
        })?;
        let Some(tree) = tree else { return Ok(false) };
        if tree.is_null() {
            return Ok(true);
        }
        self.document = document;
        let place = Place { document, item: None };
        if count == 0 {
            self.object(tree, None, place);
            return Ok(true);
        }
        let list = self.type_of(&tree, None, place);
        match &list {
            Some((_, kind)) if !kind.ends_with("List") => {
                let message = format!("an object of kind {kind} does not have items; is it a List?");
                self.refuse(&tree, Some(kind), place, &[Step::Field("items".into())], message);
            }
            Some((api_version, kind)) => {
                let inherited = item_type(api_version, kind);
                for (place, element) in untyped {
                    self.object(element, inherited.as_ref(), place);
                }
            }
            None => {}
        }
        Ok(true)
    }

    /// Reads an object that is a document, or an element of a list whose kind is known.
    fn object(&mut self, mut tree: Tree<'_>, inherited: Option<&TypeMeta>, place: Place) {
        let Some((api_version, kind)) = self.type_of(&tree, inherited, place) else {
            return;
        };
        if let Some(item) = kind.strip_suffix("List")
            && (kind == "List" || tree.get("items").is_some() || classify(&api_version, &kind).is_err())
            && (kind == "List" || classify(&api_version, item).is_ok())
        {
            let elements = match tree.take_sequence("items") {
                Ok(elements) => elements.unwrap_or_default(),
                Err(mismatch) => return self.mismatch(&tree, Some(&kind), place, mismatch),
            };
            let inherited = item_type(&api_version, &kind);
            for (index, element) in elements.into_iter().enumerate() {
                self.object(
                    element,
                    inherited.as_ref(),
                    Place {
                        item: Some(index + 1),
                        ..place
                    },
                );
            }
            return;
        }
        match classify(&api_version, &kind) {
            Ok(Class::Read(known)) => {
                let mut object = match (known.read)(&tree) {
                    Ok(object) => object,
                    Err(mismatch) => return self.mismatch(&tree, Some(&kind), place, mismatch),
                };
                let metadata = object.metadata_mut();
                if !known.namespaced {
                    metadata.namespace.clear();
                } else if metadata.namespace.is_empty() {
                    "default".clone_into(&mut metadata.namespace);
                }
                let problems = check::check(&object, &tree);
                if !problems.is_empty() {
                    for problem in problems {
                        self.refuse(&tree, Some(&kind), place, &problem.path, problem.message);
                    }
                    return;
                }
                let key = (known.name, object.metadata().full_name());
                if let Some(first) = self.into.origins.get(&key) {
                    let message = format!("it was read before, at {first}");
                    return self.refuse(&tree, Some(&kind), place, &[], message);
                }
                self.into.origins.insert(
                    key,
                    Origin {
                        source: Arc::clone(&self.source),
                        line: tree.at.line,
                    },
                );
                self.into.push(object);
            }
            Ok(Class::Skip) => {
                *self.into.skipped.entry(format!("{api_version}/{kind}")).or_default() += 1;
            }
            // A List was dealt with above.
            Ok(Class::List) => {}
            Ok(Class::Status) => {
                let said = tree.get("message").and_then(Tree::as_str).unwrap_or("nothing");
                let message = format!(
                    "not an object but the answer to a request that failed; it says: {}",
                    shorten(said)
                );
                self.refuse(&tree, Some(&kind), place, &[], message);
            }
            Err(unknown) => {
                self.refuse(
                    &tree,
                    Some(&kind),
                    place,
                    &[Step::Field(unknown.field.into())],
                    unknown.message,
                );
            }
        }
    }

    /// API version and kind of an object; when they are missing or malformed, the error is reported.
    fn type_of(&mut self, tree: &Tree<'_>, inherited: Option<&TypeMeta>, place: Place) -> Option<TypeMeta> {
        if !matches!(tree.value, Value::Mapping(_)) {
            let message = format!("expected an object, found {}", tree.describe());
            self.refuse(tree, None, place, &[], message);
            return None;
        }
        if !is_typed(tree)
            && let Some(inherited) = inherited
        {
            return Some(inherited.clone());
        }
        let kind = self.type_field(tree, "kind", place);
        let api_version = self.type_field(tree, "apiVersion", place);
        Some((api_version?, kind?))
    }

    fn type_field(&mut self, tree: &Tree<'_>, field: &'static str, place: Place) -> Option<String> {
        let message = match tree.get(field) {
            Some(value) => match value.as_str() {
                Some("") => "is empty".to_owned(),
                Some(text) => return Some(text.to_owned()),
                None => format!("expected a string, found {}", value.describe()),
            },
            None => "is missing".to_owned(),
        };
        let kind = tree.get("kind").and_then(Tree::as_str);
        self.refuse(tree, kind, place, &[Step::Field(field.into())], message);
        None
    }

    fn mismatch(&mut self, tree: &Tree<'_>, kind: Option<&str>, place: Place, mismatch: Mismatch) {
        let mut path = mismatch.path;
        path.reverse();
        self.report(
            mismatch.at.unwrap_or(tree.at),
            label(tree, kind, place),
            &path,
            mismatch.message,
        );
    }

    fn refuse(&mut self, tree: &Tree<'_>, kind: Option<&str>, place: Place, path: &[Step], message: String) {
        let source = &self.source;
        self.errors
            .push_with(|| error(source, tree.locate(path), label(tree, kind, place), path, message));
    }

    fn report(&mut self, at: Position, object: String, path: &[Step], message: String) {
        self.errors.push(error(&self.source, at, object, path, message));
    }
}

fn error(source: &str, at: Position, object: String, path: &[Step], message: String) -> ReadError {
    ReadError {
        source: source.to_owned(),
        line: at.line,
        column: at.column,
        object,
        field: DisplayPath(path).to_string(),
        message,
    }
}

/// Whether an object says what it is.
fn is_typed(tree: &Tree<'_>) -> bool {
    tree.get("kind").is_some() || tree.get("apiVersion").is_some()
}

/// What the elements of a list are that do not say so themselves.
fn item_type(api_version: &str, list_kind: &str) -> Option<TypeMeta> {
    let kind = list_kind.strip_suffix("List").filter(|kind| !kind.is_empty())?;
    Some((api_version.to_owned(), kind.to_owned()))
}

/// The name of an object for messages.
fn label(tree: &Tree<'_>, kind: Option<&str>, place: Place) -> String {
    let Place { document, item } = place;
    let metadata = |field| {
        tree.get("metadata")
            .and_then(|metadata| metadata.get(field))
            .and_then(Tree::as_str)
    };
    let kind = kind.map(shorten);
    let Some(name) = metadata("name").filter(|name| !name.is_empty()).map(shorten) else {
        let place = match item {
            Some(item) => format!("document {document}, item {item}"),
            None => format!("document {document}"),
        };
        return kind.map_or(place.clone(), |kind| format!("{kind} ({place})"));
    };
    let kind = kind.unwrap_or("object".into());
    let known = super::KINDS.iter().find(|known| known.name == kind);
    let namespace = match (metadata("namespace").filter(|namespace| !namespace.is_empty()), known) {
        (_, Some(known)) if !known.namespaced => None,
        (None, Some(_)) => Some("default"),
        (namespace, _) => namespace,
    };
    match namespace {
        Some(namespace) => format!("{kind} {}/{name}", shorten(namespace)),
        None => format!("{kind} {name}"),
    }
}

//! Reading of lists: what shape an answer must have, and when all pages are there.
//!
//! A list is complete or an error. Nothing here turns an answer that it does not understand into an empty list.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{error::Error, wire::Fields};

/// Everything that a list call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// The entries that could be read, in the order of the API.
    pub items: Vec<T>,
    /// What was wrong with the others. While there are any, an entry that is not in `items` is unknown and not gone.
    pub unreadable: Vec<String>,
}

/// One answer of a list call.
#[derive(Debug)]
pub(crate) struct Page {
    entries: Vec<Value>,
    total: Option<u64>,
    pages: Option<u64>,
}

/// The pages of one list call so far.
#[derive(Debug)]
pub(crate) struct Pages {
    id_fields: Vec<String>,
    entries: Vec<Value>,
    seen: BTreeSet<String>,
    total: Option<u64>,
    read: u64,
}

/// What to do after a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// All entries are there.
    Complete,
    /// Ask for the page with this number (from 0).
    Page(u64),
    /// The list changed between two pages: entries may have moved past the seam, so all is read again.
    Changed,
}

/// More pages than this are a server that never stops.
const MOST_PAGES: u64 = 1000;

// === impl Page ===

impl Page {
    /// Reads `{data: [...], pagination: {...}}`, `{data: [...], total}` and a bare list.
    pub(crate) fn read(body: Value, operation: &str) -> Result<Self, Error> {
        let unknown = |found: &str| Error::malformed(operation, format!("the answer is not a list: {found}"));
        let mut object = match body {
            Value::Array(entries) => {
                return Ok(Self {
                    entries,
                    total: None,
                    pages: None,
                });
            }
            Value::Object(object) => object,
            other => return Err(unknown(name_of(&other))),
        };
        let data = object.remove("data");
        let body = Value::Object(object);
        let (total, pages) = Fields::of(&body).map_or((None, None), |fields| {
            let pagination = fields.get(&["pagination", "meta"]).and_then(Fields::of);
            let number = |names: &[&str]| {
                let number = pagination
                    .and_then(|pagination| pagination.integer(names))
                    .or_else(|| fields.integer(names));
                number.and_then(|number| u64::try_from(number).ok())
            };
            (number(&["total"]), number(&["total_pages", "totalPages", "last_page"]))
        });
        match data {
            Some(Value::Array(entries)) => Ok(Self { entries, total, pages }),
            // A list without entries is null in some languages; it is believed only with a count beside it.
            Some(Value::Null) if total == Some(0) => Ok(Self {
                entries: Vec::new(),
                total,
                pages,
            }),
            Some(other) => Err(unknown(&format!("data is {}", name_of(&other)))),
            None => Err(unknown("it has no data")),
        }
    }
}

// === impl Pages ===

impl Pages {
    pub(crate) fn new(id_fields: &[String]) -> Self {
        Self {
            id_fields: id_fields.to_vec(),
            entries: Vec::new(),
            seen: BTreeSet::new(),
            total: None,
            read: 0,
        }
    }

    /// Entries so far, those that came twice counted once.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes a page in. `page_size` is what was asked for; `None` when everything was, in one answer.
    pub(crate) fn add(&mut self, page: Page, page_size: Option<u32>, operation: &str) -> Result<Next, Error> {
        if self.read > 0 && page.total != self.total {
            return Ok(Next::Changed);
        }
        self.total = page.total;
        self.read += 1;
        let (before, received) = (self.entries.len(), page.entries.len());
        for entry in page.entries {
            let id = Fields::of(&entry).and_then(|fields| fields.text_of(&self.id_fields));
            if self.seen.insert(id.unwrap_or_else(|| entry.to_string())) {
                self.entries.push(entry);
            }
        }
        let is_news = self.entries.len() > before;
        let is_short = self
            .total
            .is_some_and(|total| u64::try_from(self.entries.len()).is_ok_and(|count| count < total))
            || page.pages.is_some_and(|pages| self.read < pages);
        let may_be_short = match (self.total.or(page.pages), page_size) {
            (None, Some(size)) => u32::try_from(received).is_ok_and(|received| received >= size),
            _ => false,
        };
        if !is_short && !may_be_short {
            return Ok(Next::Complete);
        }
        if page_size.is_none() || !is_news {
            if is_short {
                let total = self
                    .total
                    .map_or_else(|| "more pages".to_owned(), |total| format!("{total} entries"));
                return Err(Error::malformed(
                    operation,
                    format!("the list is incomplete: it has {total} and gave {}", self.entries.len()),
                ));
            }
            // Without a total, a page that brings nothing new is the end (or the same page again).
            return Ok(Next::Complete);
        }
        if self.read >= MOST_PAGES {
            return Err(Error::malformed(
                operation,
                format!("the list does not end after {MOST_PAGES} pages"),
            ));
        }
        Ok(Next::Page(self.read))
    }

    /// Reads the entries one by one: a bad one does not fail the others.
    pub(crate) fn read_entries<T>(self, operation: &str, read: impl Fn(Fields<'_>) -> Result<T, String>) -> List<T> {
        let mut list = List {
            items: Vec::new(),
            unreadable: Vec::new(),
        };
        for (index, entry) in self.entries.iter().enumerate() {
            let Some(fields) = Fields::of(entry) else {
                list.unreadable.push(format!("entry {index} is {}", name_of(entry)));
                continue;
            };
            match read(fields) {
                Ok(item) => list.items.push(item),
                Err(problem) => {
                    let id = fields
                        .text_of(&self.id_fields)
                        .map_or_else(|| format!("entry {index}"), |id| format!("entry {index} (id {id})"));
                    list.unreadable.push(crate::reply::clip(&format!("{id}: {problem}")));
                }
            }
        }
        for problem in &list.unreadable {
            tracing::warn!(operation, problem, "an entry of a VPSie list cannot be read");
        }
        list
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    fn pages() -> Pages {
        Pages::new(&["id".to_owned()])
    }

    fn add(pages: &mut Pages, body: Value, size: Option<u32>) -> Result<Next, Error> {
        pages.add(Page::read(body, "test").unwrap(), size, "test")
    }

    fn entries(ids: std::ops::Range<u32>) -> Value {
        ids.map(|id| json!({"id": id})).collect()
    }

    #[test]
    fn an_unknown_shape_is_an_error_and_never_an_empty_list() {
        for body in [
            json!(null),
            json!(true),
            json!("[]"),
            json!({}),
            json!({"data": null}),
            json!({"data": true}),
            json!({"data": {}}),
            json!({"data": {"vms": []}}),
            json!({"items": []}),
            json!({"data": null, "total": 3}),
        ] {
            assert_eq!(
                Page::read(body.clone(), "test").unwrap_err().kind(),
                &ErrorKind::Malformed,
                "{body}"
            );
        }
        for body in [
            json!([]),
            json!({"data": []}),
            json!({"data": null, "total": 0}),
            json!({"error": false, "data": [], "total": "0"}),
        ] {
            assert!(Page::read(body, "test").unwrap().entries.is_empty());
        }
    }

    #[test]
    fn pages_are_read_until_the_total_is_there() {
        for pagination in [
            json!({"pagination": {"total": 5, "total_pages": 3}}),
            json!({"pagination": {"total_pages": "3"}}),
            json!({"total": 5}),
        ] {
            let page = |ids| {
                let mut body = pagination.clone();
                body["data"] = entries(ids);
                body
            };
            let mut pages = pages();
            assert_eq!(
                add(&mut pages, page(0..2), Some(2)).unwrap(),
                Next::Page(1),
                "{pagination}"
            );
            assert_eq!(
                add(&mut pages, page(2..4), Some(2)).unwrap(),
                Next::Page(2),
                "{pagination}"
            );
            assert_eq!(
                add(&mut pages, page(4..5), Some(2)).unwrap(),
                Next::Complete,
                "{pagination}"
            );
            assert_eq!(pages.len(), 5);
        }
    }

    #[test]
    fn without_a_total_a_full_page_asks_for_another() {
        let mut pages = pages();
        assert_eq!(add(&mut pages, entries(0..2), Some(2)).unwrap(), Next::Page(1));
        assert_eq!(add(&mut pages, entries(2..3), Some(2)).unwrap(), Next::Complete);
        let mut same_page_again = self::pages();
        assert_eq!(
            add(&mut same_page_again, entries(0..2), Some(2)).unwrap(),
            Next::Page(1)
        );
        assert_eq!(
            add(&mut same_page_again, entries(0..2), Some(2)).unwrap(),
            Next::Complete
        );
        assert_eq!(same_page_again.len(), 2);
    }

    #[test]
    fn a_list_that_gives_less_than_it_says_is_an_error() {
        let part = || json!({"data": entries(0..2), "total": 5});
        assert_eq!(
            add(&mut pages(), part(), None).unwrap_err().kind(),
            &ErrorKind::Malformed
        );
        let mut ignores_paging = pages();
        assert_eq!(add(&mut ignores_paging, part(), Some(2)).unwrap(), Next::Page(1));
        assert_eq!(
            add(&mut ignores_paging, part(), Some(2)).unwrap_err().kind(),
            &ErrorKind::Malformed
        );
        assert_eq!(
            add(&mut pages(), json!({"data": [], "total": 5}), Some(2))
                .unwrap_err()
                .kind(),
            &ErrorKind::Malformed
        );
    }

    #[test]
    fn a_list_that_changes_between_pages_is_read_again() {
        let mut pages = pages();
        add(&mut pages, json!({"data": entries(0..2), "total": 5}), Some(2)).unwrap();
        assert_eq!(
            add(&mut pages, json!({"data": entries(3..5), "total": 4}), Some(2)).unwrap(),
            Next::Changed
        );
    }

    #[test]
    fn a_bad_entry_is_reported_and_the_others_are_read() {
        let mut pages = pages();
        add(
            &mut pages,
            json!([{"id": 1}, 7, {"id": 2, "bad": true}, {"name": "x"}]),
            None,
        )
        .unwrap();
        let list = pages.read_entries("test", |fields| {
            if fields.flag(&["bad"]) == Some(true) {
                return Err("it is bad".to_owned());
            }
            fields.integer(&["id"]).ok_or_else(|| "no id".to_owned())
        });
        assert_eq!(list.items, [1]);
        assert_eq!(
            list.unreadable,
            ["entry 1 is a number", "entry 2 (id 2): it is bad", "entry 3: no id"]
        );
    }
}

//! What can be wrong with a text that is to hold objects.

use std::fmt;

/// The most errors that are kept; the rest is counted.
const LIMIT: usize = 20;

/// The most characters of a message; hostile texts end up in messages too.
const MESSAGE_LIMIT: usize = 500;

/// One thing that is wrong with a text: bad syntax, an object of a shape that it cannot have, or a value that the API
/// server would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Name of the text, such as the name of its file.
    pub source: String,
    /// Line of the offending value, from 1.
    pub line: u32,
    /// Column of the offending value in characters, from 1.
    pub column: u32,
    /// The object, `Kind namespace/name`, or its place in the text when it has no name. Empty for bad syntax.
    pub object: String,
    /// The field, such as `spec.containers[0].resources.requests.cpu`. Empty when the object as a whole is wrong.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// Everything that is wrong with a text, in the order of its lines. There is at least one error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadErrors {
    /// The first errors.
    pub errors: Vec<ReadError>,
    /// How many more there are.
    pub more: usize,
}

// === impl ReadError ===

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.source, self.line)?;
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

// === impl ReadErrors ===

impl ReadErrors {
    pub(super) fn push(&mut self, error: ReadError) {
        self.push_with(|| error);
    }

    /// Adds an error that is only made when it is kept: to find the place of each of a million costs too much.
    pub(super) fn push_with(&mut self, error: impl FnOnce() -> ReadError) {
        if LIMIT <= self.errors.len() {
            self.more += 1;
            return;
        }
        let mut error = error();
        if let Some((end, _)) = error.message.char_indices().nth(MESSAGE_LIMIT) {
            error.message.truncate(end);
            error.message.push_str("...");
        }
        self.errors.push(error);
    }

    /// Adds the errors of another text.
    pub fn extend(&mut self, other: Self) {
        self.more += other.more;
        for error in other.errors {
            self.push(error);
        }
    }

    /// `Ok` when nothing is wrong.
    ///
    /// # Errors
    /// These errors, when there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.errors.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for ReadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        if self.more > 0 {
            write!(f, "\n... and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ReadErrors {}

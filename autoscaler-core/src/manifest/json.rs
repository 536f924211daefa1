//! JSON, as parts of a text.

use std::borrow::Cow;

use super::{
    compose::{Event, Events, Syntax},
    tree::{Position, Scalar},
};

/// The parts of one JSON value at the start of a text. What follows the value is not looked at.
#[derive(Debug)]
pub(super) struct Json<'t> {
    text: &'t str,
    offset: usize,
    open: Vec<Open>,
    expected: Expected,
    marked: (usize, Position),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

// === impl Json ===

impl<'t> Json<'t> {
    /// Reads the value that starts at an offset, which is at this position.
    pub(super) const fn new(text: &'t str, offset: usize, at: Position) -> Self {
        Self {
            text,
            offset,
            open: Vec::new(),
            expected: Expected::Value,
            marked: (offset, at),
        }
    }

    /// Where the value ended, and its position.
    pub(super) fn end(mut self) -> (usize, Position) {
        let at = self.position();
        (self.offset, at)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// Where the reader is. Counts only what was not counted before.
    fn position(&mut self) -> Position {
        let (offset, at) = self.marked;
        self.marked = (
            self.offset,
            advance(at, self.text.get(offset..self.offset).unwrap_or_default()),
        );
        self.marked.1
    }

    fn fail<T>(&mut self, message: impl std::fmt::Display) -> Result<T, Syntax> {
        Err(Syntax::new(self.position(), format!("not valid JSON: {message}")))
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.offset += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn begin_value(&mut self, first: u8) -> Result<Event<'t>, Syntax> {
        match first {
            b'{' => {
                self.offset += 1;
                self.open.push(Open::Object);
                self.expected = Expected::KeyOrEnd;
                Ok(Event::MappingStart { anchor: None })
            }
            b'[' => {
                self.offset += 1;
                self.open.push(Open::Array);
                self.expected = Expected::ValueOrEnd;
                Ok(Event::SequenceStart { anchor: None })
            }
            b'"' => {
                let text = self.string()?;
                self.after_value();
                Ok(Event::Scalar {
                    scalar: Scalar { text, plain: false },
                    anchor: None,
                })
            }
            _ => {
                let rest = self.rest();
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
                let word = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
                if !matches!(word, "null" | "true" | "false") && !is_number(word) {
                    return self.fail("expected a value");
                }
                self.offset += word.len();
                self.after_value();
                Ok(Event::Scalar {
                    scalar: Scalar {
                        text: Cow::Borrowed(word),
                        plain: true,
                    },
                    anchor: None,
                })
            }
        }
    }

    fn end_collection(&mut self) -> Event<'t> {
        self.offset += 1;
        let event = match self.open.pop() {
            Some(Open::Object) => Event::MappingEnd,
            _ => Event::SequenceEnd,
        };
        self.after_value();
        event
    }

    const fn after_value(&mut self) {
        self.expected = if self.open.is_empty() {
            Expected::Nothing
        } else {
            Expected::CommaOrEnd
        };
    }

    /// A string at whose first quote the reader is.
    fn string(&mut self) -> Result<Cow<'t, str>, Syntax> {
        self.offset += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let length = rest
                .find(|c: char| matches!(c, '"' | '\\') || c < ' ')
                .unwrap_or(rest.len());
            let (part, rest) = rest.split_at_checked(length).unwrap_or_default();
            self.offset += length;
            if text.is_empty() {
                text = Cow::Borrowed(part);
            } else {
                text.to_mut().push_str(part);
            }
            match rest.as_bytes().first() {
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    let escaped = self.escape()?;
                    text.to_mut().push(escaped);
                }
                Some(_) => return self.fail("a control character in a string"),
                None => return self.fail("the text ends inside of a string"),
            }
        }
    }

    /// An escape sequence at whose backslash the reader is.
    fn escape(&mut self) -> Result<char, Syntax> {
        let character = match self.rest().as_bytes().get(1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return self.fail("an unknown escape sequence"),
        };
        self.offset += 2;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, Syntax> {
        let Some(unit) = code_unit(self.rest()) else {
            return self.fail("an unknown escape sequence");
        };
        self.offset += 6;
        // Half of a surrogate pair becomes the replacement character, as in Go.
        let low = if (0xD800..0xDC00).contains(&unit) {
            code_unit(self.rest())
        } else {
            None
        };
        match low {
            Some(low) if (0xDC00..0xE000).contains(&low) => {
                self.offset += 6;
                let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
}

impl<'t> Events<'t> for Json<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Position), Syntax> {
        loop {
            if self.expected == Expected::Nothing {
                return Ok((Event::End, self.position()));
            }
            self.skip_blanks();
            let Some(first) = self.rest().as_bytes().first().copied() else {
                return self.fail("the text ends inside of a value");
            };
            let ends = match self.open.last() {
                Some(Open::Array) => first == b']',
                Some(Open::Object) => first == b'}',
                None => false,
            };
            match self.expected {
                Expected::ValueOrEnd | Expected::KeyOrEnd | Expected::CommaOrEnd if ends => {
                    let at = self.position();
                    return Ok((self.end_collection(), at));
                }
                Expected::Key | Expected::KeyOrEnd if first == b'"' => {
                    let at = self.position();
                    let text = self.string()?;
                    self.expected = Expected::Colon;
                    return Ok((
                        Event::Scalar {
                            scalar: Scalar { text, plain: false },
                            anchor: None,
                        },
                        at,
                    ));
                }
                Expected::Key | Expected::KeyOrEnd => return self.fail("expected a key in quotes"),
                Expected::Colon if first == b':' => {
                    self.offset += 1;
                    self.expected = Expected::Value;
                }
                Expected::Colon => return self.fail("expected a colon"),
                Expected::CommaOrEnd if first == b',' => {
                    self.offset += 1;
                    self.expected = if self.open.last() == Some(&Open::Object) {
                        Expected::Key
                    } else {
                        Expected::Value
                    };
                }
                Expected::CommaOrEnd => {
                    return self.fail("expected a comma or the end of the list or object");
                }
                Expected::Value | Expected::ValueOrEnd | Expected::Nothing => {
                    let at = self.position();
                    return Ok((self.begin_value(first)?, at));
                }
            }
        }
    }
}

/// The position after some more text.
pub(super) fn advance(at: Position, text: &str) -> Position {
    let Position { mut line, mut column } = at;
    for byte in text.bytes() {
        match byte {
            b'\n' => {
                line = line.saturating_add(1);
                column = 1;
            }
            // The bytes of a character after its first.
            0x80..=0xBF => {}
            _ => column = column.saturating_add(1),
        }
    }
    Position { line, column }
}

/// The number in `\u1234` at the start of a text.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

fn is_number(word: &str) -> bool {
    fn digits(text: &str) -> Option<&str> {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        (rest.len() < text.len()).then_some(rest)
    }
    let number = word.strip_prefix('-').unwrap_or(word);
    let whole = match number.strip_prefix('0') {
        Some(rest) => Some(rest),
        None => digits(number),
    };
    let fraction = whole.and_then(|rest| rest.strip_prefix('.').map_or(Some(rest), digits));
    let exponent = fraction.and_then(|rest| match rest.strip_prefix(['e', 'E']) {
        Some(rest) => digits(rest.strip_prefix(['+', '-']).unwrap_or(rest)),
        None => Some(rest),
    });
    exponent == Some("")
}

//! YAML, as parts of a text.

use serde_saphyr::granit_parser::{self, Options, Parser, ScalarStyle, Span, Tag};

use super::{
    compose::{Event, Events, Syntax},
    tree::{Position, Scalar},
};

/// The parts of a YAML stream.
pub(super) struct Yaml<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    lines_before: u32,
}

// === impl Yaml ===

impl<'t> Yaml<'t> {
    /// Reads a text that starts after so many lines of its source.
    pub(super) fn new(text: &'t str, lines_before: u32) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            lines_before,
        }
    }

    fn position(&self, marker: granit_parser::Marker) -> Position {
        let line = u32::try_from(marker.line()).unwrap_or(u32::MAX);
        let column = u32::try_from(marker.col()).unwrap_or(u32::MAX);
        Position {
            line: line.saturating_add(self.lines_before),
            column: column.saturating_add(1),
        }
    }

    fn event(&self, event: granit_parser::Event<'t>, span: Span) -> Option<(Event<'t>, Position)> {
        let at = self.position(span.start);
        let event = match event {
            granit_parser::Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !tag.is_some_and(|tag| is_string(&tag));
                Event::Scalar {
                    scalar: Scalar { text, plain },
                    anchor: number(anchor),
                }
            }
            granit_parser::Event::SequenceStart(_, anchor, _) => Event::SequenceStart { anchor: number(anchor) },
            granit_parser::Event::SequenceEnd => Event::SequenceEnd,
            granit_parser::Event::MappingStart(_, anchor, _) => Event::MappingStart { anchor: number(anchor) },
            granit_parser::Event::MappingEnd => Event::MappingEnd,
            granit_parser::Event::Alias(anchor) => Event::Alias(anchor),
            granit_parser::Event::StreamEnd => Event::End,
            // Where documents start and end shows in their values.
            _ => return None,
        };
        Some((event, at))
    }
}

impl<'t> Events<'t> for Yaml<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Position), Syntax> {
        loop {
            match self.parser.next_event() {
                Some(Ok((event, span))) => {
                    if let Some(event) = self.event(event, span) {
                        return Ok(event);
                    }
                }
                Some(Err(error)) => {
                    return Err(Syntax::new(
                        self.position(*error.marker()),
                        format!("not valid YAML: {}", error.info()),
                    ));
                }
                None => return Ok((Event::End, Position::default())),
            }
        }
    }
}

/// A tag that makes a string of any scalar: `!!str` and `!`.
fn is_string(tag: &Tag) -> bool {
    tag.core_suffix() == Some("str") || tag.parts() == ("", "!")
}

const fn number(anchor: usize) -> Option<usize> {
    if anchor == 0 { None } else { Some(anchor) }
}

//! Matching of `pattern` in schemas. May hold: a small backtracking matcher for the part of RE2 that
//! CustomResourceDefinitions use: literals, `.`, classes, `\d \w \s`, groups, alternatives, anchors and quantifiers.

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    alternatives: Vec<Vec<Node>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Start,
    End,
    Group(Vec<Vec<Self>>),
    Repeat {
        node: Box<Self>,
        min: u32,
        max: Option<u32>,
    },
}

impl Pattern {
    /// Parses a pattern; none when it uses something that is not supported here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser {
            rest: text.chars().peekable(),
        };
        let alternatives = parser.alternatives()?;
        parser.rest.peek().is_none().then_some(Self { alternatives })
    }

    /// Whether the pattern matches anywhere in the text.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        (0..=text.len()).any(|start| matches_any(&self.alternatives, &text, start, &mut |_| true))
    }
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Option<Vec<Vec<Node>>> {
        let mut alternatives = vec![Vec::new()];
        while let Some(&c) = self.rest.peek() {
            if c == ')' {
                break;
            }
            self.rest.next();
            if c == '|' {
                alternatives.push(Vec::new());
                continue;
            }
            let node = self.node(c)?;
            let node = self.repeated(node)?;
            alternatives.last_mut()?.push(node);
        }
        Some(alternatives)
    }

    fn node(&mut self, c: char) -> Option<Node> {
        match c {
            '^' => Some(Node::Start),
            '$' => Some(Node::End),
            '.' => Some(Node::Class {
                negated: true,
                ranges: vec![('\n', '\n')],
            }),
            '[' => self.class(),
            '(' => {
                if self.rest.next_if_eq(&'?').is_some() {
                    // Only groups without capture; flags and names are not supported.
                    self.rest.next_if_eq(&':')?;
                }
                let alternatives = self.alternatives()?;
                self.rest.next_if_eq(&')')?;
                Some(Node::Group(alternatives))
            }
            '\\' => {
                let (negated, ranges) = escape(self.rest.next()?)?;
                Some(Node::Class { negated, ranges })
            }
            '*' | '+' | '?' => None,
            literal => Some(Node::Class {
                negated: false,
                ranges: vec![(literal, literal)],
            }),
        }
    }

    fn repeated(&mut self, node: Node) -> Option<Node> {
        let (min, max) = match self.rest.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(node),
            Some(_) | None => return Some(node),
        };
        self.rest.next();
        self.rest.next_if_eq(&'?');
        Some(Node::Repeat {
            node: Box::new(node),
            min,
            max,
        })
    }

    /// `{2}`, `{2,}` or `{2,5}`.
    fn counted(&mut self, node: Node) -> Option<Node> {
        self.rest.next();
        let mut bounds = String::new();
        loop {
            match self.rest.next()? {
                '}' => break,
                c => bounds.push(c),
            }
        }
        self.rest.next_if_eq(&'?');
        let (min, max) = match bounds.split_once(',') {
            None => (bounds.parse().ok()?, Some(bounds.parse().ok()?)),
            Some((min, "")) => (min.parse().ok()?, None),
            Some((min, max)) => (min.parse().ok()?, Some(max.parse().ok()?)),
        };
        Some(Node::Repeat {
            node: Box::new(node),
            min,
            max,
        })
    }

    fn class(&mut self) -> Option<Node> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        loop {
            match self.rest.next()? {
                ']' if !ranges.is_empty() => return Some(Node::Class { negated, ranges }),
                '\\' => {
                    let (inverse, escaped) = escape(self.rest.next()?)?;
                    if inverse {
                        return None;
                    }
                    ranges.extend(escaped);
                }
                '[' if self.rest.peek() == Some(&':') => return None,
                low => {
                    let mut ahead = self.rest.clone();
                    match (ahead.next(), ahead.next()) {
                        (Some('-'), Some(high)) if high != ']' => {
                            self.rest.next();
                            self.rest.next();
                            ranges.push((low, high));
                        }
                        _ => ranges.push((low, low)),
                    }
                }
            }
        }
    }
}

/// What a backslash and this character stand for: (inverse, ranges).
fn escape(c: char) -> Option<(bool, Vec<(char, char)>)> {
    let ranges = match c.to_ascii_lowercase() {
        'd' => vec![('0', '9')],
        'w' => vec![('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')],
        's' => vec![(' ', ' '), ('\t', '\r')],
        'n' if c == 'n' => vec![('\n', '\n')],
        't' if c == 't' => vec![('\t', '\t')],
        _ if c.is_ascii_alphanumeric() => return None,
        _ => vec![(c, c)],
    };
    Some((matches!(c, 'D' | 'W' | 'S'), ranges))
}

fn matches_any(alternatives: &[Vec<Node>], text: &[char], at: usize, then: &mut dyn FnMut(usize) -> bool) -> bool {
    alternatives.iter().any(|nodes| matches_all(nodes, text, at, then))
}

fn matches_all(nodes: &[Node], text: &[char], at: usize, then: &mut dyn FnMut(usize) -> bool) -> bool {
    match nodes.split_first() {
        None => then(at),
        Some((node, rest)) => matches_node(node, text, at, &mut |next| matches_all(rest, text, next, then)),
    }
}

fn matches_node(node: &Node, text: &[char], at: usize, then: &mut dyn FnMut(usize) -> bool) -> bool {
    match node {
        Node::Start => at == 0 && then(at),
        Node::End => at == text.len() && then(at),
        Node::Group(alternatives) => matches_any(alternatives, text, at, then),
        Node::Class { negated, ranges } => text.get(at).is_some_and(|&c| {
            let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&c));
            inside != *negated && then(at + 1)
        }),
        Node::Repeat { node, min, max } => matches_repeat(node, *min, *max, text, at, then),
    }
}

fn matches_repeat(
    node: &Node,
    min: u32,
    max: Option<u32>,
    text: &[char],
    at: usize,
    then: &mut dyn FnMut(usize) -> bool,
) -> bool {
    let more = max != Some(0)
        && matches_node(node, text, at, &mut |next| {
            // A repetition that took nothing would repeat for ever.
            (next > at || min > 0)
                && matches_repeat(node, min.saturating_sub(1), max.map(|max| max - 1), text, next, then)
        });
    more || (min == 0 && then(at))
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_of_resource_definitions_match_as_in_re2() {
        for (pattern, text, expected) in [
            ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "node-1", true),
            ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "node-", false),
            ("^(\\d+h)?(\\d+m)?$", "1h30m", true),
            ("^(\\d+h)?(\\d+m)?$", "30s", false),
            ("^a{2,3}$", "aaa", true),
            ("^a{2,3}$", "aaaa", false),
            ("^(?:NoSchedule|NoExecute)$", "NoExecute", true),
            ("b", "abc", true),
            ("^[^/]+$", "a/b", false),
            ("^(a*)*$", "aaab", false),
            ("^\\S+\\.io/.*$", "x.io/y", true),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.is_match(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn unsupported_syntax_is_refused_rather_than_misread() {
        for pattern in ["(?i)a", "\\pL", "[[:alpha:]]", "a)", "(a", "*a"] {
            assert_eq!(Pattern::parse(pattern), None, "{pattern}");
        }
    }
}

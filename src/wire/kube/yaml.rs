//! YAML as a tree whose every value knows its line, so that what is wrong can be told by its place and never by its text.
//!
//! The only file that knows the parser. A tree and not a structure of our own, because a value that we do not understand
//! must not hide the others: each is judged when it is asked for.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::Value as Json;

/// Deepest nesting that is read; a kubeconfig has six levels.
const DEEPEST: usize = 64;

/// Values that one value may become as JSON: one that is referred to may stand in many places.
const MOST_VALUES: usize = 10_000;

/// A text that is not YAML, or nests without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// In which line.
    pub line: u64,
}

/// A value, cheap to clone.
#[derive(Clone)]
pub struct Node {
    /// The line where it begins, counted from 1.
    pub line: u64,
    value: Rc<Value>,
}

enum Value {
    Absent,
    Text { text: String, is_plain: bool },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Reads the first document of a text.
pub fn parse(text: &str) -> Result<Node, Malformed> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new() };
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(Node::absent()),
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            event => return reader.node(event, line, 0),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, u64), Malformed> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line() as u64)),
            Some(Err(error)) => Err(Malformed { line: error.marker().line() as u64 }),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn node(&mut self, event: Event<'a>, line: u64, depth: usize) -> Result<Node, Malformed> {
        if depth > DEEPEST {
            return Err(Malformed { line });
        }
        let (value, anchor) = match event {
            // One that refers to itself is not complete when it is asked for.
            Event::Alias(anchor) => return self.anchors.get(&anchor).cloned().ok_or(Malformed { line }),
            Event::Scalar(text, style, anchor, _) => (Value::scalar(&text, style), anchor),
            Event::SequenceStart(anchor, _) => (Value::List(self.list(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Map(self.map(depth)?), anchor),
            _ => return Err(Malformed { line }),
        };
        let node = Node { line, value: Rc::new(value) };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Malformed> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, line) => items.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Malformed> {
        let mut pairs = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(pairs);
            }
            let key = self.node(event, line, depth + 1)?;
            let (event, line) = self.next()?;
            pairs.push((key, self.node(event, line, depth + 1)?));
        }
    }
}

impl Value {
    fn scalar(text: &str, style: ScalarStyle) -> Self {
        let is_plain = style == ScalarStyle::Plain;
        match text {
            "" | "~" | "null" | "Null" | "NULL" if is_plain => Self::Absent,
            text => Self::Text { text: text.to_owned(), is_plain },
        }
    }
}

impl Node {
    /// What stands where nothing was written.
    pub fn absent() -> Self {
        Self { line: 0, value: Rc::new(Value::Absent) }
    }

    /// Whether nothing was written, or null.
    pub fn is_absent(&self) -> bool {
        matches!(*self.value, Value::Absent)
    }

    /// Whether it has keys, or is absent, which is the same without any.
    pub fn is_map(&self) -> bool {
        matches!(*self.value, Value::Absent | Value::Map(_))
    }

    /// The text of a single value.
    pub fn text(&self) -> Option<&str> {
        match &*self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The values of a list.
    pub fn items(&self) -> Option<&[Self]> {
        match &*self.value {
            Value::Absent => Some(&[]),
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The keys and values of a map, the keys that are text alone.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &Self)> {
        let pairs: &[(Self, Self)] = if let Value::Map(pairs) = &*self.value { pairs } else { &[] };
        pairs.iter().filter_map(|(key, value)| Some((key.text()?, value)))
    }

    /// The value of a key: the last one where it stands twice, as Go reads it, and one that is merged in by `<<` where it
    /// stands nowhere.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let own = |wanted: &str| self.pairs().filter(|(key, _)| *key == wanted).last().map(|(_, value)| value);
        let found = own(key).or_else(|| {
            let merged = own("<<")?;
            match &*merged.value {
                Value::List(items) => items.iter().find_map(|item| item.get(key)),
                _ => merged.get(key),
            }
        });
        found.filter(|value| !value.is_absent())
    }

    /// The same as JSON, if it is not too large.
    pub fn json(&self) -> Option<Json> {
        self.json_within(&mut MOST_VALUES.clone())
    }

    fn json_within(&self, left: &mut usize) -> Option<Json> {
        *left = left.checked_sub(1)?;
        Some(match &*self.value {
            Value::Absent => Json::Null,
            Value::Text { text, is_plain } => scalar_json(text, *is_plain),
            Value::List(items) => items.iter().map(|item| item.json_within(left)).collect::<Option<_>>()?,
            Value::Map(_) => {
                let pairs = self.pairs().map(|(key, value)| Some((key.to_owned(), value.json_within(left)?)));
                Json::Object(pairs.collect::<Option<_>>()?)
            }
        })
    }
}

fn scalar_json(text: &str, is_plain: bool) -> Json {
    let typed = is_plain.then(|| serde_json::from_str(text).ok()).flatten();
    typed.filter(|value: &Json| value.is_number() || value.is_boolean()).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
        path.iter().try_fold(node, |node, key| node.get(key))?.text()
    }

    #[test]
    fn values_are_found_with_their_lines() {
        let node = parse("a: 1\nb:\n  c: 'x'\n  d: ~\nlist:\n- one\n- two\n").unwrap();
        assert_eq!(
            (text(&node, &["a"]), text(&node, &["b", "c"]), text(&node, &["b", "d"])),
            (Some("1"), Some("x"), None)
        );
        assert_eq!(node.get("b").unwrap().get("c").unwrap().line, 3);
        assert_eq!(node.get("list").unwrap().items().unwrap()[1].text(), Some("two"));
        assert!(node.get("list").unwrap().get("a").is_none() && node.get("a").unwrap().items().is_none());
    }

    #[test]
    fn json_with_tabs_is_yaml_too() {
        let node = parse("{\n\t\"a\": {\n\t\t\"b\": [\"c\", null]\n\t},\n\t\"d\": \"\\u00e4\"\n}\n").unwrap();
        assert_eq!(node.get("a").unwrap().json().unwrap(), serde_json::json!({ "b": ["c", null] }));
        assert_eq!(text(&node, &["d"]), Some("ä"));
    }

    #[test]
    fn what_is_referred_to_and_merged_is_found() {
        let node = parse("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  x: 3\nd: {x: 1, x: 2}\n").unwrap();
        assert_eq!(text(&node, &["b", "x"]), Some("1"));
        assert_eq!((text(&node, &["c", "x"]), text(&node, &["c", "y"])), (Some("3"), Some("2")));
        assert_eq!(text(&node, &["d", "x"]), Some("2"));
    }

    #[test]
    fn only_the_first_document_counts_and_none_is_absent() {
        assert_eq!(text(&parse("---\na: 1\n---\na: [\n").unwrap(), &["a"]), Some("1"));
        assert!(parse("").unwrap().is_absent() && parse("# nothing\n").unwrap().is_absent());
    }

    #[test]
    fn what_is_malformed_is_told_by_its_line() {
        let line = |text: &str| parse(text).err().map(|malformed| malformed.line);
        assert_eq!(line("a: 1\nb: [1, 2\nc: 3\n"), Some(3));
        assert_eq!(line("a: *nobody\n"), Some(1));
        assert_eq!(line(&"[".repeat(100_000)), Some(1));
        assert_eq!(line("a: &a [*a]\n"), Some(1));
    }

    #[test]
    fn what_multiplies_itself_ends() {
        let mut text = "a0: &a0 [x]\n".to_owned();
        for n in 1..30 {
            let before = n - 1;
            text += &format!("a{n}: &a{n} [*a{before}, *a{before}, *a{before}]\n");
        }
        assert_eq!(parse(&text).unwrap().get("a29").unwrap().json(), None);
    }
}

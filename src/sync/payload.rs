//! The opaque part of a report: JSON that is carried and compared, never interpreted.
//!
//! Separate because it has rules of its own: digits stay as they were written, white space does not, and two texts of the
//! same value are the same payload.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON value as its sender wrote it, on one line.
///
/// It nests at most 128 deep, which is the parser's limit: nothing that walks it can run out of stack.
#[derive(Clone, Debug)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// Takes a JSON text. White space between its parts goes, so that it fits on one line of a stream or a backup.
    ///
    /// # Errors
    /// When it is not JSON, or nests too deeply.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Value>(text)?;
        Ok(Self(RawValue::from_string(compact(text))?))
    }

    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The value, with its keys in order.
    fn value(&self) -> Value {
        // Invariant: `parse` has read this very value; null for what cannot be is compared below as any other.
        serde_json::from_str(self.text()).unwrap_or_default()
    }
}

impl PartialEq for Payload {
    /// Whether both say the same: neither white space nor the order of keys counts.
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() || self.value() == other.value()
    }
}

impl Eq for Payload {}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(de::Error::custom)
    }
}

/// A JSON text without the white space outside of its strings.
fn compact(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let is_kept = in_string || !c.is_ascii_whitespace();
        match (*c, escaped) {
            (_, true) => escaped = false,
            ('\\', false) => escaped = in_string,
            ('"', false) => in_string = !in_string,
            _ => {}
        }
        is_kept
    };
    text.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_remains_and_every_digit() {
        let text = "{ \"b c\" :\t[ 1.50, 12345678901234567890123 ],\r\n \"a\\\" \\\\\" : \" x \" }";
        let payload = Payload::parse(text).unwrap();
        assert_eq!(payload.text(), r#"{"b c":[1.50,12345678901234567890123],"a\" \\":" x "}"#);
        assert_eq!(serde_json::to_string(&payload).unwrap(), payload.text());
    }

    #[test]
    fn the_same_value_is_the_same_payload() {
        let same = [("{\"a\":1,\"b\":[2]}", "{ \"b\": [2], \"a\": 1 }"), ("\"\\u0041\"", "\"A\""), (" null ", "null")];
        for (a, b) in same {
            assert_eq!(Payload::parse(a).unwrap(), Payload::parse(b).unwrap());
        }
        let others = [("[1,2]", "[2,1]"), ("1", "\"1\""), ("{\"a\":null}", "{}"), ("0", "false")];
        for (a, b) in others {
            assert_ne!(Payload::parse(a).unwrap(), Payload::parse(b).unwrap());
        }
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for text in ["", "{", "{\"a\"}", "1 2", "nan", deep.as_str()] {
            assert!(Payload::parse(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Payload>(&deep).is_err());
    }
}

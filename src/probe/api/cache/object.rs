//! Lists and watch events of a Kubernetes as text, taken apart as far as a cache must: which object, of which version. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

/// An object, as a cache keeps it.
#[derive(Debug)]
pub struct Object {
    /// Namespace and name.
    pub key: Arc<str>,
    /// Its own version.
    pub version: u64,
    /// The whole of it, where it is kept.
    pub text: Option<Box<RawValue>>,
}

/// All objects of a kind at one version.
#[derive(Debug)]
pub struct List {
    /// The version of the whole, as the server is to be told of it.
    pub version: String,
    /// The same as a number.
    pub number: u64,
    /// The objects.
    pub objects: Vec<Arc<Object>>,
}

/// What a watch tells.
#[derive(Debug)]
pub enum Event {
    /// An object is new, or another.
    Changed(Arc<Object>),
    /// An object is gone, at the version that it is told with.
    Deleted(Arc<Object>),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The watch cannot go on.
    Error {
        /// As a status of HTTP.
        code: u16,
        /// The server's sentence.
        message: String,
    },
}

/// A text that is no list, or no event.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not JSON, or an object without its metadata.
    #[error("it is no JSON of a Kubernetes")]
    Json(#[from] serde_json::Error),
    /// One object, or something else.
    #[error("it is {0} and no list")]
    NoList(String),
    /// A list that does not say of when it is.
    #[error("its lists carry no version that can be compared: `{0}`")]
    Version(String),
    /// A type of event that nobody knows.
    #[error("there is an event of the unknown type `{0}`")]
    Event(String),
}

#[derive(Deserialize)]
struct ListText<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: Version<'a>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
struct Version<'a> {
    #[serde(borrow, default, rename = "resourceVersion")]
    version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ItemText<'a> {
    #[serde(borrow)]
    metadata: Item<'a>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default, rename = "resourceVersion")]
    version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct EventText<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What an API server says when it says no.
#[derive(Default, Deserialize)]
struct StatusText {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// Reads a list; the text of each object is kept where it is wanted.
///
/// # Errors
/// When it is none, or has no version.
pub fn list(text: &[u8], keeps_text: bool) -> Result<List, ObjectError> {
    let list: ListText<'_> = serde_json::from_slice(text)?;
    let items = match list.items {
        Some(items) => items,
        None if list.kind.ends_with("List") => Vec::new(),
        None if list.kind.is_empty() => return Err(ObjectError::NoList("something without a kind".to_owned())),
        None => return Err(ObjectError::NoList(format!("a {}", list.kind))),
    };
    let objects = items.into_iter().map(|item| object(item, keeps_text)).collect::<Result<_, _>>()?;
    let version = list.metadata.version.into_owned();
    Ok(List { number: number(&version)?, version, objects })
}

/// Reads a line of a watch.
///
/// # Errors
/// When it is no event.
pub fn event(line: &[u8]) -> Result<Event, ObjectError> {
    let event: EventText<'_> = serde_json::from_slice(line)?;
    Ok(match &*event.kind {
        "ADDED" | "MODIFIED" => Event::Changed(object(event.object, true)?),
        "DELETED" => Event::Deleted(object(event.object, false)?),
        "BOOKMARK" => {
            let bookmark: ListText<'_> = serde_json::from_str(event.object.get())?;
            Event::Bookmark(bookmark.metadata.version.into_owned())
        }
        "ERROR" => {
            let StatusText { code, message } = serde_json::from_str(event.object.get())?;
            Event::Error { code, message }
        }
        other => return Err(ObjectError::Event(other.chars().take(40).collect())),
    })
}

/// The sentence of a refusal, where it has one.
#[must_use]
pub fn refusal(body: &[u8]) -> Option<String> {
    let StatusText { message, .. } = serde_json::from_slice(body).ok()?;
    (!message.is_empty()).then(|| message.chars().take(400).collect())
}

/// A version as a number: they are revisions of etcd.
///
/// # Errors
/// When it is none.
pub fn number(version: &str) -> Result<u64, ObjectError> {
    version.parse().map_err(|_| ObjectError::Version(version.chars().take(40).collect()))
}

fn object(text: &RawValue, keeps_text: bool) -> Result<Arc<Object>, ObjectError> {
    let ItemText { metadata } = serde_json::from_str(text.get())?;
    let key = format!("{}/{}", metadata.namespace, metadata.name);
    let version = number(&metadata.version)?;
    Ok(Arc::new(Object { key: key.into(), version, text: keeps_text.then(|| text.to_owned()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_its_objects_and_of_when_it_is() {
        let text = br#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"90","remainingItemCount":1},
            "items":[{"metadata":{"name":"a","uid":"u","resourceVersion":"7"},"spec":{"x":[1,2]}},
                     {"metadata":{"namespace":"k","name":"b\u0041","resourceVersion":"90"}}]}"#;
        let found = list(text, true).unwrap();
        assert_eq!((found.version.as_str(), found.number), ("90", 90));
        let shown: Vec<_> = found.objects.iter().map(|object| (&*object.key, object.version)).collect();
        assert_eq!(shown, [("/a", 7), ("k/bA", 90)]);
        assert!(found.objects[0].text.as_ref().unwrap().get().contains("[1,2]"));
        let empty = list(br#"{"kind":"PodList","metadata":{"resourceVersion":"3"},"items":null}"#, false).unwrap();
        assert_eq!((empty.number, empty.objects.len()), (3, 0));
    }

    #[test]
    fn what_is_no_list_says_what_it_is() {
        let error = |text: &str| list(text.as_bytes(), false).unwrap_err().to_string();
        assert_eq!(error(r#"{"kind":"Node","metadata":{"resourceVersion":"3"}}"#), "it is a Node and no list");
        assert!(error("{}").contains("without a kind"));
        assert!(error("<html>").contains("no JSON"));
        assert!(error(r#"{"kind":"NodeMetricsList","metadata":{},"items":[]}"#).contains("no version"));
    }

    #[test]
    fn each_type_of_event_is_known_and_others_are_told() {
        let of = |kind: &str, object: &str| event(format!(r#"{{"type":"{kind}","object":{object}}}"#).as_bytes());
        let node = r#"{"kind":"Node","metadata":{"name":"a","resourceVersion":"8"}}"#;
        assert!(matches!(of("ADDED", node), Ok(Event::Changed(object)) if object.version == 8));
        assert!(matches!(of("DELETED", node), Ok(Event::Deleted(object)) if &*object.key == "/a"));
        assert!(matches!(of("BOOKMARK", node), Ok(Event::Bookmark(version)) if version == "8"));
        let gone = r#"{"kind":"Status","code":410,"message":"too old","metadata":{}}"#;
        assert!(matches!(of("ERROR", gone), Ok(Event::Error { code: 410, message }) if message == "too old"));
        assert!(of("RENAMED", node).unwrap_err().to_string().contains("RENAMED"));
        assert_eq!(refusal(gone.as_bytes()).as_deref(), Some("too old"));
        assert_eq!(refusal(b"<html>"), None);
    }
}

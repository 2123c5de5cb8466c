//! The hand that does something at a Docker Engine: makes, starts, kills and removes containers and images with a mark of ours.
//!
//! Separate from the sources, which only look. Whoever acts knows when it called and when the call returned.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::byte_serialize;
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::engine::{Engine, EngineError, Question};
use super::read::{text, wall};
use crate::model::WallTime;

/// A removal that meets the same container in another's hands is tried again for so long.
const REMOVE_WITHIN: Duration = Duration::from_secs(10);
const REMOVE_AGAIN: Duration = Duration::from_millis(50);

/// Does things at one engine.
#[derive(Clone, Debug)]
pub struct Hand {
    engine: Engine,
}

/// Something with a label of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// Its id.
    pub id: String,
    /// All its labels.
    pub labels: Vec<(String, String)>,
}

/// What a look at a container says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When its process was started, by the engine.
    pub started: Option<WallTime>,
    /// When it ended, by the engine.
    pub finished: Option<WallTime>,
}

impl Hand {
    /// At the engine behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path) -> Result<Self, EngineError> {
        Ok(Self { engine: Engine::open(socket).await? })
    }

    /// Makes an image of a tar archive, with these labels.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn import(&self, name: &str, archive: Vec<u8>, labels: &[(&str, &str)]) -> Result<(), EngineError> {
        let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
        let label = |(key, value): &(&str, &str)| format!("&changes={}", encoded(&format!("LABEL {key}=\"{value}\"")));
        let labels: String = labels.iter().map(label).collect();
        let path = format!("/images/create?fromSrc=-&repo={}&tag={}{labels}", encoded(repository), encoded(tag));
        let question = Question { method: Method::POST, path: &path, kind: "application/x-tar", body: archive.into() };
        let answer = self.engine.send(question).await?;
        // It has said 200 before it knew.
        let last = answer.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        match last.filter_map(|line| text(&line, "error")).next() {
            Some(text) => Err(EngineError::Refused { status: 200, path: "/images/create".to_owned(), text }),
            None => Ok(()),
        }
    }

    /// Makes a container of an image that is there, without a network; its id.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn create(&self, image: &str, command: &[&str], labels: &[(&str, &str)]) -> Result<String, EngineError> {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let body = json!({
            "Image": image,
            "Entrypoint": command,
            "Cmd": [],
            "Labels": labels,
            "HostConfig": {"NetworkMode": "none"},
        });
        let question = Question {
            method: Method::POST,
            path: "/containers/create",
            kind: "application/json",
            body: Bytes::from(body.to_string()),
        };
        let answer: Value = serde_json::from_slice(&self.engine.send(question).await?)?;
        text(&answer, "Id").filter(|id| super::is_plain(id)).ok_or_else(|| EngineError::Refused {
            status: 201,
            path: "/containers/create".to_owned(),
            text: "it says no id".to_owned(),
        })
    }

    /// Starts a container.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.post(&format!("/containers/{id}/start")).await
    }

    /// Kills the process of a container at once.
    ///
    /// # Errors
    /// When the engine refuses, or it has ended.
    pub async fn kill(&self, id: &str) -> Result<(), EngineError> {
        self.post(&format!("/containers/{id}/kill?signal=KILL")).await
    }

    /// Removes a container, whatever it does; that there is none is as good.
    ///
    /// # Errors
    /// When the engine refuses, also after a while.
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let end = Instant::now() + REMOVE_WITHIN;
        let path = format!("/containers/{id}?force=true&v=true");
        loop {
            match self.delete(&path).await {
                // Somebody else removes it just now, or it is still ending.
                Err(EngineError::Refused { status: 409 | 500, .. }) if Instant::now() < end => {
                    sleep(REMOVE_AGAIN).await
                }
                other => return other,
            }
        }
    }

    /// Removes an image of this name or id; that there is none is as good.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove_image(&self, name: &str) -> Result<(), EngineError> {
        self.delete(&format!("/images/{}?force=true", encoded(name))).await
    }

    /// What a container has been through.
    ///
    /// # Errors
    /// When the engine does not answer, or does not know it.
    pub async fn standing(&self, id: &str) -> Result<Standing, EngineError> {
        let value: Value = serde_json::from_slice(&self.engine.inspect(id).await?)?;
        let state = value.get("State").unwrap_or(&Value::Null);
        Ok(Standing { started: wall(state, "StartedAt"), finished: wall(state, "FinishedAt") })
    }

    /// All containers that have this label (`KEY` or `KEY=VALUE`).
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn containers(&self, label: &str) -> Result<Vec<Labelled>, EngineError> {
        self.labelled("/containers/json?all=true", label).await
    }

    /// All images that have this label.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn images(&self, label: &str) -> Result<Vec<Labelled>, EngineError> {
        self.labelled("/images/json?all=false", label).await
    }

    async fn labelled(&self, path: &str, label: &str) -> Result<Vec<Labelled>, EngineError> {
        let filter = encoded(&json!({"label": [label]}).to_string());
        let all: Vec<Value> =
            serde_json::from_slice(&self.engine.send(Question::of(&format!("{path}&filters={filter}"))).await?)?;
        let labelled = |value: &Value| {
            let labels = value.get("Labels").and_then(Value::as_object).into_iter().flatten();
            let labels: Vec<(String, String)> =
                labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
            // An engine that knows no filter gives them all: what has no mark of ours is not ours.
            let key = label.split('=').next().unwrap_or_default();
            let is_ours = labels.iter().any(|(known, _)| known == key);
            text(value, "Id").filter(|_| is_ours).map(|id| Labelled { id, labels })
        };
        Ok(all.iter().filter_map(labelled).collect())
    }

    async fn post(&self, path: &str) -> Result<(), EngineError> {
        self.engine.send(Question { method: Method::POST, ..Question::of(path) }).await.map(drop)
    }

    async fn delete(&self, path: &str) -> Result<(), EngineError> {
        match self.engine.send(Question { method: Method::DELETE, ..Question::of(path) }).await {
            Err(EngineError::Refused { status: 404, .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Labelled {
    /// The value of one label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// As it stands in a query or a path.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

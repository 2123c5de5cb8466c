//! A registry of our own on the loopback, from which a runtime pulls images that differ from each other: pulling is a step of its
//! own, and what was pulled before is not pulled again.
//!
//! Separate because it is the far end: it has a thread of its own. It knows as much of the distribution protocol as pulling needs,
//! and gives away nothing but a busybox of this host. A runtime takes plain HTTP from 127.0.0.1.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::source::image::{Archive, ImageError};
use crate::sys::thread::Background;

/// Connections at a time: a runtime opens a few for each pull.
const MOST_CONNECTIONS: usize = 256;

/// How long a connection may lie idle before its request.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Pause after a failed accept.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry that is not there.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is nothing to make images of.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No port on the loopback.
    #[error("no registry of our own can listen on the loopback")]
    Listen(#[source] io::Error),
}

/// It serves as long as this lives.
pub struct Registry {
    address: SocketAddr,
    repository: String,
    _server: Background,
}

/// What there is to be pulled.
struct Shelf {
    repository: String,
    archive: Archive,
    /// The hash of an archive up to where images differ.
    begun: Sha256,
    count: u32,
    /// By digest: what was asked for by number before.
    pieces: Mutex<HashMap<String, Piece>>,
}

#[derive(Clone)]
enum Piece {
    Manifest(Bytes),
    Config(Bytes),
    Layer(u32),
}

impl Registry {
    /// Serves so many images under this name.
    ///
    /// # Errors
    /// When there is no static busybox here, or no port.
    pub fn start(repository: &str, count: u32) -> Result<Self, RegistryError> {
        let archive = Archive::of_this_host()?;
        let begun = Sha256::new_with_prefix(archive.head());
        let repository = repository.to_owned();
        let shelf = Arc::new(Shelf { repository: repository.clone(), archive, begun, count, pieces: Mutex::default() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(RegistryError::Listen)?;
        listener.set_nonblocking(true).map_err(RegistryError::Listen)?;
        let address = listener.local_addr().map_err(RegistryError::Listen)?;
        let server = Background::spawn("registry", move || serve(listener, shelf)).map_err(RegistryError::Listen)?;
        Ok(Self { address, repository, _server: server })
    }

    /// The name of one of its images.
    #[must_use]
    pub fn image(&self, number: u32) -> String {
        format!("{}/{}:{number}", self.address, self.repository)
    }
}

async fn serve(listener: TcpListener, shelf: Arc<Shelf>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let (mut connections, room) = (JoinSet::new(), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // A client that is gone before it was taken in, or no descriptor for it.
            tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            continue;
        };
        let shelf = Arc::clone(&shelf);
        connections.spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request| {
                let answer = shelf.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
            // How it ends is the runtime's affair, which says so.
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

impl Shelf {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let found = if is_read { self.find(request.uri().path()) } else { None };
        let Some((kind, digest, body)) = found else {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return answer;
        };
        // A body is left away where only its head is wanted, and its length is said even so.
        let mut answer = Response::new(Full::new(body));
        let heads = answer.headers_mut();
        heads.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        if let Ok(digest) = digest.parse() {
            heads.insert("docker-content-digest", digest);
        }
        answer
    }

    /// What lies there, of which kind, and its digest.
    fn find(&self, path: &str) -> Option<(&'static str, String, Bytes)> {
        let rest = path.strip_prefix("/v2/")?;
        if rest.is_empty() {
            return Some(("application/json", String::new(), Bytes::from_static(b"{}")));
        }
        let (what, name) = rest.strip_prefix(&self.repository)?.strip_prefix('/')?.split_once('/')?;
        let digest = match name.starts_with("sha256:") {
            true => name.to_owned(),
            false => self.offer(name.parse().ok().filter(|number| *number < self.count)?),
        };
        let piece = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).get(&digest)?.clone();
        match (what, piece) {
            ("manifests", Piece::Manifest(body)) => Some((MANIFEST, digest, body)),
            ("blobs", Piece::Config(body)) => Some((CONFIG, digest, body)),
            ("blobs", Piece::Layer(number)) => Some((LAYER, digest, self.layer(number))),
            _ => None,
        }
    }

    /// Puts an image together; the digest of its manifest.
    fn offer(&self, number: u32) -> String {
        let tail = self.archive.tail(number);
        let length = self.archive.head().len() + tail.len();
        let layer = spelled(self.begun.clone().chain_update(&tail));
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [&layer]},
        });
        let config = Bytes::from(config.to_string());
        let config_digest = digest_of(&config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": &config_digest, "size": config.len()},
            "layers": [{"mediaType": LAYER, "digest": &layer, "size": length}],
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest = digest_of(&manifest);
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.insert(layer, Piece::Layer(number));
        pieces.insert(config_digest, Piece::Config(config));
        pieces.insert(digest.clone(), Piece::Manifest(manifest));
        digest
    }

    fn layer(&self, number: u32) -> Bytes {
        [self.archive.head(), &self.archive.tail(number)].concat().into()
    }
}

fn digest_of(bytes: &[u8]) -> String {
    spelled(Sha256::new_with_prefix(bytes))
}

fn spelled(hash: Sha256) -> String {
    let mut text = "sha256:".to_owned();
    for byte in hash.finalize() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// This host's processor in the words of images.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn shelf() -> Shelf {
        let archive = Archive::of("busybox", &[7; 700]);
        let begun = Sha256::new_with_prefix(archive.head());
        Shelf { repository: "a/b".to_owned(), archive, begun, count: 2, pieces: Mutex::default() }
    }

    #[test]
    fn what_a_manifest_names_is_there_and_has_its_digest_and_size() {
        let shelf = shelf();
        let read = |number: u32| {
            let (kind, digest, manifest) = shelf.find(&format!("/v2/a/b/manifests/{number}")).unwrap();
            assert_eq!((kind, digest_of(&manifest)), (MANIFEST, digest.clone()));
            assert_eq!(shelf.find(&format!("/v2/a/b/manifests/{digest}")).unwrap().2, manifest);
            let manifest: Value = serde_json::from_slice(&manifest).unwrap();
            for piece in [&manifest["config"], &manifest["layers"][0]] {
                let (_, digest, body) =
                    shelf.find(&format!("/v2/a/b/blobs/{}", piece["digest"].as_str().unwrap())).unwrap();
                assert_eq!((digest_of(&body), Some(body.len() as u64)), (digest, piece["size"].as_u64()));
            }
            manifest["layers"][0]["digest"].clone()
        };
        assert_ne!(read(0), read(1), "a layer that is there already would not be pulled");
    }

    #[test]
    fn nothing_else_is_there() {
        let shelf = shelf();
        assert!(shelf.find("/v2/").is_some());
        for path in [
            "/",
            "/v2",
            "/v2/a/b/manifests/2",
            "/v2/a/b/manifests/x",
            "/v2/a/b/blobs/sha256:00",
            "/v2/c/d/manifests/0",
            "/v2/a/b/tags/0",
        ] {
            assert!(shelf.find(path).is_none(), "{path}");
        }
    }
}

//! One GET on a connection of its own, with a limit on everything: for scrapes and questions beside the timed path.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::dial::{ConnectError, connect};
use super::{TlsFailure, Trust, Url, http};

/// How long a scrape may take, and how long it may be; etcd's is about 100 KiB.
const SCRAPE_WITHIN: Duration = Duration::from_secs(2);
const LONGEST_SCRAPE: usize = 8 << 20;

/// What to get, and how long and how much it may take.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// What to get.
    pub url: &'a Url,
    /// Where the server is, if not where its name leads.
    pub address: Option<SocketAddr>,
    /// The name that its certificate must be for, if not its host.
    pub server_name: Option<&'a str>,
    /// Whom to trust.
    pub trust: &'a Trust,
    /// Further headers, such as `authorization`.
    pub headers: &'a [(String, String)],
    /// How long it may take from lookup to last byte.
    pub timeout: Duration,
    /// How long the body may be.
    pub max_body: usize,
}

/// What the server answered; redirects are not followed.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A question that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection at all.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not trusted, or not TLS.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// A header of ours that cannot be sent.
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    /// Not HTTP, or cut off.
    #[error("the answer cannot be read")]
    Http(#[from] hyper::Error),
    /// More than was allowed.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// How much was allowed.
        limit: usize,
    },
    /// Later than was allowed.
    #[error("no answer within {} ms", limit.as_millis())]
    Timeout {
        /// How long was allowed.
        limit: Duration,
    },
}

/// Gets it.
///
/// # Errors
/// When there is no whole answer within the limits. Any status is an answer.
pub async fn fetch(spec: Fetch<'_>) -> Result<Fetched, FetchError> {
    match timeout(spec.timeout, connect_and_get(spec)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(FetchError::Timeout { limit: spec.timeout }),
    }
}

/// The page of a server's metrics as text; `None` where there is none. It is asked beside what is measured, which goes on without it.
pub async fn scrape(url: &Url, trust: &Trust) -> Option<String> {
    let spec = Fetch {
        url,
        address: None,
        server_name: None,
        trust,
        headers: &[],
        timeout: SCRAPE_WITHIN,
        max_body: LONGEST_SCRAPE,
    };
    let fetched = fetch(spec).await.ok().filter(|fetched| fetched.status == 200)?;
    Some(String::from_utf8_lossy(&fetched.body).into_owned())
}

async fn connect_and_get(spec: Fetch<'_>) -> Result<Fetched, FetchError> {
    let stream = connect(spec.url, spec.address).await?;
    if spec.url.is_tls() {
        let name = spec.server_name.unwrap_or(&spec.url.host);
        let stream = spec.trust.dialer(&["http/1.1"]).handshake(name, stream).await?;
        get(spec, stream).await
    } else {
        get(spec, stream).await
    }
}

async fn get<S>(spec: Fetch<'_>, stream: S) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::get(spec.url.path())
        .header(header::HOST, spec.url.authority())
        .header(header::USER_AGENT, concat!("offloadctl/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    for (name, value) in spec.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(FetchError::Request)?;
    let (mut sender, connection) = http::one().handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        read(response, spec.max_body).await
    };
    // The connection moves the bytes; it is polled beside the answer and ends with it.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

async fn read(response: Response<Incoming>, limit: usize) -> Result<Fetched, FetchError> {
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if body.len() + data.len() > limit {
            return Err(FetchError::TooLong { limit });
        }
        body.extend_from_slice(&data);
    }
    Ok(Fetched { status: head.status.as_u16(), body })
}

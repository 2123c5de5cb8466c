//! A connection of HTTP/2 as a client of gRPC calls it.
//!
//! Separate because container runtimes and etcd are called over it alike, and tonic's own would open connections by itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::http::{Request, Response};
use tonic::body::Body;
use tonic::client::GrpcService;

/// The sender of a connection that is open.
#[derive(Clone)]
pub struct Pipe(pub SendRequest<Body>);

impl GrpcService<Body> for Pipe {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        // HTTP/2 is ready until it is closed, and then the call itself says so.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

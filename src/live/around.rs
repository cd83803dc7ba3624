//! What stands around a client of the API server: it sees, or changes, each request and its answer.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use kube::client::Body as Sent;
use tower::{BoxError, Layer, Service};

/// The body of an answer, as it arrives.
pub(super) type Arriving = UnsyncBoxBody<Bytes, BoxError>;

/// Sees, or changes, each request of a client and its answer.
pub(super) trait Around: Clone + Send + 'static {
    /// What is known of a request when its answer comes.
    type Asked: Send + 'static;

    /// The request as it is sent.
    fn request(&self, request: Request<Sent>) -> (Request<Sent>, Self::Asked);

    /// The answer as the client gets it.
    fn answer(self, asked: Self::Asked, answer: Response<Arriving>) -> Response<Arriving>;
}

/// The layer that puts it around a client.
#[derive(Clone, Debug)]
pub(super) struct Through<A>(pub(super) A);

impl<A: Around, S> Layer<S> for Through<A> {
    type Service = Surrounded<A, S>;

    fn layer(&self, inner: S) -> Surrounded<A, S> {
        Surrounded { around: self.0.clone(), inner }
    }
}

/// A client with something around it.
#[derive(Clone, Debug)]
pub(super) struct Surrounded<A, S> {
    around: A,
    inner: S,
}

impl<A, S, B> Service<Request<Sent>> for Surrounded<A, S>
where
    A: Around,
    S: Service<Request<Sent>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Arriving>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Sent>) -> Self::Future {
        let around = self.around.clone();
        let (request, asked) = around.request(request);
        let answer = self.inner.call(request);
        Box::pin(
            async move { Ok(around.answer(asked, answer.await?.map(|body| body.map_err(Into::into).boxed_unsync()))) },
        )
    }
}

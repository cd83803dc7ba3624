//! Middleware of API clients: observes or changes each request and its response.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use kube::client::Body as Sent;
use tower::{BoxError, Layer, Service};

/// The body of a response, as it arrives.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// An observer or translator of a client's requests and responses.
pub(super) trait Middleware: Clone + Send + 'static {
    /// The data about a request that is passed on to its response.
    type RequestInfo: Send + 'static;

    /// Returns the request to send.
    fn request(&self, request: Request<Sent>) -> (Request<Sent>, Self::RequestInfo);

    /// Returns the response for the client.
    fn answer(self, asked: Self::RequestInfo, answer: Response<AnswerBody>) -> Response<AnswerBody>;
}

/// The layer that adds the middleware to a client.
#[derive(Clone, Debug)]
pub(super) struct MiddlewareLayer<A>(pub(super) A);

impl<A: Middleware, S> Layer<S> for MiddlewareLayer<A> {
    type Service = MiddlewareService<A, S>;

    fn layer(&self, inner: S) -> MiddlewareService<A, S> {
        MiddlewareService { around: self.0.clone(), inner }
    }
}

/// A client with middleware.
#[derive(Clone, Debug)]
pub(super) struct MiddlewareService<A, S> {
    around: A,
    inner: S,
}

impl<A, S, B> Service<Request<Sent>> for MiddlewareService<A, S>
where
    A: Middleware,
    S: Service<Request<Sent>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
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

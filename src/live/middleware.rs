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
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// Sees, or changes, each request of a client and its answer.
pub(super) trait Middleware: Clone + Send + 'static {
    /// What is known of a request when its answer comes.
    type RequestInfo: Send + 'static;

    /// The request as it is sent.
    fn request(&self, request: Request<Sent>) -> (Request<Sent>, Self::RequestInfo);

    /// The answer as the client gets it.
    fn answer(self, asked: Self::RequestInfo, answer: Response<AnswerBody>) -> Response<AnswerBody>;
}

/// The layer that puts it around a client.
#[derive(Clone, Debug)]
pub(super) struct MiddlewareLayer<A>(pub(super) A);

impl<A: Middleware, S> Layer<S> for MiddlewareLayer<A> {
    type Service = MiddlewareService<A, S>;

    fn layer(&self, inner: S) -> MiddlewareService<A, S> {
        MiddlewareService { around: self.0.clone(), inner }
    }
}

/// A client with something around it.
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

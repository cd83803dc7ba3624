//! A client of the API server of a cluster whose KubeVirt has another domain: requests and answers are translated on the way.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use kube::client::Body as Sent;
use tower::{BoxError, Layer, Service};

use crate::domain::{Domain, Pieces};

/// Translates what a client sends and what it is answered.
#[derive(Clone, Debug)]
pub struct Renaming(pub Domain);

impl<S> Layer<S> for Renaming {
    type Service = Renamer<S>;

    fn layer(&self, inner: S) -> Renamer<S> {
        Renamer { inner, domain: self.0.clone() }
    }
}

/// A client whose requests and answers are translated.
#[derive(Clone, Debug)]
pub struct Renamer<S> {
    inner: S,
    domain: Domain,
}

impl<S, B> Service<Request<Sent>> for Renamer<S>
where
    S: Service<Request<Sent>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Sent>) -> Self::Future {
        let answer = self.inner.call(sent(request, &self.domain));
        let domain = self.domain.clone();
        Box::pin(async move {
            let (mut head, body) = answer.await?.into_parts();
            let body = body.map_err(Into::into);
            if domain.is_own() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Response::from_parts(head, body.boxed_unsync()));
            }
            head.headers.remove(CONTENT_LENGTH);
            Ok(Response::from_parts(head, received(body, domain)))
        })
    }
}

/// The request in the names of the cluster. The client library holds its bodies whole.
fn sent(request: Request<Sent>, domain: &Domain) -> Request<Sent> {
    let (mut head, mut body) = request.into_parts();
    let path = head.uri.path_and_query().map(|path| domain.outward(path.as_str()).parse::<PathAndQuery>());
    if let Some(Ok(path)) = path {
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.path_and_query = Some(path);
        head.uri = Uri::from_parts(parts).unwrap_or_default();
    }
    let whole = body.try_clone().and_then(|body| body.collect_bytes().now_or_never()).and_then(Result::ok);
    if let Some(whole) = whole.filter(|whole| !whole.is_empty()) {
        head.headers.remove(CONTENT_LENGTH);
        body = Sent::from(domain.exchanged(&whole).into_owned());
    }
    Request::from_parts(head, body)
}

/// The answer in KubeVirt's own names, as it arrives.
fn received<B>(body: B, domain: Domain) -> UnsyncBoxBody<Bytes, BoxError>
where
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    let arriving = (body.boxed_unsync().into_data_stream(), Some(Pieces::new(domain)));
    let translated = stream::unfold(arriving, |(mut body, mut pieces)| async move {
        let (frame, end) = match body.next().await {
            Some(Ok(bytes)) => (Ok(pieces.as_mut()?.push(&bytes)), false),
            Some(Err(error)) => (Err(error), true),
            None => (Ok(pieces.as_mut()?.finish()), true),
        };
        let frame = frame.map(|bytes| Frame::data(Bytes::from(bytes)));
        Some((frame, (body, pieces.filter(|_| !end))))
    });
    StreamBody::new(translated).boxed_unsync()
}

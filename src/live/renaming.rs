//! Translation of requests and responses for a cluster whose KubeVirt uses another domain.

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body as Sent;

use super::middleware::{AnswerBody, Middleware};
use crate::domain::{Domain, Pieces};

/// Translates a client's requests and responses.
impl Middleware for Domain {
    type RequestInfo = ();

    fn request(&self, request: Request<Sent>) -> (Request<Sent>, ()) {
        (sent(request, self), ())
    }

    fn answer(self, (): (), mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
        if self.is_own() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return answer;
        }
        answer.headers_mut().remove(CONTENT_LENGTH);
        answer.map(|body| received(body, self))
    }
}

/// Returns the request with the cluster's names. The client library holds its bodies whole.
fn sent(request: Request<Sent>, domain: &Domain) -> Request<Sent> {
    if domain.is_own() {
        return request;
    }
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

/// Returns the response body with KubeVirt's own names, translated as it arrives.
fn received(body: AnswerBody, domain: Domain) -> AnswerBody {
    let arriving = (body.into_data_stream(), Some(Pieces::new(domain)));
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

//! Rejections of requests without a decision, and their responses.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use thiserror::Error;

use super::memory::{BODY_BYTES, TRANSLATED_BYTES};
use crate::admission::review::ReviewError;
use crate::domain::Domain;
use crate::page::Page;
use crate::telemetry::{DecodeReason, RequestOutcome};

/// A reason why a request got no decision.
#[derive(Debug, Error)]
pub(super) enum Rejection {
    #[error("not ready: the state of the cluster is still being read")]
    NotReady,
    #[error("content type must be application/json, without content encoding")]
    NotJson,
    #[error("the body is larger than {BODY_BYTES} bytes")]
    TooLarge,
    #[error("the body, with KubeVirt's own names, is larger than {TRANSLATED_BYTES} bytes")]
    Grown,
    #[error("too many reviews at once; try again in a second")]
    Busy,
    #[error("the memory for request bodies is used up, and this body was the slowest; try again in a second")]
    Slowest,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body could not be read: {0}")]
    Broken(String),
    #[error(transparent)]
    Malformed(#[from] ReviewError),
    #[error("the answer could not be written")]
    Unwritable(#[from] serde_json::Error),
}

impl Rejection {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge | Self::Grown => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy | Self::Slowest => StatusCode::TOO_MANY_REQUESTS,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unwritable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn outcome(&self) -> RequestOutcome {
        match self {
            Self::NotReady => RequestOutcome::NotReady,
            Self::NotJson => RequestOutcome::NotJson,
            Self::TooLarge | Self::Grown => RequestOutcome::TooLarge,
            Self::Busy | Self::Slowest => RequestOutcome::Busy,
            Self::Slow => RequestOutcome::Slow,
            Self::Broken(_) | Self::Malformed(_) => RequestOutcome::Malformed,
            Self::Unwritable(_) => RequestOutcome::Failed,
        }
    }

    pub(super) fn decode_reason(&self) -> Option<DecodeReason> {
        match self {
            Self::Malformed(error) => Some(error.into()),
            Self::Broken(_) => Some(DecodeReason::Broken),
            _ => None,
        }
    }
}

impl Rejection {
    /// Returns the response, with the names of a cluster with this domain.
    pub(super) fn response(&self, domain: &Domain) -> Response {
        let mut page = Page::in_domain(domain);
        page.line(self);
        let mut response = plain(self.status(), page);
        if matches!(self, Self::Busy | Self::Slowest) {
            // API servers retry after this time, within their own timeout.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Returns a response of plain text lines.
pub(super) fn plain(status: StatusCode, page: Page) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], page.into_string())
        .into_response()
}

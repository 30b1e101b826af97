//! Errors as answers: `application/problem+json` (RFC 9457), with a sentence that says what is wrong.

use axum::body::to_bytes;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request has no other answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct HttpProblem {
    /// The status code of the answer.
    status: u16,
    /// The status in words.
    title: &'static str,
    /// What is wrong with this request, and what to do.
    detail: String,
}

/// The most bytes of an error in plain text that become a problem.
const TEXT_MAX: usize = 4096;

impl HttpProblem {
    /// An answer of `status` that says `detail`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> HttpProblem {
        let title = status.canonical_reason().unwrap_or("Error");
        HttpProblem { status: status.as_u16(), title, detail: detail.into() }
    }

    /// What is wrong.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// 400: the request asks for something that cannot be.
    pub fn bad_request(detail: impl Into<String>) -> HttpProblem {
        HttpProblem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 403: the token, or where the request comes from, is not good for it.
    pub fn forbidden(detail: impl Into<String>) -> HttpProblem {
        HttpProblem::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: what it is about is not there.
    pub fn not_found(detail: impl Into<String>) -> HttpProblem {
        HttpProblem::new(StatusCode::NOT_FOUND, detail)
    }

    /// Whether it is that what it is about is not there.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND.as_u16()
    }

    /// 409: what it is about is in no state for it.
    pub fn conflict(detail: impl Into<String>) -> HttpProblem {
        HttpProblem::new(StatusCode::CONFLICT, detail)
    }

    /// 503: it cannot be done now.
    pub fn unavailable(detail: impl Into<String>) -> HttpProblem {
        HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = serde_json::to_string(&self).expect("it has no keys but words");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Makes a problem of an error that axum has answered in plain text: a query or a body that it cannot read.
pub async fn of_text(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_text = kind.is_some_and(|kind| kind.starts_with(b"text/plain"));
    if !is_text || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = to_bytes(response.into_body(), TEXT_MAX).await.unwrap_or_default();
    HttpProblem::new(status, String::from_utf8_lossy(&text)).into_response()
}

/// No route is for the path.
pub async fn not_found() -> HttpProblem {
    HttpProblem::not_found(
        "there is nothing at this path; /api/v1/openapi.json lists what there is",
    )
}

/// The route is not for the method.
pub async fn method_not_allowed() -> HttpProblem {
    let detail = "this path is not for this method; /api/v1/openapi.json lists what there is";
    HttpProblem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

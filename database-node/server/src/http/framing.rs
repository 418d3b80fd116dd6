//! What a request's headers must and must not say, whatever its route: who it is for, how its body is framed, and
//! that it does not come from a foreign web page.

use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, CONTENT_RANGE, CONTENT_TYPE, HOST, HeaderName, ORIGIN, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;

/// Whether no token is asked for: then any web page in a browser on this machine could write here, and, when its
/// name is made to resolve to a loopback address (DNS rebinding), read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unprotected(pub(super) bool);

/// Wraps every request.
pub(super) async fn check(State(unprotected): State<Unprotected>, request: Request, next: Next) -> Response {
    let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let checked = check_framing(&request).and_then(|()| check_browser(&request, unprotected));
    let is_refused = checked.is_err();
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    // A request with both Content-Length and Transfer-Encoding must be refused, or read by the latter and the
    // connection closed (RFC 9112, section 6.1). hyper does the reading and hides the Content-Length, so every
    // connection is closed after a transfer encoding.
    if is_chunked || is_refused {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

fn check_framing(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    // RFC 9112, section 3.2.
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let detail = "send exactly one header Host";
        return Err(Problem::invalid("Host", &text(headers, HOST), detail));
    }
    let encodings = text(headers, TRANSFER_ENCODING);
    if !encodings.is_empty() && !encodings.eq_ignore_ascii_case("chunked") {
        let detail = "a body may be chunked, and have no other transfer encoding";
        let (name, title) = (
            "unsupported-transfer-encoding",
            "The transfer encoding is not supported",
        );
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, name, title, detail)
            .with("field", "Transfer-Encoding")
            .with("value", pliantdb_core::shorten(&encodings)));
    }
    // RFC 9110, section 14.5: a part must not be taken for the whole.
    if request.method() == Method::PUT && headers.contains_key(CONTENT_RANGE) {
        let detail = "a document is written whole: leave out Content-Range";
        return Err(Problem::invalid(
            "Content-Range",
            &text(headers, CONTENT_RANGE),
            detail,
        ));
    }
    Ok(())
}

fn check_browser(request: &Request, Unprotected(unprotected): Unprotected) -> Result<(), Problem> {
    let headers = request.headers();
    let (host, origin) = (text(headers, HOST), text(headers, ORIGIN));
    let foreign = |field: &'static str, value: &str, detail: &str| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            "The request may come from a foreign web page",
            detail,
        )
        .with("field", field)
        .with("value", pliantdb_core::shorten(value))
    };
    if unprotected {
        if headers.contains_key(HOST) && !is_loopback(&host) {
            let detail = "without a token only the hosts localhost, 127.0.0.1 and [::1] are served: use one of them, or \
                          configure a token";
            return Err(foreign("Host", &host, detail));
        }
        let own = origin.strip_prefix("http://");
        if headers.contains_key(ORIGIN) && !own.is_some_and(|own| own.eq_ignore_ascii_case(&host)) {
            let detail = "without a token no web page of another origin is served: configure a token";
            return Err(foreign("Origin", &origin, detail));
        }
    }
    // Such a type cannot be sent by a page of another origin without asking first, and that is never granted.
    let writes = matches!(*request.method(), Method::POST | Method::PUT);
    if writes && headers.contains_key(ORIGIN) && !headers.contains_key(CONTENT_TYPE) {
        let detail = "a web page must say what it sends: add Content-Type: application/json";
        let (name, title) = ("unsupported-media-type", "The body is not JSON by its headers");
        return Err(
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, name, title, detail)
                .with("field", "Content-Type"),
        );
    }
    Ok(())
}

/// Whether a Host names this machine, with any port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// A header as one text.
fn text(headers: &HeaderMap, name: HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
    values.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn knows_the_names_of_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:6480",
            "[::1]",
            "[::1]:6480",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:6480",
            "127.0.0.1.evil.example",
            "localhost:x",
            "localhost:1:2",
            "::1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

//! What a request's handler did not read of its body.
//!
//! hyper closes a connection with an unread body, and may do so when the client has seen the answer, which
//! says nothing of it, and sends its next request; or while the client still sends, which then is reset and
//! never reads the answer. So the rest is read and forgotten first, or the answer says "Connection: close".

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, EXPECT};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

/// How much is read and forgotten, in bytes, and for how long.
const DISCARD_BYTES: usize = 32 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Wraps every request that has a body.
pub(super) async fn discard_unread(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits_for_continue = request.headers().contains_key(EXPECT);
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(Tracked {
        body,
        is_touched: false,
    }));
    let lent = Body::new(Lent(Arc::clone(&body)));
    let mut response = next.run(Request::from_parts(parts, lent)).await;
    // The handler is done, so nobody else has it any more.
    let rest = Arc::into_inner(body).map(|rest| rest.into_inner().unwrap_or_else(PoisonError::into_inner));
    let is_read = match rest {
        // Asking for a body makes hyper send "100 Continue", and the client all of it.
        Some(rest) if waits_for_continue && !rest.is_touched => false,
        Some(rest) => discard(rest.body).await,
        None => false,
    };
    if !is_read {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the body came to its end.
async fn discard(mut body: Body) -> bool {
    let discarding = async {
        let mut left = DISCARD_BYTES;
        while left > 0 {
            match body.frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
            }
        }
        false
    };
    tokio::time::timeout(DISCARD_TIME, discarding)
        .await
        .unwrap_or(false)
}

struct Tracked {
    body: Body,
    /// Whether anyone has asked for any of it.
    is_touched: bool,
}

/// The body as the handler sees it.
struct Lent(Arc<Mutex<Tracked>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut tracked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tracked.is_touched = true;
        Pin::new(&mut tracked.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .body
            .is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .body
            .size_hint()
    }
}

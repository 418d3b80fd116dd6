//! Server-sent events (the HTML standard, section 9.2), for answers that go on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::stream;

use crate::app::App;

/// The type of such an answer.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// How often something is sent, so that nobody on the way takes the connection for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What comes next.
pub(super) enum Next {
    /// An event, and more.
    Event(String),
    /// An event, the last one.
    Last(String),
}

/// An event as text. Its data may have several lines.
pub(super) fn event(name: &str, id: Option<&str>, data: &str) -> String {
    let mut text = format!("event: {name}\n");
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    // A line break within JSON is a space to it, however it is written.
    for line in data.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

/// The last event, which says why there are no more.
pub(super) fn end(reason: &str) -> String {
    event("end", None, &serde_json::json!({ "reason": reason }).to_string())
}

/// What an asynchronous source gives, with itself to be asked again.
type Given<S> = Pin<Box<dyn Future<Output = (Next, S)> + Send>>;

/// Answers with events until the last one; when the server stops, with one that says so.
pub(super) fn answer<S: Send + 'static>(
    app: Arc<App>,
    source: S,
    next: impl Fn(S) -> Given<S> + Send + 'static,
) -> Response {
    let stream = stream::unfold((app, Some(source), next), |(app, source, next)| async move {
        let given = next(source?);
        let (event, source) = tokio::select! {
            biased;
            () = app.stopped() => (end("the server is shutting down; connect to another, or again in a moment"), None),
            (event, source) = given => match event {
                Next::Event(event) => (event, Some(source)),
                Next::Last(event) => (event, None),
            },
        };
        Some((Ok::<_, std::convert::Infallible>(event), (app, source, next)))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_stay_in_their_event() {
        assert_eq!(
            super::event("message", Some("1"), "{\n\"a\":\r1}"),
            "event: message\nid: 1\ndata: {\ndata: \"a\":\ndata: 1}\n\n"
        );
    }
}

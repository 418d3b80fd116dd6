//! Spans for a collector: OTLP over HTTP, as protobuf.
//!
//! Spans are gathered in a queue that is sent by a thread of its own. Whatever becomes of the collector, no request waits
//! for it: spans that the queue has no room for are dropped.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry::{Context, Key};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::VERSION;

/// How long a collector may take to answer.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer of a collector that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// What a span's fields are called in traces, where others than ours read them.
const NAMES: [(&str, &str); 6] = [
    ("method", "http.request.method"),
    ("route", "http.route"),
    ("status", "http.response.status_code"),
    ("operation", "db.operation.name"),
    ("database", "db.namespace"),
    ("caller", "user.name"),
];

/// The sending of spans, which ends with the last of them when it is dropped.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends to the collector at this URL from now on.
    ///
    /// # Errors
    /// Why that cannot be.
    pub(crate) fn start(endpoint: &str) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(endpoint))
            .with_endpoint(endpoint)
            .build()?;
        let resource = Resource::builder()
            .with_service_name("pliantdb")
            .with_attribute(opentelemetry::KeyValue::new("service.version", VERSION))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Named(exporter))
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer("pliantdb")
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// What is of interest to a collector: our spans, and in them what went wrong.
pub(crate) fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("pliantdb") && (metadata.is_span() || *metadata.level() <= Level::WARN)
}

/// Makes a span part of the trace that a request's headers name, if they do (W3C `traceparent`).
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let propagator = TraceContextPropagator::new();
        let parent = propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
        // Fails when no spans are sent.
        let _ = span.set_parent(parent);
    }
}

/// Marks a span whose request this server failed.
pub(crate) fn mark_failed(span: &Span, reason: &'static str) {
    span.set_status(Status::error(reason));
}

/// Gives spans the names that are usual in traces. It is done while they are sent, not while they are made.
#[derive(Debug)]
struct Named(opentelemetry_otlp::SpanExporter);

impl SpanExporter for Named {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(name);
        self.0.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn name(span: &mut SpanData) {
    let field = |name: &str| {
        let found = span.attributes.iter().find(|field| field.key.as_str() == name);
        found.map(|field| field.value.as_str().into_owned())
    };
    let found = match (field("method"), field("route"), field("operation")) {
        (Some(method), Some(route), _) => Some(format!("{method} {route}")),
        (_, _, operation) => operation,
    };
    if let Some(found) = found {
        span.name = found.into();
        span.span_kind = SpanKind::Server;
    }
    for field in &mut span.attributes {
        if let Some((_, usual)) = NAMES.iter().find(|(ours, _)| *ours == field.key.as_str()) {
            field.key = Key::from_static_str(usual);
        }
    }
}

/// The way to the collector. A failure is logged when it is the first, and so is the end of it.
struct Collector {
    agent: ureq::Agent,
    endpoint: String,
    is_away: AtomicBool,
}

impl Collector {
    fn new(endpoint: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(SEND_TIMEOUT))
            .proxy(None)
            .max_redirects(0)
            .build();
        Self {
            agent: config.into(),
            endpoint: endpoint.to_owned(),
            is_away: AtomicBool::new(false),
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let answer = self.agent.run(request.map(|body| body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, Bytes::from(body)))
    }

    fn note(&self, failure: Option<String>) {
        let was_away = self.is_away.swap(failure.is_some(), Ordering::Relaxed);
        let endpoint = self.endpoint.as_str();
        match failure {
            Some(reason) if !was_away => {
                tracing::warn!(
                    endpoint,
                    reason,
                    "the collector takes no spans; they are dropped until it does"
                );
            }
            None if was_away => tracing::info!(endpoint, "the collector takes spans again"),
            _ => {}
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collector").field(&self.endpoint).finish()
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    /// Waits without yielding: it is called on the thread that does nothing else.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request);
        self.note(match &answer {
            Ok(answer) if answer.status() == StatusCode::OK => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        });
        Ok(answer?)
    }
}

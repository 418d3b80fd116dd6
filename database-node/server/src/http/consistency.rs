//! How fresh what is read has to be, and how far the database had come: as headers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::HeaderName;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use pliantdb_core::{Consistency, Position};

use super::Problem;
use super::exchange::header;

/// `linearizable`, or `local` for what the node that is asked has.
const CONSISTENCY: &str = "Consistency";
/// How old that may be, in seconds.
const MAX_STALENESS: &str = "Max-Staleness";
/// The position that what is read has to have, at least.
const AT_LEAST: &str = "At-Least";
/// The position of an answer.
const POSITION: HeaderName = HeaderName::from_static("position");

/// The longest staleness that can be asked for; more is no limit that anybody means.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the database had come that answered a request, if it said so.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<OnceLock<Position>>);

impl Told {
    /// Notes what was said. A request that asks several things says of the first.
    pub(super) fn note(&self, position: Option<Position>) {
        if let Some(position) = position {
            let _ = self.0.set(position);
        }
    }
}

/// Tells the client the position of its answer.
pub(super) async fn tell(mut request: Request, next: Next) -> Response {
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    let mut response = next.run(request).await;
    let value = told
        .0
        .get()
        .map(|position| HeaderValue::try_from(position.to_string()));
    if let Some(Ok(value)) = value {
        response.headers_mut().insert(POSITION, value);
    }
    response
}

/// How fresh a request wants what it reads.
///
/// # Errors
/// [`Problem`] that names the header.
pub(super) fn asked(parts: &Parts) -> Result<Consistency, Problem> {
    let name: Option<String> = header(parts, CONSISTENCY, "linearizable or local")?;
    let seconds: Option<f64> = header(parts, MAX_STALENESS, "a number of seconds")?;
    let at_least: Option<Position> = header(
        parts,
        AT_LEAST,
        "a position, as an answer's header Position has it",
    )?;
    let is_local = match name.as_deref() {
        None | Some("linearizable") => false,
        Some("local") => true,
        Some(other) => {
            let detail = format!("{CONSISTENCY} must be linearizable or local");
            return Err(Problem::invalid(CONSISTENCY, other, detail));
        }
    };
    match (is_local, seconds, at_least) {
        (false, None, None) => Ok(Consistency::Linearizable),
        (true, None, None) => Ok(Consistency::Within(MOST)),
        (true, Some(seconds), None) => match Duration::try_from_secs_f64(seconds) {
            Ok(most) if most <= MOST => Ok(Consistency::Within(most)),
            _ => {
                let detail = format!(
                    "{MAX_STALENESS} must be a number of seconds from 0 to {}",
                    MOST.as_secs()
                );
                Err(Problem::invalid(MAX_STALENESS, &seconds.to_string(), detail))
            }
        },
        (false, Some(seconds), _) => {
            let detail = format!("{MAX_STALENESS} belongs to {CONSISTENCY}: local");
            Err(Problem::invalid(MAX_STALENESS, &seconds.to_string(), detail))
        }
        (false, None, Some(position)) if name.is_none() => Ok(Consistency::AtLeast(position)),
        (_, _, Some(position)) => {
            let detail = format!("give either {AT_LEAST} or {CONSISTENCY}, not both");
            Err(Problem::invalid(AT_LEAST, &position.to_string(), detail))
        }
    }
}

//! `If-Match` and `If-None-Match` (RFC 9110, section 13), and `ETag`.

use axum::http::header::{CONNECTION, HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use pliantdb_core::{Precondition, Revision};

use super::Problem;

/// The entity tag of a revision.
pub(super) fn etag(revision: Revision) -> HeaderValue {
    // Hexadecimal digits in quotes always fit a header.
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// What a write asks for. One revision, or `*`: the commit compares with one revision, so a list, which
/// RFC 9110 would allow, is refused rather than half understood.
pub(super) fn of_write(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let (matching, none_matching) = (
        joined("If-Match", IF_MATCH, headers)?,
        joined("If-None-Match", IF_NONE_MATCH, headers)?,
    );
    match (matching.as_deref(), none_matching.as_deref()) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::Exists),
        (None, Some("*")) => Ok(Precondition::Absent),
        (Some(value), None) => one_revision(value).map(Precondition::Revision),
        (None, Some(value)) => Err(Problem::invalid(
            "If-None-Match",
            value,
            "a write understands If-None-Match: * only, which means: insert, do not replace",
        )),
        (Some(value), Some(_)) => Err(Problem::invalid(
            "If-Match",
            value,
            "send If-Match or If-None-Match, not both",
        )),
    }
}

/// Refuses conditions of a POST: there is nothing that they could be compared with.
pub(super) fn of_post(headers: &HeaderMap) -> Result<(), Problem> {
    for (field, name) in [("If-Match", IF_MATCH), ("If-None-Match", IF_NONE_MATCH)] {
        if let Some(value) = joined(field, name, headers)? {
            let detail = "a POST writes under a new id, or says in its body what must hold, so there is nothing to compare \
                          with: leave it out, or use PUT";
            let close = HeaderValue::from_static("close");
            return Err(Problem::invalid(field, &value, detail).with_header(CONNECTION, close));
        }
    }
    Ok(())
}

/// Whether a read is to be answered with the document.
pub(super) enum ReadCondition {
    Answer,
    NotModified,
    Failed,
}

/// Looks at the conditions of a read, where lists and (for `If-None-Match`) weak tags are understood.
pub(super) fn of_read(headers: &HeaderMap, current: Revision) -> Result<ReadCondition, Problem> {
    let strong = format!("\"{current}\"");
    if let Some(value) = joined("If-Match", IF_MATCH, headers)?
        && value != "*"
        && !tags(&value).any(|tag| tag == strong)
    {
        return Ok(ReadCondition::Failed);
    }
    let matches = joined("If-None-Match", IF_NONE_MATCH, headers)?.is_some_and(|value| {
        value == "*" || tags(&value).any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == strong)
    });
    Ok(if matches {
        ReadCondition::NotModified
    } else {
        ReadCondition::Answer
    })
}

/// Splits a list. A tag with a comma in it is not ours, and falls apart into pieces that are not either.
fn tags(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

/// A header as one text, as if it had been sent once.
fn joined(field: &'static str, name: HeaderName, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let value = value
            .to_str()
            .map_err(|_| Problem::invalid(field, "", format!("{field} must be ASCII")))?;
        values.push(value.trim());
    }
    Ok(if values.is_empty() {
        None
    } else {
        Some(values.join(", "))
    })
}

fn one_revision(value: &str) -> Result<Revision, Problem> {
    let wrong = |detail: &str| Problem::invalid("If-Match", value, detail);
    if value.contains(',') {
        return Err(wrong("a write understands one revision in If-Match, not a list"));
    }
    if value.starts_with("W/") {
        return Err(wrong(
            "If-Match compares strongly (RFC 9110), so a weak tag never matches; leave out the W/",
        ));
    }
    let tag = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let tag = tag.ok_or_else(|| {
        wrong("If-Match must be * or an ETag in double quotes, as a read or write answered it")
    })?;
    tag.parse()
        .map_err(|error: pliantdb_core::InvalidRevision| wrong(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use pliantdb_core::Timestamp;

    use super::*;

    const REVISION: Revision = Revision::at(Timestamp::from_bits(0x0190_f2a4_c1d3_0000));

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn write(list: &[(HeaderName, &str)]) -> Option<Precondition> {
        of_write(&headers(list)).ok()
    }

    #[test]
    fn writes_understand_one_revision_or_a_star() {
        assert_eq!(etag(REVISION), "\"0190f2a4c1d30000\"");
        assert_eq!(write(&[]), Some(Precondition::None));
        assert_eq!(
            write(&[(IF_MATCH, "\"0190f2a4c1d30000\"")]),
            Some(Precondition::Revision(REVISION))
        );
        assert_eq!(write(&[(IF_MATCH, "*")]), Some(Precondition::Exists));
        assert_eq!(write(&[(IF_NONE_MATCH, " * ")]), Some(Precondition::Absent));
    }

    #[test]
    fn writes_refuse_the_rest() {
        let good = "\"0190f2a4c1d30000\"";
        for value in [
            "",
            "0190f2a4c1d30000",
            "W/\"0190f2a4c1d30000\"",
            "\"x\"",
            "\"",
            "\"a\", \"b\"",
            "*, *",
        ] {
            assert_eq!(write(&[(IF_MATCH, value)]), None, "{value}");
        }
        assert_eq!(write(&[(IF_NONE_MATCH, good)]), None);
        assert_eq!(write(&[(IF_MATCH, good), (IF_NONE_MATCH, "*")]), None);
    }

    #[test]
    fn reads_understand_lists_and_weak_tags() {
        for (name, value, expected) in [
            (IF_NONE_MATCH, "\"0190f2a4c1d30000\"", "not modified"),
            (IF_NONE_MATCH, "\"a,b\", W/\"0190f2a4c1d30000\"", "not modified"),
            (IF_NONE_MATCH, "*", "not modified"),
            (IF_NONE_MATCH, "\"0190f2a4c1d30001\"", "answer"),
            (IF_MATCH, "*", "answer"),
            (IF_MATCH, "\"x\", \"0190f2a4c1d30000\"", "answer"),
            (IF_MATCH, "W/\"0190f2a4c1d30000\"", "failed"),
        ] {
            let found = match of_read(&headers(&[(name, value)]), REVISION).unwrap() {
                ReadCondition::Answer => "answer",
                ReadCondition::NotModified => "not modified",
                ReadCondition::Failed => "failed",
            };
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn any_header() {
        let seeds = ["*", "\"0190f2a4c1d30000\"", "W/\"0190f2a4c1d30000\", \"a,b\""];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type::<[(pliantdb_fuzzing::Input, bool); 2]>()
            .for_each(|inputs| {
                let mut headers = HeaderMap::new();
                for (input, is_match) in inputs {
                    if let Ok(value) = HeaderValue::from_bytes(&pliantdb_fuzzing::bytes(input, &seeds)) {
                        headers.append(if *is_match { IF_MATCH } else { IF_NONE_MATCH }, value);
                    }
                }
                let _ = (of_write(&headers), of_read(&headers, REVISION));
            });
    }
}

//! What a request's query says, parsed and named.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::RawQuery;
use jiff::SignedDuration;
use percent_encoding::percent_decode_str;
use pliantdb_core::Order;

use super::Problem;

/// The most entries on a page.
pub(super) const MAX_LIMIT: usize = 1000;

/// A text of the request as a `T`, or a problem that names the field.
pub(super) fn parse<T: TryFrom<String>>(field: &'static str, value: String) -> Result<T, Problem>
where
    T::Error: std::fmt::Display,
{
    T::try_from(value.clone()).map_err(|error| Problem::invalid(field, &value, error.to_string()))
}

/// The parameters of a query.
pub(super) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Those of a query, each of which must be one of `known` and appear once.
    pub(super) fn read(query: RawQuery, known: &[&'static str]) -> Result<Self, Problem> {
        let found = Self::read_repeated(query, known)?;
        let names = || found.0.iter().map(|(name, _)| *name);
        match names()
            .enumerate()
            .find(|(at, name)| names().take(*at).any(|before| before == *name))
        {
            None => Ok(found),
            Some((_, name)) => Err(Problem::invalid(
                "query",
                name,
                format!("the parameter {name} is given twice"),
            )),
        }
    }

    /// As [`Parameters::read`], and each may appear several times.
    pub(super) fn read_repeated(RawQuery(query): RawQuery, known: &[&'static str]) -> Result<Self, Problem> {
        let mut found = Vec::new();
        for pair in pairs(&query.unwrap_or_default()) {
            let (name, value) = pair?;
            let Some(name) = known.iter().find(|known| **known == name) else {
                let detail = match known {
                    [] => "there are no parameters here".to_owned(),
                    known => format!(
                        "there is no parameter of that name here; known are {}",
                        known.join(", ")
                    ),
                };
                return Err(Problem::invalid("query", &name, detail));
            };
            found.push((*name, decode(name, &value)?));
        }
        Ok(Self(found))
    }

    /// The values of all parameters of that name, in order.
    pub(super) fn all(self) -> impl Iterator<Item = String> {
        self.0.into_iter().map(|(_, value)| value)
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter as a `T`.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, Problem> {
        let parsed = self.get(name).map(|value| {
            let parsed = value.parse();
            parsed.map_err(|error: T::Err| Problem::invalid(name, value, error.to_string()))
        });
        parsed.transpose()
    }

    /// A whole number in a range.
    pub(super) fn number(&self, name: &'static str, most: usize) -> Result<Option<usize>, Problem> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.parse().ok().filter(|number| (1..=most).contains(number));
        let right = || format!("{name} must be a whole number from 1 to {most}");
        number
            .map(Some)
            .ok_or_else(|| Problem::invalid(name, value, right()))
    }

    /// How many entries a page may have.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        Ok(self.number("limit", MAX_LIMIT)?.unwrap_or(100))
    }

    /// `true` or `false`, which is what it is if it is not given.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(value) => Err(Problem::invalid(
                name,
                value,
                format!("{name} must be true or false"),
            )),
        }
    }

    /// Which way.
    pub(super) fn order(&self) -> Result<Order, Problem> {
        match self.get("order") {
            None | Some("asc") => Ok(Order::Ascending),
            Some("desc") => Ok(Order::Descending),
            Some(value) => Err(Problem::invalid("order", value, "order must be asc or desc")),
        }
    }

    /// How long.
    pub(super) fn duration(&self, name: &'static str, most: Duration) -> Result<Option<Duration>, Problem> {
        let read = |value: &str| duration(name, value, most);
        self.get(name).map(read).transpose()
    }
}

/// A text as a duration such as `10s`.
pub(super) fn duration(field: &str, value: &str, most: Duration) -> Result<Duration, Problem> {
    let parsed = value.parse::<SignedDuration>().ok();
    let parsed = parsed.and_then(|parsed| Duration::try_from(parsed).ok());
    parsed.filter(|parsed| *parsed <= most).ok_or_else(|| {
        let most = SignedDuration::try_from(most).unwrap_or(SignedDuration::MAX);
        let right = format!("{field} must be a duration up to {most:#}, such as 500ms, 10s or 1h 30m");
        Problem::invalid(field, value, right)
    })
}

/// The names and values of a query, decoded but for the values.
fn pairs(query: &str) -> impl Iterator<Item = Result<(String, String), Problem>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode("query", name)?, value.to_owned()))
    })
}

/// The names and values of a query, whatever they are.
pub(super) fn any(RawQuery(query): RawQuery) -> Result<Vec<(String, String)>, Problem> {
    let decoded = |pair: Result<(String, String), Problem>| {
        let (name, value) = pair?;
        let value = decode(&name, &value)?;
        Ok((name, value))
    };
    pairs(&query.unwrap_or_default()).map(decoded).collect()
}

/// Decodes as forms are encoded: `+` is a space.
fn decode(field: &str, text: &str) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(Problem::invalid(
            field,
            &text,
            format!("{field} must be percent-encoded UTF-8"),
        )),
    }
}

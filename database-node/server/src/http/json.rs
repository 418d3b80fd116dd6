//! JSON in bodies, member by member, so that an error names the one that is wrong.

use std::collections::BTreeMap;
use std::fmt::Display;

use pliantdb_core::Body;
use serde_json::value::RawValue;

use super::Problem;

/// An object whose members are taken one after the other.
pub(super) struct Object<'j> {
    /// Where it is in the body, such as `[2].insert`; empty for the body itself.
    place: String,
    members: BTreeMap<String, &'j RawValue>,
    known: Vec<&'static str>,
}

impl<'j> Object<'j> {
    /// The whole body; an empty one is an object without members.
    pub(super) fn of_body(text: &'j str) -> Result<Self, Problem> {
        match text.is_empty() {
            true => Ok(Self {
                place: String::new(),
                members: BTreeMap::new(),
                known: Vec::new(),
            }),
            false => Self::read(String::new(), text),
        }
    }

    /// The object at a place of the body.
    pub(super) fn read(place: String, json: &'j str) -> Result<Self, Problem> {
        let members = read(&place, json, "an object")?;
        Ok(Self {
            place,
            members,
            known: Vec::new(),
        })
    }

    /// Where a member is in the body.
    fn field(&self, name: &str) -> String {
        match self.place.as_str() {
            "" => name.to_owned(),
            place => format!("{place}.{name}"),
        }
    }

    /// A member as it is.
    pub(super) fn raw(&mut self, name: &'static str) -> Option<&'j str> {
        self.known.push(name);
        self.members.remove(name).map(RawValue::get)
    }

    /// A member that is a text of a certain kind.
    pub(super) fn text<T: TryFrom<String, Error: Display>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Problem> {
        let field = self.field(name);
        let Some(json) = self.raw(name) else {
            return Ok(None);
        };
        let text: String = read(&field, json, "a text")?;
        let value = T::try_from(text.clone());
        let value = value.map_err(|error| Problem::invalid(field, &text, error.to_string()));
        value.map(Some)
    }

    /// A member that is true or false.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        let field = self.field(name);
        let json = self.raw(name);
        json.map(|json| read(&field, json, "true or false")).transpose()
    }

    /// A member that is any JSON, byte for byte.
    pub(super) fn body(&mut self, name: &'static str) -> Result<Option<Body>, Problem> {
        let field = self.field(name);
        let Some(json) = self.raw(name) else {
            return Ok(None);
        };
        let body = Body::try_from(json.to_owned());
        body.map(Some)
            .map_err(|error| Problem::invalid(field, json, error.to_string()))
    }

    /// A member that cannot be left out.
    pub(super) fn required<T>(&self, name: &'static str, value: Option<T>) -> Result<T, Problem> {
        value.ok_or_else(|| {
            let field = self.field(name);
            let detail = format!("{field} is missing");
            Problem::invalid(field, "", detail)
        })
    }

    /// A problem with a member.
    pub(super) fn wrong(&self, name: &'static str, value: &str, detail: impl Into<String>) -> Problem {
        Problem::invalid(self.field(name), value, detail)
    }

    /// Takes the only member of an object: its name and where its own members are.
    pub(super) fn only(self, known: &[&'static str]) -> Result<(&'static str, Object<'j>), Problem> {
        let right = || format!("it must be an object with exactly one of {}", known.join(", "));
        let names: Vec<_> = self.members.keys().map(String::as_str).collect();
        let found = match names.as_slice() {
            [name] => known.iter().find(|known| *known == name),
            _ => None,
        };
        let member = found.and_then(|name| Some((*name, *self.members.get(*name)?)));
        match member {
            Some((name, json)) => Ok((name, Object::read(self.field(name), json.get())?)),
            None => Err(Problem::invalid(self.place.clone(), &names.join(", "), right())),
        }
    }

    /// Refuses members that were not taken.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => {
                let detail = format!(
                    "there is no member of that name here; known are {}",
                    self.known.join(", ")
                );
                Err(Problem::invalid(self.field(name), name, detail))
            }
        }
    }
}

/// The parts of an array at a place of the body.
pub(super) fn array<'j>(place: &str, json: &'j str) -> Result<Vec<&'j RawValue>, Problem> {
    read(place, json, "an array")
}

/// JSON as a type, called `right` in messages.
pub(super) fn read<'j, T: serde::Deserialize<'j>>(
    place: &str,
    json: &'j str,
    right: &str,
) -> Result<T, Problem> {
    serde_json::from_str(json).map_err(|error| {
        if error.is_data() {
            let place = if place.is_empty() { "body" } else { place };
            return Problem::invalid(place, json, format!("{place} must be {right}: {error}"));
        }
        let detail = format!("the body is not valid JSON: {error}");
        Problem::invalid_json(detail, error.line(), error.column())
    })
}

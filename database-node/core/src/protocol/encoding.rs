//! Messages as bytes.

use rmp_serde::config::BytesMode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Ask, FromClient, FromServer, Greeting, Hello, Question};
use crate::{Change, ChangeAction, Error, InvalidBody, KeyAction, KeyCondition, Request};

/// How deep what is sent can be nested; nothing that is sent comes near. Bodies are texts.
const MAX_DEPTH: usize = 64;

/// Bytes that are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They are not of the form.
    #[error("the message is not one of the protocol, version {version}: {reason}", version = super::PROTOCOL_VERSION)]
    Form {
        /// What is wrong.
        reason: String,
    },
    /// A question that could be read, but for a body in it.
    #[error("{error}")]
    Body {
        /// The question's number.
        number: u64,
        /// What is wrong with the body.
        error: InvalidBody,
    },
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::invalid(error)
    }
}

/// What is sent: the messages of this module.
pub trait Sent: Serialize + DeserializeOwned {
    /// Looks at what decoding takes as it is.
    ///
    /// # Errors
    /// [`Malformed::Body`].
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }
}

impl Sent for Hello {}
impl Sent for Greeting {}
// What a server sends was checked when it came in.
impl Sent for FromServer {}

impl Sent for FromClient {
    fn check(&self) -> Result<(), Malformed> {
        let Self::Ask(Question { number, ask, .. }) = self else {
            return Ok(());
        };
        let (Ask::Request { request, .. } | Ask::RequestAt { request, .. }) = ask else {
            return Ok(());
        };
        check_bodies(request).map_err(|error| Malformed::Body {
            number: *number,
            error,
        })
    }
}

fn check_bodies(request: &Request) -> Result<(), InvalidBody> {
    match request {
        Request::Transact(changes) => changes.iter().try_for_each(|Change { action, .. }| match action {
            ChangeAction::Insert { body, .. } | ChangeAction::Put { body, .. } => body.check(),
            ChangeAction::Delete { .. } | ChangeAction::Check { .. } => Ok(()),
        }),
        Request::ChangeKey { action, .. } => {
            let condition = |condition: &KeyCondition| match condition {
                KeyCondition::Equals(body) => body.check(),
                KeyCondition::Always | KeyCondition::Present | KeyCondition::Vacant => Ok(()),
            };
            match action {
                KeyAction::Set {
                    value, condition: is, ..
                } => value.check().and_then(|()| condition(is)),
                KeyAction::Delete { condition: is } => condition(is),
                KeyAction::Increment { .. } | KeyAction::Expire { .. } => Ok(()),
            }
        }
        Request::Publish(message) => message.payload.check(),
        Request::Call { body, .. } => body.check(),
        _ => Ok(()),
    }
}

/// A message as bytes.
///
/// # Errors
/// [`Error::Invalid`] when it cannot be written, which no message of this module does.
pub fn encode<T: Sent>(message: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_bytes(BytesMode::ForceAll);
    message.serialize(&mut serializer).map_err(Error::invalid)?;
    Ok(bytes)
}

/// A message of bytes.
///
/// # Errors
/// [`Malformed`]: what is wrong, and of a question whose body is not JSON, its number.
pub fn decode<T: Sent>(bytes: &[u8]) -> Result<T, Malformed> {
    let malformed = |reason: String| Malformed::Form { reason };
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(MAX_DEPTH);
    let message = T::deserialize(&mut deserializer).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed("something follows it".to_owned()));
    }
    message.check()?;
    Ok(message)
}

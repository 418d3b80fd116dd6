//! How a machine that has only a token gets the certificate of a node.

mod giver;
mod joiner;
mod protocol;
mod token;
mod tokens;

pub use giver::Giver;
pub(crate) use giver::{Places, serve};
pub use joiner::{JoinError, obtain};
pub use token::{JoinToken, MalformedToken};
pub use tokens::{JoinTokens, TokenError};

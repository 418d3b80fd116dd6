//! Custom APIs: requests and responses of a program's own, answered beside the data.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A request type with what answers it. Derive it:
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// /// Asks for a greeting.
/// #[derive(Serialize, Deserialize, pliantdb_core::Api)]
/// #[api(name = "greet", response = String, error = Unwelcome)]
/// struct Greet {
///     name: String,
/// }
///
/// #[derive(Serialize, Deserialize, Debug)]
/// enum Unwelcome {
///     Stranger,
/// }
/// ```
pub trait Api: Serialize + DeserializeOwned + Send + 'static {
    /// What it is answered with.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// What it is refused with.
    type Error: Serialize + DeserializeOwned + Send + 'static;
    /// Its name.
    const NAME: &'static str;
}

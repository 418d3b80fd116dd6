//! Custom APIs.

use pliantdb_core::{Api, Connection, Error};
use serde::{Deserialize, Serialize};

use crate::schema::{Greet, Unwelcome};
use crate::{Door, shop};

/// A response, or an error of its own type.
pub fn answer_and_refuse<D: Door>() {
    let (door, database) = shop::<D>();
    let greet = |name: &str| {
        door.wait(database.call(&Greet {
            name: name.to_owned(),
        }))
        .unwrap()
    };
    assert_eq!(greet("Ada"), Ok("Hello Ada".to_owned()));
    assert_eq!(greet(""), Err(Unwelcome::Nameless));
}

/// One that nobody answers.
pub fn unknown_apis_are_named<D: Door>() {
    #[derive(Serialize, Deserialize, Api)]
    #[api(name = "nobody")]
    struct Nobody;
    let (door, database) = shop::<D>();
    let error = door.wait(database.call(&Nobody)).unwrap_err();
    assert!(
        matches!(&error, Error::UnknownApi(name) if name.as_str() == "nobody"),
        "{error:?}"
    );
}

//! Who answers the custom APIs.

use std::collections::HashMap;

use pliantdb_core::{Api, ApiName, Body, Error};

use crate::database::Database;
use crate::error::StorageError;

type Handler = Box<dyn Fn(&Database, &Body) -> Result<Result<Body, Body>, Error> + Send + Sync>;

/// The handlers of custom APIs, by name.
#[derive(Default)]
pub struct Apis {
    handlers: HashMap<ApiName, Handler>,
    /// What is wrong with one that was added.
    fault: Option<StorageError>,
}

impl Apis {
    /// Answers calls of the custom API `A`, of every database, with `handler`. It may block.
    #[must_use]
    pub fn with<A: Api>(
        mut self,
        handler: impl Fn(&Database, A) -> Result<A::Response, A::Error> + Send + Sync + 'static,
    ) -> Self {
        let name: ApiName = match A::NAME.parse() {
            Ok(name) => name,
            Err(error) => {
                self.fault = Some(StorageError::InvalidApi(format!("{error}")));
                return self;
            }
        };
        let api = name.clone();
        let answer = move |database: &Database, request: &Body| {
            let failed = |reason: String| Error::Api {
                api: api.clone(),
                reason,
            };
            let request = request.read().map_err(|error| {
                Error::Invalid(format!(
                    "the request of the API {api} is not of its type: {error}"
                ))
            })?;
            let written = match handler(database, request) {
                Ok(response) => Body::of(&response).map(Ok),
                Err(error) => Body::of(&error).map(Err),
            };
            written.map_err(|error| failed(format!("its answer cannot be written: {error}")))
        };
        if self.handlers.insert(name.clone(), Box::new(answer)).is_some() {
            self.fault = Some(StorageError::InvalidApi(format!(
                "there are two handlers of the API {name}"
            )));
        }
        self
    }

    /// Whether all could be added.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn call(
        &self,
        database: &Database,
        api: &ApiName,
        request: &Body,
    ) -> Result<Result<Body, Body>, Error> {
        match self.handlers.get(api) {
            Some(handler) => handler(database, request),
            None => Err(Error::UnknownApi(api.clone())),
        }
    }
}

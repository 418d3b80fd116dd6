//! The suite against a server: by QUIC, asynchronous and blocking, and by WebSocket.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod serving;

use pliantdb_client::{AsyncClient, Client, Options};
use pliantdb_conformance::Door;
use pliantdb_core::{Answer, Error};
use serving::Serving;

/// A client that does not block.
struct Asynchronous {
    client: AsyncClient,
    address: fn(&Serving) -> String,
    /// Last, so that it ends after its client.
    serving: Serving,
}

impl Asynchronous {
    fn to(address: fn(&Serving) -> String) -> Self {
        let serving = Serving::start();
        Self {
            client: Self::client(&serving, address),
            address,
            serving,
        }
    }

    fn client(serving: &Serving, address: fn(&Serving) -> String) -> AsyncClient {
        let address = address(serving);
        let connecting = AsyncClient::connect(&address, Options::default());
        serving.runtime().block_on(connecting).unwrap()
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<AsyncClient, T>) -> Result<T, Error> {
        // On a worker, where everything must be possible without blocking it.
        let runtime = self.serving.runtime();
        runtime.block_on(runtime.spawn(answer)).unwrap()
    }

    fn reopen(&mut self) {
        self.serving.restart();
        self.client = Self::client(&self.serving, self.address);
    }
}

macro_rules! asynchronous_door {
    ($door:ident, $address:expr) => {
        struct $door(Asynchronous);

        impl Door for $door {
            type Storage = AsyncClient;

            fn open() -> Self {
                Self(Asynchronous::to($address))
            }

            fn storage(&self) -> &AsyncClient {
                &self.0.client
            }

            fn reopen(&mut self) {
                self.0.reopen();
            }

            fn wait<T: Send + 'static>(&self, answer: Answer<AsyncClient, T>) -> Result<T, Error> {
                self.0.wait(answer)
            }

            fn wait_at<T: Send + 'static>(&self, answer: Answer<AsyncClient, T>) -> Result<T, Error> {
                self.0.wait(answer)
            }
        }
    };
}

asynchronous_door!(Quic, Serving::quic);
asynchronous_door!(WebSocket, Serving::websocket);

/// A client that blocks.
struct Blocking {
    client: Client,
    serving: Serving,
}

impl Door for Blocking {
    type Storage = Client;

    fn open() -> Self {
        let serving = Serving::start();
        let client = Client::connect(&serving.quic(), Options::default()).unwrap();
        Self { client, serving }
    }

    fn storage(&self) -> &Client {
        &self.client
    }

    fn reopen(&mut self) {
        self.serving.restart();
        self.client = Client::connect(&self.serving.quic(), Options::default()).unwrap();
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<Client, T>) -> Result<T, Error> {
        answer
    }

    fn wait_at<T: Send + 'static>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        answer
    }
}

mod quic {
    use super::Quic;

    pliantdb_conformance::conformance!(Quic);
}

mod blocking {
    use super::Blocking;

    pliantdb_conformance::conformance!(Blocking);
}

mod websocket {
    use super::WebSocket;

    pliantdb_conformance::conformance!(WebSocket);
}

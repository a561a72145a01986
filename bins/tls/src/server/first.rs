//! The client's first message, by which it is decided who speaks TLS with it.

use std::io::{self, Write};
use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor};

use super::records::{MAX_HELLO, Records};
use super::{Setup, TlsError, engine::Engine};
use crate::{PROTOCOL, queue::Queue};

/// A client whose first message has not all come.
pub(super) struct First {
    setup: Arc<Setup>,
    acceptor: Acceptor,
    records: Records,
    /// What has come. At most [`MAX_HELLO`] and one read.
    seen: Vec<u8>,
    /// An alert.
    output: Queue,
    failed: bool,
}

impl First {
    pub(super) fn new(setup: Arc<Setup>) -> Self {
        Self {
            setup,
            acceptor: Acceptor::default(),
            records: Records::default(),
            seen: Vec::new(),
            output: Queue::default(),
            failed: false,
        }
    }

    /// Takes octets of the network until it is decided: then the rest is for whom is returned.
    ///
    /// # Errors
    /// Where it is no ClientHello. It is said once, what comes afterwards is forgotten.
    pub(super) fn receive(
        &mut self,
        input: &mut &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Option<Engine>, TlsError> {
        while !input.is_empty() && !self.failed {
            let before = *input;
            let count = self.acceptor.read_tls(input).map_err(|error| self.fails(error.to_string()))?;
            let new = before.get(..count).unwrap_or_default();
            if self.records.look(new).is_err() || self.seen.len() > MAX_HELLO {
                return Err(self.fails(format!("a ClientHello of more than {MAX_HELLO} octets")));
            }
            self.seen.extend_from_slice(new);
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return self.decide(accepted, plain).map(Some),
                Err((error, alert)) => return Err(self.says(error, alert)),
            }
        }
        Ok(None)
    }

    fn decide(&mut self, accepted: Accepted, plain: &mut Vec<u8>) -> Result<Engine, TlsError> {
        let slot = self.setup.slot();
        let is_ours =
            accepted.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == PROTOCOL));
        if !is_ours {
            let openssl = self.setup.openssl.connection(slot, &self.setup.places);
            let mut openssl = openssl.map_err(|text| self.fails(text))?;
            let seen = std::mem::take(&mut self.seen);
            openssl.receive_first(&seen, plain);
            return Ok(Engine::Openssl(Box::new(openssl)));
        }
        let config = self.setup.config(slot.clone()).map_err(TlsError::Tls)?;
        let connection =
            accepted.into_connection(config).map_err(|(error, alert)| self.says(error, alert))?;
        Ok(Engine::rustls(connection, slot))
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.output.is_empty()
    }

    pub(super) fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        self.output.write_to(stream)
    }

    fn says(&mut self, error: rustls::Error, mut alert: AcceptedAlert) -> TlsError {
        let mut octets = Vec::new();
        // Writing to memory does not fail.
        if alert.write_all(&mut octets).is_ok() {
            self.output.push(octets);
        }
        self.failed = true;
        TlsError::Tls(error)
    }

    fn fails(&mut self, text: String) -> TlsError {
        self.failed = true;
        TlsError::Other(text)
    }
}

impl std::fmt::Debug for First {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("First").field("seen", &self.seen.len()).finish_non_exhaustive()
    }
}

//! Connections by TCP: what comes is told, one answer is written, then they end.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};

use albatross_core::machine::ClientId;
use albatross_driver::server::{Server, SourceEvent};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Octets that are read at a time: a request is shorter.
const BUFFER: usize = 4096;

/// Clients that are served of those who wait at one time: more than there may be.
const ACCEPTS: usize = 64;

/// Clients that are taken in one turn, those beyond [`ACCEPTS`] only to be closed. Who comes after is told of anew.
const TAKEN: usize = 1024;

/// What happened to a client.
pub(crate) enum Happened {
    Connected(ClientId),
    Octets(ClientId, Vec<u8>),
    Closed(ClientId),
    /// Nobody can be accepted for now.
    AcceptFailed(io::Error),
}

/// The listener and its connections.
pub(crate) struct Clients {
    listener: mio::net::TcpListener,
    token: Token,
    all: BTreeMap<Token, Client>,
}

struct Client {
    stream: TcpStream,
    /// What is to be written, and how much of it is. While there is none, the client is read.
    answer: Option<(Vec<u8>, usize)>,
}

impl Clients {
    pub(crate) fn new(listener: TcpListener, server: &mut Server) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        let token = server.token();
        server.registry().register(&mut listener, token, Interest::READABLE)?;
        Ok(Self { listener, token, all: BTreeMap::new() })
    }

    /// Something is ready.
    pub(crate) fn ready(&mut self, event: SourceEvent, server: &mut Server) -> Vec<Happened> {
        if event.token == self.token {
            return self.accept(server);
        }
        let Some(client) = self.all.get_mut(&event.token) else { return Vec::new() };
        if client.answer.is_some() { self.write(event.token) } else { self.read(event.token) }
    }

    /// Takes all who wait: they are told of once.
    fn accept(&mut self, server: &mut Server) -> Vec<Happened> {
        let mut happened = Vec::new();
        for turn in 0..TAKEN {
            match self.listener.accept() {
                // Whoever does this wants no answer.
                Ok((stream, _)) if turn >= ACCEPTS => drop(stream),
                Ok((stream, _)) => {
                    let token = server.token();
                    match self.insert(stream, token, server.registry()) {
                        Ok(()) => happened.push(Happened::Connected(ClientId(token.0))),
                        Err(error) => happened.push(Happened::AcceptFailed(error)),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    happened.push(Happened::AcceptFailed(error));
                    break;
                }
            }
        }
        happened
    }

    fn insert(&mut self, mut stream: TcpStream, token: Token, registry: &Registry) -> io::Result<()> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.all.insert(token, Client { stream, answer: None });
        Ok(())
    }

    fn read(&mut self, token: Token) -> Vec<Happened> {
        let mut happened = Vec::new();
        let mut buffer = [0; BUFFER];
        // A whole request and more is enough: who sends without end is not read to his end.
        for _ in 0..=albatross_core::metrics::MAX_REQUEST / BUFFER {
            let Some(client) = self.all.get_mut(&token) else { break };
            match client.stream.read(&mut buffer) {
                Ok(0) => return self.gone(token, happened),
                Ok(count) => {
                    let octets = buffer.get(..count).unwrap_or_default().to_vec();
                    happened.push(Happened::Octets(ClientId(token.0), octets));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.gone(token, happened),
            }
        }
        happened
    }

    fn gone(&mut self, token: Token, mut happened: Vec<Happened>) -> Vec<Happened> {
        self.all.remove(&token);
        happened.push(Happened::Closed(ClientId(token.0)));
        happened
    }

    /// Writes this, then closes.
    pub(crate) fn answer(&mut self, client: ClientId, octets: Vec<u8>) -> Vec<Happened> {
        let token = Token(client.0);
        let Some(state) = self.all.get_mut(&token) else { return Vec::new() };
        state.answer = Some((octets, 0));
        self.write(token)
    }

    fn write(&mut self, token: Token) -> Vec<Happened> {
        let Some(Client { stream, answer: Some((octets, written)) }) = self.all.get_mut(&token) else {
            return Vec::new();
        };
        while *written < octets.len() {
            match stream.write(octets.get(*written..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Vec::new(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // What it sent besides is in the way: closing would take the answer back.
        _ = stream.shutdown(Shutdown::Write);
        let mut buffer = [0; BUFFER];
        _ = stream.read(&mut buffer);
        self.gone(token, Vec::new())
    }

    /// Closes at once.
    pub(crate) fn close(&mut self, client: ClientId) {
        self.all.remove(&Token(client.0));
    }
}

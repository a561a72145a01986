//! A statistics daemon that a test plays, for those that want to know what is gathered.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use albatross_proto::stats::Statistics;
use albatross_proto::{Command, Data, Payload, StatisticsCommand, Success, Wire};

use crate::raw::Raw;

/// Its socket.
#[derive(Debug)]
pub struct StatisticsDaemon(UnixListener);

/// A connection to who has subscribed.
#[derive(Debug)]
pub struct Subscriber {
    /// What it asked for.
    pub name: String,
    connection: Raw<UnixStream>,
}

impl StatisticsDaemon {
    /// Listens where it is looked for below `tmpdir`; the folder of sockets is made.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn listen(tmpdir: &Path) -> io::Result<Self> {
        let util = tmpdir.join("util");
        std::fs::create_dir_all(&util)?;
        Ok(Self(UnixListener::bind(util.join("stat.sock"))?))
    }

    /// Accepts the next that subscribes.
    ///
    /// # Errors
    /// Where it asks for something else.
    pub fn subscriber(&self) -> io::Result<Subscriber> {
        let mut connection = Raw::accept(&self.0)?;
        let frame = connection.frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Wire { header, payload } = Wire::decode(&frame).map_err(io::Error::other)?;
        if payload != Payload::Command(Command::Statistics(StatisticsCommand::Subscribe)) {
            return Err(io::Error::other(format!("{payload:?}")));
        }
        let name = header.name.to_string();
        let subscribed = Payload::Success(Success::Text("subscribed".into()));
        connection.message(&name, header.sequence, subscribed)?;
        Ok(Subscriber { name, connection })
    }
}

impl Subscriber {
    /// Tells what was gathered of a unikernel.
    ///
    /// # Errors
    /// Where it is not taken.
    pub fn tell(&mut self, name: &str, statistics: Statistics) -> io::Result<()> {
        self.send(name, Payload::Data(Data::Statistics(Box::new(statistics))))
    }

    /// Sends any message.
    ///
    /// # Errors
    /// Where it is not taken.
    pub fn send(&mut self, name: &str, payload: Payload<'_>) -> io::Result<()> {
        self.connection.message(name, 0, payload)
    }
}

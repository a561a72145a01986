//! Statistics as OpenMetrics text, for who asks by HTTP: the rules of the exporter.
//!
//! The machine ([`Exporter`]) is told what happens ([`Input`]) and says what is to be done ([`Output`]). It is
//! subscribed to statistics, keeps the newest of each unikernel, and answers each client once.
//!
//! * Of HTTP it knows as much as a scrape needs: the head of a request of at most [`MAX_REQUEST`] octets, one request a
//!   connection, at most [`MAX_CLIENTS`] at a time, each of which has [`PATIENCE`] for all of it.
//! * What is no longer told of is no longer shown: after three times as long as it was from one time to the next.

mod http;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use albatross_proto::Name;
use albatross_proto::stats::Statistics;

use crate::machine::{ClientId, Level, Now};
use crate::stats::subscription::{Broken, Subscription};
pub use http::{MAX_REQUEST, Request, RequestError};

/// Clients at a time: a Prometheus has one, and may have a second that looks after it. Each may wait for a text of some
/// megabytes.
pub const MAX_CLIENTS: usize = 8;

/// How long a client may take to ask and to take the answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Unikernels of which figures are kept: about as many as albatross-stats gathers of.
pub const MAX_UNIKERNELS: usize = 16 * 1024;

/// How long figures count of which it is not known yet when there are new ones.
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(60);

/// Figures count for at least so long, whatever the interval is.
const LEAST_AGE: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The statistics daemon was reached.
    StatisticsConnected,
    /// The statistics daemon sent a frame.
    StatisticsFrame(&'a [u8]),
    /// The statistics daemon was not reached ([`Broken::Unreachable`]) or is gone ([`Broken::Lost`]).
    StatisticsClosed(Broken),
    /// A client connected.
    Connected(ClientId),
    /// A client sent octets.
    Octets(ClientId, &'a [u8]),
    /// A client is gone, or has the whole answer and was closed.
    Closed(ClientId),
    /// The deadline of [`Exporter::next_deadline`] has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the statistics daemon: [`Input::StatisticsConnected`] or [`Input::StatisticsClosed`] answers.
    ConnectStatistics,
    /// Send this message to the statistics daemon as a frame.
    SendStatistics(Vec<u8>),
    /// Close the connection to the statistics daemon. Nothing is said of it any more.
    CloseStatistics,
    /// Send this to a client, then close: [`Input::Closed`] says when. What it sends is not read any more.
    Answer(ClientId, Vec<u8>),
    /// Close this client at once. Nothing is said of it any more.
    Close(ClientId),
    /// Put this into the log.
    Log(Notice),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The subscription is broken; it is tried again.
    Subscription(Broken),
    /// A client was refused, and why.
    Refused(ClientId, RequestError),
    /// A client was closed, as there are too many.
    TooMany(ClientId),
    /// A client was closed that takes too long.
    TooSlow(ClientId),
    /// There are figures of too many unikernels: those of this one are left out.
    Full(Name),
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Refused(..) => Level::Info,
            _ => Level::Warning,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription(broken) => broken.fmt(f),
            Self::Refused(ClientId(client), error) => write!(f, "client {client} is refused: {error}"),
            Self::TooMany(ClientId(client)) => write!(f, "client {client} is closed: there are too many"),
            Self::TooSlow(ClientId(client)) => write!(f, "client {client} is closed: it takes too long"),
            Self::Full(name) => {
                write!(f, "{name} is left out: there are {MAX_UNIKERNELS} unikernels already")
            }
        }
    }
}

/// The newest figures of a unikernel.
#[derive(Debug)]
struct Figures {
    statistics: Box<Statistics>,
    /// When they came.
    came: Duration,
    /// How long after those before.
    interval: Option<Duration>,
}

impl Figures {
    fn counts(&self, now: Duration) -> bool {
        let age = self.interval.map_or(UNKNOWN_INTERVAL, |interval| (interval * 3).max(LEAST_AGE));
        now <= self.came + age
    }
}

#[derive(Debug)]
struct Client {
    /// What it has sent of its request; `None` once it was answered.
    request: Option<Request>,
    deadline: Duration,
}

/// Shows statistics to who asks.
#[derive(Debug)]
pub struct Exporter {
    version: &'static str,
    subscription: Subscription,
    unikernels: BTreeMap<Name, Figures>,
    clients: BTreeMap<ClientId, Client>,
    /// It was said that there are too many unikernels.
    said_full: bool,
    outputs: Vec<Output>,
}

impl Exporter {
    /// Shows the statistics of what is under `name`, and the version of this program; [`Input::Tick`] begins.
    #[must_use]
    pub fn new(name: Name, version: &'static str) -> Self {
        Self {
            version,
            subscription: Subscription::new(name),
            unikernels: BTreeMap::new(),
            clients: BTreeMap::new(),
            said_full: false,
            outputs: Vec::new(),
        }
    }

    /// Takes in what happened and returns what is to be done.
    #[must_use]
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Vec<Output> {
        let now = now.monotonic;
        match input {
            Input::StatisticsConnected => {
                let message = self.subscription.connected();
                self.outputs.push(Output::SendStatistics(message));
            }
            Input::StatisticsFrame(payload) => self.frame(now, payload),
            Input::StatisticsClosed(why) => self.unsubscribed(now, why),
            Input::Connected(client) => self.connected(now, client),
            Input::Octets(client, octets) => self.octets(now, client, octets),
            Input::Closed(client) => drop(self.clients.remove(&client)),
            Input::Tick => self.tick(now),
        }
        std::mem::take(&mut self.outputs)
    }

    /// When [`Input::Tick`] is next due; `None` while there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let clients = self.clients.values().map(|client| client.deadline);
        clients.chain(self.subscription.deadline()).min()
    }

    fn frame(&mut self, now: Duration, payload: &[u8]) {
        match self.subscription.frame(payload) {
            Ok(None) => {}
            Ok(Some((name, statistics))) => self.keep(now, name, statistics),
            Err(broken) => {
                self.outputs.push(Output::CloseStatistics);
                self.unsubscribed(now, broken);
            }
        }
    }

    fn unsubscribed(&mut self, now: Duration, why: Broken) {
        self.subscription.lost(now);
        self.outputs.push(Output::Log(Notice::Subscription(why)));
    }

    fn keep(&mut self, now: Duration, name: Name, statistics: Box<Statistics>) {
        if let Some(figures) = self.unikernels.get_mut(&name) {
            let interval = Some(now.saturating_sub(figures.came));
            *figures = Figures { statistics, came: now, interval };
            return;
        }
        if self.unikernels.len() >= MAX_UNIKERNELS {
            self.unikernels.retain(|_, figures| figures.counts(now));
        }
        if self.unikernels.len() < MAX_UNIKERNELS {
            self.unikernels.insert(name, Figures { statistics, came: now, interval: None });
        } else if !std::mem::replace(&mut self.said_full, true) {
            self.outputs.push(Output::Log(Notice::Full(name)));
        }
    }

    fn connected(&mut self, now: Duration, client: ClientId) {
        if self.clients.len() >= MAX_CLIENTS {
            self.outputs.push(Output::Log(Notice::TooMany(client)));
            return self.outputs.push(Output::Close(client));
        }
        let request = Some(Request::default());
        self.clients.insert(client, Client { request, deadline: now + PATIENCE });
    }

    fn octets(&mut self, now: Duration, client: ClientId, octets: &[u8]) {
        let Some(request) = self.clients.get_mut(&client).and_then(|client| client.request.as_mut()) else {
            return;
        };
        let answer = match request.push(octets) {
            Ok(None) => return,
            Ok(Some(asked)) => {
                self.unikernels.retain(|_, figures| figures.counts(now));
                let all = self.unikernels.iter().map(|(name, figures)| (name, &*figures.statistics));
                http::answer(asked, &text::render(self.version, self.subscription.is_subscribed(), all))
            }
            Err(error) => {
                self.outputs.push(Output::Log(Notice::Refused(client, error)));
                http::refusal(error)
            }
        };
        if let Some(state) = self.clients.get_mut(&client) {
            state.request = None;
        }
        self.outputs.push(Output::Answer(client, answer));
    }

    fn tick(&mut self, now: Duration) {
        if self.subscription.is_due(now) {
            self.outputs.push(Output::ConnectStatistics);
        }
        let late = |(id, client): (&ClientId, &Client)| (client.deadline <= now).then_some(*id);
        for client in self.clients.iter().filter_map(late).collect::<Vec<_>>() {
            self.clients.remove(&client);
            self.outputs.push(Output::Log(Notice::TooSlow(client)));
            self.outputs.push(Output::Close(client));
        }
    }
}

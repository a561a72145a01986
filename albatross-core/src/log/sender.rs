//! What writes to the event log: albatrossd and the endpoint, each on one connection.
//!
//! An event is sent at once where the log daemon is there, and kept for it where it is not, up to
//! [`MAX_WAITING`] of them; beyond that the oldest are lost, which is counted. What was sent and not answered when
//! the connection was lost is sent again, so an event may be in the log twice, and is there once at least.
//! Where the log daemon answers that it could not write (its disk is full), the same is tried again after
//! [`REFUSED_RETRY`].
//!
//! Who wants to know that an event is in the log before he goes on gives it, asks [`Sender::is_prompt`], and then waits
//! for its [`Answer`]: it comes within [`LATE`], whatever the log daemon does.

use std::collections::VecDeque;
use std::time::Duration;

use albatross_proto::log::{Event, LogEntry};
use albatross_proto::{Data, Header, Name, Payload, Text, Wire};

use crate::machine::Now;

/// How long to wait before the log daemon is looked for again.
pub const RETRY: Duration = Duration::from_secs(1);

/// The wait grows four times with each attempt, up to this. Then it is looked for when the next event is given: there
/// may be none on this host, and who has nothing to do is not to be woken.
pub const MAX_RETRY: Duration = Duration::from_secs(16);

/// How long the log daemon may take for an answer before nobody waits for it any more. A disk that is busy takes a
/// fraction of that.
pub const LATE: Duration = Duration::from_secs(2);

/// How long to wait before what the log daemon could not write is sent again.
pub const REFUSED_RETRY: Duration = Duration::from_secs(5);

/// Events that were sent and not answered, before further ones wait here.
pub const MAX_UNANSWERED: usize = 1024;

/// Events that are kept while the log daemon is not there. With a thousand unikernels it is one for each, and some
/// 300 KiB.
pub const MAX_WAITING: usize = 2048;

/// The most octets of a text in an event; the rest is cut off. It keeps every event far below the longest record.
const MAX_TEXT: usize = 4096;

/// The writing end of the event log.
#[derive(Debug)]
pub struct Sender {
    link: Link,
    /// The number of the last event.
    last: i64,
    /// Sent and not answered, in order, with when.
    sent: VecDeque<(Numbered, Duration)>,
    /// To be sent, in order, all after `sent`.
    waiting: VecDeque<Numbered>,
    /// What is refused is not sent again before.
    refused_until: Option<Duration>,
    /// An answer is late: nobody waits for those that come.
    late: bool,
    lost: u64,
    outputs: Vec<SenderOutput>,
}

#[derive(Debug)]
struct Numbered {
    number: i64,
    message: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Not connected; when it was last tried, if ever, and how long to wait then.
    Away {
        tried: Option<Duration>,
        delay: Duration,
    },
    /// A connection is being made.
    Connecting {
        delay: Duration,
    },
    Connected,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SenderOutput {
    /// Connect to the log daemon: [`Sender::connected`] or [`Sender::closed`] answers.
    Connect,
    /// Send this message as a frame.
    Send(Vec<u8>),
    /// Close the connection. Nothing is said of it any more.
    Close,
    /// Events are in the log, or it is not known when they will be: nobody has to wait for them.
    Answer(Answer),
    /// Tell the operator.
    Warn(String),
}

/// What became of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The event of this number is in the log.
    Written(i64),
    /// Of all events that were given: they are in the log later, or never.
    Later,
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

impl Sender {
    /// One that has not connected.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            link: Link::Away { tried: None, delay: RETRY },
            last: 0,
            sent: VecDeque::new(),
            waiting: VecDeque::new(),
            refused_until: None,
            late: false,
            lost: 0,
            outputs: Vec::new(),
        }
    }

    /// What is to be done, in this order; to be asked after everything else.
    #[must_use]
    pub fn outputs(&mut self) -> Vec<SenderOutput> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether the event that was given last is worth waiting for: the log daemon is there, or is just being
    /// connected to.
    #[must_use]
    pub const fn is_prompt(&self) -> bool {
        match self.link {
            Link::Connected => !self.late && self.refused_until.is_none(),
            Link::Connecting { .. } => true,
            Link::Away { .. } => false,
        }
    }

    /// Whether answers are awaited that may come soon.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.link == Link::Connected && !self.late && !self.sent.is_empty()
    }

    /// How many events are in no log as far as is known.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.sent.len() + self.waiting.len()
    }

    /// When [`Self::tick`] is next due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let connect = match self.link {
            Link::Away { tried, delay } if delay <= MAX_RETRY => tried.map(|tried| tried + delay),
            _ => None,
        };
        let late = self.sent.front().filter(|_| !self.late).map(|(_, sent)| *sent + LATE);
        [connect, late, self.refused_until].into_iter().flatten().min()
    }

    /// Something happened; returns its number.
    pub fn event(&mut self, now: Now, name: Name, event: Event) -> i64 {
        self.last += 1;
        let number = self.last;
        let entry = LogEntry { timestamp: now.wall, event: shortened(event) };
        let wire = Wire::new(Header::new(number, name), Payload::Data(Data::Log(entry)));
        match wire.encode() {
            Ok(message) => self.waiting.push_back(Numbered { number, message }),
            Err(error) => self.warn(format!("an event cannot be sent to the log daemon: {error}")),
        }
        self.forget_oldest();
        if let Link::Away { tried, delay } = self.link
            && tried.is_none_or(|tried| tried + RETRY <= now.monotonic)
        {
            self.link = Link::Away { tried, delay: delay.min(RETRY) };
            self.connect();
        }
        self.send(now.monotonic);
        number
    }

    /// The log daemon was reached.
    pub fn connected(&mut self, now: Now) {
        self.link = Link::Connected;
        self.late = false;
        self.refused_until = None;
        self.send(now.monotonic);
    }

    /// The log daemon was not reached, or its connection is gone.
    pub fn closed(&mut self, now: Now) {
        let delay = match self.link {
            Link::Connecting { delay } => (delay * 4).min(2 * MAX_RETRY),
            Link::Connected => {
                self.warn("the log daemon is gone, events are kept for it".to_owned());
                RETRY
            }
            Link::Away { delay, .. } => delay,
        };
        self.link = Link::Away { tried: Some(now.monotonic), delay };
        self.give_back();
        self.later();
    }

    /// The log daemon sent a frame.
    pub fn frame(&mut self, now: Now, frame: &[u8]) {
        let wire = match Wire::decode(frame) {
            Ok(wire) => wire,
            Err(error) => {
                return self.hang_up(now, format!("the log daemon sent what is no message: {error}"));
            }
        };
        // It answers in order.
        let number = wire.header.sequence;
        match (self.sent.front().map(|(event, _)| event.number), wire.payload) {
            (Some(first), Payload::Success(_)) if first == number => {
                self.sent.pop_front();
                self.outputs.push(SenderOutput::Answer(Answer::Written(number)));
                self.late &= !self.sent.is_empty();
            }
            (Some(first), Payload::Failure(why)) if first == number => self.refused(now.monotonic, &why),
            // It was sent before another was refused.
            (_, Payload::Success(_)) if number <= self.last => {
                self.waiting.retain(|event| event.number != number);
            }
            (_, Payload::Failure(_)) if number <= self.last => {}
            _ => return self.hang_up(now, "the log daemon answered what was not asked".to_owned()),
        }
        self.send(now.monotonic);
    }

    /// A deadline may have come.
    pub fn tick(&mut self, now: Now) {
        let now = now.monotonic;
        if self.refused_until.is_some_and(|until| until <= now) {
            self.refused_until = None;
        }
        if let Link::Away { tried: Some(tried), delay } = self.link
            && delay <= MAX_RETRY
            && tried + delay <= now
        {
            self.connect();
        }
        if !self.late && self.sent.front().is_some_and(|(_, sent)| *sent + LATE <= now) {
            self.late = true;
            let seconds = LATE.as_secs();
            self.warn(format!("the log daemon did not answer within {seconds} s, it is not waited for"));
            self.later();
        }
        self.send(now);
    }

    fn warn(&mut self, text: String) {
        self.outputs.push(SenderOutput::Warn(text));
    }

    fn later(&mut self) {
        self.outputs.push(SenderOutput::Answer(Answer::Later));
    }

    fn connect(&mut self) {
        if let Link::Away { delay, .. } = self.link {
            self.link = Link::Connecting { delay };
            self.outputs.push(SenderOutput::Connect);
        }
    }

    fn hang_up(&mut self, now: Now, why: String) {
        self.warn(why);
        self.outputs.push(SenderOutput::Close);
        self.closed(now);
    }

    /// It could not write this, and so nothing that came after it either.
    fn refused(&mut self, now: Duration, why: &Text) {
        self.warn(format!("the log daemon refused: {why}"));
        self.refused_until = Some(now + REFUSED_RETRY);
        self.give_back();
        self.later();
    }

    /// What was sent is to be sent again.
    fn give_back(&mut self) {
        while let Some((event, _)) = self.sent.pop_back() {
            self.waiting.push_front(event);
        }
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
    }

    fn send(&mut self, now: Duration) {
        if self.link != Link::Connected || self.refused_until.is_some() {
            return;
        }
        while self.sent.len() < MAX_UNANSWERED
            && let Some(event) = self.waiting.pop_front()
        {
            if self.lost > 0 {
                let lost = std::mem::take(&mut self.lost);
                self.warn(format!("{lost} events are not in the log: it was not written for too long"));
            }
            self.outputs.push(SenderOutput::Send(event.message.clone()));
            self.sent.push_back((event, now));
        }
    }
}

/// The event with texts of at most [`MAX_TEXT`] octets.
fn shortened(event: Event) -> Event {
    let short = |text: Text| match text.as_bytes().get(..MAX_TEXT) {
        Some(begin) => Text::from(begin),
        None => text,
    };
    match event {
        Event::Command { command, failure } => {
            Event::Command { command: short(command), failure: failure.map(short) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;

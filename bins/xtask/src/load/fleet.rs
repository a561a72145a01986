//! The guests that stay: created once, and never stopped while anything else happens.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::{Failure, Host, console, eventually};
use albatross_proto::{
    Arguments, BlockCommand, BlockDevice, Command, Config, Int, NetDevice, Policy, PolicyCommand, Text, Typ,
    UnikernelCommand,
};

use super::admin::local;
use super::ledger::Ledger;
use super::network::BRIDGE;

/// Where they are.
pub(super) const PATH: &str = "load";
/// One guest of so many has a network device, one of so many a block device.
const OF_NETWORK: usize = 10;
const OF_BLOCK: usize = 25;
/// Memory of each, in MB.
const MEMORY: usize = 2;
/// How often one with a block device writes it anew and reads it back, in milliseconds.
const AGAIN: u32 = 2000;
/// The lines that a console keeps.
const KEPT: usize = albatross_core::console::RING_LINES;
/// Where guests with a network device answer.
const ECHO: u16 = 7;

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Tick,
    Pong,
    Disk,
    Flood,
}

struct Guest {
    name: String,
    form: Form,
    /// The number in the last line that was read of it, and when.
    last: Option<(u64, Instant)>,
    /// Whether the console daemon was killed since.
    is_anew: bool,
}

/// All of them.
pub(super) struct Fleet {
    guests: Vec<Guest>,
    tick: Duration,
    tenders: BTreeMap<String, i32>,
}

impl Fleet {
    /// Creates so many, each with a line every `tick`; also returns how long each create took.
    pub(super) fn new(host: &Host, count: usize, tick: Duration) -> Result<(Self, Vec<Duration>), Failure> {
        let form = |number: usize| match number {
            0 => Form::Flood,
            _ if number % OF_NETWORK == 1 => Form::Pong,
            _ if number % OF_BLOCK == 2 => Form::Disk,
            _ => Form::Tick,
        };
        let guests = (0..count).map(|number| {
            let form = form(number);
            let label = format!("{form:?}").to_lowercase();
            Guest { name: format!("{PATH}:{label}{number}"), form, last: None, is_anew: false }
        });
        let mut fleet = Self { guests: guests.collect(), tick, tenders: BTreeMap::new() };
        let policy = Policy {
            cpuids: (0..cpus()).map(int).collect(),
            unikernels: int(count),
            memory: int((count * MEMORY).max(17)),
            block: Some(int(count)),
            bridges: [Text::from(BRIDGE)].into(),
        };
        ask(host, &format!("{PATH}:"), Command::Policy(PolicyCommand::Add(policy)))?;
        let mut took = Vec::with_capacity(count);
        for (number, guest) in fleet.guests.iter().enumerate() {
            if guest.form == Form::Disk {
                let disk = format!("{PATH}:disk{number}-data");
                ask(host, &disk, Command::Block(BlockCommand::Add(Int::ONE)))?;
            }
            let image = fleet.image(host, guest.form)?;
            let begin = Instant::now();
            ask(host, &guest.name, fleet.create(number, guest.form, &image))?;
            took.push(begin.elapsed());
        }
        fleet.tenders = fleet.seen(host);
        Ok((fleet, took))
    }

    fn image(&self, host: &Host, form: Form) -> Result<Vec<u8>, Failure> {
        let path = host.programs().guest(&format!("{form:?}").to_lowercase());
        fs::read(&path).map_err(|error| Failure::io("read", &path, error))
    }

    fn create<'a>(&self, number: usize, form: Form, image: &'a [u8]) -> Command<'a> {
        let mut arguments = Arguments::new();
        arguments.memory = int(MEMORY);
        arguments.cpuids = [int(number % cpus())].into();
        let argv = match form {
            Form::Tick => format!("--ms={}", self.tick.as_millis()),
            Form::Pong => format!("--ipv4={}", address(number)),
            Form::Disk => format!("--again={AGAIN}"),
            Form::Flood => String::new(),
        };
        arguments.argv =
            Some([argv.as_str()].into_iter().filter(|it| !it.is_empty()).map(Text::from).collect());
        if form == Form::Pong {
            arguments.net_devices = vec![NetDevice { name: BRIDGE.into(), bridge: None, mac: None }];
        }
        if form == Form::Disk {
            let device = Some(format!("disk{number}-data").into());
            let sector_size = Some(Int::from(4096));
            arguments.block_devices = vec![BlockDevice { name: "disk".into(), device, sector_size }];
        }
        Command::Unikernel(UnikernelCommand::Create(Config {
            typ: Typ::Solo5,
            compressed: false,
            image: image.into(),
            arguments,
        }))
    }

    pub(super) fn len(&self) -> usize {
        self.guests.len()
    }

    /// How many have a network device.
    pub(super) fn on_network(&self) -> usize {
        self.guests.iter().filter(|guest| guest.form == Form::Pong).count()
    }

    /// How many have a block device.
    pub(super) fn with_blocks(&self) -> usize {
        self.guests.iter().filter(|guest| guest.form == Form::Disk).count()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.guests.iter().map(|guest| guest.name.as_str())
    }

    /// The first so many that tick.
    pub(super) fn ticking(&self, count: usize) -> Vec<String> {
        let ticking = self.guests.iter().filter(|guest| guest.form == Form::Tick);
        ticking.take(count).map(|guest| guest.name.clone()).collect()
    }

    /// The process of each, as /proc has it.
    fn seen(&self, host: &Host) -> BTreeMap<String, i32> {
        let tenders = host.tenders();
        let process = |name: &str| {
            let image = format!("/{name}.img");
            let mut found = tenders.iter().filter(|(_, line)| line.contains(&image));
            match (found.next(), found.next()) {
                (Some((pid, _)), None) => Some((name.to_owned(), *pid)),
                _ => None,
            }
        };
        self.names().filter_map(process).collect()
    }

    /// Each runs in the process in which it was started, and albatrossd says so.
    pub(super) fn check_processes(&self, host: &Host, ledger: &Ledger) -> Result<(), Failure> {
        let (seen, told) = (self.seen(host), host.statuses()?);
        for name in self.names() {
            let (first, now) = (self.tenders.get(name), seen.get(name));
            if first.is_none() || first != now {
                ledger.fault(format!("{name}: process {first:?} was its own, now it is {now:?}"));
            }
            let told = told.get(name).and_then(|status| status.pid);
            if told != now.map(|pid| Int::from(*pid)) {
                ledger.fault(format!("{name}: albatrossd says that its process is {told:?}, it is {now:?}"));
            }
        }
        Ok(())
    }

    /// Reads every console: numbers follow each other, and go on from those that were read before. Where the console
    /// daemon was killed since (`is_new`), its history begins anew: what was printed since it was last read may be missing.
    pub(super) fn check_consoles(
        &mut self,
        socket: &Path,
        is_new: bool,
        ledger: &Ledger,
    ) -> Result<(), Failure> {
        let tick = self.tick;
        for guest in self.guests.iter_mut().filter(|guest| guest.form != Form::Pong) {
            let lines = console::lines(socket, &guest.name, KEPT)?;
            let now = Instant::now();
            let numbers: Vec<u64> =
                lines.iter().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
            if let Some([one, other]) = numbers
                .windows(2)
                .filter_map(|pair| <[u64; 2]>::try_from(pair).ok())
                .find(|[a, b]| a + 1 != *b)
            {
                ledger.fault(format!("{}: line {one} is followed by line {other}", guest.name));
            }
            guest.is_anew |= is_new;
            let (Some(first), Some(newest)) = (numbers.first(), numbers.last()) else { continue };
            if let Some((last, when)) = guest.last {
                // What it can have printed meanwhile, where that cannot be seen.
                let unseen = if guest.is_anew {
                    now.duration_since(when).as_millis() / tick.as_millis() + 1
                } else {
                    0
                };
                let is_far = u128::from(*first) > u128::from(last) + 1 + unseen;
                if is_far && guest.form != Form::Flood {
                    ledger.fault(format!("{}: line {last} was the last, then came line {first}", guest.name));
                }
                if *newest < last {
                    ledger.fault(format!("{}: line {last} was there, now the last is {newest}", guest.name));
                }
            }
            (guest.last, guest.is_anew) = (Some((*newest, now)), false);
        }
        Ok(())
    }

    /// Each that has a network device answers on it.
    pub(super) fn check_network(&self) -> Result<(), Failure> {
        let failed = |error| Failure::io("ask", Path::new("a guest on the network"), error);
        let socket = UdpSocket::bind("10.9.0.1:0").map_err(failed)?;
        socket.set_read_timeout(Some(Duration::from_millis(200))).map_err(failed)?;
        for (number, guest) in self.guests.iter().enumerate().filter(|(_, guest)| guest.form == Form::Pong) {
            eventually(&format!("an answer of {}", guest.name), || {
                socket.send_to(guest.name.as_bytes(), (address(number).as_str(), ECHO)).ok()?;
                let mut answer = [0; 256];
                let count = socket.recv(&mut answer).ok()?;
                (answer.get(..count) == Some(guest.name.as_bytes())).then_some(())
            })?;
        }
        Ok(())
    }

    /// Waits until each has printed something after what was last read of it.
    pub(super) fn check_alive(&self, socket: &Path) -> Result<(), Failure> {
        for guest in self.guests.iter().filter(|guest| guest.form != Form::Pong) {
            let last = guest.last.map_or(0, |(last, _)| last);
            eventually(&format!("another line of {}", guest.name), || {
                let line = console::lines(socket, &guest.name, 1).ok()?.pop()?;
                let number: u64 = line.split(' ').nth(1)?.parse().ok()?;
                (number > last).then_some(())
            })?;
        }
        Ok(())
    }

    /// Destroys them and their block devices.
    pub(super) fn destroy(&self, host: &Host) -> Result<(), Failure> {
        for (number, guest) in self.guests.iter().enumerate() {
            ask(host, &guest.name, Command::Unikernel(UnikernelCommand::Destroy))?;
            if guest.form == Form::Disk {
                let disk = format!("{PATH}:disk{number}-data");
                ask(host, &disk, Command::Block(BlockCommand::Remove))?;
            }
        }
        Ok(())
    }
}

fn address(number: usize) -> String {
    format!("10.9.{}.{}", 1 + number / 250, 1 + number % 250)
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn int(number: usize) -> Int {
    Int::try_from(number).unwrap_or(Int::ZERO)
}

fn ask(host: &Host, name: &str, command: Command<'_>) -> Result<(), Failure> {
    let answer = local(&host.socket("vmmd"), name, command);
    answer.map(drop).map_err(|what| Failure::Unexpected {
        command: format!("a command on {name}"),
        what: what.to_string(),
    })
}

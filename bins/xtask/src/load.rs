//! The whole under load: one host with all daemons, many guests, clients of the endpoint that keep coming, and watchers
//! of everything; then each daemon is killed in turn under that load, and nothing that was acknowledged may be lost.
//!
//! All of it is in a network namespace of its own. What is asked and watched is in [`client`], [`admin`] and [`watch`],
//! the guests that stay are in [`fleet`], and what counts as a fault is in [`ledger`]: a failure of anything that does
//! not need the daemon that is away.

mod admin;
mod client;
mod fleet;
mod house;
mod ledger;
mod network;
mod report;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::eventlog::Log;
use albatross_e2e::run::run as run_program;
use albatross_e2e::{Failure, Profile, Programs, eventually, processes};
use albatross_proto::log::Event;
use nix::unistd::geteuid;

use crate::measure::as_delivered;
use admin::Admin;
use client::Client;
use fleet::Fleet;
use house::{House, Which};
use ledger::{Ledger, lock};
use network::Network;
use report::{Seen, say};
use watch::Watch;

/// How many clients keep coming.
const CLIENTS: usize = 8;
/// How often a guest prints.
const TICK: Duration = Duration::from_secs(1);
/// How often memory is sampled.
const SAMPLE: Duration = Duration::from_secs(1);
/// How often all consoles are read under load: long before any console has dropped what was not read.
const AUDIT: Duration = Duration::from_secs(60);
/// How many consoles are followed.
const FOLLOWED: usize = 8;
/// What each client gets done after a daemon is back, before the next one is killed.
const SETTLED: usize = 3;
/// Memory of the policy by which it is seen that the event log is back: beyond those of the administrator.
const MARK: u32 = 1_000_000;

/// How much of it.
pub(crate) struct Plan {
    guests: usize,
    clients: usize,
    work: Work,
    seed: u64,
    tick: Duration,
    sample: Duration,
}

/// When the load has lasted long enough.
enum Work {
    Time(Duration),
    /// So many commands of clients.
    Commands(usize),
}

/// What is asked for on the command line.
pub(crate) struct Wanted {
    pub(crate) minutes: u64,
    pub(crate) commands: Option<usize>,
    pub(crate) guests: usize,
    pub(crate) seed: u64,
    pub(crate) debug: bool,
}

/// Runs it.
pub(crate) fn run(wanted: &Wanted) -> Result<(), Failure> {
    let Wanted { minutes, commands, guests, seed, debug } = *wanted;
    if !can_run() {
        return Err(unexpected("make a network of its own: run it as root, where there is /dev/net/tun"));
    }
    if cfg!(debug_assertions) && !debug {
        let [minutes, guests, seed] = [minutes.to_string(), guests.to_string(), seed.to_string()];
        let commands = commands.map(|count| format!("--commands={count}"));
        let mut arguments = vec!["load", "--minutes", &minutes, "--guests", &guests, "--seed", &seed];
        arguments.extend(commands.as_deref());
        return as_delivered(&arguments);
    }
    let programs = Programs::build(if debug { Profile::Dev } else { Profile::Release }, false)?;
    let work = commands.map_or_else(|| Work::Time(Duration::from_secs(60 * minutes)), Work::Commands);
    let plan = Plan { guests, clients: CLIENTS, work, seed, tick: TICK, sample: SAMPLE };
    run_plan(&plan, &programs)
}

/// Whether this process may make a network and taps.
fn can_run() -> bool {
    geteuid().is_root() && Path::new("/dev/net/tun").exists()
}

/// Does it all, and fails where a rule is broken.
fn run_plan(plan: &Plan, programs: &Programs) -> Result<(), Failure> {
    let network = Network::new()?;
    let result = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            network.enter()?;
            in_network(plan, programs)
        });
        inside.join().unwrap_or_else(|_| Err(unexpected("one of its threads panicked, see above")))
    });
    let is_removed = network.remove();
    let mut faults = result?;
    if !is_removed {
        faults.push("the network namespace is left behind".to_owned());
    }
    if faults.is_empty() {
        say("\nall rules hold");
        return Ok(());
    }
    Err(unexpected(&format!("rules are broken:\n  {}", faults.join("\n  "))))
}

/// The same in the network; returns what is wrong.
fn in_network(plan: &Plan, programs: &Programs) -> Result<Vec<String>, Failure> {
    let (listener, database) = watch::listen()?;
    let mut house = House::new(programs, database.to_string())?;
    let directory = house.host.tmpdir();
    let (fleet, created) = Fleet::new(&house.host, plan.guests, plan.tick)?;
    let clients: Result<Vec<Client>, Failure> =
        (0..=plan.clients).map(|number| Client::new(&house.host, &house.pki, number, plan.seed)).collect();
    let (ledger, admin) = (Ledger::new(plan.clients), Admin::new(house.host.socket("vmmd")));
    let watch = Watch::new(&house.host, fleet.names().map(str::to_owned).collect());
    let seen = Seen::default();
    let mut test =
        Test { plan, house: &mut house, ledger: &ledger, watch: &watch, admin: &admin, fleet, seen };
    test.head(&created);
    let result = test.run(clients?, &listener, database);
    let seen = test.seen;
    drop(house);
    if let Err(failure) = result {
        // What was wrong before may be why.
        let (_, faults) = ledger.faults();
        return Err(unexpected(&[faults, vec![failure.to_string()]].concat().join("\n")));
    }
    let left = processes::mentioning(&directory.to_string_lossy());
    if !left.is_empty() {
        ledger.fault(format!("processes are left behind: {left:?}"));
    }
    if directory.exists() {
        ledger.fault(format!("{} is left behind", directory.display()));
    }
    Ok(report::verdict(&ledger, &watch, &seen))
}

/// What it runs on and with.
struct Test<'a> {
    plan: &'a Plan,
    house: &'a mut House,
    ledger: &'a Ledger,
    watch: &'a Watch,
    admin: &'a Admin,
    fleet: Fleet,
    seen: Seen,
}

impl Test<'_> {
    fn head(&self, created: &[Duration]) {
        let Plan { guests, clients, seed, .. } = self.plan;
        say(&format!(
            "{guests} guests, of which one floods its console, {} have a network device and {} a block device; \
             {clients} clients, seed {seed}",
            self.fleet.on_network(),
            self.fleet.with_blocks()
        ));
        report::head();
        report::line("create of those, local", created);
    }

    /// All of it, with everybody who works and watches.
    fn run(
        &mut self,
        clients: Vec<Client>,
        listener: &TcpListener,
        database: SocketAddr,
    ) -> Result<(), Failure> {
        let (ledger, watch) = (self.ledger, self.watch);
        let followed = self.fleet.ticking(FOLLOWED);
        let clients = thread::scope(|scope| {
            scope.spawn(|| watch.log(ledger));
            scope.spawn(|| watch.statistics(ledger));
            scope.spawn(|| watch.metrics(ledger));
            scope.spawn(|| watch.database(listener, ledger));
            for name in &followed {
                scope.spawn(|| watch.console(name, ledger));
            }
            let result = self.work(clients).and_then(|clients| self.check().map(|()| clients));
            ledger.end_all();
            watch.end();
            watch::wake(database);
            result
        })?;
        self.end(&clients)
    }

    /// The load and the kills, with everybody who works; returns the clients when they have ended.
    fn work(&mut self, mut clients: Vec<Client>) -> Result<Vec<Client>, Failure> {
        let (ledger, admin, watch) = (self.ledger, self.admin, self.watch);
        eventually("statistics of all guests", || watch.is_all_seen().then_some(()))?;
        eventually("metrics of all guests", || watch.is_all_scraped().then_some(()))?;
        let mut prober = clients.pop().ok_or_else(|| unexpected("there is no client"))?;
        thread::scope(|scope| {
            scope.spawn(|| admin.work(ledger));
            for client in &mut clients {
                scope.spawn(|| client.work(ledger));
            }
            let killed = self
                .load()
                .and_then(|()| Which::ALL.into_iter().try_for_each(|which| self.kill(which, &mut prober)));
            prober.leave(ledger);
            ledger.end_work();
            killed
        })?;
        clients.push(prober);
        Ok(clients)
    }

    /// The load, while memory is sampled and consoles are read.
    fn load(&mut self) -> Result<(), Failure> {
        let begin = Instant::now();
        let before: BTreeMap<Which, Duration> = self.house.processor().collect();
        let mut audited = begin;
        loop {
            let done: usize = self.ledger.done().into_iter().sum();
            let is_enough = match self.plan.work {
                Work::Time(time) => begin.elapsed() >= time,
                Work::Commands(count) => done >= count,
            };
            if is_enough {
                break;
            }
            for (which, resident) in self.house.resident() {
                self.seen.memory.entry(which).or_default().push(resident);
            }
            if audited.elapsed() >= AUDIT {
                audited = Instant::now();
                self.audit(false)?;
            }
            let ended = self.house.ended();
            if !ended.is_empty() {
                return Err(unexpected(&ended.join("\n")));
            }
            thread::sleep(self.plan.sample);
        }
        for (which, processor) in self.house.processor() {
            let before = before.get(&which).copied().unwrap_or_default();
            self.seen.processor.insert(which, processor.saturating_sub(before));
        }
        self.seen.load = begin.elapsed();
        self.seen.history = report::history(self.fleet.len(), self.plan.tick, self.seen.load);
        self.house.errors().into_iter().for_each(|error| self.ledger.fault(error));
        self.audit(false)
    }

    /// Each guest runs where it was started, its console is whole, policies and block devices are as acknowledged.
    fn audit(&mut self, is_new: bool) -> Result<(), Failure> {
        self.admin.check(self.ledger)?;
        self.fleet.check_processes(&self.house.host, self.ledger)?;
        self.fleet.check_consoles(&self.house.host.socket("console"), is_new, self.ledger)
    }

    /// Kills a daemon, and waits until everybody is served again.
    fn kill(&mut self, which: Which, prober: &mut Client) -> Result<(), Failure> {
        let (ledger, watch) = (self.ledger, self.watch);
        watch.forget();
        let lines = watch.lines.load(Ordering::Relaxed);
        ledger.open_window(which);
        self.house.kill(which)?;
        let marked = (which == Which::Log).then(|| {
            let name = format!("{}:mark:", admin::PATH);
            let words = self.admin.change_policy(&name, MARK, ledger);
            (name, words)
        });
        let served = |what: &str| format!("{what}, after {} was killed", which.program());
        eventually(&served("clients"), || prober.try_all(ledger).then_some(()))?;
        eventually(&served("statistics of all guests"), || watch.is_all_seen().then_some(()))?;
        eventually(&served("metrics of all guests"), || watch.is_all_scraped().then_some(()))?;
        eventually(&served("lines for the database"), || {
            (watch.lines.load(Ordering::Relaxed) > lines + self.fleet.len()).then_some(())
        })?;
        if let Some(mark) = marked {
            eventually(&served("an event"), || lock(&watch.events).contains(&mark).then_some(()))?;
        }
        self.seen.away.insert(which, ledger.close_window());
        self.admin.check(ledger)?;
        let before = ledger.done();
        eventually(&served("every client"), || {
            let now = ledger.done();
            now.iter().zip(&before).all(|(now, before)| *now >= before + SETTLED).then_some(())
        })?;
        self.audit(which == Which::Console)
    }

    /// All that was acknowledged is there; nobody works any more.
    fn check(&mut self) -> Result<(), Failure> {
        self.fleet.check_network()?;
        self.fleet.check_alive(&self.house.host.socket("console"))?;
        self.audit(false)?;
        let acknowledged = self.ledger.acknowledged();
        let of_admin = || acknowledged.keys().filter(|(name, _)| name.starts_with(admin::PATH));
        let missing =
            |seen: &BTreeSet<(String, String)>| of_admin().find(|event| !seen.contains(event)).cloned();
        let all = eventually("all events at who follows the log", || {
            missing(&lock(&self.watch.events)).is_none().then_some(())
        });
        if all.is_err() {
            let missing = missing(&lock(&self.watch.events));
            self.ledger.fault(format!("who follows the event log did not see {missing:?}"));
        }
        self.check_log(&acknowledged)
    }

    /// The chain of the event log is whole, and has every command that was acknowledged.
    fn check_log(&self, acknowledged: &BTreeMap<(String, String), usize>) -> Result<(), Failure> {
        let host = &self.house.host;
        let path = host.event_log();
        let mut verify = Command::new(host.programs().path(Which::Log.program()));
        run_program(verify.arg("--verify").arg(&path))?.expect(0, "last link")?;
        let octets = fs::read(&path).map_err(|error| Failure::io("read", &path, error))?;
        let log = Log::read(&octets).map_err(|error| unexpected(&format!("the event log: {error}")))?;
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for record in &log.records {
            if let Event::Command { command, failure: None } = &record.entry.event {
                *counts.entry((record.name.to_string(), command.to_string())).or_default() += 1;
            }
        }
        for (event, count) in acknowledged {
            let logged = counts.get(event).copied().unwrap_or(0);
            if logged < *count {
                let (name, words) = event;
                self.ledger
                    .fault(format!("{name}: {words}: acknowledged {count} times, {logged} times in the log"));
            }
        }
        let commands: usize = acknowledged.values().sum();
        say(&format!(
            "\n  event log: {} records, {} MiB, verified; {commands} commands were acknowledged",
            log.records.len(),
            octets.len() >> 20
        ));
        Ok(())
    }

    /// Removes everything, ends all daemons, and looks whether anything is left.
    fn end(&mut self, clients: &[Client]) -> Result<(), Failure> {
        let host = &self.house.host;
        self.fleet.destroy(host)?;
        let refused = |why: admin::Trouble| unexpected(&why.to_string());
        clients.iter().try_for_each(|client| client.remove(host)).map_err(refused)?;
        self.admin.remove().map_err(refused)?;
        let left = (
            host.tenders(),
            host.left_behind(),
            network::taps()?,
            processes::names_in(&host.dbdir().join("block")),
        );
        if left != (Vec::new(), Vec::new(), 0, Vec::new()) {
            self.ledger.fault(format!("tenders, files, taps and block devices are left behind: {left:?}"));
        }
        let panics = self.house.errors().into_iter().filter(|line| line.contains("panicked"));
        panics.for_each(|line| self.ledger.fault(line));
        self.house.end()
    }
}

fn unexpected(what: &str) -> Failure {
    Failure::Unexpected { command: "cargo xtask load".to_owned(), what: what.to_owned() }
}

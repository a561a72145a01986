//! A unikernel on record and what it is doing.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use albatross_proto::reply::{Exit, Info, InfoBlock, InfoNet, State as StatusState, Status};
use albatross_proto::state::Stage;
use albatross_proto::{Arguments, BlockDevice, Int, MacAddress, Name, NetDevice, Text, Time, Typ};

use super::create::Prepared;
use super::{Argument, Config, Group, Opened, Reach, Requester, Spawn};
use crate::image::{Image, Target};
use crate::mac;
use crate::restart::Backoff;

/// The sector size that is shown where the configuration gives none.
const SECTOR_SIZE: i32 = 512;
/// The place in the order of starts where the configuration gives none.
const STARTUP: i32 = 50;

/// A unikernel on record.
#[derive(Debug)]
pub(super) struct Unikernel {
    pub(super) typ: Typ,
    pub(super) arguments: Arguments,
    /// Those on record, while it is started with others for the first time: it goes back to them if that fails
    /// before the others are on record.
    pub(super) recorded: Option<Box<Arguments>>,
    /// SHA-256 of the image.
    pub(super) digest: [u8; 32],
    /// What the image says about itself; not known before it is loaded after a restart of the daemon.
    pub(super) image: Option<Rc<Image>>,
    /// Whether the resources it takes are accounted. They are not if they were refused at startup.
    pub(super) admitted: bool,
    pub(super) state: State,
    /// Since when it is in this state.
    pub(super) since: Time,
    /// Starts since it was created, without the first.
    pub(super) restarts: u32,
    pub(super) last_exit: Option<Exit>,
    pub(super) backoff: Backoff,
}

#[derive(Debug)]
pub(super) enum State {
    Starting(Box<Start>),
    Running(Running),
    Waiting { until: Duration, until_wall: Time, why: Option<String> },
}

/// How far a start has come, and what it holds.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) step: Step,
    pub(super) cause: Cause,
    pub(super) tender: Option<PathBuf>,
    pub(super) taps: Vec<String>,
    pub(super) placed: bool,
    pub(super) fifo: bool,
    /// The time that is noted as that of the start.
    pub(super) noted: Option<Time>,
    /// The user id that it is to run under.
    pub(super) user: Option<u32>,
    /// When the console daemon's answer is given up; `None` while none is awaited.
    pub(super) console_deadline: Option<Duration>,
    /// It is not to be started after all.
    pub(super) cancelled: Option<Cancelled>,
}

/// The task that is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is on a bridge that was not there.
    LookAtHost,
    InspectImage,
    FindTender,
    PlaceImage,
    MakeFifo,
    Console,
    /// The tap of the network device of this index.
    Tap(usize),
    Persist,
    Spawn,
}

/// Why it is started.
#[derive(Debug)]
pub(super) enum Cause {
    /// It is new.
    Create(Requester),
    /// It was asked for, in place of what ran.
    Restart(Requester),
    /// It ended, or the daemon was started.
    Again,
}

#[derive(Debug)]
pub(super) enum Cancelled {
    /// It was destroyed meanwhile, by these.
    Destroyed(Vec<Requester>),
    /// The daemon ends; the record stays.
    Shutdown,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) taps: Vec<String>,
    pub(super) blocks: Vec<Name>,
    /// The user id that it runs under.
    pub(super) user: Option<u32>,
    /// Those of its block devices that are held for it besides those of its configuration: it was taken over, and
    /// they are not the same.
    pub(super) held: Vec<Name>,
    /// It was asked to end, and what comes then.
    pub(super) stop: Option<AfterStop>,
    /// When it is killed, once it was asked to end.
    pub(super) kill_at: Option<Duration>,
}

#[derive(Debug)]
pub(super) enum AfterStop {
    Destroy(Vec<Requester>),
    Restart(Requester, Option<Box<Arguments>>),
    Replace(Box<Prepared>),
    /// It is started again: a predecessor had asked it to end.
    Again,
    /// The daemon ends; the record stays.
    Shutdown,
}

impl Start {
    pub(super) const fn new(step: Step, cause: Cause) -> Self {
        Self {
            step,
            cause,
            tender: None,
            taps: Vec::new(),
            placed: false,
            fifo: false,
            noted: None,
            user: None,
            console_deadline: None,
            cancelled: None,
        }
    }
}

impl Unikernel {
    pub(super) fn startup(&self) -> Int {
        self.arguments.startup.unwrap_or_else(|| Int::from(STARTUP))
    }

    pub(super) const fn running(&self) -> Option<&Running> {
        if let State::Running(running) = &self.state { Some(running) } else { None }
    }

    /// The arguments that the record is to have: new ones from when they are written for their own sake.
    pub(super) fn to_record(&self) -> &Arguments {
        match (&self.state, &self.recorded) {
            (State::Starting(start), _) if start.step == Step::Persist => &self.arguments,
            (_, Some(recorded)) => recorded,
            (_, None) => &self.arguments,
        }
    }

    /// Whether it has a fifo, which is to be read.
    pub(super) fn has_fifo(&self) -> bool {
        match &self.state {
            State::Starting(start) => start.fifo,
            State::Running(_) => true,
            State::Waiting { .. } => false,
        }
    }

    pub(super) fn waits_for_console(&self) -> bool {
        matches!(&self.state, State::Starting(start) if start.step == Step::Console)
    }

    /// How to start it with what was made ready. `None` where the configuration has a cpu that is no
    /// number of one; admission against the root policy excludes that.
    pub(super) fn spawn(
        &self,
        config: &Config,
        name: &Name,
        start: &Start,
        group: Option<Group>,
        now: Time,
    ) -> Option<Spawn> {
        let cpus = self.arguments.cpuids.iter().map(|id| usize::try_from(id.get()));
        let blocks: Vec<Name> = self.blocks(name).map(|(_, block)| block).collect();
        Some(Spawn {
            tender: start.tender.clone()?,
            arguments: self.tender_arguments(config, name, &start.taps),
            cpus: cpus.collect::<Result<_, _>>().ok()?,
            fifo: config.fifo(name),
            user: start.user,
            group,
            reach: self.reach(config, name),
            note: Box::new(self.note(config, name, (&start.taps, &blocks, start.user), now, Stage::Starting)),
        })
    }

    /// What the arguments of its tender make that open.
    fn reach(&self, config: &Config, name: &Name) -> Reach {
        Reach {
            image: config.image(name),
            blocks: self.blocks(name).map(|(_, block)| config.block(&block)).collect(),
            taps: !self.arguments.net_devices.is_empty(),
            virtual_machines: self.image.as_ref().is_some_and(|image| image.target == Target::Hvt),
            memory: u64::try_from(self.arguments.memory.get()).unwrap_or_default(),
        }
    }

    /// Its block devices, each with its name on the host.
    pub(super) fn blocks<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = (&'a BlockDevice, Name)> {
        // A host device that is no label was refused with the admission: there is no such device.
        self.arguments.block_devices.iter().filter_map(|device| {
            let label = device.host_device().as_str()?.parse().ok()?;
            Some((device, Name::new(name.path().clone(), Some(label))))
        })
    }

    /// The command line of the tender without its name: all of one option before the next.
    fn tender_arguments(&self, config: &Config, name: &Name, taps: &[String]) -> Vec<Argument> {
        let of = |parts: &[&[u8]]| Argument::Octets(parts.concat());
        let opens = |parts: &[&[u8]], what| Argument::Opens { option: parts.concat(), what };
        let nets = || self.arguments.net_devices.iter();
        let mut line = vec![of(&[b"--mem=", self.arguments.memory.to_string().as_bytes()])];
        line.extend(
            nets()
                .zip(taps)
                .map(|(net, tap)| opens(&[b"--net:", net.name.as_bytes(), b"="], Opened::Tap(tap.clone()))),
        );
        line.extend(nets().map(|net| {
            let mac = derived_mac(name, net).to_string();
            of(&[b"--net-mac:", net.name.as_bytes(), b"=", mac.as_bytes()])
        }));
        line.extend(self.blocks(name).map(|(device, block)| {
            opens(&[b"--block:", device.name.as_bytes(), b"="], Opened::Block(config.block(&block)))
        }));
        line.extend(self.arguments.block_devices.iter().filter_map(|device| {
            let size = device.sector_size?.to_string();
            Some(of(&[b"--block-sector-size:", device.name.as_bytes(), b"=", size.as_bytes()]))
        }));
        line.push(of(&[b"--"]));
        line.push(Argument::Octets(config.image(name).into_os_string().into_encoded_bytes()));
        if self.arguments.add_name {
            let shown = match name.label() {
                Some(label) if config.drop_path => label.to_string(),
                _ => name.to_string(),
            };
            line.push(of(&[b"--name=", shown.as_bytes()]));
        }
        line.extend(self.arguments.argv.iter().flatten().map(|argument| of(&[argument.as_bytes()])));
        line
    }

    /// What `info` tells of it while it runs.
    pub(super) fn info(&self, name: &Name) -> Info {
        let blocks = self.arguments.block_devices.iter().map(|block| InfoBlock {
            unikernel_device: block.name.clone(),
            host_device: block.host_device().clone(),
            sector_size: block.sector_size.unwrap_or_else(|| Int::from(SECTOR_SIZE)),
            size: Int::ZERO,
        });
        let nets = self.arguments.net_devices.iter().map(|net| InfoNet {
            unikernel_device: net.name.clone(),
            host_device: net.host_bridge().clone(),
            mac: derived_mac(name, net),
        });
        Info {
            typ: self.typ,
            startup: self.arguments.startup,
            fail_behaviour: self.arguments.fail_behaviour.clone(),
            cpuids: self.arguments.cpuids.clone(),
            memory: self.arguments.memory,
            digest: Text::from(self.digest.as_slice()),
            block_devices: blocks.collect(),
            net_devices: nets.collect(),
            argv: self.arguments.argv.clone(),
            started: self.since,
            cpus: self.arguments.cpus,
            linux_boot_partition: self.arguments.linux_boot_partition.clone(),
        }
    }

    /// What `status` tells of it.
    pub(super) fn status(&self) -> Status {
        let state = match &self.state {
            State::Starting(_) => StatusState::Starting,
            State::Running(_) => StatusState::Running,
            State::Waiting { why: Some(why), .. } => StatusState::Failed(Text::from(why.as_str())),
            State::Waiting { until_wall, .. } => StatusState::Waiting(*until_wall),
        };
        Status {
            state,
            since: self.since,
            restarts: Int::from(self.restarts),
            pid: self.running().map(|running| Int::from(running.pid)),
            last_exit: self.last_exit,
        }
    }
}

/// The address of a network device: the one configured, or the one that follows from the names.
fn derived_mac(name: &Name, net: &NetDevice) -> MacAddress {
    net.mac.unwrap_or_else(|| mac::derive(&net.name, name))
}

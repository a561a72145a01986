//! The machine of albatrossd, whose tasks are answered at once.

use std::collections::VecDeque;
use std::time::Duration;

use albatross_core::image::{digest, inspect};
use albatross_core::machine::{ClientId, Now};
use albatross_core::resources::Overcommit;
use albatross_core::vmmd::{Config, ImageSource, Input, Left, Outcome, Output, Task, Vmmd};
use albatross_proto::reply::Exit;
use albatross_proto::state::Record;
use albatross_proto::{
    Arguments, Command, Config as UnikernelConfig, Header, Int, NetDevice, Payload, Policy, Success, Time,
    Typ, UnikernelCommand, Wire,
};

use crate::Work;

const IMAGE: &[u8] = include_bytes!("../../../testdata/images/spt-net-service.elf");

/// How many run beside.
const OTHERS: u32 = 8;

/// The machine and a host that does whatever it is asked for.
struct Host {
    vmmd: Vmmd,
    next_client: usize,
    next_process: u32,
    /// The last reply.
    reply: Option<Vec<u8>>,
}

impl Host {
    /// A host with so many that run.
    fn with(others: u32) -> Self {
        let config = Config {
            tmpdir: "/run/albatross".into(),
            dbdir: "/var/lib/albatross".into(),
            drop_path: true,
            overcommit: Overcommit::default(),
        };
        let mut host = Self { vmmd: Vmmd::new(config), next_client: 0, next_process: 100, reply: None };
        let (record, left) = (Record::default(), Left::default());
        host.input(Input::Begin { host: policy(), record, seed: [3; 32], left });
        for other in 0..others {
            host.try_out(&message(&format!("foo:other{other}"), create()));
        }
        host
    }

    /// Asks, and makes sure that it is not a refusal of which the work is measured.
    fn try_out(&mut self, message: &[u8]) {
        self.ask(message);
        let reply = self.reply.take().unwrap_or_default();
        let payload = Wire::decode(&reply).unwrap().payload;
        assert!(matches!(payload, Payload::Success(_)), "{payload:?}");
    }

    /// Has a client ask this on a connection of its own.
    fn ask(&mut self, message: &[u8]) {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.reply = None;
        self.input(Input::Connected(client));
        self.input(Input::Frame(client, message.to_vec()));
        self.input(Input::Closed(client));
        assert!(self.reply.is_some(), "answered");
    }

    fn input(&mut self, input: Input) {
        let now = Now {
            monotonic: Duration::from_secs(1),
            wall: Time::from_unix(1_700_000_000, 0).unwrap_or_default(),
        };
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.vmmd.handle(now, input) {
                inputs.extend(self.carry_out(output));
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Task(id, task) => Some(Input::Done(id, Ok(self.task(task)))),
            Output::ConnectConsole => Some(Input::ConsoleConnected),
            Output::ConnectLog => Some(Input::LogConnected),
            Output::SendConsole(message) => Some(Input::ConsoleFrame(done(&message))),
            Output::SendLog(message) => Some(Input::LogFrame(done(&message))),
            Output::Kill(pid, _) => Some(Input::Exited { pid, exit: Some(Exit::Signalled(Int::from(15))) }),
            Output::Send(_, message) => {
                self.reply = Some(message);
                None
            }
            _ => None,
        }
    }

    fn task(&mut self, task: Task) -> Outcome {
        match task {
            Task::StoreImage { source: ImageSource::Octets(image), .. } => {
                Outcome::Stored { digest: digest(&image), image: inspect(&image).unwrap() }
            }
            Task::LookAtHost => Outcome::Host(policy()),
            Task::FindTender { .. } => Outcome::Tender("/usr/bin/solo5-spt".into()),
            Task::MakeTap { .. } => Outcome::Tap("vmmtap0".to_owned()),
            Task::Spawn(_) => {
                self.next_process += 1;
                Outcome::Process(self.next_process)
            }
            Task::StoreImage { .. } | Task::InspectImage { .. } => panic!("the image is in the message"),
            _ => Outcome::Done,
        }
    }
}

fn policy() -> Policy {
    Policy {
        cpuids: [0, 1].map(Int::from).into(),
        unikernels: Int::MAX,
        memory: Int::from(4096),
        block: Some(Int::from(1000)),
        bridges: ["service".into()].into(),
    }
}

fn create() -> Command<'static> {
    let net = NetDevice { name: "service".into(), bridge: None, mac: None };
    let arguments = Arguments { net_devices: vec![net], ..Arguments::new() };
    let config = UnikernelConfig { typ: Typ::Solo5, compressed: false, image: IMAGE.into(), arguments };
    Command::Unikernel(UnikernelCommand::Create(config))
}

fn message(name: &str, command: Command<'_>) -> Vec<u8> {
    Wire::new(Header::new(0, name.parse().unwrap()), Payload::Command(command)).encode().unwrap()
}

/// What the other daemons say to everything.
fn done(message: &[u8]) -> Vec<u8> {
    let Wire { header, .. } = Wire::decode(message).unwrap();
    Wire::new(header, Payload::Success(Success::Empty)).encode().unwrap()
}

/// A client connects, asks for all, and leaves.
pub(crate) fn info() -> Work {
    let mut host = Host::with(OTHERS);
    let message = message(":", Command::Unikernel(UnikernelCommand::Info));
    host.try_out(&message);
    Box::new(move || host.ask(&message))
}

/// A unikernel is created beside others and destroyed: two commands, with the event log and the record.
pub(crate) fn create_destroy() -> Work {
    let mut host = Host::with(OTHERS);
    let create = message("foo:one", create());
    let destroy = message("foo:one", Command::Unikernel(UnikernelCommand::Destroy));
    host.try_out(&create);
    host.try_out(&destroy);
    Box::new(move || {
        host.ask(&create);
        host.ask(&destroy);
    })
}

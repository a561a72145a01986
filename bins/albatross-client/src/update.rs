//! `update`: replaces what runs by the latest build of it, which a build server (builder-web) knows by the
//! SHA-256 of its image.

use std::borrow::Cow;
use std::fmt;

use albatross_driver::logging::Logger;
use albatross_proto::reply::Info;
use albatross_proto::{
    Arguments, BlockDevice, Command, Config, Name, NetDevice, Success, Typ, UnikernelCommand,
};

use crate::command::{Request, default_level};
use crate::error::Error;
use crate::exit::Exit;
use crate::http::{HttpError, Server};
use crate::image::{self, MAX_IMAGE};
use crate::options::values::CompressionLevel;
use crate::options::{Destination, Options, Update};
use crate::print::{Printer, hex};
use crate::progress::Progress;
use crate::{ask, query};

/// Answers that are redirects have no body that is read.
const NO_BODY: usize = 0;

/// Why nothing was updated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum UpdateError {
    /// It does not run.
    NotRunning(Name),
    /// Only solo5 unikernels have an image.
    NotSolo5(Name),
    /// The server does not say which build something is.
    NoBuild { url: String, location: Option<String> },
}

impl UpdateError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::NotRunning(_) | Self::NotSolo5(_) => Exit::Usage,
            Self::NoBuild { .. } => Exit::Http,
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(name) => write!(f, "{name} does not run: info shows what does"),
            Self::NotSolo5(name) => write!(f, "{name} is no solo5 unikernel, and has no image to update"),
            Self::NoBuild { url, location: None } => write!(f, "{url} does not say which build it is"),
            Self::NoBuild { url, location: Some(location) } => {
                write!(f, "{url} leads to '{}', which is no build", location.escape_default())
            }
        }
    }
}

impl std::error::Error for UpdateError {}

/// `/job/JOB/build/UUID`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Build {
    job: String,
    uuid: String,
}

impl Build {
    fn parse(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let (job, uuid) = path.strip_prefix("/job/")?.split_once("/build/")?;
        let is_plain = |text: &str| {
            let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~%+".contains(&octet);
            !text.is_empty() && text.bytes().all(plain)
        };
        (is_plain(job) && is_plain(uuid)).then(|| Self { job: job.to_owned(), uuid: uuid.to_owned() })
    }
}

/// Does it.
///
/// # Errors
/// [`Error`]: what runs, the build server, the new image, asking.
pub(crate) fn run(
    it: &Update,
    options: &Options,
    destination: &Destination,
    request: Request,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    let server: Server = it.http_host.parse().map_err(Error::Http)?;
    let name = request.name.clone();
    let answer = query(options, destination, request)?;
    let info = match answer.result {
        Ok(Success::Info(list)) => the_one(list, &name)?,
        Ok(_) => return Err(UpdateError::NotRunning(name).into()),
        Err(text) => {
            printer.failure(&answer.name, &text)?;
            return Ok(Exit::of_failure(&text));
        }
    };
    let mut web = Web { server, progress: Progress::new(options.level()) };
    let running = web.build(&format!("/hash?sha256={}", hex(info.digest.as_bytes())))?;
    let latest = web.build(&format!("/job/{}/build/latest", running.job))?;
    log.info(format_args!("{} is build {}, the latest is {}", running.job, running.uuid, latest.uuid));
    if latest == running {
        printer.note(&answer.name, &format!("already up to date, build {}", running.uuid))?;
        return Ok(Exit::Success);
    }
    let (job, from, to) = (&latest.job, &running.uuid, &latest.uuid);
    if it.dryrun {
        printer.note(&answer.name, &format!("would be updated: {job} from build {from} to {to}"))?;
        return Ok(Exit::Success);
    }
    let image = web.image(&latest)?;
    let arguments = arguments(&info);
    let origin = format!("{}/job/{job}/build/{to}/main-binary", web.server);
    image::check(origin.as_ref(), &image, &arguments)?;
    let level = it.compression_level.unwrap_or_else(|| default_level(destination));
    let config = Config {
        typ: info.typ,
        compressed: level != CompressionLevel::NONE,
        image: Cow::Owned(image::compress(image, level)),
        arguments,
    };
    log.info(format_args!("{job} is updated from build {from} to {to}"));
    let command = Command::Unikernel(UnikernelCommand::ForceCreate(config));
    ask(options, destination, Request { name, command }, None, printer, log)
}

/// What runs under the name.
fn the_one(list: Vec<(Name, Info)>, name: &Name) -> Result<Info, UpdateError> {
    let mut list = list.into_iter();
    match (list.next(), list.next()) {
        (Some((_, info)), None) if info.typ == Typ::Solo5 => Ok(info),
        (Some(_), None) => Err(UpdateError::NotSolo5(name.clone())),
        _ => Err(UpdateError::NotRunning(name.clone())),
    }
}

/// How it was started, as far as that is shown.
fn arguments(info: &Info) -> Arguments {
    let block_devices = info.block_devices.iter().map(|block| BlockDevice {
        name: block.unikernel_device.clone(),
        device: Some(block.host_device.clone()),
        sector_size: Some(block.sector_size),
    });
    let net_devices = info.net_devices.iter().map(|net| NetDevice {
        name: net.unikernel_device.clone(),
        bridge: Some(net.host_device.clone()),
        mac: Some(net.mac),
    });
    Arguments {
        fail_behaviour: info.fail_behaviour.clone(),
        startup: info.startup,
        add_name: true,
        cpuids: info.cpuids.clone(),
        memory: info.memory,
        block_devices: block_devices.collect(),
        net_devices: net_devices.collect(),
        argv: info.argv.clone(),
        cpus: info.cpus,
        linux_boot_partition: info.linux_boot_partition.clone(),
    }
}

/// The build server.
struct Web {
    server: Server,
    progress: Progress,
}

impl Web {
    /// Which build `path` leads to.
    fn build(&mut self, path: &str) -> Result<Build, Error> {
        let url = || format!("{}{path}", self.server);
        let response = self.server.get(path, NO_BODY, &mut self.progress);
        let response = match response {
            // Something else than a redirect, with a body.
            Err(HttpError::TooLong { .. }) => return Err(no_build(url(), None)),
            other => other.map_err(Error::Http)?,
        };
        match response.status {
            300..400 => {
                let build = response.location.as_deref().and_then(Build::parse);
                build.ok_or_else(|| no_build(url(), response.location))
            }
            200 => Err(no_build(url(), None)),
            status => Err(Error::Http(HttpError::Status { url: url(), status })),
        }
    }

    fn image(&mut self, build: &Build) -> Result<Vec<u8>, Error> {
        let path = format!("/job/{}/build/{}/main-binary", build.job, build.uuid);
        let response = self.server.get(&path, MAX_IMAGE, &mut self.progress).map_err(Error::Http)?;
        match response.status {
            200 => Ok(response.body),
            status => Err(Error::Http(HttpError::Status { url: format!("{}{path}", self.server), status })),
        }
    }
}

fn no_build(url: String, location: Option<String>) -> Error {
    UpdateError::NoBuild { url, location }.into()
}

impl From<UpdateError> for Error {
    fn from(error: UpdateError) -> Self {
        Self::Update(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_local_paths() {
        let build = |path: &str| Build::parse(path).map(|build| (build.job, build.uuid));
        let expected = Some(("hello-key".to_owned(), "0a-1b".to_owned()));
        assert_eq!(build("/job/hello-key/build/0a-1b"), expected);
        assert_eq!(build("/job/hello-key/build/0a-1b/"), expected);
        for wrong in [
            "",
            "/",
            "/job//build/1",
            "/job/a/build/",
            "https://elsewhere/job/a/build/1",
            "//elsewhere/job/a/build/1",
            "/job/a/build/1/x",
            "/job/a b/build/1",
            "/job/a/build/1?x",
            "/job/../build/1\r\nX: y",
            "/job/a/b/build/1",
        ] {
            assert_eq!(build(wrong), None, "{wrong}");
        }
    }
}

//! A directory with certificates, made by the client as a user would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::run;
use crate::{Failure, Finished, Programs};

/// The root: its certificate is `cacert.pem`, its key `ca.key`.
pub const ROOT: &str = "ca";

/// A directory with a root, a server's certificate, and what was signed below them.
///
/// An issuer is called by the name of its files: [`ROOT`], or the label of an intermediate.
#[derive(Debug)]
pub struct Pki {
    client: PathBuf,
    directory: PathBuf,
}

impl Pki {
    /// A new root and a server certificate in `directory`.
    ///
    /// # Errors
    /// Where the client cannot make them.
    pub fn generate(programs: &Programs, directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory).map_err(|error| Failure::io("make", directory, error))?;
        let pki = Self { client: programs.path("albatross-client"), directory: directory.to_owned() };
        pki.client(&["generate", ROOT, "ca.db"])?.expect(0, "")?;
        Ok(pki)
    }

    /// An intermediate `label` below `issuer` that may run so many unikernels, with options of add-policy.
    ///
    /// # Errors
    /// Where the client cannot make it.
    pub fn intermediate(
        &self,
        issuer: &str,
        label: &str,
        unikernels: u32,
        options: &[&str],
    ) -> Result<(), Failure> {
        let unikernels = unikernels.to_string();
        let command = [&["--csr", "add-policy", label, &unikernels], options].concat();
        self.client(&command)?.expect(0, "")?;
        self.sign(issuer, label)?.expect(0, "").map(drop)
    }

    /// A leaf `label` below `issuer` that carries a command, for example `["create", "hello", "IMAGE"]`.
    ///
    /// # Errors
    /// Where the client cannot make it.
    pub fn leaf(&self, issuer: &str, label: &str, command: &[&str]) -> Result<(), Failure> {
        self.client(&[&["--csr"], command].concat())?.expect(0, "")?;
        self.sign(issuer, label)?.expect(0, "").map(drop)
    }

    /// Signs the request `NAME.req`.
    ///
    /// # Errors
    /// Where the client does not start or does not end.
    pub fn sign(&self, issuer: &str, name: &str) -> Result<Finished, Failure> {
        let (cacert, db, key) =
            (Self::certificate_name(issuer), format!("{issuer}.db"), format!("{issuer}.key"));
        self.client(&["sign", &cacert, &db, &key, &format!("{name}.req")])
    }

    /// Has the endpoint at `port` do what the leaf `name` carries.
    ///
    /// # Errors
    /// Where the client does not start or does not end.
    pub fn send(&self, port: u16, name: &str) -> Result<Finished, Failure> {
        let destination = format!("127.0.0.1:{port}");
        self.client(&["certificate", &format!("{name}.pem"), &format!("{name}.key"), "-d", &destination])
    }

    /// Runs a command at the endpoint at `port`, with a certificate that `issuer` makes on the spot.
    ///
    /// # Errors
    /// Where the client does not start or does not end.
    pub fn remote(&self, port: u16, issuer: &str, command: &[&str]) -> Result<Finished, Failure> {
        run(&mut self.remote_command(port, issuer, command))
    }

    /// The same, to be run by the caller.
    #[must_use]
    pub fn remote_command(&self, port: u16, issuer: &str, command: &[&str]) -> Command {
        let (ca, key) = (Self::certificate_name(issuer), format!("{issuer}.key"));
        let destination = format!("127.0.0.1:{port}");
        let options = ["-d", &destination, "--ca", &ca, "--ca-key", &key];
        self.client_command(&[&options, command].concat())
    }

    /// Runs the client in this directory.
    ///
    /// # Errors
    /// Where it does not start or does not end.
    pub fn client(&self, arguments: &[&str]) -> Result<Finished, Failure> {
        run(&mut self.client_command(arguments))
    }

    /// The client in this directory.
    #[must_use]
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.args(arguments).current_dir(&self.directory).env("TMPDIR", &self.directory);
        command
    }

    /// A file in this directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The certificate of the root, the certificate of the server, and its key: what the endpoint needs.
    #[must_use]
    pub fn server(&self) -> [PathBuf; 3] {
        ["cacert.pem", "server.pem", "server.key"].map(|name| self.path(name))
    }

    fn certificate_name(issuer: &str) -> String {
        if issuer == ROOT { "cacert.pem".to_owned() } else { format!("{issuer}.pem") }
    }
}

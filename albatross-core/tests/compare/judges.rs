//! Three verifiers: ours, webpki, OpenSSL.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command as Process;
use std::time::Duration;

use albatross_core::certificate::{
    Certificate, MAX_CHAIN, NothingRevoked, PublicKeyAlgorithm, Root, chain_from_der, pem, verify,
};
use albatross_proto::Time;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The most octets of a certificate that webpki reads.
const WEBPKI_SIZE: usize = 64 * 1024;
/// The most intermediates that webpki follows.
const WEBPKI_INTERMEDIATES: usize = 6;
/// Leaves on one command line of openssl.
const AT_ONCE: usize = 200;
/// More than any chain here has.
const SIZE_LIMIT: usize = 64 << 20;

/// Chains with the same root and intermediates, at the same time: OpenSSL is asked about all leaves at once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Surroundings {
    root: Vec<u8>,
    rest: Vec<Vec<u8>>,
    at: Time,
}

/// What the three say about the same chains.
#[derive(Default)]
pub(crate) struct Judges {
    accepted: usize,
    refused: usize,
    webpki_agreed: usize,
    beyond_webpki: usize,
    openssl_agreed: usize,
    /// Accepted here, and OpenSSL is not asked.
    without_openssl: usize,
    /// Refused here and accepted by webpki: here it is narrower.
    narrower: usize,
    for_openssl: BTreeMap<Surroundings, Vec<(Vec<u8>, String)>>,
    /// Accepted here and refused there, which must not be.
    wider: Vec<String>,
}

impl Judges {
    /// Asks about a chain; returns whether it is accepted here.
    pub(crate) fn ask(&mut self, root: &[u8], sent: &[Vec<u8>], at: Time, what: &dyn fmt::Display) -> bool {
        let accepted = self.ask_webpki_alone(root, sent, at, what);
        if accepted {
            self.without_openssl -= 1;
            let surroundings = Surroundings { root: root.to_vec(), rest: sent[1..].to_vec(), at };
            self.for_openssl.entry(surroundings).or_default().push((sent[0].clone(), what.to_string()));
        }
        accepted
    }

    /// The same without OpenSSL, where that is known to be narrower.
    pub(crate) fn ask_webpki_alone(
        &mut self,
        root: &[u8],
        sent: &[Vec<u8>],
        at: Time,
        what: &dyn fmt::Display,
    ) -> bool {
        let ours = accepted_here(root, sent, at);
        let webpki = accepted_by_webpki(root, sent, at);
        if !ours {
            self.refused += 1;
            self.narrower += usize::from(webpki.is_ok());
            return false;
        }
        self.accepted += 1;
        match webpki {
            Ok(()) => self.webpki_agreed += 1,
            Err(_) if is_beyond_webpki(root, sent) => self.beyond_webpki += 1,
            Err(error) => self.wider.push(format!("webpki: {what}: {error:?}")),
        }
        self.without_openssl += 1;
        true
    }

    /// Asks OpenSSL about all that was accepted here, and checks that nothing was refused elsewhere.
    ///
    /// Returns how many were accepted here.
    pub(crate) fn finish(mut self, title: &str) -> usize {
        let has_openssl = Process::new("openssl").arg("version").output().is_ok();
        if has_openssl {
            let folder = tempfile::tempdir().unwrap();
            for (surroundings, leaves) in std::mem::take(&mut self.for_openssl) {
                leaves
                    .chunks(AT_ONCE)
                    .for_each(|leaves| self.ask_openssl(folder.path(), &surroundings, leaves));
            }
        } else {
            println!("skipped: openssl is not installed");
        }
        println!("{title}: {self}");
        assert!(self.wider.is_empty(), "accepted here and refused there:\n{}", self.wider.join("\n"));
        assert!(self.accepted == self.openssl_agreed + self.without_openssl || !has_openssl);
        self.accepted
    }

    fn ask_openssl(&mut self, folder: &Path, around: &Surroundings, leaves: &[(Vec<u8>, String)]) {
        let write = |name: &str, ders: &[Vec<u8>]| {
            let text: String = ders.iter().map(|der| pem::encode(pem::CERTIFICATE, der)).collect();
            std::fs::write(folder.join(name), text).unwrap();
        };
        write("ca", std::slice::from_ref(&around.root));
        write("rest", &around.rest);
        let mut openssl = Process::new("openssl");
        openssl.current_dir(folder).args(["verify", "-purpose", "sslclient", "-CAfile", "ca", "-attime"]);
        openssl.arg(around.at.unix_seconds().to_string());
        if !around.rest.is_empty() {
            openssl.args(["-untrusted", "rest"]);
        }
        for (index, (leaf, _)) in leaves.iter().enumerate() {
            let name = format!("leaf{index}");
            write(&name, std::slice::from_ref(leaf));
            openssl.arg(name);
        }
        let output = openssl.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        for (index, (_, what)) in leaves.iter().enumerate() {
            if said.lines().any(|line| line == format!("leaf{index}: OK")) {
                self.openssl_agreed += 1;
            } else {
                let errors = String::from_utf8_lossy(&output.stderr);
                self.wider.push(format!("OpenSSL: {what}: {errors}"));
            }
        }
    }
}

impl fmt::Display for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused, webpki_agreed, beyond_webpki, openssl_agreed, narrower, .. } = self;
        write!(
            f,
            "{} chains, {accepted} accepted here, of these {webpki_agreed} by webpki ({beyond_webpki} are beyond \
             its limits) and {openssl_agreed} by OpenSSL; {refused} refused here, of these {narrower} accepted by \
             webpki; {} accepted here only",
            accepted + refused,
            self.wider.len()
        )
    }
}

fn accepted_here(root: &[u8], sent: &[Vec<u8>], at: Time) -> bool {
    let Ok(root) = Certificate::from_der(root) else { return false };
    let Ok(root) = Root::new(root) else { return false };
    let Ok(chain) = chain_from_der(sent.iter().map(Vec::as_slice), SIZE_LIMIT) else { return false };
    assert!(chain.len() <= MAX_CHAIN);
    verify(&chain, &root, at, &NothingRevoked).is_ok()
}

fn accepted_by_webpki(root: &[u8], sent: &[Vec<u8>], at: Time) -> Result<(), webpki::Error> {
    let root = CertificateDer::from(root);
    let anchors = [anchor_from_trusted_cert(&root)?];
    let sent: Vec<CertificateDer<'_>> = sent.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let [leaf, rest @ ..] = sent.as_slice() else { return Err(webpki::Error::BadDer) };
    let seconds = u64::try_from(at.unix_seconds()).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let usage = KeyUsage::client_auth();
    EndEntityCert::try_from(leaf)?
        .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, rest, at, usage, None, None)
        .map(|_| ())
}

/// Too long or too large for webpki, or with a kind of key that it does not know.
fn is_beyond_webpki(root: &[u8], sent: &[Vec<u8>]) -> bool {
    let is_p521 = |der: &[u8]| {
        let certificate = Certificate::from_der(der).unwrap();
        certificate.public_key().algorithm() == Some(PublicKeyAlgorithm::P521)
    };
    let issuers = || sent.iter().skip(1).map(Vec::as_slice).chain([root]);
    sent.len() > WEBPKI_INTERMEDIATES + 1
        || sent.iter().any(|der| der.len() >= WEBPKI_SIZE)
        || issuers().any(is_p521)
}

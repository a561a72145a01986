//! Chains whose keys and certificates OpenSSL made.

use std::path::Path;
use std::process::Command as Process;

use albatross_core::certificate::Certificate;
use albatross_core::issue::KeyPair;
use albatross_proto::Time;

use crate::make::policy_extension;

/// A chain of OpenSSL's.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) root: Vec<u8>,
    pub(crate) sent: Vec<Vec<u8>>,
    /// An hour after it was made.
    pub(crate) at: Time,
}

/// Kinds of keys and the digest to sign with.
const KINDS: [(&str, &str); 8] = [
    ("ED25519", "-sha256"),
    ("EC -pkeyopt ec_paramgen_curve:P-256", "-sha256"),
    ("EC -pkeyopt ec_paramgen_curve:P-384", "-sha384"),
    ("EC -pkeyopt ec_paramgen_curve:P-521", "-sha512"),
    ("RSA -pkeyopt rsa_keygen_bits:2048", "-sha256"),
    ("RSA -pkeyopt rsa_keygen_bits:2048", "-sha384"),
    ("RSA -pkeyopt rsa_keygen_bits:3072", "-sha512"),
    ("RSA -pkeyopt rsa_keygen_bits:4096", "-sha256"),
];

fn openssl(folder: &Path, arguments: &str) {
    let output = Process::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {arguments}: {errors}");
}

/// A new RSA key of 4096 bits, which takes minutes to make here without optimisation; `None` where there is no
/// openssl.
pub(crate) fn large_key() -> Option<KeyPair> {
    if !is_there() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    openssl(folder.path(), "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out key");
    let text = std::fs::read(folder.path().join("key")).unwrap();
    Some(KeyPair::from_pem(&text, &ring::rand::SystemRandom::new()).unwrap())
}

fn is_there() -> bool {
    let there = Process::new("openssl").arg("version").output().is_ok();
    if !there {
        println!("skipped: openssl is not installed");
    }
    there
}

/// A root, an intermediate with a policy and a leaf for each kind; `None` where there is no openssl.
pub(crate) fn chains() -> Option<Vec<Made>> {
    if !is_there() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    Some(KINDS.iter().map(|(kind, digest)| chain(folder.path(), kind, digest)).collect())
}

fn chain(folder: &Path, kind: &str, digest: &str) -> Made {
    let policy: String = policy_extension().iter().map(|octet| format!("{octet:02x}")).collect();
    let albatross = "1.3.6.1.4.1.49836.42=DER:";
    let ca = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
    let extensions = [
        ("root", ca.to_owned()),
        ("middle", format!("{ca}authorityKeyIdentifier=keyid,issuer\n{albatross}{policy}\n")),
        (
            "leaf",
            format!(
                "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                 extendedKeyUsage=clientAuth\nauthorityKeyIdentifier=keyid\n{albatross}3009020105a304b3020500\n"
            ),
        ),
    ];
    for (name, extensions) in &extensions {
        std::fs::write(folder.join("extensions"), extensions).unwrap();
        openssl(folder, &format!("genpkey -algorithm {kind} -out {name}.key"));
        openssl(folder, &format!("req -new -key {name}.key -subj /CN={name} {digest} -out {name}.req"));
        let issuer = match *name {
            "root" => "-signkey root.key",
            "middle" => "-CA root -CAkey root.key -CAcreateserial",
            _ => "-CA middle -CAkey middle.key -CAcreateserial",
        };
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.req {issuer} {digest} -days 36500 -extfile extensions -out {name}"
            ),
        );
    }
    let read = |name: &str| crate::certificates(&folder.join(name)).remove(0);
    let sent = vec![read("leaf"), read("middle")];
    let made = Certificate::from_der(&sent[0]).unwrap().not_before();
    let at = Time::from_unix(made.unix_seconds() + 3600, 0).unwrap();
    Made { name: format!("{kind} {digest}"), root: read("root"), sent, at }
}

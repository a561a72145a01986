//! The MAC address of a network device that none was given for.
//!
//! The same device of the same unikernel has the same address on every start and every host, and the
//! same as the OCaml implementation gives it. The digest spreads addresses, it protects nothing.

use albatross_proto::{MacAddress, Name, Text};
use md5::{Digest, Md5};

/// The first half of every derived address.
const VENDOR: [u8; 3] = [0x00, 0x80, 0x41];

/// The address of the network device `device` of the unikernel `name`: `00:80:41`, then the first
/// three octets of the MD5 digest of both texts, one after the other.
#[must_use]
pub fn derive(device: &Text, name: &Name) -> MacAddress {
    let mut digest = Md5::new();
    digest.update(device.as_bytes());
    digest.update(name.to_string());
    let [d, e, f, ..]: [u8; 16] = digest.finalize().into();
    let [a, b, c] = VENDOR;
    MacAddress([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_depends_on_device_and_name() {
        let mac = |device: &str, name: &str| derive(&Text::from(device), &name.parse().unwrap()).to_string();
        assert_eq!(mac("service", ":hello"), "00:80:41:cd:8a:eb");
        assert_eq!(mac("service", "hello"), mac("service", ":hello"));
        assert_ne!(mac("service", "foo:hello"), mac("service", ":hello"));
        assert_ne!(mac("net", ":hello"), mac("service", ":hello"));
    }
}

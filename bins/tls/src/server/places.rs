//! How many clients at a time may send a large chain, and how many of one network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::lock;

/// Octets of an IPv6 address that one who has a network of his own cannot choose: the first 64 bits (RFC 4291).
const NETWORK: usize = 8;

/// The places that are taken.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    count: usize,
    most: usize,
    most_of_one: usize,
    /// By each network. Invariant: none is zero, and they are `count` together.
    by: HashMap<Network, usize>,
}

/// Who shares a limit: an IPv4 address, or a network of IPv6. `None` where the connection is not one over the network.
type Network = Option<IpAddr>;

/// The right of one connection to take a place.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    places: Places,
    network: Network,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Claim);

impl Places {
    /// `most` of them, of which one address may have `most_of_one`.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken { count: 0, most, most_of_one, by: HashMap::new() })))
    }

    /// For a client with this address.
    pub(super) fn claim(&self, address: Option<IpAddr>) -> Claim {
        Claim { places: self.clone(), network: address.map(network) }
    }
}

impl Claim {
    /// Whether it could be taken now.
    pub(super) fn is_free(&self) -> bool {
        lock(&self.places.0).is_free(self.network)
    }

    /// Takes one, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        let mut taken = lock(&self.places.0);
        if !taken.is_free(self.network) {
            return None;
        }
        taken.count += 1;
        *taken.by.entry(self.network).or_default() += 1;
        Some(Place(self.clone()))
    }
}

impl Taken {
    fn is_free(&self, network: Network) -> bool {
        self.count < self.most && self.by.get(&network).is_none_or(|count| *count < self.most_of_one)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.0.places.0);
        taken.count = taken.count.saturating_sub(1);
        if let Some(count) = taken.by.get_mut(&self.0.network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by.remove(&self.0.network);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets.iter_mut().skip(NETWORK).for_each(|octet| *octet = 0);
            octets.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(places: &Places, address: &str) -> Claim {
        places.claim(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(2, 2);
        let claim = places.claim(None);
        let first = claim.take().unwrap();
        let second = claim.take().unwrap();
        assert!(!claim.is_free() && claim.take().is_none());
        drop(first);
        assert!(claim.is_free() && claim.take().is_some());
        drop(second);
        assert!(lock(&places.0).by.is_empty());
    }

    #[test]
    fn one_address_leaves_places_for_others() {
        let places = Places::new(4, 2);
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ] {
            let [one, same, other] = [one, same, other].map(|address| claim(&places, address));
            let held = [one.take().unwrap(), same.take().unwrap()];
            assert!(!one.is_free() && one.take().is_none() && !same.is_free());
            let others = [other.take().unwrap(), other.take().unwrap()];
            drop(held);
            assert!(one.is_free() && !other.is_free());
            drop(others);
        }
    }

    #[test]
    fn all_together_have_no_more_than_there_are() {
        let places = Places::new(3, 2);
        let claims = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| claim(&places, address));
        let held: Vec<_> = claims.iter().filter_map(Claim::take).collect();
        assert_eq!(held.len(), 3);
        assert!(claims.iter().all(|claim| !claim.is_free()));
    }
}

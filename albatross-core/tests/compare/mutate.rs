//! Chains changed in one place.

use crate::make::Chain;
use crate::tree::{Body, Node};

/// xorshift64*: the same numbers for the same seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap() % limit
    }

    pub(crate) fn octet(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Flips a bit anywhere.
pub(crate) fn flip(octets: &mut [u8], numbers: &mut Numbers) {
    let at = numbers.below(octets.len());
    octets[at] ^= 1 << numbers.below(8);
}

/// Changes the tree of what is signed in one place: a value is left out, doubled, moved, called otherwise, or
/// has other content. Lengths fit afterwards.
pub(crate) fn change(tbs: &mut Node, numbers: &mut Numbers) {
    let number = numbers.below(tbs.count() - 1);
    let kind = numbers.below(8);
    let (octet, at) = (numbers.octet(), numbers.below(1 << 16));
    let (nodes, index) = tbs.place(number);
    match kind {
        0 => drop(nodes.remove(index)),
        1 => nodes.insert(index, nodes[index].clone()),
        2 => {
            let other = at % nodes.len();
            nodes.swap(index, other);
        }
        3 => nodes[index].tag = octet,
        4 => nodes[index].tag ^= 1 << (octet % 8),
        _ => match &mut nodes[index].body {
            Body::Nodes(nodes) if nodes.is_empty() => nodes.push(Node::octets(0x05, &[])),
            Body::Nodes(nodes) => nodes.reverse(),
            Body::Octets(octets) => {
                let place = at % (octets.len() + 1);
                match octets.get_mut(place) {
                    Some(found) if kind == 5 => *found = octet,
                    Some(_) if kind == 6 => drop(octets.remove(place)),
                    _ => octets.insert(place, octet),
                }
            }
        },
    }
}

/// Every extension of the certificate at `at` left out, doubled, its criticality turned around, its value
/// emptied, put first; and some added.
pub(crate) fn extensions(chain: &Chain, at: usize) -> Vec<(String, Vec<u8>)> {
    let mut tbs = chain.tbs(at);
    let list = tbs.children().iter().position(|field| field.tag == 0xa3).unwrap();
    let extensions = std::mem::take(tbs.children()[list].children()[0].children());
    let mut variants: Vec<(String, Vec<Node>)> = Vec::new();
    for (index, extension) in extensions.iter().enumerate() {
        let mut with = |what: &str, change: &dyn Fn(&mut Vec<Node>)| {
            let mut changed = extensions.clone();
            change(&mut changed);
            variants.push((format!("{what} extension {index}"), changed));
        };
        with("without", &|list| drop(list.remove(index)));
        with("doubled", &|list| list.push(extension.clone()));
        with("critical or not", &|list| turn_around(&mut list[index]));
        with("critical FALSE", &|list| list[index].children().insert(1, Node::octets(0x01, &[0])));
        with("empty", &|list| *list[index].children().last_mut().unwrap() = Node::octets(0x04, &[]));
        with("first", &|list| list.swap(0, index));
    }
    for (what, oid, value) in additions() {
        for critical in [false, true] {
            let mut fields = vec![Node::octets(0x06, oid)];
            if critical {
                fields.push(Node::octets(0x01, &[0xff]));
            }
            fields.push(Node::octets(0x04, &value));
            let mut changed = extensions.clone();
            changed.retain(|extension| extension.clone().children()[0] != fields[0]);
            changed.push(Node::nodes(0x30, fields));
            variants.push((format!("{what}, critical {critical}"), changed));
        }
    }
    let certificate = |changed: Vec<Node>| {
        let mut tbs = tbs.clone();
        *tbs.children()[list].children()[0].children() = changed;
        chain.signed_again(at, &tbs.der())
    };
    variants.into_iter().map(|(what, changed)| (what, certificate(changed))).collect()
}

fn turn_around(extension: &mut Node) {
    let fields = extension.children();
    if fields[1].tag == 0x01 {
        fields.remove(1);
    } else {
        fields.insert(1, Node::octets(0x01, &[0xff]));
    }
}

/// Extensions that the profiles do not have, or with other values than there.
fn additions() -> Vec<(&'static str, &'static [u8], Vec<u8>)> {
    let bits = |octet: u8| vec![0x03, 0x02, 0x00, octet];
    let basic = |content: &[u8]| Node::octets(0x30, content).der();
    let purposes = |last: &[u8]| {
        let oid = |last: &u8| Node::octets(0x06, &[0x2b, 6, 1, 5, 5, 7, 3, *last]);
        Node::nodes(0x30, last.iter().map(oid).collect()).der()
    };
    let any_purpose = Node::nodes(0x30, vec![Node::octets(0x06, &[0x55, 0x1d, 0x25, 0])]).der();
    let dns_name = |text: &[u8]| Node::nodes(0x30, vec![Node::octets(0x82, text)]).der();
    let constraint = |tag| {
        let subtree = Node::nodes(0x30, vec![Node::octets(0x82, b"example.com")]);
        Node::nodes(0x30, vec![Node::nodes(tag, vec![subtree])]).der()
    };
    let basic_constraints: &[u8] = &[0x55, 0x1d, 0x13];
    let key_usage: &[u8] = &[0x55, 0x1d, 0x0f];
    let ext_key_usage: &[u8] = &[0x55, 0x1d, 0x25];
    vec![
        ("no CA", basic_constraints, basic(&[])),
        ("CA FALSE", basic_constraints, basic(&[1, 1, 0])),
        ("a CA", basic_constraints, basic(&[1, 1, 0xff])),
        ("a CA with TRUE 01", basic_constraints, basic(&[1, 1, 1])),
        ("a CA for none below", basic_constraints, basic(&[1, 1, 0xff, 2, 1, 0])),
        ("a CA for one below", basic_constraints, basic(&[1, 1, 0xff, 2, 1, 1])),
        ("a CA for 127 below", basic_constraints, basic(&[1, 1, 0xff, 2, 1, 127])),
        ("a CA for 300 below", basic_constraints, basic(&[1, 1, 0xff, 2, 2, 1, 44])),
        ("a CA for -1 below", basic_constraints, basic(&[1, 1, 0xff, 2, 1, 0xff])),
        ("path length of no CA", basic_constraints, basic(&[2, 1, 0])),
        ("no key usage", key_usage, bits(0)),
        ("digitalSignature alone", key_usage, bits(0x80)),
        ("keyCertSign alone", key_usage, bits(0x04)),
        ("keyEncipherment alone", key_usage, bits(0x20)),
        ("key usage of no bits", key_usage, vec![0x03, 0x01, 0x00]),
        ("key usage with unused bits", key_usage, vec![0x03, 0x02, 0x07, 0x84]),
        ("clientAuth", ext_key_usage, purposes(&[2])),
        ("serverAuth", ext_key_usage, purposes(&[1])),
        ("clientAuth and serverAuth", ext_key_usage, purposes(&[1, 2])),
        ("OCSPSigning", ext_key_usage, purposes(&[9])),
        ("any purpose", ext_key_usage, any_purpose),
        ("no purpose", ext_key_usage, purposes(&[])),
        ("a host name", &[0x55, 0x1d, 0x11], dns_name(b"example.com")),
        ("a host name that is none", &[0x55, 0x1d, 0x11], dns_name(b"\xff..")),
        ("no host name", &[0x55, 0x1d, 0x11], vec![0x30, 0]),
        ("names permitted", &[0x55, 0x1d, 0x1e], constraint(0xa0)),
        ("names excluded", &[0x55, 0x1d, 0x1e], constraint(0xa1)),
        ("names not constrained", &[0x55, 0x1d, 0x1e], vec![0x30, 0]),
        ("a policy", &[0x55, 0x1d, 0x20], vec![0x30, 6, 0x30, 4, 6, 2, 0x2a, 3]),
        ("no policy", &[0x55, 0x1d, 0x20], vec![0x30, 0]),
        ("policies required", &[0x55, 0x1d, 0x24], vec![0x30, 3, 0x80, 1, 0]),
        ("any policy inhibited", &[0x55, 0x1d, 0x36], vec![2, 1, 0]),
        ("another's key identifier", &[0x55, 0x1d, 0x23], vec![0x30, 3, 0x80, 1, 7]),
        ("another key identifier", &[0x55, 0x1d, 0x0e], vec![4, 1, 7]),
        ("a key identifier of nothing", &[0x55, 0x1d, 0x0e], vec![4, 0]),
        ("distribution points", &[0x55, 0x1d, 0x1f], vec![0x30, 0]),
        ("Netscape's type", &[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 1, 1], vec![3, 2, 7, 0x80]),
        (
            "a proxy",
            &[0x2b, 6, 1, 5, 5, 7, 1, 14],
            vec![0x30, 12, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 21, 1],
        ),
        ("addresses", &[0x2b, 6, 1, 5, 5, 7, 1, 7], vec![0x30, 0]),
        ("no check of revocation", &[0x2b, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]),
        ("unknown", &[0x2a, 3, 4], vec![5, 0]),
    ]
}

/// The same certificates in other orders and numbers.
pub(crate) fn orders(chain: &Chain, stranger: &[u8]) -> Vec<(String, Vec<Vec<u8>>)> {
    let sent = chain.sent();
    let mut variants = Vec::new();
    let mut add = |what: String, list: Vec<Vec<u8>>| variants.push((what, list));
    for a in 0..sent.len() {
        let mut dropped = sent.clone();
        dropped.remove(a);
        if !dropped.is_empty() {
            add(format!("without {a}"), dropped);
        }
        for b in a + 1..sent.len() {
            let mut swapped = sent.clone();
            swapped.swap(a, b);
            add(format!("{a} and {b} swapped"), swapped);
        }
        for to in 0..=sent.len() {
            let mut doubled = sent.clone();
            doubled.insert(to, sent[a].clone());
            add(format!("{a} again at {to}"), doubled);
        }
    }
    for to in 0..=sent.len() {
        for (what, der) in [("the root", chain.root()), ("another's root", stranger)] {
            let mut more = sent.clone();
            more.insert(to, der.to_vec());
            add(format!("{what} at {to}"), more);
        }
    }
    if sent.len() > 1 {
        add("reversed".to_owned(), sent.iter().rev().cloned().collect());
    }
    let mut doubled = sent.clone();
    doubled.extend(sent);
    add("twice".to_owned(), doubled);
    variants
}

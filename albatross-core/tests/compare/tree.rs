//! DER as a tree that can be changed anywhere and written again with lengths that fit.

/// A value: its tag octet and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) tag: u8,
    pub(crate) body: Body,
}

/// The content of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Octets(Vec<u8>),
    /// Values; also those inside of an OCTET STRING that holds nothing else.
    Nodes(Vec<Node>),
}

impl Node {
    /// The tree of a value that fills `der`.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let mut nodes = parse_all(der)?;
        if nodes.len() == 1 { nodes.pop() } else { None }
    }

    pub(crate) fn octets(tag: u8, content: &[u8]) -> Self {
        Self { tag, body: Body::Octets(content.to_vec()) }
    }

    pub(crate) fn nodes(tag: u8, nodes: Vec<Self>) -> Self {
        Self { tag, body: Body::Nodes(nodes) }
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let content = match &self.body {
            Body::Octets(octets) => octets.clone(),
            Body::Nodes(nodes) => nodes.iter().flat_map(Self::der).collect(),
        };
        let mut out = vec![self.tag];
        let length = content.len().to_be_bytes();
        let significant = &length[length.iter().take_while(|octet| **octet == 0).count().min(7)..];
        if content.len() >= 128 {
            out.push(0x80 | u8::try_from(significant.len()).unwrap());
        }
        out.extend(significant);
        out.extend(content);
        out
    }

    /// The values in it.
    pub(crate) fn children(&mut self) -> &mut Vec<Self> {
        match &mut self.body {
            Body::Nodes(nodes) => nodes,
            Body::Octets(_) => panic!("a value without values in it"),
        }
    }

    /// How many values there are in it, itself included.
    pub(crate) fn count(&self) -> usize {
        match &self.body {
            Body::Nodes(nodes) => 1 + nodes.iter().map(Self::count).sum::<usize>(),
            Body::Octets(_) => 1,
        }
    }

    /// The list with the value of this number below this one, counted from 0 in depth-first order, and its
    /// place in it.
    pub(crate) fn place(&mut self, mut number: usize) -> (&mut Vec<Self>, usize) {
        let nodes = self.children();
        let mut index = 0;
        while number > 0 {
            let count = nodes[index].count();
            if number < count {
                return nodes[index].place(number - 1);
            }
            number -= count;
            index += 1;
        }
        (nodes, index)
    }
}

fn parse_all(mut der: &[u8]) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    while let [tag, first, rest @ ..] = der {
        let (length, rest) = if *first < 128 {
            (usize::from(*first), rest)
        } else {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if length.len() > 4 {
                return None;
            }
            (length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let holds_values = tag & 0x20 != 0 || (*tag == 0x04 && !content.is_empty());
        let body = match parse_all(content).filter(|_| holds_values) {
            Some(nodes) => Body::Nodes(nodes),
            None => Body::Octets(content.to_vec()),
        };
        nodes.push(Node { tag: *tag, body });
        der = rest;
    }
    if der.is_empty() { Some(nodes) } else { None }
}

#[test]
fn trees_become_what_they_were() {
    let der = [0x30, 0x08, 0x02, 0x01, 0x05, 0x04, 0x03, 0x02, 0x01, 0x07];
    let mut tree = Node::parse(&der).unwrap();
    assert_eq!(tree.der(), der);
    assert_eq!(tree.count(), 4);
    let (nodes, index) = tree.place(2);
    assert_eq!(nodes[index], Node::octets(0x02, &[7]));
    for length in [127, 128, 255, 256, 65536] {
        let node = Node::octets(0x0c, &vec![b'a'; length]);
        assert_eq!(Node::parse(&node.der()), Some(node));
    }
}

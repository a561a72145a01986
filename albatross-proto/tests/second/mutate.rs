//! Changes to messages, all of them following from a seed: some to the octets, most to the values, with
//! the lengths around them put right again, so that they reach what stands deep inside. Shared with the
//! fuzz targets.

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Random(u64);

impl From<usize> for Random {
    fn from(seed: usize) -> Self {
        Self(u64::try_from(seed).unwrap_or(u64::MAX))
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn octet(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// How deep values within values are taken apart.
const MAX_DEPTH: usize = 24;

/// A value, taken apart where it is constructed.
#[derive(Clone)]
struct Value {
    tag: Vec<u8>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Octets(Vec<u8>),
    Values(Vec<Value>),
}

/// `bytes` with some changes; parts may come from `other`.
pub(crate) fn mutate(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4).saturating_sub(1) {
        bytes = match take_apart(&bytes, MAX_DEPTH) {
            Some(mut values) if random.below(4) > 0 => {
                change_value(&mut values, other, random);
                put_together(&values)
            }
            _ => change_octets(bytes, random),
        };
    }
    bytes
}

fn change_octets(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if bytes.is_empty() {
        return vec![random.octet()];
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => bytes[at] = random.octet(),
        2 => bytes[at] ^= 1 << random.below(8),
        3 => drop(bytes.remove(at)),
        4 => bytes.insert(at, random.octet()),
        _ => {
            let end = at + random.below(bytes.len() - at) + 1;
            let part = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, part);
        }
    }
    bytes
}

fn change_value(values: &mut Vec<Value>, other: &[u8], random: &mut Random) {
    let target = random.below(count(values));
    let Some((siblings, at)) = find(values, target) else { return };
    match random.below(10) {
        0 => drop(siblings.remove(at)),
        1 => siblings.insert(at, siblings[at].clone()),
        2 => {
            let with = random.below(siblings.len());
            siblings.swap(at, with);
        }
        3 => siblings[at].tag = some_tag(random),
        4 => {
            // The next or the one before: a neighbour among alternatives.
            let last = siblings[at].tag.last_mut().expect("a tag has an octet");
            *last = if random.below(2) == 0 { last.wrapping_add(1) } else { last.wrapping_sub(1) };
        }
        5 | 6 => {
            if let Some(mut others) = take_apart(other, MAX_DEPTH) {
                let from = random.below(count(&others));
                if let Some((others, from)) = find(&mut others, from) {
                    let value = others[from].clone();
                    if random.below(2) == 0 { siblings[at] = value } else { siblings.insert(at, value) }
                }
            }
        }
        _ => change_content(&mut siblings[at].content, random),
    }
}

fn some_tag(random: &mut Random) -> Vec<u8> {
    const TAGS: [u8; 9] = [0x01, 0x02, 0x04, 0x05, 0x0c, 0x18, 0x30, 0x31, 0x80];
    match random.below(8) {
        0 => vec![random.octet()],
        1 => vec![0xbf, random.octet()],
        2 => vec![0xbf, random.octet(), random.octet() & 0x7f],
        3 | 4 => vec![0xa0 + u8::try_from(random.below(31)).unwrap()],
        _ => vec![TAGS[random.below(TAGS.len())]],
    }
}

fn change_content(content: &mut Content, random: &mut Random) {
    /// Numbers, names and times at the ends of what is read.
    const INTERESTING: [&[u8]; 22] = [
        b"",
        b"\x00",
        b"\xff",
        b"\x00\x80",
        b"\x3f\xff\xff\xff\xff\xff\xff\xff",
        b"\x40\x00\x00\x00\x00\x00\x00\x00",
        b"\xc0\x00\x00\x00\x00\x00\x00\x00",
        b"\xbf\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        b":",
        b"::",
        b"a:",
        b":A",
        b"-",
        b"a:b:.",
        b"20000229235960.5Z",
        b"19700101000000Z",
        b"99991231235960Z",
        b"00000101000000.000Z",
        b"2026013112",
        b"202601311200.",
        b"20260131120000.12345",
    ];
    match content {
        Content::Octets(octets) if random.below(2) == 0 => {
            *octets = INTERESTING[random.below(INTERESTING.len())].to_vec();
        }
        Content::Octets(octets) => *octets = change_octets(core::mem::take(octets), random),
        Content::Values(values) if random.below(4) == 0 => values.clear(),
        Content::Values(values) => values.reverse(),
    }
}

/// How many values there are, those within values too.
fn count(values: &[Value]) -> usize {
    values.iter().map(|value| 1 + within(value).map_or(0, |values| count(values))).sum()
}

fn within(value: &Value) -> Option<&Vec<Value>> {
    match &value.content {
        Content::Values(values) => Some(values),
        Content::Octets(_) => None,
    }
}

/// The list that has the value of this number, and its place there.
fn find(values: &mut Vec<Value>, mut number: usize) -> Option<(&mut Vec<Value>, usize)> {
    for at in 0..values.len() {
        if number == 0 {
            return Some((values, at));
        }
        number -= 1;
        let inside = within(&values[at]).map_or(0, |values| count(values));
        if number < inside {
            let Content::Values(inner) = &mut values[at].content else { return None };
            return find(inner, number);
        }
        number -= inside;
    }
    None
}

/// The values that `bytes` are, `None` where they are none.
fn take_apart(mut bytes: &[u8], depth: usize) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let tag = 1 + if bytes[0] & 0x1f == 0x1f {
            1 + bytes.iter().skip(1).position(|octet| octet & 0x80 == 0)?
        } else {
            0
        };
        let (tag, rest) = bytes.split_at_checked(tag)?;
        let (length, rest) = split_length(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        let inner = if tag[0] & 0x20 != 0 && depth > 0 { take_apart(content, depth - 1) } else { None };
        let content = inner.map_or_else(|| Content::Octets(content.to_vec()), Content::Values);
        values.push(Value { tag: tag.to_vec(), content });
        bytes = rest;
    }
    Some(values)
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return Some((usize::from(*first), rest));
    }
    let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    if octets.len() > 4 {
        return None;
    }
    Some((octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest))
}

fn put_together(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let content = match &value.content {
            Content::Octets(octets) => octets.clone(),
            Content::Values(values) => put_together(values),
        };
        bytes.extend(&value.tag);
        let length = u32::try_from(content.len()).expect("a test's message").to_be_bytes();
        let significant = &length[length.iter().take_while(|octet| **octet == 0).count()..];
        match significant {
            [] => bytes.push(0),
            [short @ 0..0x80] => bytes.push(*short),
            long => {
                bytes.push(0x80 | u8::try_from(long.len()).unwrap());
                bytes.extend(long);
            }
        }
        bytes.extend(content);
    }
    bytes
}

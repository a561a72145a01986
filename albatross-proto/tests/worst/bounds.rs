//! Values of 16 MiB, and what a decoder may take for them.

use super::counting::measure;

/// Octets of each input.
pub(crate) const SIZE: usize = 16 * 1024 * 1024;

/// The most octets that a decoder holds for each octet of its input.
pub(crate) const MOST: usize = 20;

/// The most octets that it ever asks for, for each octet of its input.
pub(crate) const ASKED: usize = 24;

/// A value.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let mut value = vec![tag];
    match length.iter().position(|octet| *octet != 0).map_or(&length[3..], |first| &length[first..]) {
        [short @ 0..0x80] => value.push(*short),
        long => {
            value.push(0x80 | u8::try_from(long.len()).unwrap());
            value.extend(long);
        }
    }
    value.extend(content);
    value
}

/// The value that `count` makes of a number, so often that all together take [`SIZE`].
pub(crate) fn many(value: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let mut all = Vec::with_capacity(SIZE + 1024);
    let mut number = 0;
    while all.len() < SIZE {
        all.extend(value(number));
        number += 1;
    }
    all
}

/// The bounds hold for this input, which is read or refused as said.
pub(crate) fn check<'a, T, E: std::fmt::Display>(
    what: &str,
    input: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<T, E>,
    is_read: bool,
) {
    assert!(input.len() >= SIZE && input.len() < SIZE + SIZE / 8, "{what}: {} octets", input.len());
    let (result, cost) = measure(|| decode(input).map(drop).map_err(|error| error.to_string()));
    let tenths = |octets: usize| octets * 10 / input.len();
    let (most, asked) = (tenths(cost.most), tenths(cost.asked));
    println!(
        "{what}: {}.{} times its input held, {}.{} asked for in {} calls",
        most / 10,
        most % 10,
        asked / 10,
        asked % 10,
        cost.calls
    );
    assert_eq!(result.is_ok(), is_read, "{what}: {result:?}");
    assert!(cost.most <= MOST * input.len(), "{what}: {cost:?}");
    assert!(cost.asked <= ASKED * input.len(), "{what}: {cost:?}");
    // Two for each value and some for those around them: none has fewer octets than two.
    assert!(cost.calls <= input.len(), "{what}: {cost:?}");
}

//! Every limit and patience of the endpoint, with the reason for its value.

use std::time::Duration;

use albatross_proto::frame;

/// Connections at one time. Two descriptors each fit the usual limit of a service many times over, and
/// what strangers can make us hold ([`MAX_HANDSHAKE`] each) stays below 256 MiB.
pub const MAX_CONNECTIONS: usize = 2048;

/// Octets that a client may send before its handshake is done: a chain of nine certificates and all else
/// takes less than the 64 KiB that the TLS library accepts in one message; this leaves room around it.
pub const MAX_HANDSHAKE: usize = 96 * 1024;

/// The most octets of a chain: what a message of TLS can hold (16 MiB) but for
/// 64 KiB, so that it is we who refuse a longer one.
pub const MAX_LARGE_CHAIN: usize = 16 * 1024 * 1024 - 64 * 1024;

/// Octets that a client with a large chain may send before its handshake is done: the chain, and in each record of
/// 16 KiB the 22 octets around its content.
pub const MAX_LARGE_HANDSHAKE: usize = MAX_LARGE_CHAIN + 2 * MAX_HANDSHAKE;

/// How many clients at a time may send a chain of more than 64 KiB. The others wait, unread. For each the chain is held
/// twice at once, as it comes and as the authority, then as that and as the message: together 128 MiB at the most.
pub const LARGE_PLACES: usize = 4;

/// How many of them clients with the same address (of IPv6: with the same first 64 bits) may have: half, so that one
/// alone does not keep all others out.
pub const LARGE_PLACES_PER_ADDRESS: usize = LARGE_PLACES / 2;

/// How long a client waits for such a place: as long as two that were there before it may take.
pub const PLACE_PATIENCE: Duration = Duration::from_secs(120);

/// How long a client with a place may take for each [`LARGE_STEP`] of its chain.
pub const LARGE_STEP_PATIENCE: Duration = Duration::from_secs(4);

/// The progress that is expected within [`LARGE_STEP_PATIENCE`], in octets: 64 KiB/s, which a poor line has, so that
/// 16 MiB hold a place for at most four and a half minutes.
pub const LARGE_STEP: usize = 256 * 1024;

/// How long a handshake may take: several round trips over the worst of links.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The most octets of a streamed image, the same as of one that stands in a message.
pub const MAX_STREAMED_IMAGE: usize = 64 * 1024 * 1024;

/// The longest chunk of a stream, in octets.
pub const MAX_CHUNK: usize = frame::MAX_CHUNK;

/// How long a client may take for each [`STREAM_STEP`] of a stream that it has to send.
pub const STREAM_PATIENCE: Duration = Duration::from_secs(30);

/// The progress that is expected within [`STREAM_PATIENCE`], in octets: 2 KiB/s.
pub const STREAM_STEP: usize = 64 * 1024;

/// How long a daemon may be silent while an answer is due: a destroy waits for the unikernel to end, and a
/// large block device takes its time to reach the disk.
pub const DAEMON_PATIENCE: Duration = Duration::from_secs(120);

/// How long connecting to a daemon is tried while its queue of connections is full.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait between two tries to connect.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How long a client may leave what is queued for it untouched.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait for the client to close after we have: closing before everything it sent was read would
/// reset the connection, and with it what we said last.
pub const LINGER: Duration = Duration::from_secs(5);

/// While more octets than these wait for one side, nothing is read from the other. One read of the driver
/// may come on top.
pub const QUEUE_HIGH: usize = 256 * 1024;

/// At this many waiting octets, reading goes on.
pub const QUEUE_LOW: usize = 64 * 1024;

/// The longest answer to a `policy add`, in octets: a word or an error text.
pub const MAX_POLICY_REPLY: usize = 64 * 1024;

/// The longest frame that a daemon sends to a client, in octets. It is passed on as it comes and not held.
pub const MAX_REPLY: usize = frame::MAX_ENCODED;

/// Octets of each frame that are kept to see what it says: more than any header and any usual error text.
pub const PEEK: usize = 2048;

/// Octets that a client may send where nothing is expected, and that are ignored: older clients send an
/// empty stream after commands that need none.
pub const MAX_UNEXPECTED: usize = 64 * 1024;

/// The longest failure text of a daemon that goes into our own, in octets.
pub const MAX_QUOTED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    fn per_second(octets: usize, time: Duration) -> u64 {
        u64::try_from(octets).unwrap() / time.as_secs()
    }

    #[test]
    fn limits_are_what_their_reasons_ask_for() {
        assert!((65 * KIB..256 * MIB / MAX_CONNECTIONS).contains(&MAX_HANDSHAKE));
        // The length of a message of TLS has three octets.
        assert_eq!(MAX_LARGE_CHAIN, (1 << 24) - 64 * KIB);
        // What is around the chain itself, and beside it as much as others may send in all.
        let records = MAX_LARGE_CHAIN.div_ceil(16 * KIB);
        let around = 22 * records + MAX_HANDSHAKE;
        assert!((MAX_LARGE_CHAIN + around..MAX_LARGE_CHAIN + MIB).contains(&MAX_LARGE_HANDSHAKE));
        assert!((1..=64 * MIB / MAX_LARGE_CHAIN).contains(&LARGE_PLACES));
        assert!((1..=LARGE_PLACES / 2).contains(&LARGE_PLACES_PER_ADDRESS));
        assert_eq!(per_second(LARGE_STEP, LARGE_STEP_PATIENCE), 64 * 1024);
        assert_eq!(per_second(STREAM_STEP, STREAM_PATIENCE) / 1024, 2);
        assert_eq!(MAX_STREAMED_IMAGE + 64 * KIB, frame::MAX_ENCODED);
    }
}

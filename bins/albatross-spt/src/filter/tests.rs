//! The program is run as the kernel runs it, and its answers are held against the rules written down a second time.

use super::*;

/// What a filter is asked about.
#[derive(Clone, Copy, Debug)]
struct Call {
    architecture: u32,
    number: u32,
    arguments: [u64; 6],
}

impl Call {
    fn new(number: u32, arguments: [u64; 4]) -> Self {
        let [a, b, c, d] = arguments;
        Self { architecture: X86_64, number, arguments: [a, b, c, d, 0, 0] }
    }

    /// `struct seccomp_data`.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.architecture.to_le_bytes());
        bytes.extend(0x1234_5678_9abc_def0_u64.to_le_bytes());
        self.arguments.iter().for_each(|argument| bytes.extend(argument.to_le_bytes()));
        bytes
    }
}

/// Runs a program to its return.
fn run(program: &[Instruction], call: &Call) -> u32 {
    let data = call.bytes();
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
        match code {
            LOAD => accumulator = crate::field::u32(&data, usize::try_from(operand).unwrap()).unwrap(),
            JUMP => at += usize::try_from(operand).unwrap(),
            EQUAL => at += branch(accumulator == operand),
            GREATER => at += branch(accumulator > operand),
            RETURN => return operand,
            other => panic!("{other:#x}"),
        }
    }
}

/// The rules of docs/solo5.md.
fn is_allowed(call: &Call, epoll: i32, timer: i32, devices: &[Device]) -> bool {
    let first = call.arguments[0];
    let is = |descriptor: i32| first == u64::from(descriptor.cast_unsigned());
    let is_tap = || {
        devices
            .iter()
            .any(|device| is(device.descriptor) && matches!(device.properties, Properties::Net { .. }))
    };
    let is_sector = |device: &Device| match device.properties {
        Properties::Block { capacity, sector_size } => {
            is(device.descriptor)
                && call.arguments[2] == u64::from(sector_size)
                && call.arguments[3] <= capacity - u64::from(sector_size)
        }
        Properties::Net { .. } => false,
    };
    call.architecture == 0xc000_003e
        && match i64::from(call.number) {
            libc::SYS_read => is_tap(),
            libc::SYS_write => first == 1 || is_tap(),
            libc::SYS_pread64 | libc::SYS_pwrite64 => devices.iter().any(is_sector),
            libc::SYS_epoll_pwait => is(epoll),
            libc::SYS_timerfd_settime => is(timer),
            libc::SYS_clock_gettime => first == 0 || first == 1,
            libc::SYS_arch_prctl => first == 0x1002,
            libc::SYS_exit_group => true,
            _ => false,
        }
}

fn net(descriptor: i32) -> Device {
    Device { index: 1, descriptor, properties: Properties::Net { mac: [0; 6], mtu: 1500 } }
}

fn block(descriptor: i32, capacity: u64, sector_size: u16) -> Device {
    Device { index: 1, descriptor, properties: Properties::Block { capacity, sector_size } }
}

/// All combinations of numbers and arguments at which some rule could change its mind.
fn check(epoll: i32, timer: i32, devices: &[Device]) {
    let program = program(epoll, timer, devices);
    assert!(program.len() <= MAX_INSTRUCTIONS, "{}", program.len());
    let mut firsts: Vec<u64> = vec![0, 1, 2, 3, 0x1001, 0x1002, 0x1003, u64::MAX];
    let mut lengths: Vec<u64> = vec![0, 511, 512, 513];
    let mut offsets: Vec<u64> = vec![0, 1, u64::MAX];
    for descriptor in devices.iter().map(|device| device.descriptor).chain([epoll, timer]) {
        firsts.push(u64::from(descriptor.cast_unsigned()));
    }
    for device in devices {
        if let Properties::Block { capacity, sector_size } = device.properties {
            let (size, last) = (u64::from(sector_size), capacity - u64::from(sector_size));
            lengths.extend([size - 1, size, size + 1]);
            offsets.extend([last.saturating_sub(1), last, last.saturating_add(1), capacity]);
            offsets.extend([
                last ^ (1 << 32),
                last.wrapping_add(1 << 32),
                last & 0xffff_ffff,
                last | 0xffff_ffff,
            ]);
        }
    }
    for list in [&mut firsts, &mut lengths, &mut offsets] {
        list.extend(list.clone().iter().flat_map(|value| [value | 1 << 32, value | 1 << 63]));
        list.sort_unstable();
        list.dedup();
    }
    let mut allowed = 0;
    let mut ask = |call: &Call| {
        let expected = is_allowed(call, epoll, timer, devices);
        let answer = if expected { ALLOW } else { KILL_PROCESS };
        assert_eq!(run(&program, call), answer, "{call:?} {devices:?}");
        allowed += usize::from(expected);
    };
    for number in (0..600).chain([1 << 30, (1 << 30) + 1, (1 << 30) + 231, u32::MAX]) {
        for first in &firsts {
            ask(&Call::new(number, [*first, 0, 0, 0]));
        }
    }
    for number in [PREAD, PWRITE] {
        for first in &firsts {
            for length in &lengths {
                for offset in &offsets {
                    ask(&Call::new(number, [*first, 0x10_0000, *length, *offset]));
                }
            }
        }
    }
    for architecture in [0, 0x4000_0003, 0xc000_00b7] {
        for number in 0..600 {
            ask(&Call { architecture, ..Call::new(number, [1, 0, 0, 0]) });
        }
    }
    assert!(allowed >= 9, "the rules allow something");
}

#[test]
fn no_devices() {
    check(3, 4, &[]);
}

#[test]
fn devices_of_each_kind() {
    check(3, 4, &[net(7)]);
    check(9, 8, &[net(5), net(6)]);
    check(3, 4, &[block(5, 512, 512)]);
    check(3, 4, &[block(5, 1 << 20, 4096), net(6), block(7, (1 << 40) + 512, 512), block(8, 65536, 32768)]);
    check(3, 4, &[block(5, u64::MAX - 511, 512)]);
}

#[test]
fn a_sector_is_within_a_device_of_any_size() {
    for capacity in [512, 1024, 0xffff_fe00, 1 << 32, (1 << 32) + 512, (1 << 33) - 512, 1 << 52] {
        check(3, 4, &[block(5, capacity, 512)]);
    }
}

#[test]
fn the_most_devices() {
    let disks: Vec<_> = (5..68).map(|descriptor| block(descriptor, 1 << 30, 512)).collect();
    let taps: Vec<_> = (5..68).map(net).collect();
    check(3, 4, &taps);
    let mixed: Vec<_> = (disks.iter().step_by(2)).chain(taps.iter().skip(1).step_by(2)).copied().collect();
    check(3, 4, &mixed);
    assert!(program(3, 4, &disks).len() < MAX_INSTRUCTIONS / 5);
}

#[test]
fn encoded_as_the_kernel_reads_it() {
    let bytes = encode(&program(3, 4, &[]));
    assert_eq!(bytes[..16], [0x20, 0, 0, 0, 4, 0, 0, 0, 0x15, 0, 1, 0, 0x3e, 0, 0, 0xc0]);
}

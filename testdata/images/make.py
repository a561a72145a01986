#!/usr/bin/env python3
"""Makes the images of this folder: the smallest files that are valid Solo5 spt images. They carry the
notes and no code, so a tender refuses to run them; a daemon can look at them."""
import struct


def note(kind, content):
    return struct.pack("<III", 6, len(content), kind) + b"Solo5\0\0\0" + content


def entry(name, kind):
    return name.ljust(68, b"\0") + struct.pack("<I", kind) + bytes(32)


def image(blocks, nets):
    entries = [entry(b"", 0x40000000)] + [entry(name, 1) for name in blocks] + [entry(name, 2) for name in nets]
    manifest = bytes(4) + struct.pack("<II", 1, len(entries)) + b"".join(entries)
    notes = [note(0x31494241, struct.pack("<IIII", 2, 2, 0, 0)), note(0x3154464D, manifest)]
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, len(notes), 64, 0, 0)
    offset = 64 + 56 * len(notes)
    table = b""
    for content in notes:
        table += struct.pack("<IIQQQQQQ", 4, 4, offset, 0x100000 + offset, 0x100000 + offset, len(content), len(content), 4)
        offset += len(content)
    return header + table + b"".join(notes)


for name, blocks, nets in [
    ("spt-no-devices", [], []),
    ("spt-net-service", [], [b"service"]),
    ("spt-block-storage", [b"storage"], []),
]:
    with open(f"{name}.elf", "wb") as file:
        file.write(image(blocks, nets))

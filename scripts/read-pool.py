#!/usr/bin/env python3
"""A second reader of pools, written from docs/format.md alone and sharing nothing with src/.

Usage: read-pool.py [--json] [--no-data] CAPACITY [STAGING]

Prints which superblock counts, what the MDCs hold, every object, and verifies the checksums of all
data. Reads only. Exit status: 0 all is right, 1 something is wrong, 2 usage.
"""
import hashlib
import json
import os
import struct
import sys
import uuid

PAGE = 4096
FRAME_BYTES_MAX = 262144
TORN_WINDOW = 2 * 2**20
WITNESSES = 1


def crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x82F63B78 if crc & 1 else crc >> 1
        table.append(crc)
    return table


TABLE = crc_table()


def crc32c(data, seed=0):
    crc = ~seed & 0xFFFFFFFF
    table = TABLE
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return ~crc & 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283
ZERO_PAGE = bytes(PAGE)
ZERO_PAGE_CRC = crc32c(ZERO_PAGE)


def page_crc(page):
    return ZERO_PAGE_CRC if page == ZERO_PAGE else crc32c(page)


def u16(data, at):
    return struct.unpack_from("<H", data, at)[0]


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def zero(data):
    return not any(data)


class Bad(Exception):
    """What is read is not what the document says."""


def need(condition, message):
    if not condition:
        raise Bad(message)


class Device:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "rb")
        self.size = self.file.seek(0, os.SEEK_END)

    def read(self, offset, length):
        need(0 <= offset and offset + length <= self.size, f"{self.path}: beyond its end")
        data = os.pread(self.file.fileno(), length, offset)
        need(len(data) == length, f"{self.path}: a short read at {offset}")
        return data


def extent(data, at):
    page, count, rest = struct.unpack_from("<QII", data, at)
    need(count > 0 and rest == 0 and page < 2**41, "an impossible extent")
    return page, count


# 2. Superblock


def descriptor(data):
    need(data[19] == 0 and zero(data[36:]), "descriptor: reserved bytes")
    need(data[16] in (0, 1) and data[17] in (1, 2) and data[18] in (9, 12), "descriptor: codes")
    found = {
        "uuid": data[0:16],
        "class": ("staging", "capacity")[data[16]],
        "kind": ("file", "block")[data[17] - 1],
        "sector": 1 << data[18],
        "zonePages": u32(data, 20),
        "size": u64(data, 24),
        "zones": u32(data, 32),
    }
    pages = found["zonePages"]
    need(256 <= pages <= 16384 and pages & (pages - 1) == 0, "descriptor: zonePages")
    need(found["size"] % PAGE == 0, "descriptor: sizeBytes")
    need(found["zones"] == found["size"] // (pages * PAGE) > 0, "descriptor: zoneCount")
    return found


def path_field(data):
    length = u16(data, 0)
    need(length <= 1022 and zero(data[2 + length :]), "path field")
    return data[2 : 2 + length].decode("utf-8", "replace")


def superblock(data, offset, copy):
    need(data[0:8] == b"mpoolDev", "blank" if zero(data) else "magic")
    need(u32(data, 62) == crc32c(data[0:62]), "checksum of bytes 0 to 61")
    need(u16(data, 56) == 2, f"format {u16(data, 56)} is unknown")
    need(u32(data, 68) == crc32c(data[0:68] + bytes(4) + data[72:]), "checksum of the page")
    need(u64(data, 72) == offset and u32(data, 80) == copy, "written for another place")
    compatible, read_only, incompatible = struct.unpack_from("<III", data, 84)
    need(incompatible & ~WITNESSES == 0, "unknown incompatible features")
    if compatible == 0 and read_only == 0:
        reserved = data[66:68] + data[120:128] + data[288:512] + data[2560:]
        need(zero(reserved), "reserved bytes are not zero")
    name = data[8:40].rstrip(b"\0")
    need(1 <= len(name) <= 31 and not name.startswith(b"-"), "pool name")
    staging = data[192:256]
    return {
        "name": name.decode("ascii"),
        "uuid": data[40:56],
        "generation": u32(data, 58),
        "witnesses": incompatible & WITNESSES != 0,
        "createdMs": u64(data, 96),
        "device": data[104:120],
        "capacity": descriptor(data[128:192]),
        "staging": None if zero(staging) else descriptor(staging),
        "mdc0": (extent(data, 256), extent(data, 272)),
        "capacityPath": path_field(data[512:1536]),
        "stagingPath": path_field(data[1536:2560]),
    }


def own_size(found):
    for one in (found["capacity"], found["staging"]):
        if one is not None and one["uuid"] == found["device"]:
            return one["size"]
    raise Bad("the superblock names another device")


def superblocks(device):
    """All copies as (copy, offset, superblock or None, problem)."""
    copies = []

    def look(copy, offset):
        try:
            found = superblock(device.read(offset, PAGE), offset, copy)
            size = own_size(found)
            need((0, 16 * PAGE, size - 16 * PAGE, size - PAGE)[copy] == offset, "place of the copy")
            copies.append((copy, offset, found, None))
        except Bad as bad:
            copies.append((copy, offset, None, str(bad)))

    look(0, 0)
    look(1, 16 * PAGE)
    valid = [found for _, _, found, _ in copies if found]
    sizes = {own_size(found) for found in valid} or {device.size // PAGE * PAGE}
    for size in sorted(sizes):
        look(2, size - 16 * PAGE)
        look(3, size - PAGE)
    return copies


def choose(copies):
    best = None
    for _, _, found, problem in copies:
        need(problem is None or not problem.startswith("format"), f"superblock: {problem}")
        if found and (best is None or found["generation"] > best["generation"]):
            best = found
    need(best is not None, "no valid superblock: " + "; ".join(str(c[3]) for c in copies))
    return best


# 3. Log


class Log:
    """One log: its header, its records up to the end, and a verdict on what follows."""

    def __init__(self, device, where, pool_uuid, object_id, sector, witnesses):
        self.device = device
        self.base = where[0] * PAGE
        self.size = where[1] * PAGE
        self.identity = pool_uuid + struct.pack("<Q", object_id)
        self.object_id = object_id
        self.sector = sector
        self.witnesses = witnesses
        self.boundaries = {PAGE: (0, 0)}
        self.witness = (0, 0)
        self.problem = None
        self.records = []
        self.state = 0
        self.generation = 0
        try:
            self.read_header()
        except Bad as bad:
            self.problem = str(bad)

    def at(self, offset, length):
        return self.device.read(self.base + offset, length)

    def read_header(self):
        head = self.at(0, 512)
        need(head[0:4] == b"mpLH", "no log header")
        need(u32(head, 4) == crc32c(self.identity + head[8:]), "checksum of the log header")
        need(head[8] == 1 and head[9] in (1, 2), "version or state of the log header")
        need(1 << head[10] == self.sector, "sector size of the log")
        need(zero(head[11:16]) and zero(head[28:32]) and zero(head[48:]), "reserved bytes")
        need(u64(head, 32) == self.object_id, "header of another log")
        self.state = head[9]
        self.generation = u64(head, 16)
        self.salt = u32(head, 24)
        self.committed = u64(head, 40)
        need(PAGE <= self.committed <= self.size, "committedBytes of the log header")

    def frame_header(self, offset):
        if offset + self.sector > self.size:
            return None
        head = self.at(offset, 64)
        if head[0:4] != b"mpLF":
            return None
        place = struct.pack("<IQ", self.salt, offset)
        if u32(head, 4) != crc32c(self.identity + place + head[8:]):
            return None
        generation, sequence, payload, payload_crc, previous, flags, durable, before, rest = (
            struct.unpack_from("<QQIIIIQQQ", head, 8)
        )
        sane = 64 + payload <= FRAME_BYTES_MAX and flags <= 1 and durable <= offset
        sane = sane and (rest == 0 or self.witnesses)
        if generation != self.generation or not sane or (flags == 1 and payload != 0):
            return None
        length = (64 + payload + self.sector - 1) // self.sector * self.sector
        if offset + length > self.size:
            return None
        return {
            "crc": u32(head, 4),
            "sequence": sequence,
            "payload": payload,
            "payloadCrc": payload_crc,
            "previous": previous,
            "closed": flags == 1,
            "durable": durable,
            "before": before,
            "length": length,
            "witness": (rest & 0xFFFFFFFF, (rest >> 32) * 512),
        }

    def scan(self):
        """Fills records; raises Bad when acknowledged frames are damaged."""
        end, crc, sequence, durable = PAGE, 0, 0, self.committed
        self.closed = False
        self.frames = 0
        pieces = None
        while True:
            head = self.frame_header(end)
            if head is None or head["sequence"] <= sequence or head["previous"] != crc:
                break
            body = self.at(end + 64, head["length"] - 64)
            if crc32c(body) != head["payloadCrc"]:
                break
            need(head["before"] == len(self.records), f"records before the frame at {end}")
            need(zero(body[head["payload"] :]), f"padding of the frame at {end}")
            pieces = self.chunks(body[: head["payload"]], pieces)
            end += head["length"]
            crc, sequence = head["crc"], head["sequence"]
            durable = max(durable, head["durable"])
            self.boundaries[end] = (crc, sequence)
            self.bear(head)
            self.closed = head["closed"]
            self.frames += 1
        self.end = end
        self.torn = False
        for offset in range(end, min(end + TORN_WINDOW, self.size), self.sector):
            head = self.frame_header(offset)
            if head is not None and head["sequence"] > sequence:
                durable = max(durable, head["durable"])
                self.bear(head)
                self.torn = True
        need(durable <= end, f"frames from {end} up to {durable} are damaged")

    def bear(self, head):
        """Keeps the most that frames say of another log."""
        if is_ahead(head["witness"], self.witness):
            self.witness = head["witness"]

    def chunks(self, payload, pieces):
        at = 0
        while at < len(payload):
            need(at + 4 <= len(payload), "a chunk without a header")
            word = u32(payload, at)
            kind, length = word >> 29, word & 0x1FFFFFFF
            content = payload[at + 4 : at + 4 + length]
            need(len(content) == length, "a chunk passes the end of its frame")
            at += 4 + length
            if kind == 0:
                pieces = None
                self.records.append(content)
            elif kind == 1:
                pieces = [content]
            elif kind in (2, 3):
                need(pieces is not None, "a piece without its first")
                pieces.append(content)
                if kind == 3:
                    self.records.append(b"".join(pieces))
                    pieces = None
            else:
                need(kind in (4, 5) and length == 0, "an unknown chunk")
                pieces = None
        return pieces


def is_ahead(witness, end):
    """Whether a witness says more than (generation, end); generations are compared in 32 bits."""
    if witness == (0, 0):
        return False
    ahead = (witness[0] - end[0]) & 0xFFFFFFFF
    return end == (0, 0) or 0 < ahead < 2**31 or (ahead == 0 and witness[1] > end[1])


def check_mark(log, marks):
    """6. The log is as far as the last marks of it, or of the two logs of its MDC, say."""
    if not marks:
        return
    mark = max(marks, key=lambda one: one["generation"])
    name = f"log {log.object_id:#x}"
    need(log.generation >= mark["generation"], f"{name}: an acknowledged erase or compaction is lost")
    if mark["id"] != log.object_id or log.generation != mark["generation"]:
        return
    there = log.boundaries.get(mark["durable"]) == (mark["crc"], mark["sequence"])
    need(there, f"{name}: acknowledged bytes {log.end} to {mark['durable']} are lost")


def pair(a, b, name):
    """4. The active one of two logs, scanned."""
    current = [log for log in (a, b) if log.problem is None and log.state == 1]
    why = ", ".join(log.problem or "superseded" for log in (a, b))
    need(current, f"{name}: no log is current ({why})")
    active = max(current, key=lambda log: log.generation)
    try:
        active.scan()
    except Bad as bad:
        raise Bad(f"{name}: {bad}") from None
    return active


# 5. Object ids, 6. Records


def parts(object_id):
    return object_id >> 12, object_id >> 8 & 15, object_id & 255


def pool_record(data):
    need(len(data) == 128 and zero(data[2:4]) and zero(data[120:]), "properties of the pool")
    return {
        "uid": u32(data, 4),
        "gid": u32(data, 8),
        "mode": u32(data, 12),
        "utype": str(uuid.UUID(bytes=data[16:32])),
        "label": data[32:96].rstrip(b"\0").decode("ascii"),
        "sparePercentCapacity": data[96],
        "sparePercentStaging": data[97],
        "readAheadPages": u16(data, 98),
        "mappedRegionLog2": u32(data, 100),
        "rootLogA": u64(data, 104),
        "rootLogB": u64(data, 112),
    }


def mdc_record(data):
    need(len(data) == 40 and u32(data, 4) == 0, "an MDC's record")
    return u16(data, 2), extent(data, 8), extent(data, 24)


def object_record(data):
    need(zero(data[32:40]) and data[2] in (0, 1) and data[3] <= 2, "an object's record")
    return {
        "id": u64(data, 8),
        "class": ("staging", "capacity")[data[2]],
        "role": data[3],
        "digest": u32(data, 4),
        "pageAddress": u64(data, 16),
        "pageCount": u32(data, 24),
        "length": u32(data, 28),
    }


def log_mark(data):
    need(zero(data[2:4]), "a log mark")
    mark = {
        "id": u64(data, 8),
        "crc": u32(data, 4),
        "generation": u64(data, 16),
        "sequence": u64(data, 24),
        "durable": u64(data, 32),
    }
    need(parts(mark["id"])[1] == 2 and mark["durable"] >= PAGE, "a log mark")
    need((mark["durable"] == PAGE) == (mark["sequence"] == 0), "a log mark")
    return mark


def loss(data):
    need(zero(data[2:8]), "a loss")
    found = {"id": u64(data, 8), "sinceMs": u64(data, 16), "from": u64(data, 24), "to": u64(data, 32)}
    need(found["from"] < found["to"] or found["from"] == found["to"] == 0, "a loss")
    return found


def slot_objects(slot, records, witnesses):
    """What the records of an MDC add up to: objects, marks of logs, losses."""
    marks, losses = {}, {}
    objects, checkpoint, highest = {}, 0, 0
    for record in records:
        at = 0
        need(len(record) > 0, f"MDC {slot}: an empty record")
        while at < len(record):
            kind, version = record[at], record[at + 1]
            length = {3: 40, 4: 16, 5: 16, 6: 40, 7: 40}.get(kind)
            known = length is not None and (kind < 6 or witnesses)
            need(known and version == 1, f"MDC {slot}: a record of type {kind}")
            entry = record[at : at + length]
            need(len(entry) == length, f"MDC {slot}: a short record")
            at += length
            if kind == 5:
                need(zero(entry[2:8]) and u64(entry, 8) >= checkpoint, f"MDC {slot}: checkpoint")
                checkpoint = u64(entry, 8)
                continue
            object_id = u64(entry, 8)
            uniquifier, kind_of_object, its_slot = parts(object_id)
            need(its_slot == slot and uniquifier > 0, f"{object_id:#x}: in MDC {slot}")
            need(kind_of_object in (1, 2), f"{object_id:#x}: type {kind_of_object}")
            if kind == 3:
                need(object_id not in objects, f"{object_id:#x}: exists twice")
                objects[object_id] = object_record(entry)
                highest = max(highest, uniquifier)
            elif kind == 4:
                need(zero(entry[2:8]), f"{object_id:#x}: deletion")
                need(objects.pop(object_id, None), f"{object_id:#x}: deleted, but not there")
                marks.pop(object_id, None)
                losses.pop(object_id, None)
            elif kind == 6:
                marks[object_id] = log_mark(entry)
            else:
                losses[object_id] = loss(entry)
    need(highest < checkpoint or highest == 0, f"MDC {slot}: ids above its checkpoint")
    marks = {key: mark for key, mark in marks.items() if key in objects}
    losses = {key: one for key, one in losses.items() if key in objects and one["to"] > 0}
    return objects, marks, losses


# 7. mblock


def verify_mblock(device, found, with_data):
    """Raises Bad when a checksum is wrong. Returns SHA-256 of the content, if it was read."""
    length, base = found["length"], found["pageAddress"] * PAGE
    pages = (length + PAGE - 1) // PAGE
    table_pages = 0 if pages <= 1 else (4 * pages + PAGE - 1) // PAGE
    need(pages + table_pages <= found["pageCount"], "it does not fit its extent")
    head = struct.pack("<QQ", found["id"], length)
    if pages == 1:
        sums = struct.pack("<I", page_crc(device.read(base, PAGE)))
    else:
        table = device.read(base + pages * PAGE, table_pages * PAGE)
        sums = table[: 4 * pages]
        need(zero(table[4 * pages :]), "padding of its checksum table")
    need(crc32c(head + sums) == found["digest"], "its checksums are not those of its record")
    if not with_data:
        return None
    content = hashlib.sha256()
    for page in range(pages):
        data = device.read(base + page * PAGE, PAGE)
        need(page_crc(data) == u32(sums, 4 * page), f"page {page} is not what its checksum says")
        used = min(PAGE, length - page * PAGE)
        need(zero(data[used:]), "padding of its last page")
        content.update(data[:used])
    return content.hexdigest()


def records_hash(records):
    content = hashlib.sha256()
    for record in records:
        content.update(struct.pack("<I", len(record)) + record)
    return content.hexdigest()


class Report:
    def __init__(self):
        self.problems = []
        self.result = {}

    def attempt(self, name, work):
        """Runs work; what is wrong is noted, and the reader goes on."""
        try:
            return work()
        except Bad as bad:
            self.problems.append(f"{name}: {bad}" if name else str(bad))
            return None


def check_extents(report, owned):
    """1. Extents never overlap each other or the reserved pages."""
    for known, extents in owned:
        last_end, last_name = 32, "the superblocks"
        for (page, count), name, whole in sorted(extents):
            if page < last_end:
                report.problems.append(f"{name}: overlaps {last_name}")
            last_end, last_name = max(last_end, page + count), name
            zone = known["zonePages"]
            inside = page + count <= min(known["zones"] * zone, known["size"] // PAGE - 16)
            lies = page % zone == 0 and count % zone == 0
            small = count < zone and page % zone + count <= zone and not whole
            if not inside or not (lies or small) or (whole and count != zone):
                report.problems.append(f"{name}: an extent where none may be")


def read_pool(report, capacity, staging, with_data):
    copies = superblocks(capacity)
    chosen = choose(copies)
    need(chosen["device"] == chosen["capacity"]["uuid"], "this is the staging device")
    for copy, offset, found, problem in copies:
        if found is None:
            report.problems.append(f"superblock copy {copy} at {offset}: {problem}")
    report.result["pool"] = {
        "name": chosen["name"],
        "uuid": str(uuid.UUID(bytes=chosen["uuid"])),
        "generation": chosen["generation"],
        "createdMs": chosen["createdMs"],
        "zonePages": chosen["capacity"]["zonePages"],
        "sizeBytes": chosen["capacity"]["size"],
    }
    devices = {"capacity": (capacity, chosen["capacity"]), "staging": (None, None)}
    if staging is not None:
        other = choose(superblocks(staging))
        named = chosen["staging"] is not None and other["device"] == chosen["staging"]["uuid"]
        need(named and other["uuid"] == chosen["uuid"], "another pool's staging device")
        devices["staging"] = (staging, chosen["staging"])

    def log(class_name, where, object_id):
        device, known = devices[class_name]
        witnesses = chosen["witnesses"]
        return Log(device, where, chosen["uuid"], object_id, known["sector"], witnesses)

    def mdc_log(slot, number, where):
        return log("capacity", where, (2 * slot + number) << 12 | 2 << 8)

    def mdc(slot, logs):
        active = pair(mdc_log(slot, 0, logs[0]), mdc_log(slot, 1, logs[1]), f"MDC {slot}")
        report.result.setdefault("mdcs", []).append(
            {
                "slot": slot,
                "active": "A" if parts(active.object_id)[0] % 2 == 0 else "B",
                "generation": active.generation,
                "frames": active.frames,
                "records": len(active.records),
                "endBytes": active.end,
                "closed": active.closed,
            }
        )
        ends[slot] = ((active.generation, active.end), active.witness)
        return active.records

    properties, mdcs, ends = None, {}, {}
    for record in mdc(0, chosen["mdc0"]):
        need(record[:2] in (b"\1\1", b"\2\1"), f"MDC 0: a record of type {record[:1].hex()}")
        if record[0] == 1:
            properties = pool_record(record)
        else:
            slot, log_a, log_b = mdc_record(record)
            mdcs[slot] = (log_a, log_b)
    need(properties is not None, "MDC 0: no properties of the pool")
    report.result["properties"] = {
        name: f"{value:#x}" if name.startswith("root") else value
        for name, value in properties.items()
    }
    objects, marks, losses = {}, {}, {}
    for slot, logs in mdcs.items():
        work = lambda s=slot, l=logs: slot_objects(s, mdc(s, l), chosen["witnesses"])
        for known, found in zip((objects, marks, losses), report.attempt("", work) or ({}, {}, {})):
            known.update(found)

    def check_witness(witness, slot, name):
        if slot in ends and is_ahead(witness, ends[slot][0]):
            end, generation = witness[1], witness[0]
            said = f"it was durable up to byte {end} of generation {generation}"
            report.problems.append(f"MDC {slot}: {name} bears witness that {said}")

    if 0 in ends and 1 in ends:
        check_witness(ends[0][1], 1, "MDC 0")
        check_witness(ends[1][1], 0, "MDC 1")
    for object_id, one in losses.items():
        lost = f"bytes {one['from']} to {one['to']} were lost by their device"
        report.problems.append(f"{object_id:#x}: {lost}")
    for name in ("rootLogA", "rootLogB"):
        if properties[name] not in objects:
            report.problems.append(f"the root MDC's log {properties[name]:#x} does not exist")

    own = [(where, f"a log of MDC {slot}", False) for slot, logs in mdcs.items() for where in logs]
    own += [(where, "a log of MDC 0", False) for where in chosen["mdc0"]]
    listed = {"capacity": own, "staging": []}
    for one in objects.values():
        where = (one["pageAddress"], one["pageCount"])
        listed[one["class"]].append((where, f"{one['id']:#x}", parts(one["id"])[1] == 1))
    known = [(devices[name][1], extents) for name, extents in listed.items() if devices[name][1]]
    check_extents(report, known)

    described = []
    for object_id in sorted(objects):
        one = objects[object_id]
        entry = dict(one, id=f"{object_id:#x}", type=("mblock", "mlog")[parts(object_id)[1] - 1])
        described.append(entry)
        device = devices[one["class"]][0]
        if device is None:
            report.problems.append(f"{object_id:#x}: its device is missing")
        elif entry["type"] == "mblock":
            work = lambda d=device, o=one: verify_mblock(d, o, with_data)
            entry["sha256"] = report.attempt(f"{object_id:#x}", work)
        elif one["role"] != 2:
            witness = report.attempt("", lambda o=one, e=entry: user_log(log, objects, marks, o, e))
            check_witness(witness or (0, 0), 1, f"log {object_id:#x}")
    report.result["objects"] = described


def user_log(log, objects, marks, one, entry):
    where = (one["pageAddress"], one["pageCount"])
    found = log(one["class"], where, one["id"])
    if one["role"] == 1:
        partner = objects.get(one["id"] + (1 << 12))
        need(partner is not None and partner["role"] == 2, f"{one['id']:#x}: log B is missing")
        other_where = (partner["pageAddress"], partner["pageCount"])
        other = log(partner["class"], other_where, partner["id"])
        found = pair(found, other, f"the MDC of log {one['id']:#x}")
    else:
        need(found.problem is None, f"log {one['id']:#x}: {found.problem}")
        found.scan()
    entry["records"] = len(found.records)
    entry["recordsSha256"] = records_hash(found.records)
    entry["generation"] = found.generation
    ids = (one["id"], one["id"] + (1 << 12)) if one["role"] == 1 else (one["id"],)
    check_mark(found, [marks[key] for key in ids if key in marks])
    return found.witness


def main(arguments):
    flags = {argument for argument in arguments if argument.startswith("--")}
    paths = [argument for argument in arguments if not argument.startswith("--")]
    if not 1 <= len(paths) <= 2 or flags - {"--json", "--no-data"}:
        print(__doc__, file=sys.stderr)
        return 2
    report = Report()

    def work():
        devices = [Device(path) for path in paths] + [None]
        read_pool(report, devices[0], devices[1], "--no-data" not in flags)

    report.attempt("", work)
    report.result["problems"] = report.problems
    if "--json" in flags:
        print(json.dumps(report.result, indent=2))
    else:
        for section, content in report.result.items():
            print(f"{section}:")
            for line in content.items() if isinstance(content, dict) else content:
                text = f"{line[0]}: {line[1]}" if isinstance(line, tuple) else line
                print(f"  {text}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

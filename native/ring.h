// A submission and a completion ring that TypeScript writes and reads in place.
//
// Kind IO_URING: the kernel's own rings. Kind AIO: the same layout in plain memory; enter() turns
// submission entries into Linux AIO control blocks, collect() turns its events into completions. So
// one driver in TypeScript serves both.
//
//   region 0, at the offsets that ring_open() reports:
//     u32 sqHead     entries taken by the kernel        (written here or by the kernel)
//     u32 sqTail     entries filled                     (written by TypeScript)
//     u32 cqHead     completions read                   (written by TypeScript)
//     u32 cqTail     completions made                   (written here or by the kernel)
//     cqes           16 bytes each: u64 userData, i32 result, u32 flags
//   region 1: submission entries of 64 bytes, as struct io_uring_sqe
//
// Invariants
//  1. Every entry taken makes exactly one completion: in flight = sqHead - cqTail.
//  2. TypeScript keeps at most cqEntries between submission and reading, so none overflows.
//  3. Only the thread that opened the ring touches it (IORING_SETUP_SINGLE_ISSUER).
#pragma once
#include <linux/aio_abi.h>
#include <stddef.h>
#include <stdint.h>

namespace mpool {

constexpr int KIND_IO_URING = 0;
constexpr int KIND_AIO = 1;
// Elements of the layout that ring_open() reports.
constexpr size_t RING_LAYOUT_COUNT = 7;

struct Ring {
  int kind = KIND_IO_URING;
  int fd = -1;  // io_uring: the ring. AIO: the eventfd that counts completions.
  aio_context_t aio = 0;
  uint8_t* memory = nullptr;
  size_t memory_bytes = 0;
  uint8_t* entries = nullptr;
  size_t entries_bytes = 0;
  uint32_t sq_entries = 0;
  uint32_t cq_entries = 0;
  uint32_t setup_flags = 0;
  uint32_t* sq_head = nullptr;
  uint32_t* sq_tail = nullptr;
  uint32_t* sq_flags = nullptr;
  uint32_t* cq_head = nullptr;
  uint32_t* cq_tail = nullptr;
  uint8_t* cqes = nullptr;
};

// layout: sqEntries, cqEntries, then byte offsets of sqHead, sqTail, cqHead, cqTail and cqes.
// Returns 0 or a negative errno.
int ring_open(Ring* ring, int kind, uint32_t sq_entries, uint32_t cq_entries, uint32_t* layout);
// Hands up to `count` filled entries to the kernel; returns how many it took, or a negative errno: then it
// took none.
int ring_enter(Ring* ring, uint32_t count);
// Brings finished work into the completion ring (AIO), or makes the kernel do so (overflow).
void ring_collect(Ring* ring);
// True when a completion waits to be read.
bool ring_has_completions(const Ring* ring);
// Entries taken by the kernel whose completions were not read yet.
uint32_t ring_unread(const Ring* ring);
// Waits until nothing is in flight, dropping completions. False when that took too long: then the
// memory under I/O must never be unmapped.
bool ring_drain(Ring* ring, int timeout_ms);
void ring_close(Ring* ring);

}  // namespace mpool

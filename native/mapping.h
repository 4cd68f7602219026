// Mapped devices of the process: one mapping a device, whichever JavaScript threads use it.
//
// A reference is held by each open in a thread, each ArrayBuffer over it (a window), each region that
// shows parts of it, and each piece of work under way. Whoever lets go of the last one unmaps.
//
// Invariants
//  1. All fields of the tables are read and changed under table_mutex, which is never held over a
//     system call that can wait; the fields marked 'fixed' do not change while a reference is held.
//  2. Aliases are exactly the parts of regions with references, sorted by their offset on the device.
//  3. Memory is unmapped only when no reference is left, hence no window and no work.
#pragma once
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <atomic>

#include "environment.h"

namespace mpool {

constexpr uint64_t PAGE_BYTES = 4096;
constexpr uint32_t SLOT_BITS = 8;
static_assert(MAPPING_COUNT_MAX == 1u << SLOT_BITS);

struct Region;

// Device pages that a region shows too.
struct Alias {
  uint64_t offset;
  uint64_t bytes;
  Region* region;
  uint64_t region_offset;
};

struct Mapping {
  uint32_t generation;
  uint32_t references;  // 0: the slot is free, or its memory is just being unmapped
  bool used;
  // A thread ended with an ArrayBuffer over it: someone may still have its memory.
  bool suspect;
  // Fixed from here.
  dev_t dev;
  ino_t ino;
  dev_t rdev;
  uint64_t bytes;
  int fd;
  uint8_t* base;
  uint8_t* bits;
  uint64_t bits_bytes;
  // Fixed up to here. How pages in the cache are counted: see map-work.cc.
  std::atomic<uint32_t> counting;
  Alias* aliases;
  size_t alias_count;
  size_t alias_capacity;
  uint64_t alias_bytes_max;
};

struct Part {
  Mapping* mapping;
  uint64_t offset;
  uint64_t bytes;
  uint64_t region_offset;
};

// One range of addresses stitched of parts of mappings; holds a reference for each part.
struct Region {
  uint32_t references;
  bool suspect;
  uint8_t* base;
  uint64_t bytes;
  int notice;
  size_t part_count;
  Part parts[];
};

// What a reference is on: a region, or else a mapping.
struct Holder {
  Mapping* mapping;
  Region* region;
};

extern pthread_mutex_t table_mutex;

struct TableLock {
  TableLock() { pthread_mutex_lock(&table_mutex); }
  ~TableLock() { pthread_mutex_unlock(&table_mutex); }
  TableLock(const TableLock&) = delete;
  TableLock& operator=(const TableLock&) = delete;
};

inline uint64_t round_up_page(uint64_t bytes) {
  return (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

// The mapping of that handle, if this thread has it open; it stays open until the thread closes it.
Mapping* mapping_of(Environment* environment, uint32_t handle);
// One reference more; the caller has one, or holds table_mutex and saw one.
void hold(Holder holder);
// One less. The last one unmaps, which takes milliseconds a gigabyte: not on a JavaScript thread.
void let_go(Holder holder);
// The same, but what would take long goes to the thread pool. `done` is called (without arguments) when that
// is over, if it is a function. Returns 0 when all is over, 1 when it goes on.
int let_go_soon(napi_env env, Holder holder, napi_value done);

// Mapped address ranges that a fault is explained for; see fault-notice.cc. Under table_mutex.
void fault_notices_install();
// Returns the range's place, -1 when there is no room: then its faults go unexplained.
int fault_notice_add(const void* memory, uint64_t bytes, const char* path);
void fault_notice_remove(int place);

}  // namespace mpool

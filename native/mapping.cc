// The table of mappings: opening, sharing, letting go. See mapping.h for the invariants.
#include "mapping.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "napi.h"

namespace mpool {

pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;

namespace {

constexpr size_t PATH_BYTES_MAX = 4096;
constexpr uint64_t HUGE_PAGE_BYTES = 2u << 20;
// Address space that is kept from reuse, at most: an eighth of what a process has.
constexpr uint64_t SEALED_BYTES_MAX = uint64_t{1} << 44;

Mapping mappings[MAPPING_COUNT_MAX];
int notices[MAPPING_COUNT_MAX];
std::atomic<uint64_t> sealed_bytes{0};

uint32_t slot_of(const Mapping* mapping) { return static_cast<uint32_t>(mapping - mappings); }

uint32_t handle_of(const Mapping* mapping) {
  return slot_of(mapping) | mapping->generation << SLOT_BITS;
}

// Memory that someone may still look at becomes unreachable for good, instead of another's.
void unmap(void* memory, uint64_t bytes, bool suspect) {
  if (memory == nullptr) return;
  if (suspect && sealed_bytes.fetch_add(bytes) + bytes <= SEALED_BYTES_MAX &&
      mmap(memory, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
           0) != MAP_FAILED) {
    return;
  }
  munmap(memory, bytes);
}

void release_memory(const Mapping* mapping) {
  unmap(mapping->base, mapping->bytes, mapping->suspect);
  unmap(mapping->bits, mapping->bits_bytes, mapping->suspect);
  free(mapping->aliases);
}

// Where a huge page could begin, so that what the kernel maps around a fault (64 KiB, aligned in the
// address space) is aligned on the device too and stays within one object of that alignment.
uint8_t* map_device(int fd, uint64_t bytes) {
  uint64_t span = bytes + HUGE_PAGE_BYTES;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* at = mmap(nullptr, span, PROT_NONE, flags, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  auto start = reinterpret_cast<uintptr_t>(at);
  uintptr_t base = (start + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
  uintptr_t end = base + round_up_page(bytes);
  void* mapped = mmap(reinterpret_cast<void*>(base), bytes, PROT_READ,
                      MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0);
  int error = errno;
  if (mapped == MAP_FAILED) {
    munmap(at, span);
    errno = error;
    return nullptr;
  }
  if (base > start) munmap(at, base - start);
  if (start + span > end) munmap(reinterpret_cast<void*>(end), start + span - end);
  return static_cast<uint8_t*>(mapped);
}

// Maps the device and the bits. On failure nothing is left but what release_memory() takes away.
int map_memory(Mapping* mapping) {
  uint8_t* base = map_device(mapping->fd, mapping->bytes);
  if (base == nullptr) return -errno;
  mapping->base = base;
  // RANDOM: a fault reads its page alone. The rest are wishes: a core dump must not hold whole
  // devices, and a child between fork and exec has no use for them.
  if (madvise(base, mapping->bytes, MADV_RANDOM) < 0) return -errno;
  madvise(base, mapping->bytes, MADV_DONTDUMP);
  madvise(base, mapping->bytes, MADV_DONTFORK);
  mapping->bits_bytes = (round_up_page(mapping->bytes) / PAGE_BYTES + 7) / 8;
  void* bits = mmap(nullptr, mapping->bits_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bits == MAP_FAILED) return -errno;
  mapping->bits = static_cast<uint8_t*>(bits);
  // A huge page of bits would cost 2 MiB for a first object: one small page serves 128 MiB of device.
  madvise(bits, mapping->bits_bytes, MADV_NOHUGEPAGE);
  return 0;
}

// One reference more on the mapping of that inode with that length. Under table_mutex.
Mapping* find_same(const Mapping& wanted) {
  for (Mapping& each : mappings) {
    if (each.references > 0 && each.dev == wanted.dev && each.ino == wanted.ino &&
        each.rdev == wanted.rdev && each.bytes == wanted.bytes) {
      each.references++;
      return &each;
    }
  }
  return nullptr;
}

// Puts it into a free slot, with one reference. Under table_mutex.
Mapping* insert(const Mapping& wanted, const char* path) {
  for (Mapping& each : mappings) {
    if (each.used) continue;
    each.references = 1;
    each.used = true;
    each.suspect = false;
    each.dev = wanted.dev;
    each.ino = wanted.ino;
    each.rdev = wanted.rdev;
    each.bytes = wanted.bytes;
    each.fd = wanted.fd;
    each.base = wanted.base;
    each.bits = wanted.bits;
    each.bits_bytes = wanted.bits_bytes;
    each.counting = 0;
    each.aliases = nullptr;
    each.alias_count = 0;
    each.alias_capacity = 0;
    each.alias_bytes_max = 0;
    notices[slot_of(&each)] = fault_notice_add(each.base, each.bytes, path);
    return &each;
  }
  return nullptr;
}

int open_mapping(int fd, const char* path, uint64_t bytes, Mapping** out) {
  struct stat stats;
  if (fstat(fd, &stats) < 0) return -errno;
  Mapping wanted{};
  wanted.dev = stats.st_dev;
  wanted.ino = stats.st_ino;
  wanted.rdev = stats.st_rdev;
  wanted.bytes = bytes;
  wanted.fd = fd;
  {
    TableLock lock;
    *out = find_same(wanted);
  }
  int result = 0;
  if (*out == nullptr) {
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    result = map_memory(&wanted);
    if (result == 0) {
      TableLock lock;
      fault_notices_install();
      // Another thread may have been faster.
      *out = find_same(wanted);
      if (*out == nullptr && (*out = insert(wanted, path)) != nullptr) return 0;
      if (*out == nullptr) result = -EMFILE;
    }
    release_memory(&wanted);
  }
  if (result == 0) close(fd);
  return result;
}

// Takes the parts of a region out of what their mappings know. Under table_mutex.
void remove_aliases(const Region* region) {
  for (size_t i = 0; i < region->part_count; i++) {
    Mapping* mapping = region->parts[i].mapping;
    if (i > 0 && mapping == region->parts[i - 1].mapping) continue;
    size_t kept = 0;
    for (size_t k = 0; k < mapping->alias_count; k++) {
      if (mapping->aliases[k].region != region) mapping->aliases[kept++] = mapping->aliases[k];
    }
    mapping->alias_count = kept;
  }
}

void let_go_region(Region* region) {
  {
    TableLock lock;
    if (--region->references > 0) return;
    remove_aliases(region);
    fault_notice_remove(region->notice);
  }
  unmap(region->base, region->bytes, region->suspect);
  for (size_t i = 0; i < region->part_count; i++) let_go({region->parts[i].mapping, nullptr});
  free(region);
}

struct Release {
  napi_async_work work;
  napi_ref callback;
  Holder holder;
};

void release_execute(napi_env, void* data) { let_go(static_cast<Release*>(data)->holder); }

void release_complete(napi_env env, napi_status status, void* data) {
  auto* release = static_cast<Release*>(data);
  if (status == napi_cancelled) let_go(release->holder);
  if (release->callback != nullptr) {
    napi_value callback;
    napi_value receiver;
    if (napi_get_reference_value(env, release->callback, &callback) == napi_ok &&
        napi_get_global(env, &receiver) == napi_ok) {
      napi_call_function(env, receiver, callback, 0, nullptr, nullptr);
    }
    napi_delete_reference(env, release->callback);
  }
  napi_delete_async_work(env, release->work);
  free(release);
}

bool queue_release(napi_env env, Holder holder, napi_value done) {
  auto* release = static_cast<Release*>(calloc(1, sizeof(Release)));
  if (release == nullptr) return false;
  release->holder = holder;
  napi_value name;
  bool called = done == nullptr || napi_create_reference(env, done, 1, &release->callback) == napi_ok;
  if (called && napi_create_string_utf8(env, "mpool", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_create_async_work(env, nullptr, name, release_execute, release_complete, release,
                             &release->work) == napi_ok &&
      napi_queue_async_work(env, release->work) == napi_ok) {
    return true;
  }
  if (release->work != nullptr) napi_delete_async_work(env, release->work);
  if (release->callback != nullptr) napi_delete_reference(env, release->callback);
  free(release);
  return false;
}

bool is_function(napi_env env, napi_value value) {
  napi_valuetype type;
  return napi_typeof(env, value, &type) == napi_ok && type == napi_function;
}

}  // namespace

Mapping* mapping_of(Environment* environment, uint32_t handle) {
  uint32_t slot = handle & (MAPPING_COUNT_MAX - 1);
  Mapping* mapping = &mappings[slot];
  bool open = environment->mapping_counts[slot] > 0 && handle_of(mapping) == handle;
  return open ? mapping : nullptr;
}

void hold(Holder holder) {
  TableLock lock;
  (holder.region != nullptr ? holder.region->references : holder.mapping->references)++;
}

void let_go(Holder holder) {
  if (holder.region != nullptr) return let_go_region(holder.region);
  Mapping* mapping = holder.mapping;
  {
    TableLock lock;
    if (--mapping->references > 0) return;
    fault_notice_remove(notices[slot_of(mapping)]);
  }
  // Out of reach now: no reference, so nobody finds it; still used, so nobody takes the slot.
  release_memory(mapping);
  close(mapping->fd);
  TableLock lock;
  mapping->generation++;
  mapping->used = false;
}

int let_go_soon(napi_env env, Holder holder, napi_value done) {
  {
    TableLock lock;
    uint32_t* references =
        holder.region != nullptr ? &holder.region->references : &holder.mapping->references;
    if (*references > 1) {
      --*references;
      return 0;
    }
  }
  if (queue_release(env, holder, done)) return 1;
  let_go(holder);
  return 0;
}

// (fd, path, bytes) → handle or negative errno. The descriptor is the mapping's unless it fails.
napi_value map_open_js(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  int fd = in.i32(0);
  char path[PATH_BYTES_MAX];
  in.text(1, path, sizeof path);
  uint64_t bytes = in.u64(2);
  if (!in.valid || bytes == 0) return invalid(env);
  Mapping* mapping = nullptr;
  int result = open_mapping(fd, path, bytes, &mapping);
  if (result < 0) return number(env, result);
  environment_of(env)->mapping_counts[slot_of(mapping)]++;
  return unsigned_number(env, handle_of(mapping));
}

// (handle) → 0 or -ENOENT: one open more of a mapping that some thread of the process has open
napi_value map_attach_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  uint32_t handle = in.u32(0);
  if (!in.valid) return invalid(env);
  Mapping* mapping = &mappings[handle & (MAPPING_COUNT_MAX - 1)];
  {
    TableLock lock;
    if (mapping->references == 0 || handle_of(mapping) != handle) return number(env, -ENOENT);
    mapping->references++;
  }
  environment_of(env)->mapping_counts[slot_of(mapping)]++;
  return number(env, 0);
}

// (handle, out: Float64Array(2)) → 0 or negative errno; out: length in bytes, descriptor
napi_value map_info_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  uint32_t handle = in.u32(0);
  double* out = in.array<double>(1, napi_float64_array, 2);
  Mapping* mapping = in.valid ? mapping_of(environment_of(env), handle) : nullptr;
  if (mapping == nullptr) return invalid(env);
  out[0] = static_cast<double>(mapping->bytes);
  out[1] = mapping->fd;
  return number(env, 0);
}

// (handle, done) → 0 over, 1 over when done() is called, or negative errno
napi_value map_close_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  uint32_t handle = in.u32(0);
  Environment* environment = environment_of(env);
  Mapping* mapping = in.valid ? mapping_of(environment, handle) : nullptr;
  if (mapping == nullptr || !is_function(env, in.value[1])) return invalid(env);
  environment->mapping_counts[slot_of(mapping)]--;
  return number(env, let_go_soon(env, {mapping, nullptr}, in.value[1]));
}

void mappings_end(Environment* environment) {
  for (uint32_t slot = 0; slot < MAPPING_COUNT_MAX; slot++) {
    while (environment->mapping_counts[slot] > 0) {
      environment->mapping_counts[slot]--;
      let_go({&mappings[slot], nullptr});
    }
  }
}

}  // namespace mpool

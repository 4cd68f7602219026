// Work on ranges of mapped devices, on the thread pool: all of it can take long or wait for a lock.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mapping.h"
#include "napi.h"

namespace mpool {
namespace {

// Numbers shared with src/native/binding.ts.
constexpr int OP_EVICT = 0;
constexpr int OP_ZAP = 1;
constexpr int OP_READ_AHEAD = 2;
constexpr int OP_RESIDENT = 3;
constexpr int OP_TOUCHED = 4;
constexpr int OP_COUNT = 5;

// One advice reads no more than the device's read-ahead, silently; the default of that is the least there is.
// Steps of it are as fast as larger ones (32 MiB in 9.7 ms against 9.2, measured).
constexpr uint64_t READ_AHEAD_STEP_BYTES = 128 << 10;

// Ways to count pages in the cache, best first.
constexpr uint32_t BY_CACHESTAT = 0;
constexpr uint32_t BY_MINCORE = 1;
constexpr uint32_t BY_PAGE_TABLE = 2;

// Of Linux 6.5, younger than most headers; the same number on all machines we run on.
constexpr long CACHESTAT_CALL = 451;
struct CacheRange {
  uint64_t offset;
  uint64_t bytes;
};
struct CacheCounts {
  uint64_t cached;
  uint64_t dirty;
  uint64_t writeback;
  uint64_t evicted;
  uint64_t recently_evicted;
};

constexpr uint64_t PRESENT_BIT = uint64_t{1} << 63;
// Pages looked at in one step: 16 KiB of entries, on the stack.
constexpr uint64_t BLOCK_PAGES = 2048;

struct Range {
  uint64_t offset;
  uint64_t bytes;
};

struct Work {
  napi_async_work work;
  napi_ref callback;
  napi_ref out;
  Mapping* mapping;
  int op;
  int64_t result;
  double cpu_us;
  size_t count;
  double* results;
  Range ranges[];
};

// Where else the pages of a range are mapped, with references on the regions.
struct Aliases {
  Alias* list = nullptr;
  size_t count = 0;

  Aliases() = default;
  Aliases(const Aliases&) = delete;
  Aliases& operator=(const Aliases&) = delete;
  ~Aliases() {
    for (size_t i = 0; i < count; i++) let_go({nullptr, list[i].region});
    free(list);
  }

  // Cut to the range. False when there is no memory.
  bool find(const Mapping* mapping, const Range& range) {
    TableLock lock;
    size_t low = 0;
    size_t high = mapping->alias_count;
    while (low < high) {
      size_t middle = (low + high) / 2;
      bool before = mapping->aliases[middle].offset + mapping->alias_bytes_max <= range.offset;
      (before ? low : high) = before ? middle + 1 : middle;
    }
    uint64_t end = range.offset + range.bytes;
    size_t last = low;
    while (last < mapping->alias_count && mapping->aliases[last].offset < end) last++;
    if (last == low) return true;
    list = static_cast<Alias*>(malloc((last - low) * sizeof(Alias)));
    if (list == nullptr) return false;
    for (size_t i = low; i < last; i++) {
      Alias alias = mapping->aliases[i];
      if (alias.offset + alias.bytes <= range.offset) continue;
      if (alias.offset < range.offset) {
        uint64_t skipped = range.offset - alias.offset;
        alias.offset += skipped;
        alias.region_offset += skipped;
        alias.bytes -= skipped;
      }
      if (alias.offset + alias.bytes > end) alias.bytes = end - alias.offset;
      alias.region->references++;
      list[count++] = alias;
    }
    return true;
  }
};

int zap(const Mapping* mapping, const Range& range) {
  Aliases aliases;
  if (!aliases.find(mapping, range)) return -ENOMEM;
  if (madvise(mapping->base + range.offset, range.bytes, MADV_DONTNEED) < 0) return -errno;
  for (size_t i = 0; i < aliases.count; i++) {
    const Alias& alias = aliases.list[i];
    uint8_t* at = alias.region->base + alias.region_offset;
    if (madvise(at, alias.bytes, MADV_DONTNEED) < 0) return -errno;
  }
  return 0;
}

// In this order: the cache keeps what is mapped anywhere.
int evict(const Mapping* mapping, const Range& range) {
  int result = zap(mapping, range);
  if (result < 0) return result;
  return -posix_fadvise(mapping->fd, static_cast<off_t>(range.offset),
                        static_cast<off_t>(range.bytes), POSIX_FADV_DONTNEED);
}

int read_ahead(const Mapping* mapping, const Range& range) {
  for (uint64_t done = 0; done < range.bytes; done += READ_AHEAD_STEP_BYTES) {
    uint64_t left = range.bytes - done;
    uint64_t step = left < READ_AHEAD_STEP_BYTES ? left : READ_AHEAD_STEP_BYTES;
    int error = posix_fadvise(mapping->fd, static_cast<off_t>(range.offset + done),
                              static_cast<off_t>(step), POSIX_FADV_WILLNEED);
    if (error != 0) return -error;
  }
  return 0;
}

// Entries of /proc/self/pagemap for the pages at an address.
int read_entries(const uint8_t* at, uint64_t pages, uint64_t* entries) {
  static std::atomic<int> shared{-1};
  int fd = shared.load();
  if (fd < 0) {
    fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int none = -1;
    if (!shared.compare_exchange_strong(none, fd)) {
      close(fd);
      fd = none;
    }
  }
  auto offset = static_cast<off_t>(reinterpret_cast<uintptr_t>(at) / PAGE_BYTES * sizeof(uint64_t));
  size_t wanted = pages * sizeof(uint64_t);
  size_t got = 0;
  while (got < wanted) {
    ssize_t more = pread(fd, reinterpret_cast<uint8_t*>(entries) + got, wanted - got,
                         offset + static_cast<off_t>(got));
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) return more < 0 ? -errno : -EIO;
    got += static_cast<size_t>(more);
  }
  return 0;
}

// Pages in the page tables, of the mapping itself or of a region: each once.
int64_t count_touched(const Mapping* mapping, const Range& range) {
  Aliases aliases;
  if (!aliases.find(mapping, range)) return -ENOMEM;
  uint64_t entries[BLOCK_PAGES];
  uint8_t touched[BLOCK_PAGES];
  int64_t count = 0;
  for (uint64_t done = 0; done < range.bytes; done += BLOCK_PAGES * PAGE_BYTES) {
    uint64_t start = range.offset + done;
    uint64_t left = (range.bytes - done) / PAGE_BYTES;
    uint64_t pages = left < BLOCK_PAGES ? left : BLOCK_PAGES;
    uint64_t end = start + pages * PAGE_BYTES;
    int result = read_entries(mapping->base + start, pages, entries);
    if (result < 0) return result;
    for (uint64_t i = 0; i < pages; i++) touched[i] = (entries[i] & PRESENT_BIT) != 0;
    for (size_t k = 0; k < aliases.count; k++) {
      const Alias& alias = aliases.list[k];
      uint64_t from = alias.offset > start ? alias.offset : start;
      uint64_t to = alias.offset + alias.bytes < end ? alias.offset + alias.bytes : end;
      if (from >= to) continue;
      uint64_t shown = (to - from) / PAGE_BYTES;
      const uint8_t* at = alias.region->base + alias.region_offset + (from - alias.offset);
      result = read_entries(at, shown, entries);
      if (result < 0) return result;
      uint8_t* first = touched + (from - start) / PAGE_BYTES;
      for (uint64_t i = 0; i < shown; i++) first[i] |= (entries[i] & PRESENT_BIT) != 0;
    }
    for (uint64_t i = 0; i < pages; i++) count += touched[i];
  }
  return count;
}

// mincore(2) says that all is in memory of a file that the caller neither owns nor may write.
bool mincore_is_true(const Mapping* mapping) {
  struct stat stats;
  if (fstat(mapping->fd, &stats) == 0 && stats.st_uid == geteuid()) return true;
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", mapping->fd);
  return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

int64_t count_by_mincore(const Mapping* mapping, const Range& range) {
  uint8_t cached[BLOCK_PAGES];
  int64_t count = 0;
  for (uint64_t done = 0; done < range.bytes; done += BLOCK_PAGES * PAGE_BYTES) {
    uint64_t left = range.bytes - done;
    uint64_t bytes = left < BLOCK_PAGES * PAGE_BYTES ? left : BLOCK_PAGES * PAGE_BYTES;
    if (mincore(mapping->base + range.offset + done, bytes, cached) < 0) return -errno;
    for (uint64_t i = 0; i < bytes / PAGE_BYTES; i++) count += cached[i] & 1;
  }
  return count;
}

int64_t count_resident(Mapping* mapping, const Range& range) {
  uint32_t way = mapping->counting.load(std::memory_order_relaxed);
  if (way == BY_CACHESTAT) {
    CacheRange wanted = {range.offset, range.bytes};
    CacheCounts counts = {};
    if (syscall(CACHESTAT_CALL, mapping->fd, &wanted, &counts, 0) == 0) {
      return static_cast<int64_t>(counts.cached);
    }
    // Too old a kernel, a filter, or not permitted on this file: none of which changes.
    way = mincore_is_true(mapping) ? BY_MINCORE : BY_PAGE_TABLE;
    mapping->counting.store(way, std::memory_order_relaxed);
  }
  return way == BY_MINCORE ? count_by_mincore(mapping, range) : count_touched(mapping, range);
}

int64_t perform(int op, Mapping* mapping, const Range& range) {
  // To some of the calls, no length means all.
  if (range.bytes == 0) return 0;
  switch (op) {
    case OP_EVICT: return evict(mapping, range);
    case OP_ZAP: return zap(mapping, range);
    case OP_READ_AHEAD: return read_ahead(mapping, range);
    case OP_RESIDENT: return count_resident(mapping, range);
    default: return count_touched(mapping, range);
  }
}

double thread_cpu_us() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

void execute(napi_env, void* data) {
  auto* work = static_cast<Work*>(data);
  double start_us = thread_cpu_us();
  for (size_t i = 0; i < work->count && work->result == 0; i++) {
    int64_t result = perform(work->op, work->mapping, work->ranges[i]);
    if (result < 0) work->result = result;
    work->results[i] = static_cast<double>(result);
  }
  work->cpu_us = thread_cpu_us() - start_us;
  let_go({work->mapping, nullptr});
}

// Results, and the processor time behind them, go where the caller wants them.
void copy_out(napi_env env, const Work* work) {
  napi_value array;
  napi_typedarray_type type;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_reference_value(env, work->out, &array) != napi_ok ||
      napi_get_typedarray_info(env, array, &type, &length, &memory, nullptr, nullptr) != napi_ok ||
      length <= work->count) {
    return;
  }
  memcpy(memory, work->results, work->count * sizeof(double));
  static_cast<double*>(memory)[work->count] = work->cpu_us;
}

void free_work(napi_env env, Work* work) {
  if (work->callback != nullptr) napi_delete_reference(env, work->callback);
  if (work->out != nullptr) napi_delete_reference(env, work->out);
  if (work->work != nullptr) napi_delete_async_work(env, work->work);
  free(work->results);
  free(work);
}

void complete(napi_env env, napi_status status, void* data) {
  auto* work = static_cast<Work*>(data);
  if (status == napi_cancelled) {
    work->result = -ECANCELED;
    let_go({work->mapping, nullptr});
  }
  copy_out(env, work);
  napi_value callback;
  napi_value receiver;
  napi_value result = number(env, work->result);
  if (result != nullptr && napi_get_reference_value(env, work->callback, &callback) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok) {
    napi_call_function(env, receiver, callback, 1, &result, nullptr);
  }
  free_work(env, work);
}

bool read_range(const Mapping* mapping, const double* numbers, Range* range) {
  double offset = numbers[0];
  double bytes = numbers[1];
  auto limit = static_cast<double>(round_up_page(mapping->bytes));
  if (!(offset >= 0 && bytes >= 0 && offset + bytes <= limit)) return false;
  range->offset = static_cast<uint64_t>(offset);
  range->bytes = static_cast<uint64_t>(bytes);
  return static_cast<double>(range->offset) == offset && range->offset % PAGE_BYTES == 0 &&
         static_cast<double>(range->bytes) == bytes && range->bytes % PAGE_BYTES == 0;
}

Work* make_work(Mapping* mapping, int op, const double* numbers, size_t count) {
  auto* work = static_cast<Work*>(calloc(1, sizeof(Work) + count * sizeof(Range)));
  if (work == nullptr) return nullptr;
  work->mapping = mapping;
  work->op = op;
  work->count = count;
  work->results = static_cast<double*>(calloc(count + 1, sizeof(double)));
  bool sound = work->results != nullptr;
  for (size_t i = 0; i < count && sound; i++) {
    sound = read_range(mapping, numbers + 2 * i, &work->ranges[i]);
  }
  if (sound) return work;
  free(work->results);
  free(work);
  return nullptr;
}

}  // namespace

// (handle, op, ranges: Float64Array of offset, bytes, …; out: Float64Array, one longer than there are
// ranges; done(result)) → 0 or negative errno
// out, when done is called: a number a range (pages, or 0), then microseconds of processor time
napi_value map_work_js(napi_env env, napi_callback_info info) {
  Arguments<5> in(env, info);
  uint32_t handle = in.u32(0);
  int op = in.i32(1);
  size_t length = 0;
  const double* numbers = in.array<double>(2, napi_float64_array, 0, &length);
  size_t count = length / 2;
  in.array<double>(3, napi_float64_array, count + 1);
  Environment* environment = environment_of(env);
  Mapping* mapping = in.valid ? mapping_of(environment, handle) : nullptr;
  if (mapping == nullptr || op < 0 || op >= OP_COUNT || length % 2 != 0 || environment->ending) {
    return invalid(env);
  }
  Work* work = make_work(mapping, op, numbers, count);
  napi_value name;
  napi_valuetype type;
  if (work == nullptr || napi_typeof(env, in.value[4], &type) != napi_ok ||
      type != napi_function ||
      napi_create_reference(env, in.value[4], 1, &work->callback) != napi_ok ||
      napi_create_reference(env, in.value[3], 1, &work->out) != napi_ok ||
      napi_create_string_utf8(env, "mpool", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, nullptr, name, execute, complete, work, &work->work) != napi_ok) {
    if (work != nullptr) free_work(env, work);
    return invalid(env);
  }
  hold({mapping, nullptr});
  if (napi_queue_async_work(env, work->work) != napi_ok) {
    let_go({mapping, nullptr});
    free_work(env, work);
    return number(env, -EAGAIN);
  }
  return number(env, 0);
}

}  // namespace mpool

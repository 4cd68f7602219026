// Which pages of a device are in the page cache, and which in the page tables of this process.
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mapping.h"

namespace mpool {
namespace {

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

}  // namespace

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

}  // namespace mpool

// Regions: parts of devices stitched into one range of addresses, for users that want to see many
// objects as one. Where no part lies, a page of zeros is seen.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mapping.h"
#include "napi.h"

namespace mpool {
namespace {

// handle, offset, bytes, offset in the region
constexpr size_t PART_NUMBERS = 4;

int by_region_offset(const void* a, const void* b) {
  uint64_t left = static_cast<const Part*>(a)->region_offset;
  uint64_t right = static_cast<const Part*>(b)->region_offset;
  return left < right ? -1 : left > right;
}

int by_device_offset(const void* a, const void* b) {
  auto* left = static_cast<const Part*>(a);
  auto* right = static_cast<const Part*>(b);
  if (left->mapping != right->mapping) return left->mapping < right->mapping ? -1 : 1;
  return left->offset < right->offset ? -1 : left->offset > right->offset;
}

bool whole_pages(double number, uint64_t* out) {
  if (!(number >= 0 && number <= 9007199254740991.0)) return false;
  *out = static_cast<uint64_t>(number);
  return static_cast<double>(*out) == number && *out % PAGE_BYTES == 0;
}

bool read_part(Environment* environment, const double* numbers, uint64_t region_bytes, Part* part) {
  double handle = numbers[0];
  if (!(handle >= 0 && handle <= UINT32_MAX)) return false;
  part->mapping = mapping_of(environment, static_cast<uint32_t>(handle));
  if (part->mapping == nullptr || !whole_pages(numbers[1], &part->offset) ||
      !(numbers[2] >= 1 && numbers[2] <= 9007199254740991.0) ||
      !whole_pages(numbers[3], &part->region_offset)) {
    return false;
  }
  part->bytes = round_up_page(static_cast<uint64_t>(numbers[2]));
  uint64_t device_bytes = round_up_page(part->mapping->bytes);
  return part->offset <= device_bytes && part->bytes <= device_bytes - part->offset &&
         part->region_offset <= region_bytes &&
         part->bytes <= region_bytes - part->region_offset;
}

// Fills in the region's parts, sorted by where they lie on which device.
bool read_parts(Environment* environment, const double* numbers, Region* region) {
  for (size_t i = 0; i < region->part_count; i++) {
    const double* each = numbers + i * PART_NUMBERS;
    if (!read_part(environment, each, region->bytes, &region->parts[i])) return false;
  }
  qsort(region->parts, region->part_count, sizeof(Part), by_region_offset);
  for (size_t i = 1; i < region->part_count; i++) {
    const Part* before = &region->parts[i - 1];
    if (before->region_offset + before->bytes > region->parts[i].region_offset) return false;
  }
  qsort(region->parts, region->part_count, sizeof(Part), by_device_offset);
  return true;
}

int map_parts(Region* region) {
  void* base = mmap(nullptr, region->bytes, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return -errno;
  region->base = static_cast<uint8_t*>(base);
  for (size_t i = 0; i < region->part_count; i++) {
    const Part* part = &region->parts[i];
    if (mmap(region->base + part->region_offset, part->bytes, PROT_READ,
             MAP_SHARED | MAP_NORESERVE | MAP_FIXED, part->mapping->fd,
             static_cast<off_t>(part->offset)) == MAP_FAILED) {
      return -errno;
    }
  }
  // Without it, faults here would read ahead.
  if (madvise(base, region->bytes, MADV_RANDOM) < 0) return -errno;
  madvise(base, region->bytes, MADV_DONTDUMP);
  // Every fork would copy one VMA a part.
  madvise(base, region->bytes, MADV_DONTFORK);
  return 0;
}

// Merges parts of one mapping, sorted by offset, into its aliases, sorted too. Under table_mutex.
bool add_aliases(Region* region, const Part* parts, size_t count) {
  Mapping* mapping = parts->mapping;
  size_t wanted = mapping->alias_count + count;
  if (wanted > mapping->alias_capacity) {
    size_t capacity = wanted + wanted / 2;
    void* memory = realloc(mapping->aliases, capacity * sizeof(Alias));
    if (memory == nullptr) return false;
    mapping->aliases = static_cast<Alias*>(memory);
    mapping->alias_capacity = capacity;
  }
  size_t old = mapping->alias_count;
  mapping->alias_count = wanted;
  Alias* aliases = mapping->aliases;
  while (count > 0) {
    const Part* part = &parts[count - 1];
    if (old > 0 && aliases[old - 1].offset > part->offset) {
      aliases[--wanted] = aliases[--old];
      continue;
    }
    aliases[--wanted] = {part->offset, part->bytes, region, part->region_offset};
    if (part->bytes > mapping->alias_bytes_max) mapping->alias_bytes_max = part->bytes;
    count--;
  }
  return true;
}

// From now on whoever evicts pages of the parts does so here too. On failure, what was entered goes
// again with the region's last reference.
bool publish(Region* region) {
  TableLock lock;
  for (size_t i = 0; i < region->part_count; i++) region->parts[i].mapping->references++;
  region->notice = fault_notice_add(region->base, region->bytes, "a linear map");
  for (size_t i = 0; i < region->part_count;) {
    size_t end = i + 1;
    while (end < region->part_count && region->parts[end].mapping == region->parts[i].mapping) end++;
    if (!add_aliases(region, &region->parts[i], end - i)) return false;
    i = end;
  }
  return true;
}

int open_region(Environment* environment, const double* numbers, size_t count, uint64_t bytes,
                Region** out) {
  auto* region = static_cast<Region*>(calloc(1, sizeof(Region) + count * sizeof(Part)));
  if (region == nullptr) return -ENOMEM;
  region->references = 1;
  region->bytes = round_up_page(bytes);
  region->part_count = count;
  int result = read_parts(environment, numbers, region) ? map_parts(region) : -EINVAL;
  if (result < 0) {
    if (region->base != nullptr) munmap(region->base, region->bytes);
    free(region);
    return result;
  }
  if (!publish(region)) {
    let_go({nullptr, region});
    return -ENOMEM;
  }
  *out = region;
  return 0;
}

}  // namespace

// (parts: Float64Array of handle, offset, bytes, offset in the region, …; bytes > 0; index:
// Uint32Array(1)) → ArrayBuffer or negative errno
napi_value map_stitch_js(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  size_t count = 0;
  const double* numbers = in.array<double>(0, napi_float64_array, 0, &count);
  uint64_t bytes = in.u64(1);
  uint32_t* index = in.array<uint32_t>(2, napi_uint32_array, 1);
  if (!in.valid || count % PART_NUMBERS != 0 || bytes == 0) return invalid(env);
  Region* region = nullptr;
  int result = open_region(environment_of(env), numbers, count / PART_NUMBERS, bytes, &region);
  if (result < 0) return number(env, result);
  napi_value buffer;
  result = window_open(env, {nullptr, region}, region->base, bytes, index, &buffer);
  if (result == 0) return buffer;
  let_go({nullptr, region});
  return number(env, result);
}

}  // namespace mpool

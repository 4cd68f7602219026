// Slabs: memory for I/O, aligned to 2 MiB and backed by huge pages where the machine allows it
// (which doubles the bandwidth of large direct I/O). They live until slabUnmap() or the thread's end,
// whatever the garbage collector does, because the kernel may be writing into them.
#include <stdlib.h>
#include <sys/mman.h>

#include <new>

#include "environment.h"
#include "napi.h"

namespace mpool {
namespace {

constexpr size_t HUGE_PAGE_BYTES = 2u << 20;
constexpr size_t SLAB_BYTES_MAX = size_t{1} << 32;

void* map_aligned(size_t bytes) {
  size_t span = bytes + HUGE_PAGE_BYTES;
  void* at = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  auto start = reinterpret_cast<uintptr_t>(at);
  uintptr_t aligned = (start + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
  if (aligned > start) munmap(at, aligned - start);
  uintptr_t end = aligned + bytes;
  if (start + span > end) munmap(reinterpret_cast<void*>(end), start + span - end);
  void* memory = reinterpret_cast<void*>(aligned);
  // Both are wishes. DONTFORK: a child between fork and exec must not make our pages copy-on-write
  // while a device writes to them.
  madvise(memory, bytes, MADV_HUGEPAGE);
  madvise(memory, bytes, MADV_DONTFORK);
  return memory;
}

void unlink(Environment* environment, Slab* slab) {
  if (slab->previous != nullptr) slab->previous->next = slab->next;
  if (slab->next != nullptr) slab->next->previous = slab->previous;
  if (environment->slabs == slab) environment->slabs = slab->next;
}

}  // namespace

// (bytes: a multiple of 2 MiB, address: Float64Array(1)) → ArrayBuffer or negative errno
napi_value slab_map_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  uint64_t bytes = in.u64(0);
  double* address = in.array<double>(1, napi_float64_array, 1);
  if (!in.valid || bytes == 0 || bytes % HUGE_PAGE_BYTES != 0 || bytes > SLAB_BYTES_MAX) {
    return invalid(env);
  }
  void* node = calloc(1, sizeof(Slab));
  if (node == nullptr) return number(env, -ENOMEM);
  auto* slab = new (node) Slab;
  slab->bytes = bytes;
  slab->memory = map_aligned(bytes);
  napi_value buffer = nullptr;
  if (slab->memory != nullptr &&
      napi_create_external_arraybuffer(env, slab->memory, bytes, nullptr, nullptr, &buffer) ==
          napi_ok &&
      napi_create_reference(env, buffer, 1, &slab->buffer) == napi_ok) {
    Environment* environment = environment_of(env);
    slab->next = environment->slabs;
    if (slab->next != nullptr) slab->next->previous = slab;
    environment->slabs = slab;
    *address = static_cast<double>(reinterpret_cast<uintptr_t>(slab->memory));
    return buffer;
  }
  if (slab->memory != nullptr) munmap(slab->memory, bytes);
  free(slab);
  return number(env, -ENOMEM);
}

// (address) → 0 or negative errno. Every view of it has length 0 from now on.
napi_value slab_unmap_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  void* memory = reinterpret_cast<void*>(static_cast<uintptr_t>(in.u64(0)));
  if (!in.valid) return invalid(env);
  Environment* environment = environment_of(env);
  Slab* slab = environment->slabs;
  while (slab != nullptr && slab->memory != memory) slab = slab->next;
  if (slab == nullptr) return number(env, -ENOENT);
  napi_value buffer;
  // A buffer that refuses to be detached keeps its memory: a leak is better than a wild view.
  if (napi_get_reference_value(env, slab->buffer, &buffer) != napi_ok || buffer == nullptr ||
      napi_detach_arraybuffer(env, buffer) != napi_ok) {
    return number(env, -EBUSY);
  }
  napi_delete_reference(env, slab->buffer);
  unlink(environment, slab);
  munmap(slab->memory, slab->bytes);
  free(slab);
  return number(env, 0);
}

void slabs_end(Environment* environment) {
  while (environment->slabs != nullptr) {
    Slab* slab = environment->slabs;
    environment->slabs = slab->next;
    munmap(slab->memory, slab->bytes);
    free(slab);
  }
}

}  // namespace mpool

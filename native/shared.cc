// Memory that two processes have. Whoever maps it first makes sure that nobody can shrink it: an access
// beyond the end of a file kills the process.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <new>

#include "environment.h"
#include "napi.h"

namespace mpool {
namespace {

constexpr uint64_t SHARED_BYTES_MAX = uint64_t{1} << 32;
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

// Linux before 6.3 does not know MFD_NOEXEC_SEAL, later ones complain when nothing is said.
int make_memory_file() {
  int fd = memfd_create("mpool", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd >= 0 || errno != EINVAL) return fd;
  return memfd_create("mpool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

// 0, or why not: -EPERM when the file may still shrink, -EINVAL when it is too short.
int check_file(int fd, uint64_t bytes) {
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return errno == EINVAL ? -EPERM : -errno;
  if (!(seals & F_SEAL_SHRINK)) return -EPERM;
  struct stat facts;
  if (fstat(fd, &facts) < 0) return -errno;
  return static_cast<uint64_t>(facts.st_size) < bytes ? -EINVAL : 0;
}

}  // namespace

// (bytes) → a descriptor of so much zeroed memory, of a length sealed for ever, or negative errno
napi_value memory_file_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  uint64_t bytes = in.u64(0);
  if (!in.valid || bytes == 0 || bytes > SHARED_BYTES_MAX) return invalid(env);
  int fd = make_memory_file();
  if (fd < 0) return number(env, -errno);
  if (ftruncate(fd, static_cast<off_t>(bytes)) < 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
    int error = errno;
    close(fd);
    return number(env, -error);
  }
  return number(env, fd);
}

// (fd, bytes, writable: 0 | 1, address: Float64Array(1)) → ArrayBuffer or negative errno
napi_value map_shared_js(napi_env env, napi_callback_info info) {
  Arguments<4> in(env, info);
  int fd = in.i32(0);
  uint64_t bytes = in.u64(1);
  int writable = in.i32(2);
  double* address = in.array<double>(3, napi_float64_array, 1);
  if (!in.valid || bytes == 0 || bytes > SHARED_BYTES_MAX) return invalid(env);
  int result = check_file(fd, bytes);
  if (result < 0) return number(env, result);
  int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* node = calloc(1, sizeof(Slab));
  if (node == nullptr) return number(env, -ENOMEM);
  auto* slab = new (node) Slab;
  slab->bytes = bytes;
  slab->memory = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (slab->memory == MAP_FAILED) {
    result = -errno;
    free(slab);
    return number(env, result);
  }
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, slab->memory, bytes, nullptr, nullptr, &buffer) ==
          napi_ok &&
      napi_create_reference(env, buffer, 1, &slab->buffer) == napi_ok) {
    Environment* environment = environment_of(env);
    slab->next = environment->shared;
    if (slab->next != nullptr) slab->next->previous = slab;
    environment->shared = slab;
    *address = static_cast<double>(reinterpret_cast<uintptr_t>(slab->memory));
    return buffer;
  }
  munmap(slab->memory, bytes);
  free(slab);
  return number(env, -ENOMEM);
}

// (address) → 0 or negative errno. Every view of it has length 0 from now on.
napi_value unmap_shared_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  void* memory = reinterpret_cast<void*>(static_cast<uintptr_t>(in.u64(0)));
  if (!in.valid) return invalid(env);
  Environment* environment = environment_of(env);
  Slab* slab = environment->shared;
  while (slab != nullptr && slab->memory != memory) slab = slab->next;
  if (slab == nullptr) return number(env, -ENOENT);
  napi_value buffer;
  // As with slabs: a leak is better than a wild view.
  if (napi_get_reference_value(env, slab->buffer, &buffer) != napi_ok || buffer == nullptr ||
      napi_detach_arraybuffer(env, buffer) != napi_ok) {
    return number(env, -EBUSY);
  }
  napi_delete_reference(env, slab->buffer);
  if (slab->previous != nullptr) slab->previous->next = slab->next;
  if (slab->next != nullptr) slab->next->previous = slab->previous;
  if (environment->shared == slab) environment->shared = slab->next;
  munmap(slab->memory, slab->bytes);
  free(slab);
  return number(env, 0);
}

void shared_end(Environment* environment) {
  while (environment->shared != nullptr) {
    Slab* slab = environment->shared;
    environment->shared = slab->next;
    munmap(slab->memory, slab->bytes);
    free(slab);
  }
}

}  // namespace mpool

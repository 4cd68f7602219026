// Facts and locks of one descriptor. None of these calls does I/O to the medium.
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "environment.h"
#include "napi.h"

namespace mpool {

// (fd, mode: 0 shared | 1 exclusive | 2 unlock) → 0 or negative errno; never waits
napi_value lock_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  int fd = in.i32(0);
  int mode = in.i32(1);
  if (!in.valid) return invalid(env);
  int operation = mode == 0 ? LOCK_SH : mode == 1 ? LOCK_EX : LOCK_UN;
  return number(env, flock(fd, operation | LOCK_NB) < 0 ? -errno : 0);
}

// (fd) → another descriptor of the same open file, or negative errno
napi_value duplicate_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  int fd = in.i32(0);
  if (!in.valid) return invalid(env);
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return number(env, copy < 0 ? -errno : copy);
}

// (fd, direct: 0 | 1) → 0 or negative errno; turns O_DIRECT of the open file on or off
napi_value set_direct_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  int fd = in.i32(0);
  int direct = in.i32(1);
  if (!in.valid) return invalid(env);
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return number(env, -errno);
  flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
  return number(env, fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0);
}

// (fd, out: Float64Array(5)) → 0 or negative errno
// out: size in bytes, logical sector, physical sector, optimal I/O size (0: unknown), read-only
napi_value block_limits_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  int fd = in.i32(0);
  double* out = in.array<double>(1, napi_float64_array, 5);
  if (!in.valid) return invalid(env);
  uint64_t size = 0;
  int logical = 0;
  unsigned int physical = 0;
  unsigned int optimal = 0;
  int read_only = 0;
  if (ioctl(fd, BLKGETSIZE64, &size) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0) {
    return number(env, -errno);
  }
  // The rest has defaults where a driver does not answer.
  if (ioctl(fd, BLKPBSZGET, &physical) < 0) physical = static_cast<unsigned int>(logical);
  if (ioctl(fd, BLKIOOPT, &optimal) < 0) optimal = 0;
  if (ioctl(fd, BLKROGET, &read_only) < 0) read_only = 0;
  out[0] = static_cast<double>(size);
  out[1] = logical;
  out[2] = physical;
  out[3] = optimal;
  out[4] = read_only;
  return number(env, 0);
}

// (fd, out: Float64Array(2)) → 1 known, 0 the kernel does not say, or negative errno
// out: what direct I/O needs of memory and of offsets, in bytes; 0, 0: direct I/O is not possible
napi_value direct_limits_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  int fd = in.i32(0);
  double* out = in.array<double>(1, napi_float64_array, 2);
  if (!in.valid) return invalid(env);
#ifdef SYS_statx
  // struct statx by offsets: headers older than Linux 6.1 lack the two fields.
  constexpr uint32_t STATX_DIOALIGN_BIT = 0x2000;
  constexpr size_t MASK_OFFSET = 0;
  constexpr size_t MEMORY_ALIGN_OFFSET = 152;
  constexpr size_t OFFSET_ALIGN_OFFSET = 156;
  alignas(8) uint8_t answer[256] = {};
  if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN_BIT, answer) < 0) {
    return number(env, -errno);
  }
  uint32_t mask = 0;
  uint32_t memory_align = 0;
  uint32_t offset_align = 0;
  memcpy(&mask, answer + MASK_OFFSET, sizeof mask);
  memcpy(&memory_align, answer + MEMORY_ALIGN_OFFSET, sizeof memory_align);
  memcpy(&offset_align, answer + OFFSET_ALIGN_OFFSET, sizeof offset_align);
  if (!(mask & STATX_DIOALIGN_BIT)) return number(env, 0);
  out[0] = memory_align;
  out[1] = offset_align;
  return number(env, 1);
#else
  return number(env, 0);
#endif
}

}  // namespace mpool

// One system call on libuv's thread pool: what no ring can do without blocking (discard), and all
// I/O on the lowest rung of the engine ladder.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "environment.h"
#include "napi.h"

namespace mpool {
namespace {

// Numbers shared with src/native/binding.ts; the first ones are io_uring's.
constexpr int OP_FSYNC = 3;
constexpr int OP_READ = 22;
constexpr int OP_WRITE = 23;
constexpr int OP_PUNCH_HOLE = 256;
constexpr int OP_DISCARD = 257;

struct Call {
  Environment* environment;
  napi_async_work work;
  napi_ref callback;
  int op;
  int fd;
  void* memory;
  uint64_t bytes;
  uint64_t offset;
  uint32_t flags;
  int64_t result;
};

int64_t perform(const Call* call) {
  auto offset = static_cast<off_t>(call->offset);
  auto bytes = static_cast<off_t>(call->bytes);
  iovec vector = {call->memory, call->bytes};
  switch (call->op) {
    case OP_READ: return preadv2(call->fd, &vector, 1, offset, static_cast<int>(call->flags));
    case OP_WRITE: return pwritev2(call->fd, &vector, 1, offset, static_cast<int>(call->flags));
    case OP_FSYNC: return fdatasync(call->fd);
    case OP_PUNCH_HOLE:
      return fallocate(call->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
    case OP_DISCARD: {
      uint64_t range[2] = {call->offset, call->bytes};
      return ioctl(call->fd, BLKDISCARD, range);
    }
    default: errno = EOPNOTSUPP; return -1;
  }
}

void execute(napi_env, void* data) {
  auto* call = static_cast<Call*>(data);
  do {
    call->result = perform(call);
  } while (call->result < 0 && errno == EINTR);
  if (call->result < 0) call->result = -errno;
}

void complete(napi_env env, napi_status, void* data) {
  auto* call = static_cast<Call*>(data);
  call->environment->offloaded--;
  napi_value callback;
  napi_value receiver;
  napi_value result = number(env, call->result);
  if (result != nullptr && napi_get_reference_value(env, call->callback, &callback) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok) {
    // Inside the scope that Node opened for this completion, which also runs the microtasks and
    // reports what the callback throws.
    napi_call_function(env, receiver, callback, 1, &result, nullptr);
  }
  napi_delete_reference(env, call->callback);
  napi_delete_async_work(env, call->work);
  free(call);
}

}  // namespace

// (op, fd, address, bytes, offset, flags, callback(result)) → 0 or negative errno
napi_value offload_js(napi_env env, napi_callback_info info) {
  Arguments<7> in(env, info);
  auto* call = static_cast<Call*>(calloc(1, sizeof(Call)));
  if (call == nullptr) return number(env, -ENOMEM);
  call->environment = environment_of(env);
  call->op = in.i32(0);
  call->fd = in.i32(1);
  call->memory = reinterpret_cast<void*>(static_cast<uintptr_t>(in.u64(2)));
  call->bytes = in.u64(3);
  call->offset = in.u64(4);
  call->flags = in.u32(5);
  napi_value name;
  if (!in.valid || call->environment->ending ||
      napi_create_reference(env, in.value[6], 1, &call->callback) != napi_ok ||
      napi_create_string_utf8(env, "mpool", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, nullptr, name, execute, complete, call, &call->work) != napi_ok) {
    if (call->callback != nullptr) napi_delete_reference(env, call->callback);
    free(call);
    return invalid(env);
  }
  call->environment->offloaded++;
  if (napi_queue_async_work(env, call->work) != napi_ok) {
    call->environment->offloaded--;
    napi_delete_reference(env, call->callback);
    napi_delete_async_work(env, call->work);
    free(call);
    return number(env, -EAGAIN);
  }
  return number(env, 0);
}

}  // namespace mpool

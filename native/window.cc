// Windows: ArrayBuffers over mapped memory, each with a reference on what it shows.
//
// A window ends by windowDetach(). One that was forgotten, or whose memory was moved away (by
// ArrayBuffer.prototype.transfer() or a byte stream), keeps its reference until V8 has freed it. When the
// thread ends before, no one can tell: what was moved may have got to a thread that lives longer. So its
// addresses are never used again.
//
// Why the balance: V8 counts a window's length as memory that collecting garbage could give back. With
// 100,000 windows of 32 MiB it would collect at nearly every one (0.5 ms each, measured). So as much is
// taken off again, out of a slack that was put on before in doubling steps: some 20 collections in all,
// instead of one a window. The slack keeps what we say of ourselves positive, whatever V8 takes off
// by itself: newer ones abort when their sum falls below zero.
#include <stdlib.h>

#include "mapping.h"
#include "napi.h"

namespace mpool {

struct Window {
  Environment* environment;  // nullptr: the thread has ended
  uint32_t index;
  bool live;
  bool opening;
  bool finalized;
  Holder holder;
  void* memory;
  size_t bytes;
};

struct WindowEntry {
  Window* window;
  uint32_t next_free;
};

namespace {

constexpr uint32_t NONE = UINT32_MAX;
// V8 collects when its sum rose by more than this at once, balance or not.
constexpr int64_t BALANCED_BYTES_MAX = 64 << 20;

void adjust(napi_env env, int64_t bytes) {
  int64_t sum;
  napi_adjust_external_memory(env, bytes, &sum);
}

bool is_balanced(const Window* window) {
  return static_cast<int64_t>(window->bytes) <= BALANCED_BYTES_MAX;
}

// Before it is made: V8 then adds what is taken off here, and its sum does not rise.
void balance(napi_env env, Window* window) {
  if (!is_balanced(window)) return;
  Environment* environment = window->environment;
  auto bytes = static_cast<int64_t>(window->bytes);
  if (environment->slack_bytes < bytes) {
    int64_t more = environment->window_bytes;
    if (more < BALANCED_BYTES_MAX) more = BALANCED_BYTES_MAX;
    environment->slack_bytes += more;
    adjust(env, more);
  }
  environment->slack_bytes -= bytes;
  environment->window_bytes += bytes;
  adjust(env, -bytes);
}

// After V8 forgot it. The ready bits are a window too, so none is left only when nothing is open.
void unbalance(napi_env env, Window* window) {
  if (!is_balanced(window)) return;
  Environment* environment = window->environment;
  auto bytes = static_cast<int64_t>(window->bytes);
  environment->slack_bytes += bytes;
  environment->window_bytes -= bytes;
  if (environment->window_bytes > 0) return adjust(env, bytes);
  adjust(env, bytes - environment->slack_bytes);
  environment->slack_bytes = 0;
}

bool grow(Environment* environment) {
  uint32_t capacity = environment->window_capacity;
  uint32_t more = capacity == 0 ? 64 : capacity * 2;
  void* memory = realloc(environment->windows, more * sizeof(WindowEntry));
  if (memory == nullptr) return false;
  environment->windows = static_cast<WindowEntry*>(memory);
  for (uint32_t i = capacity; i < more; i++) {
    environment->windows[i] = {nullptr, i + 1 < more ? i + 1 : NONE};
  }
  environment->window_free = capacity;
  environment->window_capacity = more;
  return true;
}

Window* enter(Environment* environment, Holder holder, void* memory, uint64_t bytes) {
  bool full = environment->window_count == environment->window_capacity;
  if (full && !grow(environment)) return nullptr;
  auto* window = static_cast<Window*>(calloc(1, sizeof(Window)));
  if (window == nullptr) return nullptr;
  uint32_t index = environment->window_free;
  environment->window_free = environment->windows[index].next_free;
  environment->windows[index].window = window;
  environment->window_count++;
  *window = {environment, index, false, true, false, holder, memory, static_cast<size_t>(bytes)};
  return window;
}

void leave(Window* window) {
  Environment* environment = window->environment;
  environment->windows[window->index] = {nullptr, environment->window_free};
  environment->window_free = window->index;
  environment->window_count--;
  window->live = false;
}

void suspect(Holder holder) {
  TableLock lock;
  (holder.region != nullptr ? holder.region->suspect : holder.mapping->suspect) = true;
}

// At a thread's end Node says of all memory that it is free, whether it is or not. JavaScript cannot run
// then: the coercion of undefined, which does nothing, is refused.
bool is_ending(napi_env env) {
  napi_value undefined;
  napi_value coerced;
  return napi_get_undefined(env, &undefined) != napi_ok ||
         napi_coerce_to_bool(env, undefined, &coerced) != napi_ok;
}

void window_collected(napi_env env, void*, void* hint) {
  auto* window = static_cast<Window*>(hint);
  if (window->environment != nullptr && window->live) {
    leave(window);
    unbalance(env, window);
    if (is_ending(env)) suspect(window->holder);
    let_go_soon(env, window->holder, nullptr);
  }
  window->finalized = true;
  if (!window->opening) free(window);
}

napi_value shown(napi_env env, Holder holder, void* memory, uint64_t bytes, uint32_t* index) {
  hold(holder);
  napi_value buffer;
  int result = window_open(env, holder, memory, bytes, index, &buffer);
  if (result == 0) return buffer;
  let_go(holder);
  return number(env, result);
}

}  // namespace

int window_open(napi_env env, Holder holder, void* memory, uint64_t bytes, uint32_t* index,
                napi_value* buffer) {
  Environment* environment = environment_of(env);
  Window* window = enter(environment, holder, memory, bytes);
  if (window == nullptr) return -ENOMEM;
  balance(env, window);
  napi_status status =
      napi_create_external_arraybuffer(env, memory, window->bytes, window_collected, window, buffer);
  window->opening = false;
  if (status == napi_ok) {
    window->live = true;
    *index = window->index;
    return 0;
  }
  // Longer than this Node can show: 4 GiB before Node 22.
  napi_value error;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) {
    napi_get_and_clear_last_exception(env, &error);
  }
  leave(window);
  unbalance(env, window);
  // Node calls the finalizer of some buffers that it fails to make, at once or later.
  if (window->finalized) free(window);
  return -E2BIG;
}

// (handle, offset of a page, bytes > 0, index: Uint32Array(1)) → ArrayBuffer or negative errno
napi_value map_view_js(napi_env env, napi_callback_info info) {
  Arguments<4> in(env, info);
  uint32_t handle = in.u32(0);
  uint64_t offset = in.u64(1);
  uint64_t bytes = in.u64(2);
  uint32_t* index = in.array<uint32_t>(3, napi_uint32_array, 1);
  Mapping* mapping = in.valid ? mapping_of(environment_of(env), handle) : nullptr;
  if (mapping == nullptr || offset % PAGE_BYTES != 0 || bytes == 0 || offset > mapping->bytes ||
      bytes > mapping->bytes - offset) {
    return invalid(env);
  }
  return shown(env, {mapping, nullptr}, mapping->base + offset, bytes, index);
}

// (handle, index: Uint32Array(1)) → ArrayBuffer over the ready bits, or negative errno
napi_value map_bits_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  uint32_t handle = in.u32(0);
  uint32_t* index = in.array<uint32_t>(1, napi_uint32_array, 1);
  Mapping* mapping = in.valid ? mapping_of(environment_of(env), handle) : nullptr;
  if (mapping == nullptr) return invalid(env);
  return shown(env, {mapping, nullptr}, mapping->bits, mapping->bits_bytes, index);
}

// (index, buffer, done) → 0 over, 1 unmapped when done() is called, -EBUSY when its memory was moved
// away (the reference stays until it is collected), or negative errno
napi_value window_detach_js(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  uint32_t index = in.u32(0);
  Environment* environment = environment_of(env);
  if (!in.valid || index >= environment->window_capacity) return invalid(env);
  Window* window = environment->windows[index].window;
  void* memory = nullptr;
  size_t bytes = 0;
  if (window == nullptr ||
      napi_get_arraybuffer_info(env, in.value[1], &memory, &bytes) != napi_ok) {
    return invalid(env);
  }
  if (bytes == 0) return number(env, -EBUSY);
  if (memory != window->memory || bytes != window->bytes) return invalid(env);
  if (napi_detach_arraybuffer(env, in.value[1]) != napi_ok) return number(env, -EBUSY);
  leave(window);
  unbalance(env, window);
  // The finalizer, which is queued now, frees it.
  return number(env, let_go_soon(env, window->holder, in.value[2]));
}

void windows_end(Environment* environment) {
  for (uint32_t i = 0; i < environment->window_capacity; i++) {
    Window* window = environment->windows[i].window;
    if (window == nullptr) continue;
    window->environment = nullptr;
    suspect(window->holder);
    let_go(window->holder);
  }
  free(environment->windows);
  environment->windows = nullptr;
  environment->window_capacity = 0;
}

}  // namespace mpool

// What the addon holds for one JavaScript thread, and its end.
#pragma once
#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

#include <atomic>

#include "ring.h"
#include "uv.h"

namespace mpool {

struct Environment;

// A ring, and what wakes TypeScript when it has completions.
struct Reactor {
  Environment* environment = nullptr;
  bool open = false;
  Ring ring;
  napi_ref callback = nullptr;
  napi_ref buffers[2] = {nullptr, nullptr};
  napi_async_context context = nullptr;
  uv_handle_t* poll = nullptr;
  bool referenced = false;
};

// Memory handed to JavaScript as an ArrayBuffer; in a list, so that a thread's end can unmap it.
struct Slab {
  Slab* next = nullptr;
  Slab* previous = nullptr;
  void* memory = nullptr;
  size_t bytes = 0;
  napi_ref buffer = nullptr;
};

constexpr uint32_t REACTOR_COUNT_MAX = 4;

struct Environment {
  napi_env env = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  // Handles are indexes here: a number from elsewhere can at worst name a closed reactor.
  Reactor reactors[REACTOR_COUNT_MAX];
  Slab* slabs = nullptr;
  // libuv handles that still have to be closed before this memory may go.
  uint32_t handles = 0;
  bool ending = false;
  // System calls under way on the thread pool, which may be using slab memory.
  std::atomic<uint32_t> offloaded{0};
};

// Exported to TypeScript; see src/native/binding.ts for what each takes and gives.
napi_value ring_open_js(napi_env env, napi_callback_info info);
napi_value ring_memory_js(napi_env env, napi_callback_info info);
napi_value ring_enter_js(napi_env env, napi_callback_info info);
napi_value ring_close_js(napi_env env, napi_callback_info info);
napi_value set_direct_js(napi_env env, napi_callback_info info);
napi_value slab_map_js(napi_env env, napi_callback_info info);
napi_value slab_unmap_js(napi_env env, napi_callback_info info);
napi_value offload_js(napi_env env, napi_callback_info info);
napi_value lock_js(napi_env env, napi_callback_info info);
napi_value block_limits_js(napi_env env, napi_callback_info info);
napi_value direct_limits_js(napi_env env, napi_callback_info info);
napi_value crc32c_js(napi_env env, napi_callback_info info);
napi_value crc32c_pages_js(napi_env env, napi_callback_info info);

// Drains and closes every reactor. False when I/O would not end: its memory must stay mapped.
bool reactors_end(Environment* environment);
void slabs_end(Environment* environment);
// Frees the environment once its last libuv handle is closed.
void environment_release(Environment* environment);

inline Environment* environment_of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Environment*>(data);
}

}  // namespace mpool

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
constexpr uint32_t MAPPING_COUNT_MAX = 256;
constexpr uint32_t SHARE_COUNT_MAX = 4096;

struct Holder;
struct WindowEntry;

// What one thread has of a share, as long as the generation is the share's.
struct ShareCount {
  uint32_t generation;
  uint32_t attachments;
  bool owned;
};

struct Environment {
  napi_env env = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  // Handles are indexes here: a number from elsewhere can at worst name a closed reactor.
  Reactor reactors[REACTOR_COUNT_MAX];
  Slab* slabs = nullptr;
  // Mapped memory files, which other processes have too.
  Slab* shared = nullptr;
  // libuv handles that still have to be closed before this memory may go.
  uint32_t handles = 0;
  bool ending = false;
  // System calls under way on the thread pool, which may be using slab memory.
  std::atomic<uint32_t> offloaded{0};
  // How often this thread has each mapping open: see mapping.h.
  uint32_t mapping_counts[MAPPING_COUNT_MAX] = {};
  // ArrayBuffers over mappings: see window.cc.
  WindowEntry* windows = nullptr;
  uint32_t window_capacity = 0;
  uint32_t window_count = 0;
  uint32_t window_free = 0;
  int64_t window_bytes = 0;
  int64_t slack_bytes = 0;
  ShareCount shares[SHARE_COUNT_MAX] = {};
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
napi_value duplicate_js(napi_env env, napi_callback_info info);
napi_value block_limits_js(napi_env env, napi_callback_info info);
napi_value direct_limits_js(napi_env env, napi_callback_info info);
napi_value map_open_js(napi_env env, napi_callback_info info);
napi_value map_attach_js(napi_env env, napi_callback_info info);
napi_value map_info_js(napi_env env, napi_callback_info info);
napi_value map_view_js(napi_env env, napi_callback_info info);
napi_value map_bits_js(napi_env env, napi_callback_info info);
napi_value map_stitch_js(napi_env env, napi_callback_info info);
napi_value map_work_js(napi_env env, napi_callback_info info);
napi_value map_close_js(napi_env env, napi_callback_info info);
napi_value window_detach_js(napi_env env, napi_callback_info info);
napi_value share_open_js(napi_env env, napi_callback_info info);
napi_value share_attach_js(napi_env env, napi_callback_info info);
napi_value share_detach_js(napi_env env, napi_callback_info info);
napi_value share_count_js(napi_env env, napi_callback_info info);
napi_value share_close_js(napi_env env, napi_callback_info info);
napi_value share_closing_js(napi_env env, napi_callback_info info);
napi_value peer_credentials_js(napi_env env, napi_callback_info info);
napi_value peer_groups_js(napi_env env, napi_callback_info info);
napi_value send_datagram_js(napi_env env, napi_callback_info info);
napi_value send_descriptors_js(napi_env env, napi_callback_info info);
napi_value receive_descriptors_js(napi_env env, napi_callback_info info);
napi_value memory_file_js(napi_env env, napi_callback_info info);
napi_value map_shared_js(napi_env env, napi_callback_info info);
napi_value unmap_shared_js(napi_env env, napi_callback_info info);
napi_value crc32c_js(napi_env env, napi_callback_info info);
napi_value crc32c_pages_js(napi_env env, napi_callback_info info);

// Drains and closes every reactor. False when I/O would not end: its memory must stay mapped.
bool reactors_end(Environment* environment);
void slabs_end(Environment* environment);
// A window on memory, with a reference that the caller has and hands over. Returns 0 or a negative errno.
int window_open(napi_env env, Holder holder, void* memory, uint64_t bytes, uint32_t* index,
                napi_value* buffer);
// No JavaScript runs any more, so nothing looks at its windows.
void windows_end(Environment* environment);
// No I/O of the thread uses their descriptors any more.
void mappings_end(Environment* environment);
void shares_end(Environment* environment);
void shared_end(Environment* environment);
// Frees the environment once its last libuv handle is closed.
void environment_release(Environment* environment);

inline Environment* environment_of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Environment*>(data);
}

}  // namespace mpool

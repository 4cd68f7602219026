// The export table, and what happens when a JavaScript thread ends.
#include <stdlib.h>

#include <new>

#include "environment.h"
#include "napi.h"

namespace mpool {

void environment_release(Environment* environment) {
  if (!environment->ending || environment->handles > 0) return;
  if (environment->cleanup != nullptr) napi_remove_async_cleanup_hook(environment->cleanup);
  if (environment->offloaded.load() == 0) free(environment);
}

namespace {

// Runs when a worker is terminated and when the process exits, with I/O in flight or not. The order
// matters: the kernel must be done with the memory before it is unmapped, or it would write into
// whatever is mapped there next.
void environment_end(napi_async_cleanup_hook_handle, void* data) {
  auto* environment = static_cast<Environment*>(data);
  environment->ending = true;
  bool drained = reactors_end(environment);
  windows_end(environment);
  shares_end(environment);
  if (drained && environment->offloaded.load() == 0) {
    slabs_end(environment);
    shared_end(environment);
    mappings_end(environment);
  }
  environment_release(environment);
}

struct Export {
  const char* name;
  napi_callback function;
};

const Export EXPORTS[] = {
    {"blockLimits", block_limits_js},
    {"crc32c", crc32c_js},
    {"crc32cPages", crc32c_pages_js},
    {"directLimits", direct_limits_js},
    {"duplicate", duplicate_js},
    {"lock", lock_js},
    {"mapAttach", map_attach_js},
    {"mapBits", map_bits_js},
    {"mapClose", map_close_js},
    {"mapInfo", map_info_js},
    {"mapOpen", map_open_js},
    {"mapStitch", map_stitch_js},
    {"mapView", map_view_js},
    {"mapWork", map_work_js},
    {"mapShared", map_shared_js},
    {"memoryFile", memory_file_js},
    {"offload", offload_js},
    {"peerCredentials", peer_credentials_js},
    {"peerGroups", peer_groups_js},
    {"receiveDescriptors", receive_descriptors_js},
    {"ringClose", ring_close_js},
    {"ringEnter", ring_enter_js},
    {"ringMemory", ring_memory_js},
    {"ringOpen", ring_open_js},
    {"sendDatagram", send_datagram_js},
    {"sendDescriptors", send_descriptors_js},
    {"setDirect", set_direct_js},
    {"shareAttach", share_attach_js},
    {"shareClose", share_close_js},
    {"shareClosing", share_closing_js},
    {"shareCount", share_count_js},
    {"shareDetach", share_detach_js},
    {"shareOpen", share_open_js},
    {"slabMap", slab_map_js},
    {"slabUnmap", slab_unmap_js},
    {"windowDetach", window_detach_js},
    {"unmapShared", unmap_shared_js},
};

napi_value initialize(napi_env env, napi_value exports) {
  void* memory = calloc(1, sizeof(Environment));
  if (memory == nullptr) {
    napi_throw_error(env, nullptr, "out of memory");
    return nullptr;
  }
  auto* environment = new (memory) Environment;
  environment->env = env;
  napi_set_instance_data(env, environment, nullptr, nullptr);
  napi_add_async_cleanup_hook(env, environment_end, environment, &environment->cleanup);
  for (const Export& entry : EXPORTS) {
    napi_value function;
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, nullptr,
                             &function) != napi_ok ||
        napi_set_named_property(env, exports, entry.name, function) != napi_ok) {
      return nullptr;
    }
  }
  return exports;
}

}  // namespace
}  // namespace mpool

extern "C" {
NAPI_MODULE_EXPORT int32_t node_api_module_get_api_version_v1() { return NAPI_VERSION; }
NAPI_MODULE_EXPORT napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  return mpool::initialize(env, exports);
}
}

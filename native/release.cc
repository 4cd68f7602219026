// Letting go on the thread pool: unmapping what is resident takes milliseconds a gigabyte.
#include <stdlib.h>

#include "mapping.h"
#include "napi.h"

namespace mpool {
namespace {

struct Release {
  napi_async_work work;
  napi_ref callback;
  Holder holder;
};

void release_execute(napi_env, void* data) { let_go(static_cast<Release*>(data)->holder); }

void release_complete(napi_env env, napi_status status, void* data) {
  auto* release = static_cast<Release*>(data);
  if (status == napi_cancelled) let_go(release->holder);
  if (release->callback != nullptr) {
    napi_value callback;
    napi_value receiver;
    if (napi_get_reference_value(env, release->callback, &callback) == napi_ok &&
        napi_get_global(env, &receiver) == napi_ok) {
      napi_call_function(env, receiver, callback, 0, nullptr, nullptr);
    }
    napi_delete_reference(env, release->callback);
  }
  napi_delete_async_work(env, release->work);
  free(release);
}

bool queue_release(napi_env env, Holder holder, napi_value done) {
  auto* release = static_cast<Release*>(calloc(1, sizeof(Release)));
  if (release == nullptr) return false;
  release->holder = holder;
  napi_value name;
  bool called = done == nullptr || napi_create_reference(env, done, 1, &release->callback) == napi_ok;
  if (called && napi_create_string_utf8(env, "mpool", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_create_async_work(env, nullptr, name, release_execute, release_complete, release,
                             &release->work) == napi_ok &&
      napi_queue_async_work(env, release->work) == napi_ok) {
    return true;
  }
  if (release->work != nullptr) napi_delete_async_work(env, release->work);
  if (release->callback != nullptr) napi_delete_reference(env, release->callback);
  free(release);
  return false;
}

}  // namespace

int let_go_soon(napi_env env, Holder holder, napi_value done) {
  {
    TableLock lock;
    uint32_t* references =
        holder.region != nullptr ? &holder.region->references : &holder.mapping->references;
    if (*references > 1) {
      --*references;
      return 0;
    }
  }
  if (queue_release(env, holder, done)) return 1;
  let_go(holder);
  return 0;
}

}  // namespace mpool

// Rings on the event loop: libuv polls the ring's descriptor and TypeScript is called when there are
// completions to read. The loop is kept alive exactly while some are outstanding.
#include <stdlib.h>

#include "environment.h"
#include "napi.h"

namespace mpool {
namespace {

// A device that answers nothing for this long at a thread's end is not waited for any more.
constexpr int DRAIN_MS = 10000;

void handle_closed(uv_handle_t* handle) {
  auto* environment = static_cast<Environment*>(uv_handle_get_data(handle));
  free(handle);
  environment->handles--;
  environment_release(environment);
}

void set_referenced(Reactor* reactor, bool referenced) {
  if (reactor->referenced == referenced) return;
  reactor->referenced = referenced;
  if (referenced) {
    uv_ref(reactor->poll);
  } else {
    uv_unref(reactor->poll);
  }
}

// napi_make_callback, because only it runs the microtasks and ticks that the callbacks queue.
void call_reader(Reactor* reactor) {
  napi_env env = reactor->environment->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value function;
  napi_value receiver;
  if (napi_get_reference_value(env, reactor->callback, &function) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok) {
    napi_status status =
        napi_make_callback(env, reactor->context, receiver, function, 0, nullptr, nullptr);
    if (status == napi_pending_exception) {
      napi_value error;
      if (napi_get_and_clear_last_exception(env, &error) == napi_ok) {
        napi_fatal_exception(env, error);
      }
    }
  }
  napi_close_handle_scope(env, scope);
}

void wake(Reactor* reactor) {
  if (!reactor->open) return;
  ring_collect(&reactor->ring);
  if (!ring_has_completions(&reactor->ring)) return;
  call_reader(reactor);
  // The callbacks may have closed the ring.
  if (reactor->open) set_referenced(reactor, ring_unread(&reactor->ring) > 0);
}

void on_poll(uv_handle_t* handle, int, int) {
  wake(static_cast<Reactor*>(uv_handle_get_data(handle)));
}

// Watches the ring's descriptor. The handle starts unreferenced, so an idle process can end.
int watch(Reactor* reactor, uv_loop_t* loop) {
  reactor->poll = static_cast<uv_handle_t*>(calloc(1, uv_handle_size(UV_POLL_TYPE)));
  if (reactor->poll == nullptr) return -ENOMEM;
  int result = uv_poll_init(loop, reactor->poll, reactor->ring.fd);
  if (result < 0) {
    free(reactor->poll);
    reactor->poll = nullptr;
    return result;
  }
  reactor->environment->handles++;
  uv_handle_set_data(reactor->poll, reactor);
  uv_unref(reactor->poll);
  return uv_poll_start(reactor->poll, UV_READABLE_EVENT, on_poll);
}

Reactor* reactor_at(napi_env env, uint32_t index) {
  Environment* environment = environment_of(env);
  if (index >= REACTOR_COUNT_MAX || !environment->reactors[index].open) return nullptr;
  return &environment->reactors[index];
}

// Stops what touches the loop or JavaScript, then the ring.
void reactor_close(Reactor* reactor) {
  reactor->open = false;
  if (reactor->poll != nullptr) {
    uv_handle_set_data(reactor->poll, reactor->environment);
    uv_close(reactor->poll, handle_closed);
    reactor->poll = nullptr;
  }
  reactor->referenced = false;
  ring_close(&reactor->ring);
}

int reactor_open(Reactor* reactor, napi_env env, napi_value callback) {
  uv_loop_t* loop = nullptr;
  napi_value name;
  if (napi_get_uv_event_loop(env, reinterpret_cast<struct uv_loop_s**>(&loop)) != napi_ok ||
      napi_create_string_utf8(env, "mpool", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, nullptr, name, &reactor->context) != napi_ok ||
      napi_create_reference(env, callback, 1, &reactor->callback) != napi_ok) {
    return -EINVAL;
  }
  return watch(reactor, loop);
}

}  // namespace

// (kind, sqEntries, cqEntries, layout: Uint32Array(7), callback) → index or negative errno
napi_value ring_open_js(napi_env env, napi_callback_info info) {
  Arguments<5> in(env, info);
  int kind = in.i32(0);
  uint32_t sq_entries = in.u32(1);
  uint32_t cq_entries = in.u32(2);
  uint32_t* layout = in.array<uint32_t>(3, napi_uint32_array, RING_LAYOUT_COUNT);
  if (!in.valid) return invalid(env);
  Environment* environment = environment_of(env);
  for (uint32_t index = 0; index < REACTOR_COUNT_MAX; index++) {
    Reactor* reactor = &environment->reactors[index];
    if (reactor->open) continue;
    *reactor = Reactor{};
    reactor->environment = environment;
    int result = ring_open(&reactor->ring, kind, sq_entries, cq_entries, layout);
    if (result < 0) return number(env, result);
    reactor->open = true;
    result = reactor_open(reactor, env, in.value[4]);
    if (result < 0) {
      reactor_close(reactor);
      return number(env, result);
    }
    return number(env, index);
  }
  return number(env, -EMFILE);
}

// (index, region: 0 | 1) → ArrayBuffer over the ring's memory, once for each region
napi_value ring_memory_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  Reactor* reactor = reactor_at(env, in.u32(0));
  uint32_t region = in.u32(1);
  if (!in.valid || reactor == nullptr || region > 1) return invalid(env);
  if (reactor->buffers[region] != nullptr) return number(env, -EEXIST);
  Ring* ring = &reactor->ring;
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, region == 0 ? ring->memory : ring->entries,
                                       region == 0 ? ring->memory_bytes : ring->entries_bytes,
                                       nullptr, nullptr, &buffer) != napi_ok ||
      napi_create_reference(env, buffer, 1, &reactor->buffers[region]) != napi_ok) {
    return number(env, -ENOMEM);
  }
  return buffer;
}

// (index, count) → entries taken or negative errno. With 0, collects what is finished, and sees whether the
// loop is needed.
napi_value ring_enter_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  Reactor* reactor = reactor_at(env, in.u32(0));
  uint32_t count = in.u32(1);
  if (!in.valid || reactor == nullptr) return invalid(env);
  int result = 0;
  if (count == 0) {
    ring_collect(&reactor->ring);
  } else {
    result = ring_enter(&reactor->ring, count);
  }
  set_referenced(reactor, ring_unread(&reactor->ring) > 0);
  return number(env, result);
}

// (index) → 0 or -EBUSY while anything is outstanding
napi_value ring_close_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  Reactor* reactor = reactor_at(env, in.u32(0));
  if (!in.valid || reactor == nullptr) return invalid(env);
  if (ring_unread(&reactor->ring) > 0) return number(env, -EBUSY);
  for (napi_ref& reference : reactor->buffers) {
    napi_value buffer;
    if (reference == nullptr) continue;
    if (napi_get_reference_value(env, reference, &buffer) == napi_ok) {
      napi_detach_arraybuffer(env, buffer);
    }
    napi_delete_reference(env, reference);
    reference = nullptr;
  }
  napi_delete_reference(env, reactor->callback);
  napi_async_destroy(env, reactor->context);
  reactor_close(reactor);
  return number(env, 0);
}

bool reactors_end(Environment* environment) {
  bool drained = true;
  for (Reactor& reactor : environment->reactors) {
    if (!reactor.open) continue;
    drained = ring_drain(&reactor.ring, DRAIN_MS) && drained;
    reactor_close(&reactor);
  }
  return drained;
}

}  // namespace mpool

// The few libuv functions used, declared by hand: Node exports them, its headers need not be there.
// All of them, and the handle and event numbers, are stable through libuv 1.x.
#pragma once
#include <stddef.h>

extern "C" {
struct uv_loop_s;
struct uv_handle_s;
typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef void (*uv_poll_cb)(uv_handle_t* handle, int status, int events);
typedef void (*uv_close_cb)(uv_handle_t* handle);

size_t uv_handle_size(int type);
void* uv_handle_get_data(const uv_handle_t* handle);
void uv_handle_set_data(uv_handle_t* handle, void* data);
int uv_poll_init(uv_loop_t* loop, uv_handle_t* handle, int fd);
int uv_poll_start(uv_handle_t* handle, int events, uv_poll_cb callback);
void uv_ref(uv_handle_t* handle);
void uv_unref(uv_handle_t* handle);
void uv_close(uv_handle_t* handle, uv_close_cb callback);
}

namespace mpool {
constexpr int UV_POLL_TYPE = 8;
constexpr int UV_READABLE_EVENT = 1;
}  // namespace mpool

// What Node's sockets cannot do: who the peer is, and open files that travel with bytes.
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <new>

#include "environment.h"
#include "napi.h"

namespace mpool {
namespace {

// SCM_MAX_FD of the kernel.
constexpr size_t DESCRIPTORS_MAX = 253;
constexpr size_t ANSWER_BYTES_MAX = 1u << 16;
constexpr size_t REQUEST_BYTES_MAX = 1u << 16;
// A thread of the pool waits so long, and so does the end of its JavaScript thread.
constexpr uint32_t TIMEOUT_MS_MAX = 60000;

struct Fetch {
  Environment* environment;
  napi_async_work work;
  napi_ref callback;
  sockaddr_un address;
  socklen_t address_bytes;
  uint32_t timeout_ms;
  uint8_t* request;
  size_t request_bytes;
  uint8_t* answer;
  size_t answer_bytes;
  // Ours until the callback has them.
  int fds[DESCRIPTORS_MAX];
  size_t fd_count;
  int result;
};

void close_descriptors(Fetch* fetch) {
  for (size_t i = 0; i < fetch->fd_count; i++) close(fetch->fds[i]);
  fetch->fd_count = 0;
}

void free_fetch(napi_env env, Fetch* fetch) {
  close_descriptors(fetch);
  if (fetch->callback != nullptr) napi_delete_reference(env, fetch->callback);
  if (fetch->work != nullptr) napi_delete_async_work(env, fetch->work);
  free(fetch->request);
  free(fetch->answer);
  free(fetch);
}

int64_t now_ms() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1000000;
}

// 0 when the socket is ready, -ETIMEDOUT, or a negative errno.
int wait_for(int fd, short events, int64_t until_ms) {
  for (;;) {
    int64_t left = until_ms - now_ms();
    if (left <= 0) return -ETIMEDOUT;
    pollfd entry = {fd, events, 0};
    int ready = poll(&entry, 1, static_cast<int>(left));
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return -errno;
  }
}

// The backlog of a Unix socket cannot be waited for by poll(), only by a connect() that blocks.
int connect_within(int fd, const Fetch* fetch) {
  timeval limit = {fetch->timeout_ms / 1000, (fetch->timeout_ms % 1000) * 1000};
  if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0) return -errno;
  auto* address = reinterpret_cast<const sockaddr*>(&fetch->address);
  while (connect(fd, address, fetch->address_bytes) < 0) {
    if (errno == EAGAIN) return -ETIMEDOUT;
    if (errno != EINTR) return -errno;
  }
  return 0;
}

int send_request(int fd, const Fetch* fetch, int64_t until_ms) {
  size_t sent = 0;
  while (sent < fetch->request_bytes) {
    ssize_t count = send(fd, fetch->request + sent, fetch->request_bytes - sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      sent += static_cast<size_t>(count);
    } else if (errno == EAGAIN) {
      int result = wait_for(fd, POLLOUT, until_ms);
      if (result < 0) return result;
    } else if (errno != EINTR) {
      return -errno;
    }
  }
  return 0;
}

// Keeps what came, even of a message that does not fit: its caller closes all of them then.
int keep_descriptors(Fetch* fetch, msghdr* message) {
  int result = message->msg_flags & MSG_CTRUNC ? -EMSGSIZE : 0;
  for (cmsghdr* at = CMSG_FIRSTHDR(message); at != nullptr; at = CMSG_NXTHDR(message, at)) {
    if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(at) + i * sizeof(int), sizeof fd);
      if (fetch->fd_count < DESCRIPTORS_MAX) {
        fetch->fds[fetch->fd_count++] = fd;
      } else {
        close(fd);
        result = -EMSGSIZE;
      }
    }
  }
  return result;
}

// Everything until the peer closes.
int receive_answer(int fd, Fetch* fetch, int64_t until_ms) {
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
  for (;;) {
    if (fetch->answer_bytes == ANSWER_BYTES_MAX) return -EMSGSIZE;
    iovec vector = {fetch->answer + fetch->answer_bytes, ANSWER_BYTES_MAX - fetch->answer_bytes};
    msghdr message = {};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) {
      int result = wait_for(fd, POLLIN, until_ms);
      if (result < 0) return result;
    } else if (count < 0 && errno != EINTR) {
      return -errno;
    } else if (count >= 0) {
      int result = keep_descriptors(fetch, &message);
      if (result < 0 || count == 0) return result;
      fetch->answer_bytes += static_cast<size_t>(count);
    }
  }
}

void execute(napi_env, void* data) {
  auto* fetch = static_cast<Fetch*>(data);
  int64_t until_ms = now_ms() + fetch->timeout_ms;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fetch->result = -errno;
    return;
  }
  int result = connect_within(fd, fetch);
  if (result == 0) result = send_request(fd, fetch, until_ms);
  if (result == 0) result = receive_answer(fd, fetch, until_ms);
  close(fd);
  if (result < 0) close_descriptors(fetch);
  fetch->result = result;
}

bool make_results(napi_env env, const Fetch* fetch, napi_value* values) {
  values[0] = number(env, fetch->result);
  if (fetch->result < 0) {
    return napi_get_undefined(env, &values[1]) == napi_ok &&
           napi_get_undefined(env, &values[2]) == napi_ok;
  }
  void* memory;
  napi_value buffer;
  size_t fds_bytes = fetch->fd_count * sizeof(int);
  if (napi_create_arraybuffer(env, fetch->answer_bytes, &memory, &buffer) != napi_ok) return false;
  if (fetch->answer_bytes > 0) memcpy(memory, fetch->answer, fetch->answer_bytes);
  if (napi_create_typedarray(env, napi_uint8_array, fetch->answer_bytes, buffer, 0, &values[1]) !=
          napi_ok ||
      napi_create_arraybuffer(env, fds_bytes, &memory, &buffer) != napi_ok) {
    return false;
  }
  if (fds_bytes > 0) memcpy(memory, fetch->fds, fds_bytes);
  return napi_create_typedarray(env, napi_int32_array, fetch->fd_count, buffer, 0, &values[2]) ==
         napi_ok;
}

void complete(napi_env env, napi_status status, void* data) {
  auto* fetch = static_cast<Fetch*>(data);
  fetch->environment->offloaded--;
  if (status != napi_ok) {
    close_descriptors(fetch);
    fetch->result = -ECANCELED;
  }
  napi_value callback;
  napi_value receiver;
  napi_value results[3];
  if (make_results(env, fetch, results) &&
      napi_get_reference_value(env, fetch->callback, &callback) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok &&
      napi_call_function(env, receiver, callback, 3, results, nullptr) == napi_ok) {
    fetch->fd_count = 0;
  }
  free_fetch(env, fetch);
}

Fetch* make_fetch(Arguments<4>* in) {
  size_t path_bytes = 0;
  size_t request_bytes = 0;
  const uint8_t* path = in->array<uint8_t>(0, napi_uint8_array, 1, &path_bytes);
  const uint8_t* request = in->array<uint8_t>(1, napi_uint8_array, 1, &request_bytes);
  uint32_t timeout_ms = in->u32(2);
  // sun_path ends with a zero.
  if (!in->valid || path_bytes >= sizeof(sockaddr_un::sun_path) ||
      memchr(path, 0, path_bytes) != nullptr || request_bytes > REQUEST_BYTES_MAX ||
      timeout_ms == 0 || timeout_ms > TIMEOUT_MS_MAX) {
    return nullptr;
  }
  auto* fetch = static_cast<Fetch*>(calloc(1, sizeof(Fetch)));
  if (fetch == nullptr) return nullptr;
  fetch->address.sun_family = AF_UNIX;
  memcpy(fetch->address.sun_path, path, path_bytes);
  fetch->address_bytes =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_bytes + 1);
  fetch->timeout_ms = timeout_ms;
  fetch->request = static_cast<uint8_t*>(malloc(request_bytes));
  fetch->answer = static_cast<uint8_t*>(malloc(ANSWER_BYTES_MAX));
  if (fetch->request == nullptr || fetch->answer == nullptr) {
    free_fetch(in->env, fetch);
    return nullptr;
  }
  memcpy(fetch->request, request, request_bytes);
  fetch->request_bytes = request_bytes;
  return fetch;
}

}  // namespace

// (fd, out: Uint32Array(3)) → 0 or negative errno
// out: process, user and group, of the peer when it connected
napi_value peer_credentials_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  int fd = in.i32(0);
  uint32_t* out = in.array<uint32_t>(1, napi_uint32_array, 3);
  if (!in.valid) return invalid(env);
  ucred peer = {};
  socklen_t bytes = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0) return number(env, -errno);
  out[0] = static_cast<uint32_t>(peer.pid);
  out[1] = peer.uid;
  out[2] = peer.gid;
  return number(env, 0);
}

// (fd, out: Uint32Array) → how many supplementary groups the peer had when it connected, or negative
// errno: -ERANGE when `out` is too short
napi_value peer_groups_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  int fd = in.i32(0);
  size_t count = 0;
  uint32_t* out = in.array<uint32_t>(1, napi_uint32_array, 1, &count);
  if (!in.valid) return invalid(env);
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
  auto bytes = static_cast<socklen_t>(count * sizeof(gid_t));
  if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, out, &bytes) < 0) return number(env, -errno);
  return number(env, bytes / sizeof(gid_t));
}

// (fd, bytes: Uint8Array, fds: Int32Array) → bytes sent, or negative errno: -EAGAIN. Never waits.
napi_value send_descriptors_js(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  int fd = in.i32(0);
  size_t byte_count = 0;
  size_t fd_count = 0;
  uint8_t* bytes = in.array<uint8_t>(1, napi_uint8_array, 1, &byte_count);
  int32_t* fds = in.array<int32_t>(2, napi_int32_array, 0, &fd_count);
  if (!in.valid || fd_count > DESCRIPTORS_MAX) return invalid(env);
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))] = {};
  iovec vector = {bytes, byte_count};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (fd_count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, fd_count * sizeof(int));
  }
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return number(env, sent < 0 ? -errno : sent);
}

// (path: Uint8Array, request: Uint8Array, timeoutMs, callback(result, answer, fds)) → 0 or negative
// errno. Connects, sends the request, and receives all until the peer closes.
napi_value receive_descriptors_js(napi_env env, napi_callback_info info) {
  Arguments<4> in(env, info);
  Environment* environment = environment_of(env);
  Fetch* fetch = environment->ending ? nullptr : make_fetch(&in);
  if (fetch == nullptr) return invalid(env);
  fetch->environment = environment;
  napi_value name;
  if (napi_create_reference(env, in.value[3], 1, &fetch->callback) != napi_ok ||
      napi_create_string_utf8(env, "mpool", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, nullptr, name, execute, complete, fetch, &fetch->work) !=
          napi_ok) {
    free_fetch(env, fetch);
    return invalid(env);
  }
  environment->offloaded++;
  if (napi_queue_async_work(env, fetch->work) != napi_ok) {
    environment->offloaded--;
    free_fetch(env, fetch);
    return number(env, -EAGAIN);
  }
  return number(env, 0);
}

}  // namespace mpool

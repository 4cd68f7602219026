// One datagram to a Unix socket: Node has no such sockets, and service managers listen on them.
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "environment.h"
#include "napi.h"

namespace mpool {

// (path: Uint8Array, bytes: Uint8Array) → 0 or negative errno. A leading zero of the path says an
// abstract name. Never waits: -EAGAIN when the receiver's queue is full.
napi_value send_datagram_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  size_t path_bytes = 0;
  size_t byte_count = 0;
  const uint8_t* path = in.array<uint8_t>(0, napi_uint8_array, 1, &path_bytes);
  const uint8_t* bytes = in.array<uint8_t>(1, napi_uint8_array, 1, &byte_count);
  if (!in.valid) return invalid(env);
  bool abstract = path[0] == 0;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // sun_path of a file ends with a zero, an abstract name is as long as its length says.
  if (path_bytes > sizeof address.sun_path - (abstract ? 0 : 1)) return invalid(env);
  if (!abstract && memchr(path, 0, path_bytes) != nullptr) return invalid(env);
  memcpy(address.sun_path, path, path_bytes);
  auto address_bytes =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_bytes + (abstract ? 0 : 1));
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  ssize_t sent;
  do {
    sent = sendto(fd, bytes, byte_count, MSG_NOSIGNAL | MSG_DONTWAIT,
                  reinterpret_cast<sockaddr*>(&address), address_bytes);
  } while (sent < 0 && errno == EINTR);
  int result = sent < 0 ? -errno : 0;
  close(fd);
  return number(env, result);
}

}  // namespace mpool

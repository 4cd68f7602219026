/*
 * From now on a system call is refused to the thread that asks, by a seccomp filter: as when a sandbox closes
 * behind a program that runs already.
 *   refuseNow('io_uring_enter' | 'io_submit', errno) → 0 or the negative errno of seccomp
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <node_api.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static napi_value refuse_now(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value args[2];
  char name[32];
  int error = 0;
  int result = -EINVAL;
  napi_value answer;
  if (napi_get_cb_info(env, info, &count, args, NULL, NULL) == napi_ok && count == 2 &&
      napi_get_value_string_utf8(env, args[0], name, sizeof name, NULL) == napi_ok &&
      napi_get_value_int32(env, args[1], &error) == napi_ok) {
    unsigned int call = strcmp(name, "io_submit") == 0 ? SYS_io_submit : SYS_io_uring_enter;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    int refused = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0;
    result = refused ? -errno : 0;
  }
  return napi_create_int32(env, result, &answer) == napi_ok ? answer : NULL;
}

NAPI_MODULE_INIT() {
  napi_value function;
  if (napi_create_function(env, "refuseNow", NAPI_AUTO_LENGTH, refuse_now, NULL, &function) !=
          napi_ok ||
      napi_set_named_property(env, exports, "refuseNow", function) != napi_ok) {
    return NULL;
  }
  return exports;
}

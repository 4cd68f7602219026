// Arguments and results across the boundary: numbers, typed arrays, functions. Nothing else speaks
// Node-API conversions. A wrong argument is a bug of the TypeScript beside us and gives -EINVAL.
#pragma once
#include <errno.h>
#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

namespace mpool {

template <size_t N>
struct Arguments {
  napi_env env;
  napi_value value[N];
  void* data = nullptr;
  bool valid = true;

  Arguments(napi_env e, napi_callback_info info) : env(e) {
    size_t count = N;
    valid = napi_get_cb_info(env, info, &count, value, nullptr, &data) == napi_ok && count >= N;
  }

  int32_t i32(size_t i) {
    int32_t result = 0;
    if (!valid || napi_get_value_int32(env, value[i], &result) != napi_ok) valid = false;
    return result;
  }

  uint32_t u32(size_t i) {
    uint32_t result = 0;
    if (!valid || napi_get_value_uint32(env, value[i], &result) != napi_ok) valid = false;
    return result;
  }

  // Offsets, lengths and addresses: integers below 2^53.
  uint64_t u64(size_t i) {
    double result = 0;
    if (!valid || napi_get_value_double(env, value[i], &result) != napi_ok ||
        !(result >= 0 && result <= 9007199254740991.0)) {
      valid = false;
      return 0;
    }
    return static_cast<uint64_t>(result);
  }

  // A string, cut to what fits, with a zero behind it.
  void text(size_t i, char* out, size_t bytes) {
    if (!valid || napi_get_value_string_utf8(env, value[i], out, bytes, nullptr) != napi_ok) {
      valid = false;
    }
  }

  // The memory of a typed array of that type, at least `count_min` elements.
  template <typename T>
  T* array(size_t i, napi_typedarray_type type, size_t count_min, size_t* count = nullptr) {
    napi_typedarray_type actual;
    size_t length = 0;
    void* memory = nullptr;
    if (!valid ||
        napi_get_typedarray_info(env, value[i], &actual, &length, &memory, nullptr, nullptr) !=
            napi_ok ||
        actual != type || length < count_min) {
      valid = false;
      return nullptr;
    }
    if (count != nullptr) *count = length;
    return static_cast<T*>(memory);
  }
};

inline napi_value number(napi_env env, int64_t value) {
  napi_value result = nullptr;
  napi_create_int64(env, value, &result);
  return result;
}

inline napi_value unsigned_number(napi_env env, uint32_t value) {
  napi_value result = nullptr;
  napi_create_uint32(env, value, &result);
  return result;
}

inline napi_value invalid(napi_env env) { return number(env, -EINVAL); }

}  // namespace mpool

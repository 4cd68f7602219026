// CRC32C by the processor's own instruction where it has one, chosen once; by a table elsewhere.
//
// x86: one crc32 instruction takes three cycles but a new one can start each cycle, so three lanes
// run side by side and are joined by carry-less multiplication. Shifting a checksum by n zero bytes
// is multiplying it by x^(8n) modulo the polynomial (Gopal et al., Intel, 2011).
#include <string.h>

#include "environment.h"
#include "napi.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace mpool {
namespace {

constexpr uint32_t POLYNOMIAL = 0x82f63b78;  // reflected
constexpr size_t PAGE = 4096;

using Update = uint32_t (*)(uint32_t crc, const uint8_t* bytes, size_t count);

struct Tables {
  uint32_t slice[8][256];
};

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
    tables.slice[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; byte++) {
    for (int k = 1; k < 8; k++) {
      uint32_t previous = tables.slice[k - 1][byte];
      tables.slice[k][byte] = (previous >> 8) ^ tables.slice[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr Tables TABLES = make_tables();

// Slicing by 8, for little-endian machines without the instruction.
uint32_t update_portable(uint32_t crc, const uint8_t* bytes, size_t count) {
  const auto& t = TABLES.slice;
  for (; count >= 8; bytes += 8, count -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    word ^= crc;
    crc = t[7][word & 0xff] ^ t[6][word >> 8 & 0xff] ^ t[5][word >> 16 & 0xff] ^
          t[4][word >> 24 & 0xff] ^ t[3][word >> 32 & 0xff] ^ t[2][word >> 40 & 0xff] ^
          t[1][word >> 48 & 0xff] ^ t[0][word >> 56];
  }
  for (; count > 0; bytes++, count--) crc = crc >> 8 ^ t[0][(crc ^ *bytes) & 0xff];
  return crc;
}

#if defined(__x86_64__)

// a·b modulo the polynomial, both reflected: bit 31 is x^0.
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
  }
  return product;
}

// x^exponent modulo the polynomial, reflected.
constexpr uint32_t power(uint64_t exponent) {
  uint32_t result = 0x80000000u;  // x^0
  uint32_t square = 0x40000000u;  // x^1
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = multiply(result, square);
    square = multiply(square, square);
  }
  return result;
}

// The carry-less product of two reflected 32-bit values is their product times x, and taking it
// through the crc32 instruction multiplies by x^32: hence 33 less.
constexpr uint32_t shift_factor(size_t bytes) { return power(8 * uint64_t{bytes} - 33); }

// Three lanes of LONG cover 4080 bytes, so a page leaves 16; three of SHORT cover 504.
constexpr size_t LONG = 1360;
constexpr size_t SHORT = 168;

__attribute__((target("sse4.2,pclmul"))) inline uint64_t shifted(uint64_t crc, uint32_t factor) {
  __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(crc)),
                                         _mm_cvtsi64_si128(factor), 0);
  return _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(product)));
}

__attribute__((target("sse4.2,pclmul"))) inline uint64_t word_at(const uint8_t* bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

template <size_t LANE>
__attribute__((target("sse4.2,pclmul"))) inline uint64_t three_lanes(uint64_t crc,
                                                                     const uint8_t* bytes) {
  constexpr uint32_t ONE = shift_factor(LANE);
  constexpr uint32_t TWO = shift_factor(2 * LANE);
  uint64_t second = 0;
  uint64_t third = 0;
  for (size_t i = 0; i < LANE; i += 8) {
    crc = _mm_crc32_u64(crc, word_at(bytes + i));
    second = _mm_crc32_u64(second, word_at(bytes + LANE + i));
    third = _mm_crc32_u64(third, word_at(bytes + 2 * LANE + i));
  }
  return shifted(crc, TWO) ^ shifted(second, ONE) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) uint32_t update_sse42(uint32_t start, const uint8_t* bytes,
                                                               size_t count) {
  uint64_t crc = start;
  for (; count >= 3 * LONG; bytes += 3 * LONG, count -= 3 * LONG) {
    crc = three_lanes<LONG>(crc, bytes);
  }
  for (; count >= 3 * SHORT; bytes += 3 * SHORT, count -= 3 * SHORT) {
    crc = three_lanes<SHORT>(crc, bytes);
  }
  for (; count >= 8; bytes += 8, count -= 8) crc = _mm_crc32_u64(crc, word_at(bytes));
  for (; count > 0; bytes++, count--) crc = _mm_crc32_u8(static_cast<uint32_t>(crc), *bytes);
  return static_cast<uint32_t>(crc);
}

Update choose() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") ? update_sse42
                                                                              : update_portable;
}

#elif defined(__aarch64__)

__attribute__((target("+crc"))) uint32_t update_armv8(uint32_t crc, const uint8_t* bytes,
                                                      size_t count) {
  for (; count >= 8; bytes += 8, count -= 8) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    crc = __crc32cd(crc, word);
  }
  for (; count > 0; bytes++, count--) crc = __crc32cb(crc, *bytes);
  return crc;
}

Update choose() { return getauxval(AT_HWCAP) & HWCAP_CRC32 ? update_armv8 : update_portable; }

#else

Update choose() { return update_portable; }

#endif

// Once: in a virtual machine CPUID traps to the hypervisor.
const Update update = choose();

}  // namespace

// (bytes: Uint8Array, seed, portable: 0 | 1) → checksum
napi_value crc32c_js(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  size_t count = 0;
  const uint8_t* bytes = in.array<uint8_t>(0, napi_uint8_array, 0, &count);
  uint32_t seed = in.u32(1);
  int portable = in.i32(2);
  if (!in.valid) {
    napi_throw_type_error(env, nullptr, "crc32c takes a Uint8Array and two numbers");
    return nullptr;
  }
  return unsigned_number(env, ~(portable ? update_portable : update)(~seed, bytes, count));
}

// (bytes: Uint8Array, sums: Uint32Array) → pages done or negative errno
napi_value crc32c_pages_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  size_t count = 0;
  const uint8_t* bytes = in.array<uint8_t>(0, napi_uint8_array, 0, &count);
  size_t pages = (count + PAGE - 1) / PAGE;
  uint32_t* sums = in.array<uint32_t>(1, napi_uint32_array, pages);
  if (!in.valid) return invalid(env);
  for (size_t page = 0; page < pages; page++) {
    size_t left = count - page * PAGE;
    sums[page] = ~update(~0u, bytes + page * PAGE, left < PAGE ? left : PAGE);
  }
  return number(env, static_cast<int64_t>(pages));
}

}  // namespace mpool

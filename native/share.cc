// Shares: how many threads of the process still use something that one of them owns, even when
// threads end without a word. What is shared is the owner's business.
//
// Invariants
//  1. A share's attachments are the sum of what the threads that run have of it, at its generation.
//  2. A slot is used again, with the next generation, only once its owner closed it or ended: an id
//     of before is then stale for ever.
#include "mapping.h"
#include "napi.h"

namespace mpool {
namespace {

constexpr uint32_t SHARE_SLOT_BITS = 12;
static_assert(SHARE_COUNT_MAX == 1u << SHARE_SLOT_BITS);
constexpr uint32_t GENERATION_MASK = UINT32_MAX >> SHARE_SLOT_BITS;

struct Share {
  bool open;
  bool closing;
  uint32_t generation;
  uint32_t attachments;
};

Share shares[SHARE_COUNT_MAX];

uint32_t slot_of(uint32_t id) { return id & (SHARE_COUNT_MAX - 1); }

// Under table_mutex; nullptr when stale.
Share* share_of(uint32_t id) {
  Share* share = &shares[slot_of(id)];
  return share->open && share->generation == id >> SHARE_SLOT_BITS ? share : nullptr;
}

// This thread's part of it.
ShareCount* count_of(Environment* environment, uint32_t id) {
  ShareCount* count = &environment->shares[slot_of(id)];
  if (count->generation != id >> SHARE_SLOT_BITS) *count = {id >> SHARE_SLOT_BITS, 0, false};
  return count;
}

void close_share(Share* share) {
  share->open = false;
  share->generation = (share->generation + 1) & GENERATION_MASK;
}

}  // namespace

// () → id or -EMFILE
napi_value share_open_js(napi_env env, napi_callback_info info) {
  Environment* environment = environment_of(env);
  TableLock lock;
  for (uint32_t slot = 0; slot < SHARE_COUNT_MAX; slot++) {
    Share* share = &shares[slot];
    if (share->open) continue;
    *share = {true, false, share->generation, 0};
    environment->shares[slot] = {share->generation, 0, true};
    return unsigned_number(env, slot | share->generation << SHARE_SLOT_BITS);
  }
  return number(env, -EMFILE);
}

// (id) → 0, or -ENOENT when it is closing or gone
napi_value share_attach_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  uint32_t id = in.u32(0);
  if (!in.valid) return invalid(env);
  TableLock lock;
  Share* share = share_of(id);
  if (share == nullptr || share->closing) return number(env, -ENOENT);
  share->attachments++;
  count_of(environment_of(env), id)->attachments++;
  return number(env, 0);
}

// (id) → 0, or -ENOENT when this thread is not attached
napi_value share_detach_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  uint32_t id = in.u32(0);
  if (!in.valid) return invalid(env);
  TableLock lock;
  Share* share = share_of(id);
  // A stale id must not be looked up further: its slot may be another share's by now.
  if (share == nullptr) return number(env, -ENOENT);
  ShareCount* count = count_of(environment_of(env), id);
  if (count->attachments == 0) return number(env, -ENOENT);
  count->attachments--;
  share->attachments--;
  return number(env, 0);
}

// (id) → attachments, or -ENOENT when it is gone
napi_value share_count_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  uint32_t id = in.u32(0);
  if (!in.valid) return invalid(env);
  TableLock lock;
  Share* share = share_of(id);
  return number(env, share == nullptr ? -ENOENT : static_cast<int64_t>(share->attachments));
}

// (id, gone: 0 no attachment more | 1 gone at all) → 0, or -ENOENT when it is not this thread's
napi_value share_close_js(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  uint32_t id = in.u32(0);
  int gone = in.i32(1);
  if (!in.valid) return invalid(env);
  TableLock lock;
  Share* share = share_of(id);
  if (share == nullptr) return number(env, -ENOENT);
  ShareCount* count = count_of(environment_of(env), id);
  if (!count->owned) return number(env, -ENOENT);
  share->closing = true;
  if (gone) {
    count->owned = false;
    close_share(share);
  }
  return number(env, 0);
}

// (id) → 1 when it is closing or gone, else 0
napi_value share_closing_js(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  uint32_t id = in.u32(0);
  if (!in.valid) return invalid(env);
  TableLock lock;
  Share* share = share_of(id);
  return number(env, share == nullptr || share->closing ? 1 : 0);
}

void shares_end(Environment* environment) {
  TableLock lock;
  for (uint32_t slot = 0; slot < SHARE_COUNT_MAX; slot++) {
    const ShareCount& count = environment->shares[slot];
    Share* share = &shares[slot];
    if (!share->open || share->generation != count.generation) continue;
    share->attachments -= count.attachments;
    if (count.owned) close_share(share);
  }
}

}  // namespace mpool

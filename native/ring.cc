#include "ring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Younger than the headers of some supported distributions.
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_FEAT_RW_CUR_POS
#define IORING_FEAT_RW_CUR_POS (1U << 3)
#endif

namespace mpool {
namespace {

constexpr uint32_t AIO_BATCH = 64;

uint32_t load(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
void store(uint32_t* word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

int setup(uint32_t entries, io_uring_params* params) {
  long fd = syscall(SYS_io_uring_setup, entries, params);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

void* map(int fd, size_t bytes, off_t offset) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  return at == MAP_FAILED ? nullptr : at;
}

int open_io_uring(Ring* ring, uint32_t sq_entries, uint32_t cq_entries, uint32_t* layout) {
  // Newest first: SINGLE_ISSUER is of Linux 6.0, COOP_TASKRUN of 5.19; older ones answer EINVAL.
  static const uint32_t choices[] = {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
                                     IORING_SETUP_COOP_TASKRUN, 0};
  io_uring_params params;
  int fd = -EINVAL;
  for (uint32_t choice : choices) {
    memset(&params, 0, sizeof params);
    params.flags = choice | IORING_SETUP_CQSIZE;
    params.cq_entries = cq_entries;
    fd = setup(sq_entries, &params);
    if (fd != -EINVAL) break;
  }
  if (fd < 0) return fd;
  ring->fd = fd;
  ring->setup_flags = params.flags;
  // Of Linux 5.6, as are the READ and WRITE operations: older kernels take the next rung.
  if (!(params.features & IORING_FEAT_RW_CUR_POS)) return -ENOSYS;
  size_t sq_bytes = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
  size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  ring->memory_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
  ring->memory = static_cast<uint8_t*>(map(fd, ring->memory_bytes, IORING_OFF_SQ_RING));
  if (ring->memory == nullptr) return -errno;
  ring->entries_bytes = params.sq_entries * sizeof(io_uring_sqe);
  ring->entries = static_cast<uint8_t*>(map(fd, ring->entries_bytes, IORING_OFF_SQES));
  if (ring->entries == nullptr) return -errno;
  uint32_t* array = reinterpret_cast<uint32_t*>(ring->memory + params.sq_off.array);
  for (uint32_t i = 0; i < params.sq_entries; i++) array[i] = i;
  ring->sq_flags = reinterpret_cast<uint32_t*>(ring->memory + params.sq_off.flags);
  const uint32_t found[RING_LAYOUT_COUNT] = {
      params.sq_entries,  params.cq_entries,  params.sq_off.head, params.sq_off.tail,
      params.cq_off.head, params.cq_off.tail, params.cq_off.cqes};
  memcpy(layout, found, sizeof found);
  return 0;
}

int open_aio(Ring* ring, uint32_t sq_entries, uint32_t cq_entries, uint32_t* layout) {
  if (syscall(SYS_io_setup, cq_entries, &ring->aio) < 0) return -errno;
  ring->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (ring->fd < 0) return -errno;
  // The four words lie on cache lines of their own, as the kernel's do.
  const uint32_t found[RING_LAYOUT_COUNT] = {sq_entries, cq_entries, 0, 64, 128, 192, 256};
  memcpy(layout, found, sizeof found);
  ring->memory_bytes = 256 + cq_entries * sizeof(io_uring_cqe);
  ring->entries_bytes = sq_entries * sizeof(io_uring_sqe);
  for (int region = 0; region < 2; region++) {
    void* at = mmap(nullptr, region == 0 ? ring->memory_bytes : ring->entries_bytes,
                    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return -errno;
    (region == 0 ? ring->memory : ring->entries) = static_cast<uint8_t*>(at);
  }
  return 0;
}

void complete(Ring* ring, uint64_t user_data, int32_t result) {
  uint32_t tail = *ring->cq_tail;
  auto* cqe = reinterpret_cast<io_uring_cqe*>(ring->cqes) + (tail & (ring->cq_entries - 1));
  cqe->user_data = user_data;
  cqe->res = result;
  cqe->flags = 0;
  store(ring->cq_tail, tail + 1);
}

// False for what Linux AIO cannot do.
bool translate(const Ring* ring, const io_uring_sqe* sqe, iocb* control) {
  memset(control, 0, sizeof *control);
  switch (sqe->opcode) {
    case IORING_OP_READ: control->aio_lio_opcode = IOCB_CMD_PREAD; break;
    case IORING_OP_WRITE: control->aio_lio_opcode = IOCB_CMD_PWRITE; break;
    case IORING_OP_FSYNC:
      control->aio_lio_opcode =
          sqe->fsync_flags & IORING_FSYNC_DATASYNC ? IOCB_CMD_FDSYNC : IOCB_CMD_FSYNC;
      break;
    default: return false;
  }
  control->aio_data = sqe->user_data;
  control->aio_fildes = static_cast<uint32_t>(sqe->fd);
  control->aio_flags = IOCB_FLAG_RESFD;
  control->aio_resfd = static_cast<uint32_t>(ring->fd);
  if (sqe->opcode == IORING_OP_FSYNC) return true;
  control->aio_buf = sqe->addr;
  control->aio_nbytes = sqe->len;
  control->aio_offset = static_cast<int64_t>(sqe->off);
  control->aio_rw_flags = static_cast<__kernel_rwf_t>(sqe->rw_flags);
  return true;
}

// Completes the entry at the head at once: refused, or a no-op. The eventfd wakes the reader.
void complete_at_once(Ring* ring, const io_uring_sqe* sqe, int32_t result) {
  complete(ring, sqe->user_data, result);
  store(ring->sq_head, *ring->sq_head + 1);
  const uint64_t one = 1;
  // Cannot fail: the counter is far from its limit.
  if (write(ring->fd, &one, sizeof one) < 0) return;
}

int enter_aio(Ring* ring, uint32_t count) {
  iocb controls[AIO_BATCH];
  iocb* pointers[AIO_BATCH];
  uint32_t taken = 0;
  while (taken < count) {
    uint32_t batch = 0;
    const io_uring_sqe* first = nullptr;
    while (batch < AIO_BATCH && taken + batch < count) {
      uint32_t index = (*ring->sq_head + batch) & (ring->sq_entries - 1);
      auto* sqe = reinterpret_cast<const io_uring_sqe*>(ring->entries) + index;
      if (batch == 0) first = sqe;
      if (!translate(ring, sqe, &controls[batch])) break;
      pointers[batch] = &controls[batch];
      batch++;
    }
    if (batch == 0) {
      complete_at_once(ring, first, first->opcode == IORING_OP_NOP ? 0 : -EOPNOTSUPP);
      taken++;
      continue;
    }
    long submitted = syscall(SYS_io_submit, ring->aio, batch, pointers);
    if (submitted > 0) {
      store(ring->sq_head, *ring->sq_head + static_cast<uint32_t>(submitted));
      taken += static_cast<uint32_t>(submitted);
      continue;
    }
    if (submitted < 0 && errno == EINTR) continue;
    // Out of kernel resources: what is in flight frees them, and the rest is entered again then.
    if (submitted == 0 || (errno == EAGAIN && ring_unread(ring) > 0)) break;
    // Of the context or the eventfd, not of the request: those are open, and allowed what they ask.
    if (errno == EPERM || errno == ENOSYS || errno == EBADF) {
      if (taken == 0) return -errno;
      break;
    }
    // io_submit fails as a whole only for its first control block.
    complete_at_once(ring, first, -errno);
    taken++;
  }
  return static_cast<int>(taken);
}

void collect_aio(Ring* ring) {
  uint64_t counter;
  // Whether there is anything to read or not: what is finished is asked for below.
  ssize_t counted = read(ring->fd, &counter, sizeof counter);
  (void)counted;
  io_event events[AIO_BATCH];
  for (;;) {
    uint32_t room = ring->cq_entries - (*ring->cq_tail - load(ring->cq_head));
    uint32_t limit = room < AIO_BATCH ? room : AIO_BATCH;
    if (limit == 0) return;
    timespec now = {0, 0};
    long found = syscall(SYS_io_getevents, ring->aio, 0, limit, events, &now);
    if (found < 0 && errno == EINTR) continue;
    for (long i = 0; i < found; i++) {
      complete(ring, events[i].data, static_cast<int32_t>(events[i].res));
    }
    if (found < static_cast<long>(limit)) return;
  }
}

}  // namespace

int ring_open(Ring* ring, int kind, uint32_t sq_entries, uint32_t cq_entries, uint32_t* layout) {
  ring->kind = kind;
  int result = kind == KIND_AIO ? open_aio(ring, sq_entries, cq_entries, layout)
                                : open_io_uring(ring, sq_entries, cq_entries, layout);
  if (result < 0) {
    ring_close(ring);
    return result;
  }
  ring->sq_entries = layout[0];
  ring->cq_entries = layout[1];
  ring->sq_head = reinterpret_cast<uint32_t*>(ring->memory + layout[2]);
  ring->sq_tail = reinterpret_cast<uint32_t*>(ring->memory + layout[3]);
  ring->cq_head = reinterpret_cast<uint32_t*>(ring->memory + layout[4]);
  ring->cq_tail = reinterpret_cast<uint32_t*>(ring->memory + layout[5]);
  ring->cqes = ring->memory + layout[6];
  return 0;
}

int ring_enter(Ring* ring, uint32_t count) {
  if (ring->kind == KIND_AIO) return enter_aio(ring, count);
  for (;;) {
    long taken = syscall(SYS_io_uring_enter, ring->fd, count, 0, 0, nullptr, 0);
    if (taken >= 0) return static_cast<int>(taken);
    if (errno != EINTR) return -errno;
  }
}

void ring_collect(Ring* ring) {
  if (ring->kind == KIND_AIO) {
    collect_aio(ring);
  } else if (load(ring->sq_flags) & IORING_SQ_CQ_OVERFLOW) {
    syscall(SYS_io_uring_enter, ring->fd, 0, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
  }
}

bool ring_has_completions(const Ring* ring) {
  return load(ring->cq_tail) != load(ring->cq_head);
}

uint32_t ring_unread(const Ring* ring) { return load(ring->sq_head) - load(ring->cq_head); }

bool ring_drain(Ring* ring, int timeout_ms) {
  constexpr int STEP_MS = 20;
  for (int waited_ms = 0; waited_ms <= timeout_ms; waited_ms += STEP_MS) {
    ring_collect(ring);
    store(ring->cq_head, load(ring->cq_tail));
    if (ring_unread(ring) == 0) return true;
    pollfd wait = {ring->fd, POLLIN, 0};
    if (poll(&wait, 1, STEP_MS) > 0) waited_ms -= STEP_MS;
  }
  return false;
}

void ring_close(Ring* ring) {
  if (ring->memory != nullptr) munmap(ring->memory, ring->memory_bytes);
  if (ring->entries != nullptr) munmap(ring->entries, ring->entries_bytes);
  // io_destroy waits for what is in flight; io_uring cancels it.
  if (ring->aio != 0) syscall(SYS_io_destroy, ring->aio);
  if (ring->fd >= 0) close(ring->fd);
  *ring = Ring{};
}

}  // namespace mpool

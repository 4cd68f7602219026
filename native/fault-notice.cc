// Says on stderr why a process dies that stored into a view, or touched a page that could not be read.
// Then the signal takes the course it would have taken without us.
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "mapping.h"

namespace mpool {
namespace {

// More mapped ranges than this go unexplained.
constexpr int NOTICE_COUNT_MAX = 1024;
constexpr size_t NAME_BYTES_MAX = 224;

// Read by the handler without a lock: an entry counts while its start is not zero.
struct Notice {
  std::atomic<uintptr_t> start;
  std::atomic<uintptr_t> end;
  char name[NAME_BYTES_MAX];
};

Notice entries[NOTICE_COUNT_MAX];
bool installed = false;
struct sigaction previous_segv;
struct sigaction previous_bus;

const Notice* find(uintptr_t address) {
  for (const Notice& each : entries) {
    uintptr_t start = each.start.load(std::memory_order_acquire);
    if (start != 0 && address >= start && address < each.end.load(std::memory_order_relaxed)) {
      return &each;
    }
  }
  return nullptr;
}

// Only what a signal handler may do: no allocation, no stdio.
struct Line {
  char bytes[512];
  size_t length = 0;

  void put(const char* text) {
    while (*text != 0 && length < sizeof bytes) bytes[length++] = *text++;
  }
  void put(uint64_t value) {
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = 0;
    do {
      digits[--at] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value > 0);
    put(digits + at);
  }
};

void explain(int signal, const Notice* notice, uintptr_t address) {
  Line line;
  line.put(signal == SIGSEGV ? "mpool: fatal: a store into a read-only view of "
                             : "mpool: fatal: a page of a mapped object could not be read: ");
  line.put(notice->name);
  line.put(", at byte ");
  line.put(static_cast<uint64_t>(address - notice->start.load(std::memory_order_relaxed)));
  line.put(signal == SIGSEGV
               ? " (objects are immutable: copy what is to be changed)\n"
               : " (I/O error, or the device shrank): use getPages() or read(), which reject instead\n");
  // Nothing can be done when nobody listens.
  if (write(STDERR_FILENO, line.bytes, line.length) < 0) return;
}

// Not ours: as if we were not there.
void pass_on(int signal, siginfo_t* info, void* context, const struct sigaction& previous) {
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    return previous.sa_handler(signal);
  }
  bool sent = info->si_code <= 0;
  if (previous.sa_handler == SIG_IGN && sent) return;
  // A fault comes again when we return, one that was sent does not.
  sigaction(signal, &previous, nullptr);
  if (sent) raise(signal);
}

void on_fault(int signal, siginfo_t* info, void* context) {
  int saved = errno;
  const struct sigaction& previous = signal == SIGSEGV ? previous_segv : previous_bus;
  auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const Notice* notice = info->si_code > 0 ? find(address) : nullptr;
  if (notice == nullptr) {
    pass_on(signal, info, context, previous);
  } else {
    explain(signal, notice, address);
    sigaction(signal, &previous, nullptr);
  }
  errno = saved;
}

void install(int signal, struct sigaction* previous) {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  // Known before the handler can run: what it chains to must be whole.
  sigaction(signal, nullptr, previous);
  sigaction(signal, &action, nullptr);
}

}  // namespace

void fault_notices_install() {
  if (installed) return;
  installed = true;
  install(SIGSEGV, &previous_segv);
  install(SIGBUS, &previous_bus);
}

int fault_notice_add(const void* memory, uint64_t bytes, const char* path) {
  for (int place = 0; place < NOTICE_COUNT_MAX; place++) {
    Notice* notice = &entries[place];
    if (notice->start.load(std::memory_order_relaxed) != 0) continue;
    strncpy(notice->name, path, NAME_BYTES_MAX - 1);
    auto start = reinterpret_cast<uintptr_t>(memory);
    notice->end.store(start + round_up_page(bytes), std::memory_order_relaxed);
    notice->start.store(start, std::memory_order_release);
    return place;
  }
  return -1;
}

void fault_notice_remove(int place) {
  if (place >= 0) entries[place].start.store(0, std::memory_order_relaxed);
}

}  // namespace mpool

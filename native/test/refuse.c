/*
 * Runs a program with some system calls refused by a seccomp filter, as container runtimes do.
 *   refuse WHAT[,WHAT…] PROGRAM ARGUMENT…
 * WHAT: io_uring (EPERM), aio (EPERM), direct (open with O_DIRECT gives EINVAL),
 *       io_uring_nomem (ENOMEM), cachestat (ENOSYS).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter program[64];
static unsigned short length;

static void put(unsigned short code, unsigned char yes, unsigned char no, unsigned int k) {
  program[length++] = (struct sock_filter){code, yes, no, k};
}

/* Low half of an argument, on a little-endian machine. */
static unsigned int argument(int index) {
  return offsetof(struct seccomp_data, args) + 8 * (unsigned int)index;
}

static void refuse(unsigned int call, int error) {
  put(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, call);
  put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | (unsigned int)error);
}

static void refuse_flag(unsigned int call, int index, unsigned int flag, int error) {
  put(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, call);
  put(BPF_LD | BPF_W | BPF_ABS, 0, 0, argument(index));
  put(BPF_JMP | BPF_JSET | BPF_K, 0, 1, flag);
  put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | (unsigned int)error);
  put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  put(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
  for (char *what = strtok(argv[1], ","); what != NULL; what = strtok(NULL, ",")) {
    if (strcmp(what, "io_uring") == 0) refuse(SYS_io_uring_setup, EPERM);
    else if (strcmp(what, "io_uring_nomem") == 0) refuse(SYS_io_uring_setup, ENOMEM);
    else if (strcmp(what, "aio") == 0) refuse(SYS_io_setup, EPERM);
    else if (strcmp(what, "cachestat") == 0) refuse(451, ENOSYS);
    else if (strcmp(what, "direct") == 0) {
      refuse_flag(SYS_openat, 2, O_DIRECT, EINVAL);
#ifdef SYS_open
      refuse_flag(SYS_open, 1, O_DIRECT, EINVAL);
#endif
    } else return 2;
  }
  put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {length, program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0) {
    perror("refuse");
    return 3;
  }
  execvp(argv[2], argv + 2);
  perror(argv[2]);
  return 3;
}

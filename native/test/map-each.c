/*
 * What mapping each object by itself costs: the peer of a map of many objects.
 *   map-each time FILE COUNT STRIDE LENGTH SECONDS
 *     maps COUNT objects, one mmap each, unmaps them, one munmap each, again and again;
 *     prints the nanoseconds of one round (the median of the rounds).
 *   map-each hold FILE COUNT STRIDE LENGTH
 *     maps COUNT objects, or as many as the kernel allows; prints how many, and the errno that ended
 *     it or 0; keeps them until its standard input ends.
 * Object i is LENGTH bytes at i * STRIDE; with gaps between them, so that no two make one area.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 1 << 20 };

static double now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Returns how many were mapped. */
static long map_all(int fd, void **places, long count, long stride, size_t length) {
  for (long i = 0; i < count; i++) {
    places[i] = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)i * stride);
    if (places[i] == MAP_FAILED) return i;
  }
  return count;
}

static int time_rounds(int fd, void **places, long count, long stride, size_t length, double end) {
  double *rounds = malloc(sizeof(double) * ROUNDS_MAX);
  size_t done = 0;
  if (rounds == NULL) return 3;
  while (now_ns() < end && done < ROUNDS_MAX) {
    double start = now_ns();
    if (map_all(fd, places, count, stride, length) != count) return 3;
    for (long i = 0; i < count; i++) munmap(places[i], length);
    rounds[done++] = now_ns() - start;
  }
  qsort(rounds, done, sizeof(double), by_value);
  printf("%.0f\n", rounds[done / 2]);
  free(rounds);
  return 0;
}

int main(int argc, char **argv) {
  int timing = argc == 7 && strcmp(argv[1], "time") == 0;
  int holding = argc == 6 && strcmp(argv[1], "hold") == 0;
  if (!timing && !holding) return 2;
  int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
  long count = atol(argv[3]), stride = atol(argv[4]);
  size_t length = (size_t)atol(argv[5]);
  void **places = calloc((size_t)count, sizeof(void *));
  if (fd < 0 || places == NULL) {
    perror(argv[2]);
    return 3;
  }
  if (timing) return time_rounds(fd, places, count, stride, length, now_ns() + atof(argv[6]) * 1e9);
  errno = 0;
  long mapped = map_all(fd, places, count, stride, length);
  printf("%ld %d\n", mapped, mapped < count ? errno : 0);
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
  return 0;
}

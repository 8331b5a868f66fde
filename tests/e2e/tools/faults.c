/* Loaded before the C library (LD_PRELOAD): makes the syncs of one process fail or slow, and its wall clock jump.
 *
 * CHRONIK_FAULTS names a file of three 64-bit numbers, mapped and read at each call: whether syncs fail with EIO, how
 * many microseconds each takes longer, and by how many nanoseconds the wall clock is off. Without it nothing changes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { FAIL, SLOW_US, CLOCK_NS, COUNT };

static volatile int64_t none[COUNT];
static volatile int64_t *faults = none;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void load(void) {
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CHRONIK_FAULTS");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, COUNT * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        faults = map;
    close(fd);
}

static int sync_with(int (*real)(int), int fd) {
    if (faults[SLOW_US] > 0)
        usleep((useconds_t)faults[SLOW_US]);
    if (faults[FAIL]) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) { return sync_with(real_fsync, fd); }

int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

int clock_gettime(clockid_t clock, struct timespec *at) {
    static const int64_t second = 1000000000;
    int done = real_clock_gettime(clock, at);
    if (done == 0 && clock == CLOCK_REALTIME && faults[CLOCK_NS] != 0) {
        int64_t ns = at->tv_sec * second + at->tv_nsec + faults[CLOCK_NS];
        at->tv_sec = ns / second;
        at->tv_nsec = ns % second;
    }
    return done;
}

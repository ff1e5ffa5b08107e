/*
 * A kernel in a bad mood: what stands between a program and its system calls, by LD_PRELOAD.
 *
 * It does nothing that Linux may not do. Of sockets and pipes that are registered with epoll
 *   - transfers are cut to 1 to 7 bytes,
 *   - calls are interrupted (EINTR) before anything has moved,
 *   - calls say EAGAIN although they could have gone on. A real EAGAIN is followed by an edge when there is something again, so
 *     then the registration is armed anew (EPOLL_CTL_MOD, with the same events and datum), which makes one if there is. So it
 *     is after a cut read: a short read of a TCP stream means that nothing is left, and an edge will come for what does;
 *   - accept4 also says ECONNABORTED, and connect says EINTR when it goes on in the background.
 * Of epoll itself
 *   - a wait brings one event at most (the others stay with the kernel), is interrupted, ends early with nothing, or late.
 * Of descriptor numbers
 *   - a new one is the number that was closed last, where it is free: Linux gives the lowest;
 *   - a closed one lives on as a ghost, a duplicate that is registered under the old datum, and reports to a key that is stale.
 *
 * CHAOS_SEED chooses; CHAOS_STATS names the file to which the counts are written at the end. One seed makes the same choices in the
 * same order of calls; the order is the kernel's and the scheduler's business, so a replay is not exact, but near.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- what is counted ----------------------------------------------------------------------- */

static struct {
    long calls, moved, again, ended, cut, eintr, eagain, aborted, background, early, late, single, events, waits, empty, ghosts,
        renumbered, adds, undeleted;
} count;

/* ---- chance: xorshift, one for all threads, since the runtime has one --------------------------- */

static uint64_t state = 88172645463325252u;
static double p_cut = 1, p_single = 0.5, p_wait = 0.1, p_ghost = 0.3;
static int is_on;

static uint64_t chance(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 11;
}

static int happens(double p) { return is_on && (double)(chance() % 1000000) < p * 1000000; }

static void pause_us(long us) {
    struct timespec t = {0, us * 1000};
    nanosleep(&t, NULL);
}

/* ---- what is registered ------------------------------------------------------------------------ */

enum { NONE, STREAM, MESSAGES, LISTENER, OTHER };

static struct {
    int kind, epoll;
    uint32_t events;
    uint64_t datum;
} table[4096];

static int kind_of(int fd) { return fd >= 0 && fd < 4096 ? table[fd].kind : NONE; }

static int look_up_kind(int fd) {
    struct stat st;
    int value = 0;
    socklen_t length = sizeof value;
    if (fstat(fd, &st)) return OTHER;
    if (S_ISFIFO(st.st_mode)) return STREAM;
    if (!S_ISSOCK(st.st_mode)) return OTHER;
    if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) && value) return LISTENER;
    length = sizeof value;
    if (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length) && value == SOCK_STREAM) return STREAM;
    return MESSAGES;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int real_ctl(int epoll, int op, int fd, struct epoll_event *event) {
    REAL(epoll_ctl);
    return real(epoll, op, fd, event);
}

/* The edge that the kernel would have made. */
static void arm_anew(int fd) {
    struct epoll_event event = {.events = table[fd].events, .data.u64 = table[fd].datum};
    int before = errno;
    real_ctl(table[fd].epoll, EPOLL_CTL_MOD, fd, &event);
    errno = before;
}

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event) {
    int result = real_ctl(epoll, op, fd, event);
    if (result || fd < 0 || fd >= 4096) return result;
    int before = errno;
    if (op == EPOLL_CTL_ADD) {
        table[fd].epoll = epoll;
        table[fd].events = event->events;
        table[fd].datum = event->data.u64;
        table[fd].kind = look_up_kind(fd);
        count.adds++;
    } else if (op == EPOLL_CTL_DEL) {
        /* The datum stays, for the ghost. */
        table[fd].kind = NONE;
    }
    errno = before;
    return result;
}

/* ---- transfers --------------------------------------------------------------------------------- */

/* Whether the call fails, with that. */
static int fails(int fd) {
    int kind = kind_of(fd);
    if (kind != STREAM && kind != MESSAGES && kind != LISTENER) return 0;
    if (happens(0.2)) {
        count.eintr++;
        return EINTR;
    }
    if (happens(0.2)) {
        count.eagain++;
        arm_anew(fd);
        return EAGAIN;
    }
    if (kind == LISTENER && happens(0.2)) {
        count.aborted++;
        return ECONNABORTED;
    }
    return 0;
}

/* How much of it may move. Messages are whole. */
static size_t allowed(int fd, size_t length) {
    if (kind_of(fd) != STREAM || length <= 1 || !happens(p_cut)) return length;
    size_t most = 1 + chance() % 7;
    return most < length ? most : length;
}

static ssize_t noted(int fd, ssize_t n, size_t asked, size_t was_allowed, int is_read) {
    if (kind_of(fd) == NONE || kind_of(fd) == OTHER) return n;
    count.calls++;
    if (n > 0) count.moved++;
    else if (n < 0 && errno == EAGAIN) count.again++;
    else count.ended++;
    if (n > 0 && (size_t)n == was_allowed && was_allowed < asked) {
        count.cut++;
        if (is_read) arm_anew(fd);
    }
    return n;
}

/* One buffer; `CALL` moves at most `most` bytes. */
#define TRANSFER(length, is_read, CALL) \
    int fault = fails(fd); \
    if (fault) { \
        count.calls++; \
        errno = fault; \
        return -1; \
    } \
    size_t most = allowed(fd, length); \
    ssize_t n = CALL; \
    return noted(fd, n, length, most, is_read)

ssize_t recv(int fd, void *buffer, size_t length, int flags) {
    REAL(recv);
    TRANSFER(length, 1, real(fd, buffer, most, flags));
}

ssize_t recvfrom(int fd, void *buffer, size_t length, int flags, struct sockaddr *from, socklen_t *size) {
    REAL(recvfrom);
    TRANSFER(length, 1, real(fd, buffer, most, flags, from, size));
}

ssize_t read(int fd, void *buffer, size_t length) {
    REAL(read);
    TRANSFER(length, 1, real(fd, buffer, most));
}

ssize_t send(int fd, const void *buffer, size_t length, int flags) {
    REAL(send);
    TRANSFER(length, 0, real(fd, buffer, most, flags));
}

ssize_t sendto(int fd, const void *buffer, size_t length, int flags, const struct sockaddr *to, socklen_t size) {
    REAL(sendto);
    TRANSFER(length, 0, real(fd, buffer, most, flags, to, size));
}

ssize_t write(int fd, const void *buffer, size_t length) {
    REAL(write);
    TRANSFER(length, 0, real(fd, buffer, most));
}

/* Several: those that are left of them when only `most` bytes may move. At most 16, as the kernel may choose. */
static int cut_parts(struct iovec *out, const struct iovec *parts, int parts_count, size_t most) {
    int n = 0;
    for (int i = 0; i < parts_count && n < 16 && most; i++) {
        out[n] = parts[i];
        if (out[n].iov_len > most) out[n].iov_len = most;
        most -= out[n++].iov_len;
    }
    return n;
}

static size_t length_of(const struct iovec *parts, int n) {
    size_t length = 0;
    for (int i = 0; i < n; i++) length += parts[i].iov_len;
    return length;
}

#define VECTORED(parts, parts_count, is_read, WHOLE, CUT) \
    size_t length = length_of(parts, parts_count); \
    struct iovec some[16]; \
    int some_count = 0; \
    TRANSFER(length, is_read, most == length ? WHOLE : (some_count = cut_parts(some, parts, parts_count, most), CUT))

ssize_t readv(int fd, const struct iovec *parts, int parts_count) {
    REAL(readv);
    VECTORED(parts, parts_count, 1, real(fd, parts, parts_count), real(fd, some, some_count));
}

ssize_t writev(int fd, const struct iovec *parts, int parts_count) {
    REAL(writev);
    VECTORED(parts, parts_count, 0, real(fd, parts, parts_count), real(fd, some, some_count));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(sendmsg);
    struct msghdr shorter = *message;
    VECTORED(message->msg_iov, (int)message->msg_iovlen, 0, real(fd, message, flags),
        (shorter.msg_iov = some, shorter.msg_iovlen = some_count, real(fd, &shorter, flags)));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    REAL(recvmsg);
    /* Never cut: control messages come with the first byte. */
    size_t length = length_of(message->msg_iov, (int)message->msg_iovlen);
    TRANSFER(length, 1, (most = length, real(fd, message, flags)));
}

/* ---- numbers of descriptors --------------------------------------------------------------------- */

static int closed[64], closed_count;
/* Where the program looks for no descriptors of its own. */
#define FIRST_GHOST 500
static int ghosts[16], ghost_count;

static int real_close(int fd) {
    REAL(close);
    return real(fd);
}

/* To the number that was closed last, or the next free one above: F_DUPFD takes nobody's. */
static int renumber(int fd) {
    if (fd < 0 || !closed_count || !happens(0.7)) return fd;
    int wanted = closed[--closed_count];
    int before = errno, moved = fcntl(fd, F_DUPFD_CLOEXEC, wanted);
    errno = before;
    if (moved < 0) return fd;
    real_close(fd);
    if (moved < 4096) table[moved].kind = NONE;
    count.renumbered++;
    return moved;
}

/* A duplicate that reports for `fd` after its end. The other end has to learn of that end nevertheless. */
static void leave_ghost(int fd) {
    int epoll = table[fd].epoll, ghost = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_GHOST);
    if (ghost < 0) return;
    shutdown(fd, SHUT_RDWR);
    struct epoll_event event = {.events = table[fd].events, .data.u64 = table[fd].datum};
    if (real_ctl(epoll, EPOLL_CTL_ADD, ghost, &event)) {
        real_close(ghost);
        return;
    }
    count.ghosts++;
    int place = ghost_count++ % 16;
    if (ghost_count > 16) real_close(ghosts[place]);
    ghosts[place] = ghost;
}

int close(int fd) {
    int before = errno, value = 0;
    socklen_t length = sizeof value;
    if (is_on && fd >= 0 && fd < FIRST_GHOST && table[fd].epoll > 0) {
        if (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length) && value == SOCK_STREAM && table[fd].events && happens(p_ghost))
            leave_ghost(fd);
        /* Closed, and registered still: a duplicate would report for ever. */
        if (table[fd].kind != NONE && table[fd].kind != OTHER) count.undeleted++;
        if (closed_count == 64) closed_count = 0;
        closed[closed_count++] = fd;
        memset(&table[fd], 0, sizeof table[fd]);
    }
    errno = before;
    return real_close(fd);
}

int socket(int domain, int type, int protocol) {
    REAL(socket);
    return renumber(real(domain, type, protocol));
}

int accept4(int fd, struct sockaddr *from, socklen_t *size, int flags) {
    REAL(accept4);
    int fault = fails(fd);
    if (fault) {
        count.calls++;
        errno = fault;
        return -1;
    }
    int client = real(fd, from, size, flags);
    noted(fd, client < 0 ? -1 : 1, 1, 1, 1);
    return renumber(client);
}

int connect(int fd, const struct sockaddr *to, socklen_t size) {
    REAL(connect);
    int result = real(fd, to, size);
    if (result && errno == EINPROGRESS && happens(0.5)) {
        count.background++;
        errno = EINTR;
    }
    return result;
}

/* ---- waiting ------------------------------------------------------------------------------------- */

/* Before the wait: 0 to go on, or what to return. */
static int spoil_wait(int *most, int *result) {
    count.waits++;
    if (happens(p_wait)) {
        count.eintr++;
        errno = EINTR;
        *result = -1;
        return 1;
    }
    if (happens(p_wait)) {
        count.early++;
        *result = 0;
        return 1;
    }
    if (happens(p_single)) {
        count.single++;
        *most = 1;
    }
    return 0;
}

static int waited(int n) {
    if (n > 0) count.events += n;
    if (n == 0) count.empty++;
    if (happens(p_wait / 20)) {
        count.late++;
        pause_us(chance() % 200);
    }
    return n;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    REAL(epoll_wait);
    int result;
    if (spoil_wait(&most, &result)) return result;
    return waited(real(epoll, events, most, timeout));
}

/* libc has no wrapper that the runtime may count on, so it makes this call by its number. */
long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list rest;
    va_start(rest, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    if (number != SYS_epoll_pwait2) return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int most = (int)a[2], result;
    if (spoil_wait(&most, &result)) return result;
    return waited((int)real(number, a[0], a[1], (long)most, a[3], a[4], a[5]));
}

/* ---- the beginning and the end -------------------------------------------------------------------- */

static double setting(const char *name, double otherwise) {
    const char *value = getenv(name);
    return value ? atof(value) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    const char *seed = getenv("CHAOS_SEED");
    if (!seed) return;
    state = (strtoull(seed, NULL, 10) + 1) * 0x9e3779b97f4a7c15u;
    for (int i = 0; i < 8; i++) chance();
    p_cut = setting("CHAOS_CUT", 1);
    p_single = (double)(chance() % 4) / 3;
    p_wait = (double)(chance() % 3) / 10;
    p_ghost = (double)(chance() % 3) / 2;
    is_on = 1;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("CHAOS_STATS");
    is_on = 0;
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
#define SAY(name) fprintf(file, #name "=%ld\n", count.name)
    SAY(calls); SAY(moved); SAY(again); SAY(ended); SAY(cut); SAY(eintr); SAY(eagain); SAY(aborted); SAY(background);
    SAY(early); SAY(late); SAY(single); SAY(events); SAY(waits); SAY(empty); SAY(ghosts); SAY(renumbered); SAY(adds);
    SAY(undeleted);
    fclose(file);
}

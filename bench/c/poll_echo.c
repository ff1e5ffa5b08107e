// The echo server of the textbooks: poll(2) over an array of all connections, level-triggered, one shared buffer. Every turn
// hands the whole array to the kernel and walks over it afterwards, so it costs what there is, not what happens.
// Usage: poll_echo PORT echo|sink BUF
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pollfd *fds; // 0 is the listener
static nfds_t count = 1;
static char *buf;
static size_t bufsz;
static int sink;

static int listener(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) {
        perror("bind/listen");
        exit(1);
    }
    return fd;
}

// Blocks until all is written: the textbooks do, and one client that does not read stops everybody.
static int write_all(int fd, const char *data, size_t left) {
    while (left) {
        ssize_t n = send(fd, data, left, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd one = {fd, POLLOUT, 0};
            poll(&one, 1, -1);
        } else if (n < 0) {
            return -1;
        } else {
            data += n;
            left -= (size_t)n;
        }
    }
    return 0;
}

// Whether the connection goes on.
static int serve(int fd) {
    ssize_t n = recv(fd, buf, bufsz, 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    return n > 0 && (sink || write_all(fd, buf, (size_t)n) == 0);
}

static void accept_all(nfds_t most) {
    while (count < most) {
        int fd = accept4(fds[0].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        fds[count++] = (struct pollfd){fd, POLLIN, 0};
    }
}

int main(int argc, char **argv) {
    if (argc < 4) { fprintf(stderr, "usage: poll_echo PORT echo|sink BUF\n"); return 2; }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    fds = calloc(limit.rlim_cur, sizeof *fds);
    sink = !strcmp(argv[2], "sink");
    bufsz = strtoul(argv[3], NULL, 10);
    buf = malloc(bufsz);
    fds[0] = (struct pollfd){listener(atoi(argv[1])), POLLIN, 0};
    printf("READY\n");
    fflush(stdout);

    for (;;) {
        int ready = poll(fds, count, -1);
        for (nfds_t i = count; ready > 0 && i-- > 1;) { // downwards: the last one takes the place of a closed one
            if (!fds[i].revents) continue;
            ready--;
            if (serve(fds[i].fd)) continue;
            close(fds[i].fd);
            fds[i] = fds[--count];
        }
        if (fds[0].revents) accept_all(limit.rlim_cur);
    }
}

/* What one MiB costs a process that reads a Unix socket and writes TCP on loopback, with read/write and with splice.
 *     cc -O2 -o forward forward.c && ./forward copy && ./forward splice
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1 << 20)
#define COUNT 5000

static void check(long result, const char *what) {
    if (result < 0) { perror(what); exit(1); }
}

static void say(const char *who) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double seconds = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    printf("%s %.0f us/MiB\n", who, seconds * 1e6 / COUNT);
    fflush(stdout);
}

int main(int argc, char **argv) {
    int use_splice = argc > 1 && !strcmp(argv[1], "splice");
    int ends[2], pipe_ends[2], len = MIB;
    char *body = calloc(1, MIB);
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &len, sizeof len);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (void *)&at, sizeof at), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, (void *)&at, &at_len), "getsockname");
    if (!fork()) { /* the service */
        for (long left = (long)COUNT * MIB; left > 0;) {
            long written = write(ends[0], body, left < MIB ? left : MIB);
            check(written, "write");
            left -= written;
        }
        say("service");
        return 0;
    }
    if (!fork()) { /* the client */
        close(ends[0]);
        int client = socket(AF_INET, SOCK_STREAM, 0);
        check(connect(client, (void *)&at, sizeof at), "connect");
        for (long left = (long)COUNT * MIB; left > 0;) {
            long come = read(client, body, 256 << 10);
            check(come - 1, "read");
            left -= come;
        }
        say("client ");
        return 0;
    }
    close(ends[0]);
    int client = accept(listener, 0, 0);
    check(client, "accept");
    check(pipe(pipe_ends), "pipe");
    fcntl(pipe_ends[1], F_SETPIPE_SZ, MIB);
    for (long left = (long)COUNT * MIB; left > 0;) {
        long come = use_splice ? splice(ends[1], 0, pipe_ends[1], 0, MIB, SPLICE_F_MOVE) : read(ends[1], body, MIB);
        check(come - 1, "in");
        left -= come;
        for (long done = 0; done < come;) {
            long out = use_splice ? splice(pipe_ends[0], 0, client, 0, come - done, SPLICE_F_MOVE)
                                  : write(client, body + done, come - done);
            check(out, "out");
            done += out;
        }
    }
    say(use_splice ? "splice " : "copy   ");
    while (wait(0) > 0) {}
    return 0;
}

/* A service in C that asks another one on behalf of its requests: claims `GET /c-front/{name}`, and answers what
 * `GET /c/{name}` answers. Needs guest.h beside it, and libnng.
 *
 *     cc front.c -o front -lnng
 *     ./front UPSTREAM URL [--listen]     such as ./front tcp://127.0.0.1:5600 tcp://127.0.0.1:5555
 *     ./hello tcp://127.0.0.1:5600        the service that it asks dials the first URL
 */
#include "guest.h"

#include <nng/supplemental/util/platform.h>

static nng_socket upstream;
/* Each request has another id. Its first half names the process, its second half the request. */
static unsigned char id[GUEST_ID_LEN];

/* Waits for the reply to the last request, and copies its body. Returns -1 when there is none in time. */
static int take_reply(char *body, size_t size) {
    unsigned char *bytes;
    size_t len;
    while (nng_recv(upstream, &bytes, &len, NNG_FLAG_ALLOC) == 0) {
        int is_reply = len >= GUEST_HEADER && bytes[1] == GUEST_REPLY
            && memcmp(bytes + GUEST_ID_AT, id, sizeof id) == 0;
        size_t at = is_reply ? guest_body_at(bytes, len) : len;
        int fits = len - at < size;
        if (fits) {
            memcpy(body, bytes + at, len - at);
        }
        nng_free(bytes, len);
        if (is_reply) {
            return fits ? (int)(len - at) : -1;
        }
    }
    return -1;
}

static int pass_on(const struct guest_request *request, char *body, size_t size) {
    static struct guest_message message;
    static char path[GUEST_PATH_MAX];
    const unsigned char *ttl = request->bytes + 4;
    uint32_t left_us = (uint32_t)ttl[0] << 24 | (uint32_t)ttl[1] << 16 | (uint32_t)ttl[2] << 8 | ttl[3];
    /* Tells requests apart; the first half was set at the start. */
    for (size_t at = sizeof id; at-- > 8 && ++id[at] == 0;) {
    }
    snprintf(path, sizeof path, "/c/%s", strrchr(request->path, '/') + 1);
    /* The decisions of the edge go with the request, so they hold two hops down. */
    if (!guest_onward(&message, request, id, path)) {
        return -1;
    }
    /* A BUS socket sends to all of its pipes: one service at a time may dial this one. */
    guest_send(upstream, &message);
    nng_socket_set_ms(upstream, NNG_OPT_RECVTIMEO, left_us == 0 ? 1000 : (nng_duration)(left_us / 1000 + 1));
    return take_reply(body, size);
}

int main(int argc, char **argv) {
    /* It reads no toggle itself; it names the one of the service behind it, so that its requests carry it. */
    static const char *const toggles[] = {"shout", NULL};
    static const struct guest_service service = {"c-front", "GET /c-front/{name}", "text/plain", toggles, pass_on};
    int failed;
    if (argc < 3) {
        fprintf(stderr, "usage: %s UPSTREAM URL [--listen]\n", argv[0]);
        return 2;
    }
    for (size_t at = 0; at < 8; at += 4) {
        uint32_t part = nng_random();
        memcpy(id + at, &part, sizeof part);
    }
    if ((failed = nng_bus0_open(&upstream)) != 0 || (failed = nng_listen(upstream, argv[1], NULL, 0)) != 0) {
        fprintf(stderr, "%s: %s\n", argv[1], nng_strerror(failed));
        return 1;
    }
    return guest_serve(argc - 1, argv + 1, &service);
}

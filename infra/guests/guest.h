/* What a service in C needs to join the bus: envelopes, and `guest_serve`.
 *
 * Needs libnng 1.5 or later (Debian's libnng-dev). Every byte follows bus/PROTOCOL.md, section 2.
 * Copy this file to your service. It serves requests one after the other on one thread.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/bus0/bus.h>

enum { GUEST_HELLO = 0, GUEST_REQUEST = 1, GUEST_REPLY = 2, GUEST_PING = 6, GUEST_PONG = 7 };
enum { GUEST_HEADER = 32, GUEST_ID_AT = 8, GUEST_ID_LEN = 16 };
/* The longest body of a reply, and the longest path of a request, in bytes. */
enum { GUEST_BODY_MAX = 64 * 1024, GUEST_PATH_MAX = 64 * 1024 };

/* Writes the body of a reply as text into `body`, of `size` bytes, like snprintf. `path` is the path of
 * the request without its query; it begins with '/'. A negative result becomes status 500. */
typedef int guest_handler(const char *path, char *body, size_t size);

/* A message under construction. */
struct guest_message {
    size_t len;
    unsigned char bytes[GUEST_HEADER + 4096 + GUEST_BODY_MAX];
};

/* Begins a message. `id` is the correlation id to copy, or NULL. */
static void guest_begin(struct guest_message *message, int kind, const unsigned char *id, int status) {
    memset(message->bytes, 0, GUEST_HEADER);
    message->bytes[0] = 0xB1;
    message->bytes[1] = (unsigned char)kind;
    if (id != NULL) {
        memcpy(message->bytes + GUEST_ID_AT, id, GUEST_ID_LEN);
    }
    message->bytes[24] = (unsigned char)(status >> 8);
    message->bytes[25] = (unsigned char)status;
    message->len = GUEST_HEADER;
}

/* Appends a field to the head, and updates the head's length in the header. A field that does not fit
 * into the 4 KiB for the head ends the process. */
static void guest_field(struct guest_message *message, const char *name, const char *value) {
    size_t name_len = strlen(name), value_len = strlen(value);
    if (message->len + 4 + name_len + value_len > GUEST_HEADER + 4096) {
        fprintf(stderr, "the field %s is too long\n", name);
        exit(2);
    }
    unsigned char *at = message->bytes + message->len;
    at[0] = (unsigned char)(name_len >> 8), at[1] = (unsigned char)name_len;
    at[2] = (unsigned char)(value_len >> 8), at[3] = (unsigned char)value_len;
    memcpy(at + 4, name, name_len);
    memcpy(at + 4 + name_len, value, value_len);
    message->len += 4 + name_len + value_len;
    size_t head_len = message->len - GUEST_HEADER;
    message->bytes[30] = (unsigned char)(head_len >> 8), message->bytes[31] = (unsigned char)head_len;
}

/* Copies the value of the field `name` of a received message into `value` with a closing NUL.
 * Returns 0 when there is no such field, it is too long, or the head is malformed. */
static int guest_find(const unsigned char *bytes, size_t len, const char *name, char *value, size_t size) {
    size_t head_len = (size_t)bytes[28] << 24 | (size_t)bytes[29] << 16 | (size_t)bytes[30] << 8 | bytes[31];
    if (head_len > len - GUEST_HEADER) {
        return 0;
    }
    for (size_t at = GUEST_HEADER, end = GUEST_HEADER + head_len; at + 4 <= end;) {
        size_t name_len = (size_t)bytes[at] << 8 | bytes[at + 1];
        size_t value_len = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        const unsigned char *found = bytes + at + 4;
        at += 4 + name_len + value_len;
        if (at > end) {
            return 0;
        }
        if (name_len == strlen(name) && memcmp(found, name, name_len) == 0) {
            if (value_len >= size) {
                return 0;
            }
            memcpy(value, found + name_len, value_len);
            value[value_len] = '\0';
            return 1;
        }
    }
    return 0;
}

/* Sends a message. BUS has no acknowledgement: when it is lost, its asker sees a time-out. The call waits
 * only until libnng has taken the message from its own queue; with NNG_FLAG_NONBLOCK it would be lost
 * while another message is in that queue. */
static void guest_send(nng_socket bus, struct guest_message *message) {
    (void)nng_send(bus, message->bytes, message->len, 0);
}

/* What the pipe callback needs. */
struct guest_hello {
    nng_socket bus;
    struct guest_message message;
};

/* A hello is the first message on every new pipe, also after a reconnect. */
static void guest_joined(nng_pipe pipe, nng_pipe_ev event, void *hello) {
    (void)pipe, (void)event;
    guest_send(((struct guest_hello *)hello)->bus, &((struct guest_hello *)hello)->message);
}

/* Handles one received message of `len` bytes. Peers may send anything; a malformed message is ignored. */
static void guest_receive(nng_socket bus, const unsigned char *bytes, size_t len, const char *type,
                          guest_handler *handle) {
    static struct guest_message reply;
    static char path[GUEST_PATH_MAX];
    if (len < GUEST_HEADER || bytes[0] != 0xB1) {
        return;
    }
    if (bytes[1] == GUEST_PING) {
        guest_begin(&reply, GUEST_PONG, bytes + GUEST_ID_AT, 0);
        guest_send(bus, &reply);
    }
    if (bytes[1] == GUEST_REQUEST && guest_find(bytes, len, ":path", path, sizeof path) && path[0] == '/') {
        path[strcspn(path, "?")] = '\0';
        /* The correlation id returns unchanged; the asker finds its request by it. */
        guest_begin(&reply, GUEST_REPLY, bytes + GUEST_ID_AT, 200);
        guest_field(&reply, "content-type", type);
        int written = handle(path, (char *)reply.bytes + reply.len, GUEST_BODY_MAX);
        if (written < 0) {
            guest_begin(&reply, GUEST_REPLY, bytes + GUEST_ID_AT, 500);
        } else {
            reply.len += written < GUEST_BODY_MAX ? (size_t)written : GUEST_BODY_MAX - 1;
        }
        guest_send(bus, &reply);
    }
}

/* Serves `route` (such as "GET /c/{name}") at the URL of the command line, until the process ends.
 * Returns the exit code of a usage error or of a socket that cannot be opened. */
static int guest_serve(int argc, char **argv, const char *service, const char *route, const char *type,
                       guest_handler *handle) {
    static struct guest_hello hello;
    char instance[32];
    int listens = argc == 3 && strcmp(argv[2], "--listen") == 0, failed;
    if (argc != 2 && !listens) {
        fprintf(stderr, "usage: %s URL [--listen]\n", argv[0]);
        return 2;
    }
    snprintf(instance, sizeof instance, "c-%d", (int)getpid());
    guest_begin(&hello.message, GUEST_HELLO, NULL, 0);
    guest_field(&hello.message, "service", service);
    guest_field(&hello.message, "version", "1");
    guest_field(&hello.message, "instance", instance);
    guest_field(&hello.message, "route", route);
    /* libnng 1.5 queues 16 received messages and silently drops further ones. */
    guest_field(&hello.message, "limit", "16");
    if ((failed = nng_bus0_open(&hello.bus)) != 0
        || (failed = nng_pipe_notify(hello.bus, NNG_PIPE_EV_ADD_POST, guest_joined, &hello)) != 0
        || (failed = listens ? nng_listen(hello.bus, argv[1], NULL, 0)
                             : nng_dial(hello.bus, argv[1], NULL, NNG_FLAG_NONBLOCK)) != 0) {
        fprintf(stderr, "%s: %s\n", argv[1], nng_strerror(failed));
        return 1;
    }
    for (;;) {
        unsigned char *bytes;
        size_t len;
        if ((failed = nng_recv(hello.bus, &bytes, &len, NNG_FLAG_ALLOC)) != 0) {
            fprintf(stderr, "%s: %s\n", argv[1], nng_strerror(failed));
            return 1;
        }
        guest_receive(hello.bus, bytes, len, type, handle);
        nng_free(bytes, len);
    }
}

#endif

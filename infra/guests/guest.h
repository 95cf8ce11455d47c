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

/* The flag of a copy, whose reply is only compared, and that of a traced request. */
enum { GUEST_SHADOW = 2, GUEST_SAMPLED = 8 };

/* A received request. */
struct guest_request {
    const unsigned char *bytes;
    size_t len;
    /* Its path without its query; it begins with '/'. */
    const char *path;
};

/* Writes the body of a reply as text into `body`, of `size` bytes, like snprintf. A negative result becomes
 * status 500. */
typedef int guest_handler(const struct guest_request *request, char *body, size_t size);

/* A service. */
struct guest_service {
    /* Its name, the route that it claims (such as "GET /c/{name}"), and the content type of its replies. */
    const char *name, *route, *type;
    /* The toggles that it reads, and those that the services read that it asks; ends with NULL. */
    const char *const *toggles;
    guest_handler *handle;
};

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

/* Appends a field to the head, and updates the head's length in the header. Returns 0 when it does not fit
 * into the 4 KiB for the head. */
static int guest_append(struct guest_message *message, const void *name, size_t name_len, const void *value,
                        size_t value_len) {
    if (message->len + 4 + name_len + value_len > GUEST_HEADER + 4096) {
        return 0;
    }
    unsigned char *at = message->bytes + message->len;
    at[0] = (unsigned char)(name_len >> 8), at[1] = (unsigned char)name_len;
    at[2] = (unsigned char)(value_len >> 8), at[3] = (unsigned char)value_len;
    memcpy(at + 4, name, name_len);
    memcpy(at + 4 + name_len, value, value_len);
    message->len += 4 + name_len + value_len;
    size_t head_len = message->len - GUEST_HEADER;
    message->bytes[30] = (unsigned char)(head_len >> 8), message->bytes[31] = (unsigned char)head_len;
    return 1;
}

/* As guest_append, for fields of the program's own: one that does not fit ends the process. */
static void guest_field(struct guest_message *message, const char *name, const char *value) {
    if (!guest_append(message, name, strlen(name), value, strlen(value))) {
        fprintf(stderr, "the field %s is too long\n", name);
        exit(2);
    }
}

/* A field of a received message. */
struct guest_view {
    const unsigned char *name, *value;
    size_t name_len, value_len;
};

/* The offset of the body of a received message; at most `len`. */
static size_t guest_body_at(const unsigned char *bytes, size_t len) {
    size_t head_len = (size_t)bytes[28] << 24 | (size_t)bytes[29] << 16 | (size_t)bytes[30] << 8 | bytes[31];
    return head_len > len - GUEST_HEADER ? len : GUEST_HEADER + head_len;
}

/* Reads the next field of a received message. `*at` is GUEST_HEADER at first. Returns 0 behind the last field,
 * and when the head is malformed. */
static int guest_next(const unsigned char *bytes, size_t len, size_t *at, struct guest_view *field) {
    size_t end = guest_body_at(bytes, len);
    if (*at + 4 > end) {
        return 0;
    }
    field->name_len = (size_t)bytes[*at] << 8 | bytes[*at + 1];
    field->value_len = (size_t)bytes[*at + 2] << 8 | bytes[*at + 3];
    field->name = bytes + *at + 4;
    field->value = field->name + field->name_len;
    *at += 4 + field->name_len + field->value_len;
    return *at <= end;
}

static int guest_is_called(const struct guest_view *field, const char *name) {
    return field->name_len == strlen(name) && memcmp(field->name, name, field->name_len) == 0;
}

/* Copies `len` bytes into `text` with a closing NUL. Returns 0 when they are too long. */
static int guest_copy(char *text, size_t size, const unsigned char *bytes, size_t len) {
    if (len >= size) {
        return 0;
    }
    memcpy(text, bytes, len);
    text[len] = '\0';
    return 1;
}

/* Copies the value of the field `name` of a received message into `value` with a closing NUL.
 * Returns 0 when there is no such field, it is too long, or the head is malformed. */
static int guest_find(const unsigned char *bytes, size_t len, const char *name, char *value, size_t size) {
    struct guest_view field;
    for (size_t at = GUEST_HEADER; guest_next(bytes, len, &at, &field);) {
        if (guest_is_called(&field, name)) {
            return guest_copy(value, size, field.value, field.value_len);
        }
    }
    return 0;
}

/* Returns 1 when the toggle `name` is on for the request, and copies its variant into `variant` of `size` bytes:
 * "" when it has none or is off. The service must name the toggle in its hello. */
static inline int guest_toggle(const struct guest_request *request, const char *name, char *variant, size_t size) {
    struct guest_view field;
    size_t len = strlen(name);
    variant[0] = '\0';
    /* What the edge has decided precedes the headers. */
    for (size_t at = GUEST_HEADER; guest_next(request->bytes, request->len, &at, &field);) {
        if (field.name_len == 0 || field.name[0] != ':') {
            return 0;
        }
        if (guest_is_called(&field, ":toggle") && field.value_len >= len && memcmp(field.value, name, len) == 0) {
            if (field.value_len == len) {
                return 1;
            }
            if (field.value[len] == '=') {
                return guest_copy(variant, size, field.value + len + 1, field.value_len - len - 1);
            }
        }
    }
    return 0;
}

/* Returns 1 for a copy, whose reply is only compared: leave out what reaches the outside. */
static inline int guest_is_shadow(const struct guest_request *request) {
    return (request->bytes[3] & GUEST_SHADOW) != 0;
}

/* Begins a GET request for `path` on behalf of `request`, with its decisions, its trace and the time that it has.
 * `id` is a new correlation id. Returns 0 when the fields do not fit into the 4 KiB for the head. */
static inline int guest_onward(struct guest_message *message, const struct guest_request *request,
                               const unsigned char *id, const char *path) {
    static const char *const followed[] = {":toggle",     ":pin",       ":priority",
                                           "traceparent", "tracestate", "x-request-id"};
    struct guest_view field;
    guest_begin(message, GUEST_REQUEST, id, 0);
    message->bytes[3] = request->bytes[3] & (GUEST_SHADOW | GUEST_SAMPLED);
    memcpy(message->bytes + 4, request->bytes + 4, 4);
    int fits = guest_append(message, ":method", 7, "GET", 3) && guest_append(message, ":path", 5, path, strlen(path));
    for (size_t at = GUEST_HEADER; fits && guest_next(request->bytes, request->len, &at, &field);) {
        for (size_t n = 0; n < sizeof followed / sizeof followed[0]; n++) {
            if (guest_is_called(&field, followed[n])) {
                fits = guest_append(message, field.name, field.name_len, field.value, field.value_len);
            }
        }
    }
    return fits;
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
static void guest_receive(nng_socket bus, const unsigned char *bytes, size_t len,
                          const struct guest_service *service) {
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
        struct guest_request request = {bytes, len, path};
        path[strcspn(path, "?")] = '\0';
        /* The correlation id returns unchanged; the asker finds its request by it. */
        guest_begin(&reply, GUEST_REPLY, bytes + GUEST_ID_AT, 200);
        guest_field(&reply, "content-type", service->type);
        int written = service->handle(&request, (char *)reply.bytes + reply.len, GUEST_BODY_MAX);
        if (written < 0) {
            guest_begin(&reply, GUEST_REPLY, bytes + GUEST_ID_AT, 500);
        } else {
            reply.len += written < GUEST_BODY_MAX ? (size_t)written : GUEST_BODY_MAX - 1;
        }
        guest_send(bus, &reply);
    }
}

/* Serves at the URL of the command line, until the process ends. Returns the exit code of a usage error or of a
 * socket that cannot be opened. */
static int guest_serve(int argc, char **argv, const struct guest_service *service) {
    static struct guest_hello hello;
    char instance[32];
    int listens = argc == 3 && strcmp(argv[2], "--listen") == 0, failed;
    if (argc != 2 && !listens) {
        fprintf(stderr, "usage: %s URL [--listen]\n", argv[0]);
        return 2;
    }
    snprintf(instance, sizeof instance, "c-%d", (int)getpid());
    guest_begin(&hello.message, GUEST_HELLO, NULL, 0);
    guest_field(&hello.message, "service", service->name);
    guest_field(&hello.message, "version", "1");
    guest_field(&hello.message, "instance", instance);
    guest_field(&hello.message, "route", service->route);
    for (const char *const *toggle = service->toggles; *toggle != NULL; toggle++) {
        guest_field(&hello.message, "toggle", *toggle);
    }
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
        guest_receive(hello.bus, bytes, len, service);
        nng_free(bytes, len);
    }
}

#endif

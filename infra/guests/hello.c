/* A service in C: claims `GET /c/{name}` and answers text. Needs guest.h beside it, and libnng.
 *
 *     cc hello.c -o hello -lnng
 *     ./hello URL [--listen]       such as ./hello tcp://127.0.0.1:5555
 */
#include "guest.h"

static int greet(const struct guest_request *request, char *body, size_t size) {
    const char *name = strrchr(request->path, '/') + 1;
    char variant[64];
    int shouts = guest_toggle(request, "shout", variant, sizeof variant);
    if (!guest_is_shadow(request)) {
        printf("greeted %s\n", name); /* A copy must have no effect outside. */
        fflush(stdout);
    }
    return snprintf(body, size, "%s, %s!%s\n", shouts ? "HELLO" : "Hello", name, variant);
}

int main(int argc, char **argv) {
    static const char *const toggles[] = {"shout", NULL};
    static const struct guest_service service = {"c-hello", "GET /c/{name}", "text/plain", toggles, greet};
    return guest_serve(argc, argv, &service);
}

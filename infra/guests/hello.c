/* A service in C: claims `GET /c/{name}` and answers text. Needs guest.h beside it, and libnng.
 *
 *     cc hello.c -o hello -lnng
 *     ./hello URL [--listen]       such as ./hello tcp://127.0.0.1:5555
 */
#include "guest.h"

static int greet(const char *path, char *body, size_t size) {
    return snprintf(body, size, "Hello, %s!\n", strrchr(path, '/') + 1);
}

int main(int argc, char **argv) {
    return guest_serve(argc, argv, "c-hello", "GET /c/{name}", "text/plain", greet);
}

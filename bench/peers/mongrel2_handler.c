/* The smallest Mongrel2 handler: 200 bytes to every request.
 *
 *   mongrel2_handler REQUESTS REPLIES
 *
 * A request is `SERVER CONNECTION PATH HEADERS BODY`, a reply `SERVER LENGTH:CONNECTION, HTTP...` (Mongrel2 manual, 5.3).
 */
#include <stdio.h>
#include <string.h>
#include <zmq.h>

static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n";

int main(int argc, char **argv)
{
	static char in[1 << 16], out[4096];
	if (argc != 3)
		return 2;
	void *context = zmq_ctx_new();
	void *requests = zmq_socket(context, ZMQ_PULL), *replies = zmq_socket(context, ZMQ_PUB);
	int unlimited = 0;
	zmq_setsockopt(requests, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
	zmq_setsockopt(replies, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
	if (zmq_connect(requests, argv[1]) || zmq_connect(replies, argv[2]))
		return 1;
	for (;;) {
		int got = zmq_recv(requests, in, sizeof in - 1, 0);
		if (got < 0)
			return 1;
		in[got < (int)sizeof in ? got : (int)sizeof in - 1] = 0;
		char *id = strchr(in, ' ');
		char *path = id ? strchr(id + 1, ' ') : NULL;
		/* A disconnect comes as JSON to the path @*. */
		if (!path || path[1] == '@')
			continue;
		int id_len = (int)(path - id - 1);
		int len = snprintf(out, sizeof out, "%.*s %d:%.*s, %s", (int)(id - in), in, id_len, id_len, id + 1, head);
		memset(out + len, 'x', 200);
		zmq_send(replies, out, len + 200, 0);
	}
}

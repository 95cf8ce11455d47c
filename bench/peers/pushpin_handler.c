/* The smallest ZHTTP handler for Pushpin: 200 bytes to every request.
 *
 *   pushpin_handler REQUESTS
 *
 * Pushpin binds, handlers connect. A message is `T` and a tnetstring dictionary; `id` is copied into the reply (zhttp, "REQ/REP").
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

int main(int argc, char **argv)
{
	static char in[1 << 16], item[4096], out[8192];
	if (argc != 2)
		return 2;
	void *context = zmq_ctx_new();
	void *socket = zmq_socket(context, ZMQ_REP);
	if (zmq_connect(socket, argv[1]))
		return 1;
	for (;;) {
		int got = zmq_recv(socket, in, sizeof in - 1, 0);
		if (got < 0)
			return 1;
		if (got >= (int)sizeof in)
			got = sizeof in - 1;
		in[got] = 0;
		char *key = memmem(in, got, "2:id,", 5), *value = NULL;
		size_t value_len = 0;
		if (key) {
			value_len = strtoul(key + 5, &value, 10);
			if (*value == ':' && value + 1 + value_len <= in + got)
				value++;
			else
				value_len = 0;
		}
		int len = snprintf(item, sizeof item,
			"2:id,%zu:%.*s,4:code,3:200#6:reason,2:OK,7:headers,0:]4:body,200:", value_len,
			(int)value_len, value ? value : "");
		memset(item + len, 'x', 200);
		len += 200;
		item[len++] = ',';
		int out_len = snprintf(out, sizeof out, "T%d:", len);
		memcpy(out + out_len, item, len);
		out_len += len;
		out[out_len++] = '}';
		zmq_send(socket, out, out_len, 0);
	}
}

/*
 * nbd_fuzz.c - a client that says anything
 *
 * Built for libFuzzer with -Dfuzz=true, else as a replay of its corpus. The first byte of the input
 * chooses: bit 0: the export is read-only; bit 1: the negotiation went well, the rest are requests.
 * Whatever comes, the server answers or hangs up, and nothing is left when it stops.
 */
#include <string.h>

#include "nbd_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_TEXT (256 * KIB)

/* Flags; structured replies; base:allocation; GO. */
static const char negotiation[] = "\0\0\0\3"
				  "IHAVEOPT\0\0\0\10\0\0\0\0"
				  "IHAVEOPT\0\0\0\12\0\0\0\33"
				  "\0\0\0\0\0\0\0\1\0\0\0\17base:allocation"
				  "IHAVEOPT\0\0\0\7\0\0\0\6\0\0\0\0\0\0";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fixture fixture;
	static uint8_t text[sizeof(negotiation) + MAX_TEXT];
	struct peer peer = {.text = text};

	if (size < 1 || size > MAX_TEXT)
		return 0;
	if (!fixture.loop)
		fixture_start(&fixture);
	if (data[0] & 2) {
		memcpy(text, negotiation, sizeof(negotiation) - 1);
		peer.bytes = sizeof(negotiation) - 1;
	}
	memcpy(text + peer.bytes, data + 1, size - 1);
	peer.bytes += size - 1;
	converse(&fixture, data[0] & 1, &peer);
	return 0;
}

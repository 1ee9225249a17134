/*
 * kvp.c - key-value pairs: what the guest says of itself, what it is told, its addresses
 *
 * A call of ic.h is one request, except a walk through a pool: pairs by index 0, 1, 2... until the
 * guest says that there are no more. Looking for one key is a walk as well: asked for a value
 * directly, Linux 6.1 answers with an empty string.
 *
 * The service is opened only when the guest's daemon runs, which may be late or never; until then
 * it stays in negotiation.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ic_internal.h"
#include "utf16.h"

#define MAX_PAIRS   4096u
#define KEY_BYTES   UTF16_TO_UTF8_BYTES(IC_KVP_KEY_UNITS)
#define VALUE_BYTES UTF16_TO_UTF8_BYTES(IC_KVP_VALUE_UNITS)

struct kvp {
	bool busy;	     /* a call is not done; also between its requests */
	struct ic_call call; /* set, delete */
	ic_kvp_pair *pair;   /* the others */
	void *ctx;
	/* A walk: */
	uint8_t pool;
	uint32_t index;
	bool one; /* only the key @wanted */
	char wanted[KEY_BYTES];
};

static int kvp_free_for_call(const struct ic_provider *provider)
{
	const struct kvp *kvp = provider->state;
	int r = ic_provider_free_for_call(provider);

	return !r && kvp->busy ? -EBUSY : r;
}

/* --- ends of calls --- */

static void kvp_finish_pairs(struct kvp *kvp, int result, const char *text)
{
	kvp->busy = false;
	kvp->pair(kvp->ctx, result, NULL, text);
}

static void kvp_change_answered(struct ic_provider *provider, int result,
				const struct ic_answer *answer)
{
	struct kvp *kvp = provider->state;
	char text[IC_TEXT_BYTES];

	result = ic_judge(result, answer, "the change", text);
	kvp->busy = false;
	ic_call_finish(&kvp->call, result, text);
}

/* --- values --- */

/* A number of the guest's as decimal text, or a string; "" for a type that has no text. */
static void value_text(const struct ic_kvp_value *value, char text[VALUE_BYTES])
{
	uint64_t number = 0;

	text[0] = 0;
	switch (value->type) {
	case IC_KVP_STRING:
	case IC_KVP_EXPAND_STRING:
		utf16_to_utf8(value->value, value->value_bytes / 2, text, VALUE_BYTES);
		break;
	case IC_KVP_DWORD:
		memcpy(&number, value->value, sizeof(uint32_t));
		snprintf(text, VALUE_BYTES, "%" PRIu64, number);
		break;
	case IC_KVP_QWORD:
	case IC_KVP_QWORD_LINUX:
		memcpy(&number, value->value, sizeof(number));
		snprintf(text, VALUE_BYTES, "%" PRIu64, number);
		break;
	}
}

/* The pair in an answer; false when its sizes make no sense. */
static bool parse_pair(const struct ic_answer *answer, char key[KEY_BYTES], char value[VALUE_BYTES])
{
	struct ic_kvp_enumerate_body body = {};

	if (answer->bytes < offsetof(struct ic_kvp_enumerate_body, value.value))
		return false;
	memcpy(&body, answer->body, MIN(answer->bytes, sizeof(body)));
	if (body.value.key_bytes > sizeof(body.value.key) ||
	    body.value.value_bytes > sizeof(body.value.value) ||
	    body.value.value_bytes >
		    answer->bytes - offsetof(struct ic_kvp_enumerate_body, value.value))
		return false;
	utf16_to_utf8(body.value.key, body.value.key_bytes / 2, key, KEY_BYTES);
	value_text(&body.value, value);
	return true;
}

/* --- the walk --- */

static int kvp_walk_on(struct ic_provider *provider);

/* A pair has come. Returns true when the walk goes on. */
static bool kvp_take_pair(struct kvp *kvp, const struct ic_answer *answer)
{
	char key[KEY_BYTES], value[VALUE_BYTES];

	if (!parse_pair(answer, key, value)) {
		kvp_finish_pairs(kvp, -EPROTO, "The guest's answer makes no sense.");
		return false;
	}
	if (!kvp->one || !strcmp(key, kvp->wanted))
		kvp->pair(kvp->ctx, 0, key, value);
	if (kvp->one && !strcmp(key, kvp->wanted)) {
		kvp_finish_pairs(kvp, 0, "");
		return false;
	}
	if (++kvp->index == MAX_PAIRS) {
		kvp_finish_pairs(kvp, -E2BIG, "The guest has too many pairs.");
		return false;
	}
	return true;
}

static void kvp_pair_answered(struct ic_provider *provider, int result,
			      const struct ic_answer *answer)
{
	struct kvp *kvp = provider->state;
	char text[IC_TEXT_BYTES];
	int r;

	if (!result && answer->status == IC_STATUS_NO_MORE_ITEMS) {
		kvp_finish_pairs(kvp, kvp->one ? -ENOENT : 0,
				 kvp->one ? "The guest has no such key." : "");
		return;
	}
	r = ic_judge(result, answer, "the pool", text);
	if (!r) {
		if (!kvp_take_pair(kvp, answer))
			return;
		r = kvp_walk_on(provider);
		ic_judge(r, answer, "the pool", text);
	}
	if (r)
		kvp_finish_pairs(kvp, r, text);
}

static int kvp_walk_on(struct ic_provider *provider)
{
	struct kvp *kvp = provider->state;
	struct ic_kvp_enumerate_body *body = ic_provider_body(provider, sizeof(*body));

	body->header.operation = IC_KVP_ENUMERATE;
	body->header.pool = kvp->pool;
	body->index = kvp->index;
	return ic_provider_request(provider, IC_ANSWER_TIMEOUT_NS, kvp_pair_answered);
}

static int kvp_walk(struct ic *ic, enum ic_kvp_pool pool, const char *wanted, ic_kvp_pair *pair,
		    void *ctx)
{
	struct ic_provider *provider = &ic->services[IC_KVP];
	struct kvp *kvp = provider->state;
	uint16_t units[IC_KVP_KEY_UNITS];
	int r = kvp_free_for_call(provider);

	if (r)
		return r;
	if (wanted && (r = utf16_from_utf8(wanted, units, ARRAY_SIZE(units))) < 0)
		return r;
	kvp->pool = (uint8_t)pool;
	kvp->index = 0;
	kvp->one = wanted;
	kvp->pair = pair;
	kvp->ctx = ctx;
	snprintf(kvp->wanted, sizeof(kvp->wanted), "%s", wanted ? wanted : "");
	r = kvp_walk_on(provider);
	kvp->busy = !r;
	return r;
}

int ic_kvp_get(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_kvp_pair *pair, void *ctx)
{
	return kvp_walk(ic, pool, key, pair, ctx);
}

int ic_kvp_enumerate(struct ic *ic, enum ic_kvp_pool pool, ic_kvp_pair *pair, void *ctx)
{
	return kvp_walk(ic, pool, NULL, pair, ctx);
}

/* --- changes --- */

static int kvp_change(struct ic_provider *provider, ic_done *done, void *ctx)
{
	struct kvp *kvp = provider->state;
	int r = ic_provider_request(provider, IC_ANSWER_TIMEOUT_NS, kvp_change_answered);

	if (r)
		return r;
	kvp->busy = true;
	kvp->call = (struct ic_call){done, ctx};
	return 0;
}

/* Returns the bytes with the NUL, or -errno. */
static int put_text(const char *text, void *units, size_t capacity)
{
	int r = utf16_from_utf8(text, units, capacity);

	return r < 0 ? r : 2 * (r + 1);
}

int ic_kvp_set(struct ic *ic, enum ic_kvp_pool pool, const char *key, const char *value,
	       ic_done *done, void *ctx)
{
	struct ic_provider *provider = &ic->services[IC_KVP];
	struct ic_kvp_set_body *body;
	int key_bytes, value_bytes, r = kvp_free_for_call(provider);

	if (r)
		return r;
	body = ic_provider_body(provider, sizeof(*body));
	key_bytes = put_text(key, body->value.key, IC_KVP_KEY_UNITS);
	value_bytes = put_text(value, body->value.value, IC_KVP_VALUE_UNITS);
	if (key_bytes < 0 || value_bytes < 0)
		return MIN(key_bytes, value_bytes);
	body->header.operation = IC_KVP_SET;
	body->header.pool = (uint8_t)pool;
	body->value.type = IC_KVP_STRING;
	body->value.key_bytes = (uint32_t)key_bytes;
	body->value.value_bytes = (uint32_t)value_bytes;
	return kvp_change(provider, done, ctx);
}

int ic_kvp_delete(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_done *done, void *ctx)
{
	struct ic_provider *provider = &ic->services[IC_KVP];
	struct ic_kvp_delete_body *body;
	int key_bytes, r = kvp_free_for_call(provider);

	if (r)
		return r;
	body = ic_provider_body(provider, sizeof(*body));
	key_bytes = put_text(key, body->key, IC_KVP_KEY_UNITS);
	if (key_bytes < 0)
		return key_bytes;
	body->header.operation = IC_KVP_DELETE;
	body->header.pool = (uint8_t)pool;
	body->key_bytes = (uint32_t)key_bytes;
	return kvp_change(provider, done, ctx);
}

/* --- addresses --- */

/* One pair for each item of a list. @key NULL: by the kind of address. */
static void report_list(const struct kvp *kvp, const char *key, const void *units, size_t count)
{
	char text[UTF16_TO_UTF8_BYTES(1024)], *rest = text, *item;

	utf16_to_utf8(units, count, text, sizeof(text));
	while ((item = strsep(&rest, ";"))) {
		const char *kind = strchr(item, ':') ? "ipv6" : "ipv4";

		if (*item)
			kvp->pair(kvp->ctx, 0, key ? key : kind, item);
	}
}

static void report_addresses(const struct kvp *kvp, const struct ic_kvp_ip_body *body)
{
	report_list(kvp, NULL, body->addresses, ARRAY_SIZE(body->addresses));
	report_list(kvp, "netmask", body->subnets, ARRAY_SIZE(body->subnets));
	report_list(kvp, "gateway", body->gateways, ARRAY_SIZE(body->gateways));
	report_list(kvp, "dns", body->dns, ARRAY_SIZE(body->dns));
	kvp->pair(kvp->ctx, 0, "dhcp", body->dhcp ? "yes" : "no");
}

static void kvp_ip_answered(struct ic_provider *provider, int result,
			    const struct ic_answer *answer)
{
	struct kvp *kvp = provider->state;
	struct ic_kvp_ip_body body;
	char text[IC_TEXT_BYTES];

	result = ic_judge(result, answer, "the addresses", text);
	if (!result && answer->bytes < sizeof(body)) {
		result = -EPROTO;
		snprintf(text, sizeof(text), "The guest's answer makes no sense.");
	}
	if (!result) {
		memcpy(&body, answer->body, sizeof(body));
		report_addresses(kvp, &body);
	}
	kvp_finish_pairs(kvp, result, text);
}

/* Linux' daemon compares with the MAC in upper case, letter by letter. */
static int put_mac(const char *mac, void *units, size_t capacity)
{
	char upper[sizeof("00:00:00:00:00:00")];

	if (strlen(mac) != sizeof(upper) - 1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(upper); i++) {
		bool separator = i % 3 == 2;

		upper[i] = (char)toupper((unsigned char)mac[i]);
		if (mac[i] && (separator ? mac[i] != ':' : !isxdigit((unsigned char)mac[i])))
			return -EINVAL;
	}
	return utf16_from_utf8(upper, units, capacity);
}

int ic_kvp_get_ip(struct ic *ic, const char *mac, ic_kvp_pair *pair, void *ctx)
{
	struct ic_provider *provider = &ic->services[IC_KVP];
	struct kvp *kvp = provider->state;
	struct ic_kvp_ip_body *body;
	int r = kvp_free_for_call(provider);

	if (r)
		return r;
	if (!ic_provider_has_version(provider, 4, 0))
		return -ENOTSUP;
	body = ic_provider_body(provider, sizeof(*body));
	r = put_mac(mac, body->adapter_id, ARRAY_SIZE(body->adapter_id));
	if (r < 0)
		return r;
	body->operation = IC_KVP_GET_IP;
	body->family = IC_KVP_IPV4 | IC_KVP_IPV6;
	r = ic_provider_request(provider, IC_ANSWER_TIMEOUT_NS, kvp_ip_answered);
	if (r)
		return r;
	kvp->busy = true;
	kvp->pair = pair;
	kvp->ctx = ctx;
	return 0;
}

/* Not 5.0, whose messages with addresses are different and which no Linux takes. */
static const struct ic_version kvp_versions[] = {{1, 0}, {3, 0}, {4, 0}};

const struct ic_row ic_kvp_row = {
	.name = "kvp",
	.class = GUID(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6),
	.instance =
		GUID(0x242ff919, 0x07db, 0x4180, 0x9c, 0x2e, 0xb8, 0x6c, 0xb6, 0x8c, 0x8c, 0x55),
	.message_type = IC_MESSAGE_KVP,
	.versions = kvp_versions,
	.version_count = ARRAY_SIZE(kvp_versions),
	.state_bytes = sizeof(struct kvp),
};
